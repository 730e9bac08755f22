# SPDX-License-Identifier: BSD-2-Clause
"""Signs a message with a key in the TPM, using tpm2-pytss: sign.py NAME:CONF MESSAGE"""

import sys

from tpm2_pytss import ESAPI, ESYS_TR, TPM2_ALG, TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE, TPMT_SIG_SCHEME, TSS2_Exception

name_conf, message = sys.argv[1], sys.argv[2].encode()
with ESAPI(name_conf) as tpm:
    template = TPM2B_PUBLIC.parse(
        "ecc:ecdsa-sha256:null",
        objectAttributes="sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth",
    )
    key, *_ = tpm.create_primary(TPM2B_SENSITIVE_CREATE(), template)
    digest, ticket = tpm.hash(message, TPM2_ALG.SHA256)
    signature = tpm.sign(key, digest, TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL), ticket)
    print(signature.marshal().hex())

    tpm.verify_signature(key, digest, signature)
    another, _ = tpm.hash(message + b"!", TPM2_ALG.SHA256)
    try:
        tpm.verify_signature(key, another, signature)
        sys.exit("the signature also verifies for another message")
    except TSS2_Exception:
        pass
    tpm.flush_context(key)
