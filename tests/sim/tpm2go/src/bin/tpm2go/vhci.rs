// SPDX-License-Identifier: BSD-2-Clause
//! The first virtual host controller in sysfs (Linux, Documentation/ABI/testing/sysfs-platform-vhci_hcd).
#![forbid(unsafe_code)]

use anyhow::{Context, Result, anyhow, bail};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
/// The hub in `status` for low, full and high speed.
const HIGH_SPEED_HUB: &str = "hs";
/// VDEV_ST_NULL: the port is free.
const FREE: &str = "004";
/// Full speed, of the kernel's `enum usb_device_speed`.
const FULL_SPEED: u32 = 2;
/// Bus 1, device 2 of an exporting host, which does not exist.
const DEVICE_ID: u32 = 1 << 16 | 2;

/// Passes the kernel its end of the connection. Returns the port.
pub(crate) fn attach(kernel: &OwnedFd) -> Result<u32> {
    let mut refused = anyhow!("all ports of the virtual USB host controller are in use");
    // Another program may occupy a port between reading the status and attaching to it.
    for port in free_ports()?.into_iter().filter(|port| device(*port).is_none()) {
        let request = format!("{port} {} {DEVICE_ID} {FULL_SPEED}", kernel.as_raw_fd());
        match fs::write(format!("{CONTROLLER}/attach"), request) {
            Ok(()) => return Ok(port),
            Err(error) => refused = anyhow!(error).context(format!("cannot attach to port {port} of {CONTROLLER}")),
        }
    }
    Err(refused)
}

fn free_ports() -> Result<Vec<u32>> {
    let status = match fs::read_to_string(format!("{CONTROLLER}/status")) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("this kernel has no virtual USB host controller at {CONTROLLER}: modprobe vhci-hcd")
        }
        status => status.with_context(|| format!("cannot read {CONTROLLER}/status"))?,
    };
    let port = |line: &str| {
        let mut words = line.split_whitespace();
        let (hub, port, state) = (words.next()?, words.next()?, words.next()?);
        port.parse().ok().filter(|_| hub == HIGH_SPEED_HUB && state == FREE)
    };
    Ok(status.lines().filter_map(port).collect())
}

/// Returns the directory of the device at this port in sysfs, while the kernel has one.
pub(crate) fn device(port: u32) -> Option<PathBuf> {
    let entries = fs::read_dir(CONTROLLER).ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name();
        let bus = name.to_str()?.strip_prefix("usb")?;
        let speed = fs::read_to_string(entry.path().join("speed")).ok()?;
        let device = entry.path().join(format!("{bus}-{}", port + 1));
        (speed.trim() == "480" && device.is_dir()).then_some(device)
    })
}

/// Whether the kernel has enumerated and configured the stick at this port. The serial number is not read: the kernel
/// blocks reading it until the device is configured, for which it waits for this program.
pub(crate) fn is_ready(port: u32) -> bool {
    let interface = |device: PathBuf| {
        let name = device.file_name()?.to_str()?;
        Some(device.join(format!("{name}:1.0")))
    };
    device(port).and_then(interface).is_some_and(|interface| interface.is_dir())
}
