# SPDX-License-Identifier: BSD-2-Clause
# Before each script. $TCTI is a TPM of its own; the directory is empty, and removed afterwards.
set -eu
refused() { if "$@"; then echo "not refused: $*" >&2; exit 1; fi; }

