#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Uses a TPM with tpm2-tools and without a resource manager: tpm2-tools.sh DIR. TPM2TOOLS_TCTI names the TPM; files are
# written to DIR. Each step checks its results. The last line is the number of steps.
set -eu
cd "$1"

n=0
step() { n=$((n + 1)); current=$1; }
fail() { echo "step $n, $current: $*" >&2; exit 1; }
trap 'status=$?; [ $status -eq 0 ] || echo "stopped at step $n, $current" >&2' EXIT
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
differ() { ! cmp -s "$1" "$2" || fail "$1 and $2 are the same"; }
has() { grep -q -- "$1" "$2" || fail "no $1 in $2"; }
size() { [ "$(wc -c <"$2")" -eq "$1" ] || fail "$2 does not have $1 bytes"; }
refused() { ! "$@" >refused.out 2>refused.err || fail "$* was not refused"; }
# Without a resource manager the objects that a tool loaded stay loaded.
flush() { tpm2_flushcontext -t; }

step 'startup'
tpm2_startup -c

step 'properties'
tpm2_getcap properties-fixed >properties
has TPM2_PT_FAMILY_INDICATOR properties
has 'value: *"2.0"' properties
tpm2_getcap algorithms >algorithms
has '^rsa:' algorithms

step 'random bytes'
tpm2_getrandom -o random1 32
tpm2_getrandom -o random2 32
size 32 random1
differ random1 random2

step 'self test'
tpm2_selftest -f
tpm2_gettestresult >testresult
has 'status: *success' testresult

step 'read PCRs'
tpm2_pcrread sha256:16,23 -o pcrs0 >/dev/null
size 64 pcrs0

step 'extend a PCR'
digest=$(printf 'measured' | sha256sum | cut -d' ' -f1)
tpm2_pcrreset 23
tpm2_pcrextend "23:sha256=$digest"
tpm2_pcrread sha256:23 -o pcr23 >/dev/null
{ head -c 32 /dev/zero; printf 'measured' | openssl dgst -sha256 -binary; } | openssl dgst -sha256 -binary >pcr23.expected
same pcr23 pcr23.expected

step 'event'
tpm2_pcrreset 16
printf 'an event' | tpm2_pcrevent 16 >event
has "$(printf 'an event' | sha256sum | cut -d' ' -f1)" event

step 'primary key, RSA'
tpm2_createprimary -C o -G rsa2048 -c primary.ctx >primary
flush
has 'restricted' primary

step 'primary key, ECC'
tpm2_createprimary -C o -G ecc256 -c ecc.ctx >ecc
flush
has 'NIST p256' ecc

step 'create a signing key'
tpm2_create -C primary.ctx -G rsa2048:rsassa:null -u sign.pub -r sign.priv >/dev/null
flush
tpm2_load -C primary.ctx -u sign.pub -r sign.priv -c sign.ctx >/dev/null
flush

step 'sign and verify'
echo 'a message' >message
tpm2_sign -c sign.ctx -g sha256 -o message.sig message
flush
tpm2_verifysignature -c sign.ctx -g sha256 -m message -s message.sig
flush
echo 'another message' >message2
refused tpm2_verifysignature -c sign.ctx -g sha256 -m message2 -s message.sig
flush

step 'verify with OpenSSL'
tpm2_readpublic -c sign.ctx -f pem -o sign.pem >/dev/null
flush
tpm2_sign -c sign.ctx -g sha256 -f plain -o message.plain message
flush
openssl dgst -sha256 -verify sign.pem -signature message.plain message >verified
has 'Verified OK' verified

step 'sign with an ECC key'
tpm2_create -C ecc.ctx -G ecc256:ecdsa -u esign.pub -r esign.priv >/dev/null
flush
tpm2_load -C ecc.ctx -u esign.pub -r esign.priv -c esign.ctx >/dev/null
flush
tpm2_sign -c esign.ctx -g sha256 -f plain -o message.ecdsa message
flush
tpm2_readpublic -c esign.ctx -f pem -o esign.pem >/dev/null
flush
openssl dgst -sha256 -verify esign.pem -signature message.ecdsa message >verified
has 'Verified OK' verified

step 'RSA encryption'
tpm2_create -C primary.ctx -G rsa2048 -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|decrypt' \
    -u rsa.pub -r rsa.priv >/dev/null
flush
tpm2_load -C primary.ctx -u rsa.pub -r rsa.priv -c rsa.ctx >/dev/null
flush
echo 'a secret' >plain
tpm2_rsaencrypt -c rsa.ctx -o cipher plain
flush
differ plain cipher
tpm2_rsadecrypt -c rsa.ctx -o plain2 cipher
flush
same plain plain2

step 'decrypt what OpenSSL encrypted'
tpm2_readpublic -c rsa.ctx -f pem -o rsa.pem >/dev/null
flush
openssl pkeyutl -encrypt -pubin -inkey rsa.pem -in plain -out cipher2
tpm2_rsadecrypt -c rsa.ctx -o plain3 cipher2
flush
same plain plain3

step 'AES'
tpm2_create -C primary.ctx -G aes128cfb -u aes.pub -r aes.priv >/dev/null
flush
tpm2_load -C primary.ctx -u aes.pub -r aes.priv -c aes.ctx >/dev/null
flush
tpm2_encryptdecrypt -c aes.ctx -o aes.cipher message
flush
differ message aes.cipher
tpm2_encryptdecrypt -d -c aes.ctx -o aes.plain aes.cipher
flush
same message aes.plain

step 'HMAC'
tpm2_create -C primary.ctx -G hmac -u hmac.pub -r hmac.priv >/dev/null
flush
tpm2_load -C primary.ctx -u hmac.pub -r hmac.priv -c hmac.ctx >/dev/null
flush
tpm2_hmac -c hmac.ctx -o hmac1 message
flush
tpm2_hmac -c hmac.ctx -o hmac2 message
flush
tpm2_hmac -c hmac.ctx -o hmac3 message2
flush
size 32 hmac1
same hmac1 hmac2
differ hmac1 hmac3

step 'hash'
tpm2_hash -g sha256 -o hash -t hash.ticket message
openssl dgst -sha256 -binary -out hash.expected message
same hash hash.expected

step 'hash of data for more than one command'
head -c 10000 /dev/zero >zeroes
tpm2_hash -g sha256 -o hash -t hash.ticket zeroes
openssl dgst -sha256 -binary -out hash.expected zeroes
same hash hash.expected

step 'PCR policy'
tpm2_startauthsession -S trial.ctx
tpm2_policypcr -S trial.ctx -l sha256:23 -L pcr.policy >/dev/null
tpm2_flushcontext trial.ctx
size 32 pcr.policy

step 'seal under the policy'
printf 'sealed' >secret
tpm2_create -C primary.ctx -L pcr.policy -i secret -u seal.pub -r seal.priv >/dev/null
flush
tpm2_load -C primary.ctx -u seal.pub -r seal.priv -c seal.ctx >/dev/null
flush

step 'unseal with the right PCR'
tpm2_startauthsession --policy-session -S policy.ctx
tpm2_policypcr -S policy.ctx -l sha256:23 >/dev/null
tpm2_unseal -c seal.ctx -p session:policy.ctx -o unsealed
tpm2_flushcontext policy.ctx
flush
same secret unsealed

step 'unsealing with another PCR fails'
tpm2_pcrextend "23:sha256=$digest"
tpm2_startauthsession --policy-session -S policy.ctx
tpm2_policypcr -S policy.ctx -l sha256:23 >/dev/null
refused tpm2_unseal -c seal.ctx -p session:policy.ctx -o unsealed2
tpm2_flushcontext policy.ctx
flush
[ ! -s unsealed2 ] || fail 'the secret was unsealed'

step 'NV memory'
tpm2_nvdefine 0x1500016 -C o -s 32 -a 'ownerread|ownerwrite' >/dev/null
tpm2_nvreadpublic 0x1500016 >nvpublic
has 'size: 32' nvpublic
tpm2_nvwrite 0x1500016 -C o -i random1
tpm2_nvread 0x1500016 -C o -s 32 -o nvread
same random1 nvread
tpm2_nvundefine 0x1500016 -C o
refused tpm2_nvread 0x1500016 -C o -s 32

step 'NV memory of 2048 bytes'
head -c 2048 zeroes >large
tpm2_nvdefine 0x1500017 -C o -s 2048 -a 'ownerread|ownerwrite' >/dev/null
tpm2_nvwrite 0x1500017 -C o -i large
tpm2_nvread 0x1500017 -C o -s 2048 -o large2
same large large2
tpm2_nvundefine 0x1500017 -C o

step 'NV counter'
tpm2_nvdefine 0x1500018 -C o -s 8 -a 'ownerread|ownerwrite|nt=counter' >/dev/null
tpm2_nvincrement 0x1500018 -C o
tpm2_nvread 0x1500018 -C o -s 8 -o count1
tpm2_nvincrement 0x1500018 -C o
tpm2_nvread 0x1500018 -C o -s 8 -o count2
differ count1 count2
tpm2_nvundefine 0x1500018 -C o

step 'quote'
tpm2_createek -c ek.ctx -G rsa -u ek.pub
flush
tpm2_createak -C ek.ctx -c ak.ctx -G rsa -g sha256 -s rsassa -u ak.pub -f pem >/dev/null
flush
tpm2_quote -c ak.ctx -l sha256:16,23 -q 0123456789abcdef -m quote -s quote.sig -o quote.pcrs >/dev/null
flush
tpm2_checkquote -u ak.pub -m quote -s quote.sig -f quote.pcrs -q 0123456789abcdef >/dev/null
refused tpm2_checkquote -u ak.pub -m quote -s quote.sig -f quote.pcrs -q fedcba9876543210

step 'attest a key'
tpm2_certify -c sign.ctx -C ak.ctx -g sha256 -f plain -o certificate -s certificate.sig
flush
openssl dgst -sha256 -verify ak.pub -signature certificate.sig certificate >verified
has 'Verified OK' verified

step 'persist a key and use it'
tpm2_evictcontrol -C o -c sign.ctx 0x81000010 >/dev/null
flush
tpm2_getcap handles-persistent >persistent
has 0x81000010 persistent
tpm2_sign -c 0x81000010 -g sha256 -f plain -o message.plain message
openssl dgst -sha256 -verify sign.pem -signature message.plain message >verified
has 'Verified OK' verified

step 'remove it'
tpm2_evictcontrol -C o -c 0x81000010 >/dev/null
tpm2_getcap handles-persistent >persistent
! grep -q 0x81000010 persistent || fail 'the key still exists'

step 'credential'
tpm2_readpublic -c ak.ctx -n ak.name >/dev/null
flush
name=$(od -An -v -tx1 ak.name | tr -d ' \n')
tpm2_makecredential -u ek.pub -s secret -n "$name" -o credential
flush
tpm2_startauthsession --policy-session -S ek.session
tpm2_policysecret -S ek.session -c e >/dev/null
tpm2_activatecredential -c ak.ctx -C ek.ctx -i credential -o activated -P session:ek.session >/dev/null
tpm2_flushcontext ek.session
flush
same secret activated

step 'change a password'
tpm2_changeauth -c o password
refused tpm2_createprimary -C o -G ecc256 -c refused.ctx
flush
tpm2_createprimary -C o -P password -G ecc256 -c allowed.ctx >/dev/null
flush
tpm2_changeauth -c o -p password

step 'encrypted session'
tpm2_startauthsession --hmac-session -S hmac.session -c primary.ctx
flush
tpm2_sessionconfig hmac.session --enable-encrypt >/dev/null
tpm2_getrandom -S hmac.session -o random3 16
size 16 random3
tpm2_flushcontext hmac.session

step 'flush what is left'
tpm2_startauthsession -S left.ctx
tpm2_getcap handles-saved-session >saved
has 0x saved
tpm2_flushcontext -s
tpm2_flushcontext -l
tpm2_flushcontext -t
for kind in transient saved-session loaded-session; do
    tpm2_getcap "handles-$kind" >left
    [ ! -s left ] || fail "handles are left: $(cat left)"
done

step 'clear'
tpm2_clear
refused tpm2_load -C primary.ctx -u sign.pub -r sign.priv -c gone.ctx
flush

step 'time and shutdown'
tpm2_readclock >clock
has 'clock:' clock
tpm2_shutdown -c
tpm2_startup -c

echo "$n steps"
