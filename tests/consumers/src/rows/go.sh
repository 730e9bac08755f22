# SPDX-License-Identifier: BSD-2-Clause
# The Go example, built by Debian's compiler.
export PKG_CONFIG_PATH=/usr/lib/$(cc -print-multiarch)/tss2-tcti-rs/pkgconfig
cp -r /examples/go .
(cd go && go build)
test "$(go/random "$TCTI" | wc -c)" -eq 33
