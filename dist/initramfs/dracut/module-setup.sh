#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Module for dracut. Copies the loader, the TCTI modules named in /etc/tss2-tcti/initramfs.conf, the libraries that they
# open at run time, the udev rules for TPM devices, and kernel drivers. See tss2-tcti-initramfs.conf(5).

tss2_tcti_conf=/etc/tss2-tcti/initramfs.conf

tss2_tcti_names() {
    local _conf="${dracutsysrootdir-}$tss2_tcti_conf"
    if [[ -e $_conf ]]; then
        sed 's/#.*//' "$_conf"
    else
        echo device
    fi
}

# Include this module whenever it is installed, because no other dracut module depends on it.
check() {
    return 0
}

depends() {
    echo udev-rules
}

# In hostonly mode dracut copies only drivers that are loaded. On embedded boards the TPM is often on an SPI bus, or runs
# in the secure world of an Arm processor, behind OP-TEE.
installkernel() {
    local _name
    instmods '=drivers/char/tpm' '=drivers/spi' optee
    for _name in $(tss2_tcti_names); do
        case $_name in
            spi-ltt2go) instmods '=drivers/usb/host' dwc2 ;;
            spidev) instmods spidev ;;
        esac
    done
}

# Copies a library from every directory of the dynamic linker, so that it makes the same choice in the initramfs as in the
# running system. If a library is missing that the administrator asked for, dracut fails and leaves the previous initramfs
# in place.
tss2_tcti_library() {
    inst_libdir_file "$1*" && return 0
    if [[ -e ${dracutsysrootdir-}$tss2_tcti_conf ]]; then
        dfatal "tss2-tcti: there is no library $1; install it, or correct $tss2_tcti_conf"
        exit 1
    fi
    dwarn "tss2-tcti: there is no library $1; the initramfs cannot use a TPM"
}

install() {
    local _name
    tss2_tcti_library libtss2-tctildr.so.0
    for _name in $(tss2_tcti_names); do
        tss2_tcti_library "libtss2-tcti-$_name.so.0"
        if [[ $_name == libtpms ]]; then tss2_tcti_library libtpms.so.0; fi
    done
    # The link that an administrator can create to the module that the loader tries first.
    inst_libdir_file libtss2-tcti-default.so

    # This also copies the users and groups that the rules name.
    inst_rules 60-tss2-tcti.rules 60-tpm-udev.rules
    if [[ -e ${dracutsysrootdir-}/usr/local/lib/udev/rules.d/60-tss2-tcti.rules ]]; then
        inst_rules /usr/local/lib/udev/rules.d/60-tss2-tcti.rules
    fi
}
