# SPDX-License-Identifier: BSD-2-Clause
# A server whose key is in the TPM: OpenSSL creates the key there, signs a certificate with it, and performs a TLS
# handshake.
export TPM2OPENSSL_TCTI="$TCTI"
tpm() { command=$1; shift; openssl "$command" -provider tpm2 -provider default -propquery '?provider=tpm2' "$@"; }
tpm genpkey -algorithm EC -pkeyopt group:P-256 -out key.pem
grep -q 'BEGIN TSS2 PRIVATE KEY' key.pem
tpm req -x509 -new -key key.pem -subj /CN=localhost -days 1 -out certificate.pem

# The server prints ACCEPT when it listens, answers a line with its reverse, and exits after one connection. The TPM is
# used for signatures alone, because a handshake computes more digests at a time than the TPM has room for.
mkfifo said question answer
openssl s_server -provider default -provider tpm2 -propquery '?tpm2.signature=yes' -cert certificate.pem -key key.pem \
    -unix socket -naccept 1 -rev >said 2>server.log &
exec 3<said
while read -r word rest <&3 && [ "$word" != ACCEPT ]; do :; done
openssl s_client -unix socket -quiet -no_ign_eof -tls1_3 -CAfile certificate.pem -verify_return_error \
    -verify_hostname localhost <question >answer 2>client.log &
exec 4>question 5<answer
echo 'egassem a' >&4
read -r line <&5 || { cat client.log server.log >&2; exit 1; }
exec 4>&-
wait
test "$line" = 'a message'
