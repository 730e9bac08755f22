// SPDX-License-Identifier: BSD-2-Clause
//! Uevents of the kernel: each means that something in sysfs has changed. Details are read from sysfs.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The multicast group of the kernel's own messages, as opposed to those of udev.
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

    /// Reads all pending messages. If the kernel had to drop some, at least one is pending, which is enough.
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
