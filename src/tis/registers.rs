// SPDX-License-Identifier: BSD-2-Clause
//! The registers of the FIFO interface and their bits (PTP, register space of the FIFO interface). Registers of more
//! than one byte are little-endian.

/// Registers of locality 0, relative to the base of the TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Register {
    /// TPM_ACCESS: claims and releases the locality.
    Access = 0x0000,
    /// TPM_STS: flags and burst count.
    Status = 0x0018,
    /// TPM_DATA_FIFO: commands in, responses out.
    Fifo = 0x0024,
    /// TPM_DID_VID: vendor and device.
    DidVid = 0x0f00,
    /// TPM_RID: revision.
    Rid = 0x0f04,
}

/// Time-outs of the interface, in milliseconds (PTP, interface timeouts).
pub(crate) const TIMEOUT_A: u32 = 750;
/// For commandReady, in milliseconds.
pub(crate) const TIMEOUT_B: u32 = 2000;
/// For a valid status, in milliseconds.
pub(crate) const TIMEOUT_C: u32 = 200;

/// TPM_ACCESS as read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access(pub(crate) u8);

impl Access {
    /// Written: requests the locality.
    pub(crate) const REQUEST_USE: u8 = 0x02;
    /// Written: relinquishes the locality, or withdraws the request. Read: activeLocality.
    pub(crate) const ACTIVE_LOCALITY: u8 = 0x20;
    /// tpmRegValidSts.
    const VALID: u8 = 0x80;
    /// A reserved bit and Seize, which always read 0.
    const READ_ZERO: u8 = 0x48;

    /// Returns whether a TPM can report this value.
    pub(crate) const fn is_valid(self) -> bool {
        self.0 & Access::VALID != 0 && self.0 & Access::READ_ZERO == 0
    }

    /// Returns whether the locality is ours.
    pub(crate) const fn is_ours(self) -> bool {
        self.is_valid() && self.0 & Access::ACTIVE_LOCALITY != 0
    }
}

/// TPM_STS as read: flags in byte 0, burst count in bytes 1 and 2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(u32);

impl Status {
    /// Written: makes the TPM ready for a command, and aborts the one in progress. Read: the TPM is ready.
    pub(crate) const COMMAND_READY: u8 = 0x40;
    /// Written: starts the command.
    pub(crate) const GO: u8 = 0x20;
    /// Expect and dataAvail are valid.
    const VALID: u32 = 0x80;
    /// The FIFO has data to read.
    const DATA_AVAIL: u32 = 0x10;
    /// The command is not complete yet.
    const EXPECT: u32 = 0x08;
    /// tpmGo, responseRetry and a reserved bit, which always read 0.
    const READ_ZERO: u32 = 0x23;

    /// Decodes the register.
    pub(crate) const fn from_register(bytes: [u8; 4]) -> Status {
        Status(u32::from_le_bytes(bytes))
    }

    /// Returns whether a TPM can report this value.
    pub(crate) const fn is_possible(self) -> bool {
        self.0 & Status::READ_ZERO == 0
    }

    /// Returns whether no bit is set, as on a dead bus.
    pub(crate) const fn is_blank(self) -> bool {
        self.0 == 0
    }

    /// Returns whether the TPM is ready for the first byte of a command.
    pub(crate) const fn is_ready(self) -> bool {
        self.is_possible() && self.0 & Status::COMMAND_READY as u32 != 0
    }

    /// Returns whether Expect and dataAvail are valid.
    pub(crate) const fn is_valid(self) -> bool {
        self.is_possible() && self.0 & Status::VALID != 0
    }

    /// Returns whether there is data to read.
    pub(crate) const fn has_data(self) -> bool {
        self.is_valid() && self.0 & Status::DATA_AVAIL != 0
    }

    /// Returns whether the TPM expects more of the command.
    pub(crate) const fn expects_more(self) -> bool {
        self.is_valid() && self.0 & Status::EXPECT != 0
    }

    /// Returns the number of bytes that can be written or read now; 0 while the TPM is busy.
    pub(crate) const fn burst_count(self) -> usize {
        match self.is_possible() {
            true => (self.0 >> 8 & 0xffff) as usize,
            false => 0,
        }
    }
}

impl core::fmt::LowerHex for Status {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_bus_is_not_taken_for_a_tpm() {
        assert!(!Access(0xff).is_valid() && !Access(0x00).is_valid());
        assert!(!Status(u32::MAX).is_possible() && !Status(u32::MAX).has_data() && !Status(u32::MAX).is_ready());
        assert_eq!(Status(u32::MAX).burst_count(), 0);
        assert!(Status(0).is_blank());
    }

    #[test]
    fn the_burst_count_is_in_bytes_1_and_2() {
        let status = Status::from_register([0x90, 0x34, 0x12, 0x04]);
        assert_eq!(status.burst_count(), 0x1234);
        assert!(status.has_data() && !status.expects_more() && !status.is_ready());
    }

    #[test]
    fn fifo_flags_are_ignored_unless_valid() {
        assert!(!Status(0x10).has_data() && !Status(0x08).expects_more());
        assert!(Status(0x40).is_ready());
    }
}
