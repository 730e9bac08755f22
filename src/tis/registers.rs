// SPDX-License-Identifier: BSD-2-Clause
//! The registers of the FIFO interface and their bits (PTP, register space of the FIFO interface). Registers of more
//! than one byte are little-endian.

/// Registers of locality 0, relative to the base of the TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Register {
    /// TPM_ACCESS: who has the locality.
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
/// For commandReady.
pub(crate) const TIMEOUT_B: u32 = 2000;
/// For a status that is valid.
pub(crate) const TIMEOUT_C: u32 = 200;

/// TPM_ACCESS as read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access(pub(crate) u8);

impl Access {
    /// Written: asks for the locality.
    pub(crate) const REQUEST_USE: u8 = 0x02;
    /// Written: gives the locality back, or takes the request back. Read as activeLocality.
    pub(crate) const ACTIVE_LOCALITY: u8 = 0x20;
    /// tpmRegValidSts.
    const VALID: u8 = 0x80;
    /// A reserved bit and Seize, which are 0 in every read.
    const READ_ZERO: u8 = 0x48;

    /// Whether a TPM can have answered this.
    pub(crate) const fn is_valid(self) -> bool {
        self.0 & Access::VALID != 0 && self.0 & Access::READ_ZERO == 0
    }

    /// Whether the locality is ours.
    pub(crate) const fn is_ours(self) -> bool {
        self.is_valid() && self.0 & Access::ACTIVE_LOCALITY != 0
    }
}

/// TPM_STS as read: flags in byte 0, burst count in bytes 1 and 2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(u32);

impl Status {
    /// Written: makes the TPM ready for a command, and aborts the one under way. Read: it is.
    pub(crate) const COMMAND_READY: u8 = 0x40;
    /// Written: starts the command.
    pub(crate) const GO: u8 = 0x20;
    /// Expect and dataAvail are valid.
    const VALID: u32 = 0x80;
    /// There is something to read.
    const DATA_AVAIL: u32 = 0x10;
    /// The command is not whole yet.
    const EXPECT: u32 = 0x08;
    /// tpmGo, responseRetry and a reserved bit, which are 0 in every read.
    const READ_ZERO: u32 = 0x23;

    /// From the register.
    pub(crate) const fn from_register(bytes: [u8; 4]) -> Status {
        Status(u32::from_le_bytes(bytes))
    }

    /// Whether a TPM can have answered this.
    pub(crate) const fn is_possible(self) -> bool {
        self.0 & Status::READ_ZERO == 0
    }

    /// Whether nothing at all is set, as with a line that is dead.
    pub(crate) const fn is_blank(self) -> bool {
        self.0 == 0
    }

    /// Whether the TPM awaits the first byte of a command.
    pub(crate) const fn is_ready(self) -> bool {
        self.is_possible() && self.0 & Status::COMMAND_READY as u32 != 0
    }

    /// Whether the flags of the FIFO are valid.
    pub(crate) const fn is_valid(self) -> bool {
        self.is_possible() && self.0 & Status::VALID != 0
    }

    /// Whether there is something to read.
    pub(crate) const fn has_data(self) -> bool {
        self.is_valid() && self.0 & Status::DATA_AVAIL != 0
    }

    /// Whether the TPM waits for more of the command.
    pub(crate) const fn expects_more(self) -> bool {
        self.is_valid() && self.0 & Status::EXPECT != 0
    }

    /// Bytes that can be written or read now; 0 while the TPM is busy.
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
    fn a_line_that_is_dead_is_no_tpm() {
        assert!(!Access(0xff).is_valid() && !Access(0x00).is_valid());
        assert!(!Status(u32::MAX).is_possible() && !Status(u32::MAX).has_data() && !Status(u32::MAX).is_ready());
        assert_eq!(Status(u32::MAX).burst_count(), 0);
        assert!(Status(0).is_blank());
    }

    #[test]
    fn the_burst_count_is_in_the_middle() {
        let status = Status::from_register([0x90, 0x34, 0x12, 0x04]);
        assert_eq!(status.burst_count(), 0x1234);
        assert!(status.has_data() && !status.expects_more() && !status.is_ready());
    }

    #[test]
    fn flags_count_only_when_they_are_valid() {
        assert!(!Status(0x10).has_data() && !Status(0x08).expects_more());
        assert!(Status(0x40).is_ready());
    }
}
