# SPDX-License-Identifier: BSD-2-Clause
# A server whose key is in the TPM: OpenSSL makes the key there, signs a certificate with it, and shakes hands.
export TPM2OPENSSL_TCTI="$TCTI"
tpm() { command=$1; shift; openssl "$command" -provider tpm2 -provider default -propquery '?provider=tpm2' "$@"; }

tpm genpkey -algorithm EC -pkeyopt group:P-256 -out key.pem
grep -q 'BEGIN TSS2 PRIVATE KEY' key.pem
tpm req -x509 -new -key key.pem -subj /CN=localhost -days 1 -out certificate.pem

# It says ACCEPT when it listens, answers a line with its reverse, and ends after one connection.
mkfifo said line
tpm s_server -cert certificate.pem -key key.pem -unix socket -naccept 1 -rev >said 2>server.log &
exec 3<said
while read -r word rest <&3 && [ "$word" != ACCEPT ]; do :; done
# The client goes on reading its input until the answer is here.
openssl s_client -unix socket -quiet -tls1_3 -CAfile certificate.pem -verify_return_error -verify_hostname localhost \
    <line 2>client.log | { read -r answer; echo "$answer" >answer; } &
exec 4>line
echo 'kcab dna ereht' >&4
wait
test "$(cat answer)" = 'there and back'
