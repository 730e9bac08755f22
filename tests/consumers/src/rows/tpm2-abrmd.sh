# SPDX-License-Identifier: BSD-2-Clause
# The resource manager on a D-Bus of its own, which starts it for the first client. The clients use more keys than the
# TPM has room for, and flush none.
export XDG_DATA_HOME="$PWD"
mkdir -p dbus-1/services
cat >dbus-1/services/tabrmd.service <<END
[D-BUS Service]
Name=com.intel.tss2.Tabrmd
Exec=/usr/sbin/tpm2-abrmd --session --allow-root --tcti=$TCTI
END
cat >clients.sh <<'END'
set -eu
# The daemon acquires its name on the bus before its object exists, so the first clients may be too early.
for try in $(seq 100); do
    if tpm2_getrandom 1 >/dev/null 2>&1; then break; fi
done
tpm2_createprimary -Q -C o -c primary.ctx
for key in 1 2 3 4 5; do
    tpm2_create -Q -C primary.ctx -G ecc256:ecdsa -u $key.pub -r $key.priv
    tpm2_load -Q -C primary.ctx -u $key.pub -r $key.priv -c $key.ctx
done
echo 'a message' >message
for key in 1 2 3 4 5; do
    tpm2_sign -Q -c $key.ctx -g sha256 -f plain -o $key.sig message
    tpm2_readpublic -Q -c $key.ctx -f pem -o $key.pem
    openssl dgst -sha256 -verify $key.pem -signature $key.sig message
done
END
TPM2TOOLS_TCTI=tabrmd:bus_type=session dbus-run-session -- sh clients.sh
