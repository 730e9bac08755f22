// SPDX-License-Identifier: BSD-2-Clause
//! The ioctls of spidev (Linux `include/uapi/linux/spi/spidev.h`).
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct spi_ioc_transfer`, 32 bytes on every architecture. Zero keeps the setting of the device.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct SpiIocTransfer {
    tx_buf: u64,
    rx_buf: u64,
    len: u32,
    speed_hz: u32,
    delay_usecs: u16,
    bits_per_word: u8,
    cs_change: u8,
    tx_nbits: u8,
    rx_nbits: u8,
    word_delay_usecs: u8,
    pad: u8,
}

const _: () = assert!(size_of::<SpiIocTransfer>() == 32);

/// SPI_IOC_MAGIC.
const MAGIC: u8 = b'k';

nix::ioctl_write_buf!(spi_ioc_message, MAGIC, 0, SpiIocTransfer);
nix::ioctl_write_ptr!(spi_ioc_wr_mode, MAGIC, 1, u8);
nix::ioctl_write_ptr!(spi_ioc_wr_bits_per_word, MAGIC, 3, u8);
nix::ioctl_write_ptr!(spi_ioc_wr_max_speed_hz, MAGIC, 4, u32);

/// Sets clock polarity and phase.
pub(crate) fn set_mode(fd: BorrowedFd<'_>, mode: u8) -> Result<(), Errno> {
    // SAFETY: the kernel reads one byte, which is borrowed during the call.
    unsafe { spi_ioc_wr_mode(fd.as_raw_fd(), &mode) }.map(drop)
}

/// Sets the number of bits per word.
pub(crate) fn set_bits_per_word(fd: BorrowedFd<'_>, bits: u8) -> Result<(), Errno> {
    // SAFETY: the kernel reads one byte, which is borrowed during the call.
    unsafe { spi_ioc_wr_bits_per_word(fd.as_raw_fd(), &bits) }.map(drop)
}

/// Sets the highest clock rate in Hz.
pub(crate) fn set_max_speed(fd: BorrowedFd<'_>, hz: u32) -> Result<(), Errno> {
    // SAFETY: the kernel reads four bytes, which are borrowed during the call.
    unsafe { spi_ioc_wr_max_speed_hz(fd.as_raw_fd(), &hz) }.map(drop)
}

/// Sends a message of one transfer. If both `out` and `into` are present, they have the same length. With `stay_selected`
/// the chip stays selected until the next message.
pub(crate) fn transfer(
    fd: BorrowedFd<'_>,
    out: Option<&[u8]>,
    into: Option<&mut [u8]>,
    stay_selected: bool,
) -> Result<(), Errno> {
    let lengths = [out.map(<[u8]>::len), into.as_ref().map(|into| into.len())];
    // The kernel reads and writes the same number of bytes.
    let len = lengths.into_iter().flatten().min().unwrap_or_default();
    let message = SpiIocTransfer {
        tx_buf: out.map_or(0, |out| address(out.as_ptr())),
        rx_buf: into.map_or(0, |into| address(into.as_mut_ptr())),
        len: u32::try_from(len).map_err(|_| Errno::EMSGSIZE)?,
        // In the last transfer of a message, cs_change keeps the chip selected.
        cs_change: stay_selected.into(),
        ..SpiIocTransfer::default()
    };
    // SAFETY: the kernel reads the message and `len` bytes of `out`, and writes `len` bytes of `into`; the function borrows
    // all of them during the call.
    unsafe { spi_ioc_message(fd.as_raw_fd(), &[message]) }.map(drop)
}

/// Converts a pointer for the kernel, which may write through it.
fn address(pointer: *const u8) -> u64 {
    pointer.expose_provenance() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn request_codes_are_those_of_the_kernel() {
        // _IOC_WRITE is the second bit of two, and on PowerPC the third of three (asm/ioctl.h).
        let write: u32 =
            if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) { 0x8000_0000 } else { 0x4000_0000 };
        // The type is signed with musl.
        let [message, mode, speed] = [
            nix::request_code_write!(MAGIC, 0, size_of::<[SpiIocTransfer; 1]>()),
            nix::request_code_write!(MAGIC, 1, size_of::<u8>()),
            nix::request_code_write!(MAGIC, 4, size_of::<u32>()),
        ]
        .map(|code| u32::try_from(code).unwrap());
        assert_eq!([message, mode, speed], [write | 0x20_6b00, write | 0x1_6b01, write | 0x4_6b04]);
    }

    #[test]
    fn other_devices_return_enotty() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(set_mode(null.as_fd(), 0), Err(Errno::ENOTTY));
        assert_eq!(set_bits_per_word(null.as_fd(), 8), Err(Errno::ENOTTY));
        assert_eq!(set_max_speed(null.as_fd(), 1), Err(Errno::ENOTTY));
        assert_eq!(transfer(null.as_fd(), Some(&[0; 4]), Some(&mut [0; 4]), true), Err(Errno::ENOTTY));
    }
}
