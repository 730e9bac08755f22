/* SPDX-License-Identifier: BSD-2-Clause */
/* Signs a message with a key in a swtpm, through ESAPI and the module swtpm, without the loader: sign CONF MESSAGE.
 * Prints the signature and lets the TPM verify it.
 *
 *     cc -o sign sign.c $(pkg-config --cflags --libs tss2-tcti-swtpm tss2-esys)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tcti_swtpm.h>

static void succeed(const char *what, TSS2_RC rc)
{
    if (rc == TSS2_RC_SUCCESS)
        return;
    fprintf(stderr, "%s: 0x%x\n", what, (unsigned)rc);
    exit(1);
}

/* Connects to the emulator that CONF names, such as host=localhost,port=2321. */
static TSS2_TCTI_CONTEXT *open_swtpm(const char *conf)
{
    size_t size;
    succeed("size of a context", Tss2_Tcti_Swtpm_Init(NULL, &size, conf));
    TSS2_TCTI_CONTEXT *tcti = calloc(1, size);
    if (tcti == NULL)
        exit(1);
    succeed("open", Tss2_Tcti_Swtpm_Init(tcti, &size, conf));
    return tcti;
}

/* Derives a key for ECDSA with SHA-256 from the owner seed. */
static ESYS_TR create_key(ESYS_CONTEXT *esys)
{
    const TPM2B_PUBLIC template = {.publicArea = {
        .type = TPM2_ALG_ECC,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                            TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH,
        .parameters.eccDetail = {
            .symmetric.algorithm = TPM2_ALG_NULL,
            .scheme = {.scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256},
            .curveID = TPM2_ECC_NIST_P256,
            .kdf.scheme = TPM2_ALG_NULL,
        },
    }};
    const TPM2B_SENSITIVE_CREATE sensitive = {0};
    const TPM2B_DATA outside = {0};
    const TPML_PCR_SELECTION pcrs = {0};
    ESYS_TR key;
    succeed("create a key", Esys_CreatePrimary(esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                               &sensitive, &template, &outside, &pcrs, &key, NULL, NULL, NULL, NULL));
    return key;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return fputs("usage: sign CONF MESSAGE\n", stderr), 2;
    TSS2_TCTI_CONTEXT *tcti = open_swtpm(argv[1]);
    ESYS_CONTEXT *esys;
    succeed("ESAPI", Esys_Initialize(&esys, tcti, NULL));
    ESYS_TR key = create_key(esys);

    TPM2B_MAX_BUFFER message = {.size = (UINT16)strnlen(argv[2], TPM2_MAX_DIGEST_BUFFER)};
    memcpy(message.buffer, argv[2], message.size);
    TPM2B_DIGEST *digest;
    TPMT_TK_HASHCHECK *ticket;
    succeed("hash", Esys_Hash(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &message, TPM2_ALG_SHA256,
                              ESYS_TR_RH_OWNER, &digest, &ticket));
    const TPMT_SIG_SCHEME scheme = {.scheme = TPM2_ALG_NULL};
    TPMT_SIGNATURE *signature;
    succeed("sign", Esys_Sign(esys, key, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, digest, &scheme, ticket,
                              &signature));
    const TPM2B_ECC_PARAMETER *parts[] = {&signature->signature.ecdsa.signatureR, &signature->signature.ecdsa.signatureS};
    for (size_t part = 0; part < 2; part++)
        for (size_t i = 0; i < parts[part]->size; i++)
            printf("%02x", parts[part]->buffer[i]);
    puts("");

    TPMT_TK_VERIFIED *verified;
    succeed("verify", Esys_VerifySignature(esys, key, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, digest, signature,
                                           &verified));
    Esys_Free(verified);
    Esys_Free(signature);
    Esys_Free(ticket);
    Esys_Free(digest);
    succeed("flush the key", Esys_FlushContext(esys, key));
    Esys_Finalize(&esys);
    Tss2_Tcti_Finalize(tcti);
    free(tcti);
    return 0;
}
