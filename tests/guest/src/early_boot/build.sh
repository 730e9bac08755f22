#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Builds an initramfs on the host in seconds, because its thousands of processes would take minutes in the machine.
# Nothing is installed: the programs are mounted over the host's files in a mount namespace that ends with this script.
# It has to run as root:
#
#   unshare --mount build.sh TOOL LAYER MODULES STAGE UUID DIRECTORY
#
# TOOL is initramfs or dracut; UUID is that of the volume. Writes to DIRECTORY: initramfs; list, the files in it; and
# printed. For initramfs-tools also most, the files that the hook adds for any machine, and refused, its message for a
# module that is not installed.

set -e
tool=$1 layer=$2 modules=$3 stage=$4 uuid=$5 out=$6
root=/mnt/root

mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir $root /mnt/files /mnt/work
mount -t overlay -o lowerdir=/,upperdir=/mnt/files,workdir=/mnt/work overlay $root
cp -a "$layer/." $root/
for dir in proc sys dev; do mount --rbind /$dir $root/$dir; done
# The file systems and the kernel of the host are not those of the machine.
: >$root/etc/fstab
mkdir -p $root/lib/modules $root/boot $root/run/out $root/etc/tss2-tcti
mount --bind "$modules" $root/lib/modules
mount --bind "$out" $root/run/out
kernel=$(ls "$modules")
drivers="virtio_pci virtio_blk dm_crypt ext4 xts"

export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
unset LD_LIBRARY_PATH
cp "$stage/lib/udev/rules.d/60-tss2-tcti.rules" $root/usr/lib/udev/rules.d/
printf '# Neither Clevis nor dracut copies the second.\ndevice\npcap # records the first\n' \
    >$root/etc/tss2-tcti/initramfs.conf
case $tool in
initramfs)
    # In addition to the modules in C, as `cargo xtask install` does. The dynamic linker searches here first.
    cp -a "$stage"/lib/libtss2-*.so.0* $root/usr/local/lib/
    mkdir -p $root/usr/local/share
    cp -r "$stage/share/initramfs-tools" $root/usr/local/share/
    ln -s /usr/local/share/initramfs-tools/hooks/tss2-tcti $root/etc/initramfs-tools/hooks/
    sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=gzip/' $root/etc/initramfs-tools/initramfs.conf
    echo COMPRESSLEVEL=1 >>$root/etc/initramfs-tools/initramfs.conf
    echo CONFIG_RD_GZIP=y >"$root/boot/config-$kernel"
    printf '%s\n' $drivers >$root/etc/initramfs-tools/modules
    echo "volume UUID=$uuid none luks,initramfs" >$root/etc/crypttab
    set -- mkinitramfs -o /run/out/initramfs "$kernel"
    ;;
dracut)
    # In place of the modules in C, as our packages do.
    c=$(ls $root/usr/lib/*/libtss2-tctildr.so.0)
    cp -a "$stage"/lib/libtss2-*.so.0* "${c%/*}/"
    cp -r "$stage/lib/dracut/modules.d/91tss2-tcti" $root/usr/lib/dracut/modules.d/
    # Up to Debian 12 this is a part of the module systemd.
    cryptsetup=$(ls -d $root/usr/lib/dracut/modules.d/*systemd-cryptsetup 2>/dev/null | sed 's/.*[0-9]//')
    wanted="$cryptsetup base systemd systemd-initrd dracut-systemd udev-rules dm crypt rootfs-block fs-lib tpm2-tss tss2-tcti"
    set -- dracut --force --no-hostonly --no-early-microcode --nostrip --kver "$kernel" --modules "$wanted" \
        --drivers "$drivers" --filesystems ext4 --compress 'gzip -1' /run/out/initramfs
    ;;
esac
chroot $root ldconfig
if ! chroot $root "$@" >"$out/printed" 2>&1; then
    cat "$out/printed" >&2
    exit 1
fi
[ "$tool" = dracut ] || {
    hook() {
        mkdir -p $root/run/hook/etc
        # initramfs-tools of Debian 13 collects the drivers in a file, and copies them after all hooks.
        : >$root/run/drivers
        chroot $root env DESTDIR=/run/hook MODULES=most MODULESDIR="/lib/modules/$kernel" CONFDIR=/etc/initramfs-tools \
            version="$kernel" verbose=n __MODULES_TO_ADD=/run/drivers sh -ec '
                /etc/initramfs-tools/hooks/tss2-tcti
                . /usr/share/initramfs-tools/hook-functions
                if command -v apply_add_modules >/dev/null; then apply_add_modules; fi'
    }
    echo device libtpms spi-ltt2go spidev >$root/etc/tss2-tcti/initramfs.conf
    hook
    (cd $root/run/hook && find . -type f -o -type l) >"$out/most"
    rm -r $root/run/hook
    echo devcie >$root/etc/tss2-tcti/initramfs.conf
    if hook 2>"$out/refused"; then exit 1; fi
}
case $tool in
# The initramfs of Debian 13 consists of several archives.
initramfs) chroot $root lsinitramfs /run/out/initramfs >"$out/list" ;;
dracut) gzip -dc "$out/initramfs" | chroot $root cpio --quiet -t >"$out/list" ;;
esac
