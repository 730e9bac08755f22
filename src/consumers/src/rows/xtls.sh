export TPM2OPENSSL_TCTI="$TCTI"
tpm() { command=$1; shift; openssl "$command" -provider tpm2 -provider default -propquery '?provider=tpm2' "$@"; }
tpm genpkey -algorithm EC -pkeyopt group:P-256 -out key.pem
tpm req -x509 -new -key key.pem -subj /CN=localhost -days 1 -out certificate.pem
mkfifo said
tpm s_server -cert certificate.pem -key key.pem -unix socket -naccept 1 -rev >said 2>server.log &
exec 3<said
while read -r line <&3 && [ "$line" != ACCEPT ]; do echo "got $line"; done
echo 'TPM' | openssl s_client -unix socket -CAfile certificate.pem -verify_return_error -verify_hostname localhost -ign_eof >client.log 2>&1 || true
cat client.log; cat <&3
