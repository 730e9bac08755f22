#!/busybox sh
# SPDX-License-Identifier: BSD-2-Clause
# The init process in the guest's initramfs. Mounts an overlay in memory on top of the host's files, which are read-only, and
# switches to it. Host and guest share /run/vm: `start` is the script to run, `paths` lists paths that must be visible.

b=/busybox
# If a command fails, init exits and the kernel panics, which the host reports.
set -e

$b mount -t proc proc /proc
$b mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do
    $b insmod "$module"
done

$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /lower
$b mount -t tmpfs -o mode=755 upper /upper
$b mkdir /upper/files /upper/work
lower=/lower
if [ -d /layer ]; then
    $b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose layer /layer
    lower=/layer:/lower
fi
$b mount -t overlay -o lowerdir=$lower,upperdir=/upper/files,workdir=/upper/work overlay /root

cd /root
# If the host is a container, hide that: systemd's tools and clevis do less in a container.
$b rm -f .dockerenv
$b mkdir -p proc sys dev run lib/modules
$b mount -t tmpfs -o mode=755 run run
$b mkdir run/tree run/vm run/home run/lock
$b chmod 1777 run/lock
# Keep the host's files accessible, without the file systems that are mounted below.
$b mount --bind /root run/tree
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share run/vm
$b mount -t proc proc proc
$b mount -t sysfs sys sys
$b mount -t devtmpfs dev dev
$b mkdir -p dev/pts dev/shm
$b mount -t devpts -o mode=620,gid=5,ptmxmode=666 pts dev/pts
$b mount -t tmpfs -o mode=1777 shm dev/shm
$b ln -sf /proc/self/fd dev/fd
$b ln -sf /proc/self/fd/0 dev/stdin
$b ln -sf /proc/self/fd/1 dev/stdout
$b ln -sf /proc/self/fd/2 dev/stderr
while read -r path; do
    # The path is hidden if it is in /run or /dev on the host.
    if ! [ -e "/root$path" ]; then
        $b mkdir -p "/root$path"
        $b mount --bind "/root/run/tree$path" "/root$path"
    fi
done <run/vm/paths
$b mount --bind "/root$($b tail -n 1 run/vm/paths)" lib/modules

$b ip link set lo up
# Transmit bytes unchanged.
$b stty raw -echo </dev/ttyS0
$b umount /proc
exec $b switch_root /root /bin/sh /run/vm/start </dev/null >/root/dev/ttyS0 2>&1
