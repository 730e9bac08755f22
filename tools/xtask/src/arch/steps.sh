# SPDX-License-Identifier: BSD-2-Clause
# The steps of `cargo xtask arch` as functions. They run in the chroot, where /project is the source tree and /build the build
# directory. $NAME, $TARGET, $GCC, $SYSROOT and $RUNNER belong to the architecture under test; $CARGO_OPTIONS are additional
# options for cargo. `steps.rs` reads the numbers that the functions print.
cd /project
stage=/build/stage/$NAME
flags="--sysroot=$SYSROOT/ -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror"

# Without optimisation the tests of these packages take minutes.
optimised=
for package in tcti-core tcti-tis sim-tis tcti-libtpms; do
    optimised="$optimised --config profile.dev.package.$package.opt-level=1"
done

# For musl: provides a libgcc_s for the linker that consists of LLVM's unwinder and the functions of glibc that it calls.
unwinder() {
    mkdir -p /build/musl
    musl-gcc -O2 -fPIC -c -o /build/musl/glibc.o tools/xtask/src/arch/glibc.c
    echo "INPUT($(ls /usr/lib/llvm-*/lib/libunwind.a) /build/musl/glibc.o)" >/build/musl/libgcc_s.so
}

# Builds the libraries and the unit tests together, so that shared dependencies are compiled once.
libraries() {
    cargo build --quiet --locked $CARGO_OPTIONS --target "$TARGET" $optimised --lib --tests $UNITS
    cargo build --quiet --locked $CARGO_OPTIONS --target "$TARGET" $optimised --lib $(printf ' --package %s' $LIBRARIES)
    rm -rf "$stage"
    mkdir -p "$stage/lib" "$stage/bin"
    for library in $LIBRARIES; do
        cp "/build/target/$TARGET/debug/lib$(echo "$library" | tr - _).so" "$stage/lib/lib$library.so.0"
    done
}

unit_tests() {
    cargo test --quiet --locked --no-fail-fast $CARGO_OPTIONS --target "$TARGET" $optimised --lib $UNITS -- --show-output
}

# Checks the layout of the C declarations with the architecture's compiler: first ours, then those of libtss2-dev.
layout() {
    $GCC $flags -fsyntax-only -I include c-tests/layout.c
    $GCC $flags -fsyntax-only c-tests/layout.c
}

# Starts swtpm with the socket $dir/swtpm.
swtpm_in() {
    dir=$(mktemp -d)
    swtpm socket --tpm2 --flags not-need-init,startup-clear --tpmstate "dir=$dir" --daemon \
        --server "type=unixio,path=$dir/swtpm" --ctrl "type=unixio,path=$dir/swtpm.ctrl"
}

# Runs the conformance tests on one library.
conforms() {
    library=$1 init=$2 conf=$3
    echo "conformance of $library:"
    LD_LIBRARY_PATH=$stage/lib TSS2_LOG=all+none TCTI_PCAP_FILE=/dev/null timeout 300 \
        $RUNNER "$stage/conformance" "$stage/lib/lib$library.so.0" "$init" "$conf"
}

# Runs the conformance tests on the libraries $@.
conformance() {
    $GCC $flags -I include -o "$stage/conformance" c-tests/conformance.c -ldl -lpthread
    swtpm_in
    for library in "$@"; do
        case $library in
        tss2-tcti-null) conforms "$library" Tss2_Tcti_Null_Init - ;;
        tss2-tcti-swtpm) conforms "$library" Tss2_Tcti_Swtpm_Init "path=$dir/swtpm" ;;
        tss2-tctildr) conforms "$library" Tss2_Tcti_TctiLdr_Init "swtpm:path=$dir/swtpm" ;;
        tss2-tcti-libtpms) conforms "$library" Tss2_Tcti_Libtpms_Init "$dir/libtpms" ;;
        *) echo "no conformance test for $library" >&2 && return 1 ;;
        esac
    done
}

# Runs the architecture's tpm2-tools with the TCTI $1$dir/$2 on our libraries. First removes the C modules.
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
