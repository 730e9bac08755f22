# SPDX-License-Identifier: BSD-2-Clause
# The C example with one module, compiled with the headers and library links of our development package.
export PKG_CONFIG_PATH=/usr/lib/$(cc -print-multiarch)/tss2-tcti-rs/pkgconfig
cc -o sign /examples/c/sign.c $(pkg-config --cflags --libs tss2-tcti-swtpm tss2-esys)
test "$(./sign "${TCTI#swtpm:}" 'a message' | wc -c)" -eq 129
