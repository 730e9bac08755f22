# SPDX-License-Identifier: BSD-2-Clause
# A secret that this TPM decrypts as long as PCR 16 does not change.
export TPM2TOOLS_TCTI="$TCTI"
echo 'a secret' | clevis encrypt tpm2 '{"pcr_bank":"sha256","pcr_ids":"16"}' >secret.jwe
refused grep -q 'a secret' secret.jwe
test "$(clevis decrypt <secret.jwe)" = 'a secret'
tpm2_pcrextend 16:sha256="$(echo changed | sha256sum | cut -d' ' -f1)"
refused clevis decrypt <secret.jwe
