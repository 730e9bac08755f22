#!/bin/busybox sh
# SPDX-License-Identifier: BSD-2-Clause
# The first process of the system on the volume. It checks how it was booted, prints what is wrong, and ends the
# machine by writing to the port of QEMU's isa-debug-exit: 0 if all is right, else 1.

b=/bin/busybox
wrong=0
fail() {
    echo "early boot: $1"
    wrong=1
}

exec >/dev/console 2>&1
$b mount -t proc proc /proc
$b grep -q '^/dev/mapper/volume / ext4 ' /proc/mounts || fail "the root is not on the volume: $($b head -n 20 /proc/mounts)"
# The log of our libraries has the names of Rust sources.
$b grep -Eq ':tcti:[^ ]*src/core/session.rs:[0-9]+:.*received' /run/tss2.log || fail "our modules were not used"
if $b grep -q ':tcti:[^ ]*\.c:' /run/tss2.log; then fail "modules in C were used, too"; fi
[ -s /run/tpm.pcapng ] || fail "nothing was recorded"
[ $wrong = 0 ] || $b tail -n 40 /run/tss2.log
[ $wrong = 1 ] || echo "early boot: the TPM has unlocked the root; our modules received $($b grep -c received /run/tss2.log) responses"
$b stty -F /dev/console raw 2>/dev/null
printf "\\$wrong" | $b dd of=/dev/port bs=1 seek=1281 conv=notrunc 2>/dev/null
