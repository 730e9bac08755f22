# SPDX-License-Identifier: BSD-2-Clause
# The script that also tests the staged tree.
TPM2TOOLS_TCTI="$TCTI" sh /c-tests/tpm2-tools.sh "$PWD"
