# SPDX-License-Identifier: BSD-2-Clause
# The script that the staged tree has to pass, too.
TPM2TOOLS_TCTI="$TCTI" sh /c-tests/tpm2-tools.sh "$PWD"
