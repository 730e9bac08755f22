# SPDX-License-Identifier: BSD-2-Clause
# The Python example.
test "$(python3 /examples/python/sign.py "$TCTI" 'a message' | wc -c)" -gt 128
