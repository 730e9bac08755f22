# SPDX-License-Identifier: BSD-2-Clause
# A credential that this TPM decrypts, and only under its own name. systemd loads the module without the loader.
echo 'a secret' >plain
systemd-creds encrypt --with-key=tpm2 --tpm2-device="$TCTI" --name=mine plain encrypted
refused grep -q 'a secret' encrypted
test "$(systemd-creds decrypt --tpm2-device="$TCTI" --name=mine encrypted -)" = 'a secret'
refused systemd-creds decrypt --tpm2-device="$TCTI" --name=another encrypted -
