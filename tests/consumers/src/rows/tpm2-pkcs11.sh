# SPDX-License-Identifier: BSD-2-Clause
# A PKCS#11 token with a key in the TPM, which signs.
export TPM2_PKCS11_TCTI="$TCTI" TPM2_PKCS11_STORE="$PWD"
module=$(dpkg -L libtpm2-pkcs11-1 | grep '/pkcs11/libtpm2_pkcs11.so$')
token() { pkcs11-tool --module "$module" "$@"; }
user() { token --token-label token --login --pin userpin "$@"; }
token --slot-index 0 --init-token --label token --so-pin sopin
token --token-label token --login --login-type so --so-pin sopin --init-pin --pin userpin

user --keypairgen --key-type EC:prime256v1 --label key --id 01
user --list-objects --type pubkey | grep -q 'label: *key'
echo 'a message' | openssl dgst -sha256 -binary >digest
user --sign --mechanism ECDSA --id 01 --signature-format openssl --input-file digest --output-file signature
user --read-object --type pubkey --id 01 --output-file key.der
openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -in digest -sigfile signature
echo 'another message' | openssl dgst -sha256 -binary >another
refused openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -in another -sigfile signature
