# SPDX-License-Identifier: BSD-2-Clause
# FAPI creates keys, signs a digest with one, and verifies the signature. ek_cert_less: an emulator has no certificate
# of a manufacturer.
cat >fapi.json <<END
{
    "profile_name": "P_ECCP256SHA256",
    "profile_dir": "/etc/tpm2-tss/fapi-profiles/",
    "user_dir": "$PWD/user",
    "system_dir": "$PWD/system",
    "log_dir": "$PWD/log",
    "system_pcrs": [],
    "ek_cert_less": "yes",
    "tcti": "$TCTI"
}
END
mkdir -p user system log
export TSS2_FAPICONF="$PWD/fapi.json"
tss2_provision
tss2_createkey --path HS/SRK/mine --type sign,noDa --authValue ''
printf 'a message' | openssl dgst -sha256 -binary >digest
tss2_sign --keyPath HS/SRK/mine --digest digest --signature signature --publicKey key.pem
tss2_verifysignature --keyPath HS/SRK/mine --digest digest --signature signature
printf 'a message' | openssl dgst -sha256 -verify key.pem -signature signature
printf 'another message' | openssl dgst -sha256 -binary >another
refused tss2_verifysignature --keyPath HS/SRK/mine --digest another --signature signature
