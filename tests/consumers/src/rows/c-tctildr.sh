# SPDX-License-Identifier: BSD-2-Clause
# The C example with the loader, compiled with the headers and library links of our development package.
export PKG_CONFIG_PATH=/usr/lib/$(cc -print-multiarch)/tss2-tcti-rs/pkgconfig
cc -o random /examples/c/random.c $(pkg-config --cflags --libs tss2-tctildr)
./random "$TCTI" >one
./random "$TCTI" >another
test "$(wc -c <one)" -eq 17
refused cmp -s one another
