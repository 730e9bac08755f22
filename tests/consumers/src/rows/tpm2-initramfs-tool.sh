# SPDX-License-Identifier: BSD-2-Clause
# Seals a passphrase to PCR 16, as for a disk that the TPM unlocks when the machine starts.
tpm2-initramfs-tool seal --data 'a passphrase' --pcrs 16 --banks SHA256 --tcti "$TCTI"
test "$(tpm2-initramfs-tool unseal --pcrs 16 --banks SHA256 --tcti "$TCTI")" = 'a passphrase'
export TPM2TOOLS_TCTI="$TCTI"
tpm2_pcrextend 16:sha256="$(echo changed | sha256sum | cut -d' ' -f1)"
refused tpm2-initramfs-tool unseal --pcrs 16 --banks SHA256 --tcti "$TCTI"
