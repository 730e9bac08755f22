# SPDX-License-Identifier: BSD-2-Clause
# Runs before each script. $TCTI is a TPM for this script; the directory is empty, and removed afterwards.
set -eu
refused() { if "$@"; then echo "not refused: $*" >&2; exit 1; fi; }

