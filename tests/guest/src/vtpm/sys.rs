// SPDX-License-Identifier: BSD-2-Clause
//! The ioctl of /dev/vtpmx (Linux `include/uapi/linux/vtpm_proxy.h`).
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// `struct vtpm_proxy_new_dev`.
#[repr(C)]
#[derive(Default)]
pub(super) struct NewDevice {
    flags: u32,
    number: u32,
    fd: u32,
    major: u32,
    minor: u32,
}

/// `VTPM_PROXY_FLAG_TPM2`.
const TPM2: u32 = 1;

nix::ioctl_readwrite!(vtpm_proxy_new_dev, 0xa1, 0x00, NewDevice);

/// Creates a TPM 2.0. Returns the file for its commands and responses, and its number.
pub(super) fn new_device() -> io::Result<(File, u32)> {
    let proxy = OpenOptions::new().read(true).write(true).open("/dev/vtpmx")?;
    let mut device = NewDevice { flags: TPM2, ..NewDevice::default() };
    // SAFETY: the driver reads and writes the structure that we own.
    unsafe { vtpm_proxy_new_dev(proxy.as_raw_fd(), &mut device) }?;
    let fd = RawFd::try_from(device.fd).map_err(io::Error::other)?;
    // SAFETY: the driver has opened this descriptor for us, and nobody else knows it.
    let end = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok((end.into(), device.number))
}
