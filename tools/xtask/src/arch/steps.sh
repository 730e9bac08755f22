# SPDX-License-Identifier: BSD-2-Clause
# The steps of `cargo xtask arch`, as functions; run inside, where /project has the sources and /build what is built.
# $TARGET, $GCC, $SYSROOT and $RUNNER are those of the architecture, $NAME is Debian's name for it. $STD is how cargo makes Rust's
# own library where Debian has none, which is musl. A function prints what it found out.
cd /project
stage=/build/stage/$NAME
flags="--sysroot=$SYSROOT/ -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror"

# The tests of these compute for minutes otherwise.
optimised=
for package in tcti-core tcti-tis sim-tis tss2-tcti-libtpms; do
    optimised="$optimised --config profile.dev.package.$package.opt-level=1"
done

# What unwinds the stack on musl, where the linker looks for libgcc_s: LLVM's, and the functions of glibc that it calls.
unwinder() {
    mkdir -p /build/musl
    musl-gcc -O2 -fPIC -c -o /build/musl/glibc.o tools/xtask/src/arch/glibc.c
    echo "INPUT($(ls /usr/lib/llvm-*/lib/libunwind.a) /build/musl/glibc.o)" >/build/musl/libgcc_s.so
}

# With the unit tests, so that what both are made of is compiled once.
libraries() {
    if [ -n "$STD" ]; then unwinder; fi
    cargo build --quiet --locked $STD --target "$TARGET" $optimised --lib --tests $UNITS
    cargo build --quiet --locked $STD --target "$TARGET" $optimised --lib $(printf ' --package %s' $LIBRARIES)
    rm -rf "$stage"
    mkdir -p "$stage/lib" "$stage/bin"
    for library in $LIBRARIES; do
        cp "/build/target/$TARGET/debug/lib$(echo "$library" | tr - _).so" "$stage/lib/lib$library.so.0"
    done
}

unit_tests() {
    cargo test --quiet --locked --no-fail-fast $STD --target "$TARGET" $optimised --lib $UNITS -- --show-output
}

# C's declarations as the architecture's compiler has them: ours, and those of its own package libtss2-dev.
layout() {
    $GCC $flags -fsyntax-only -I include c-tests/layout.c
    $GCC $flags -fsyntax-only c-tests/layout.c
}

# Starts a TPM at $dir/swtpm.
swtpm_in() {
    dir=$(mktemp -d)
    swtpm socket --tpm2 --flags not-need-init,startup-clear --tpmstate "dir=$dir" --daemon \
        --server "type=unixio,path=$dir/swtpm" --ctrl "type=unixio,path=$dir/swtpm.ctrl"
}

conforms() {
    library=$1 init=$2 conf=$3
    echo "conformance of $library:"
    LD_LIBRARY_PATH=$stage/lib TSS2_LOG=all+none TCTI_PCAP_FILE=/dev/null timeout 300 \
        $RUNNER "$stage/conformance" "$stage/lib/lib$library.so.0" "$init" "$conf"
}

conformance() {
    $GCC $flags -I include -o "$stage/conformance" c-tests/conformance.c -ldl -lpthread
    swtpm_in
    conforms tss2-tcti-null Tss2_Tcti_Null_Init -
    conforms tss2-tcti-swtpm Tss2_Tcti_Swtpm_Init "path=$dir/swtpm"
    conforms tss2-tctildr Tss2_Tcti_TctiLdr_Init "swtpm:path=$dir/swtpm"
    [ -n "$STD" ] || conforms tss2-tcti-libtpms Tss2_Tcti_Libtpms_Init "$dir/libtpms"
}

# The architecture's own tools, on our loader and modules. No others are there.
tools() {
    for library in "$SYSROOT"/usr/lib/*/libtss2-tct*.so*; do
        [ ! -e "$library" ] || rm "$library"
    done
    for tool in "$SYSROOT"/usr/bin/tpm2_*; do
        wrapper=$stage/bin/${tool##*/}
        printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$stage/lib" "$RUNNER $tool" >"$wrapper"
        chmod 755 "$wrapper"
    done
    swtpm_in
    echo "tools on $1:"
    PATH=$stage/bin:$PATH TPM2TOOLS_TCTI=$1$dir/$2 TCTI_PCAP_FILE=$dir/pcap sh c-tests/tpm2-tools.sh "$dir"
}
