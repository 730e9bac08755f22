// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's uevents: something that sysfs shows has changed. What it was, sysfs says.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The multicast group in which the kernel itself speaks, not udev.
const KERNEL: u32 = 1;

pub(crate) struct Uevents(OwnedFd);

impl Uevents {
    pub(crate) fn new() -> Result<Uevents> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkKObjectUEvent)
            .context("cannot open a socket for uevents")?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, KERNEL)).context("cannot listen to uevents")?;
        Ok(Uevents(fd))
    }

    /// Takes all that have come. When the kernel had to drop some, one is still left, and that is enough.
    pub(crate) fn drain(&self) {
        let mut bytes = [0; 8192];
        while recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty()).is_ok() {}
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
