// SPDX-License-Identifier: BSD-2-Clause
//! TPM commands as bytes, and responses as fields (TPM 2.0 Library Part 1, section 18; all numbers big-endian).

/// TPM_ST_NO_SESSIONS and TPM_ST_SESSIONS.
pub(crate) const NO_SESSIONS: u16 = 0x8001;
pub(crate) const SESSIONS: u16 = 0x8002;

/// TPM_RH_OWNER and TPM_RH_NULL.
pub(crate) const OWNER: u32 = 0x4000_0001;
pub(crate) const NULL: u32 = 0x4000_0007;

/// Builds a command.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Begins a part of a command, without a header.
    pub(crate) fn bare() -> Writer {
        Writer(Vec::new())
    }

    /// Begins a command without sessions.
    pub(crate) fn plain(code: u32) -> Writer {
        Writer::bare().u16(NO_SESSIONS).u32(0).u32(code)
    }

    /// Begins a command with these handles and an empty password for the first of them.
    pub(crate) fn with_password(code: u32, handles: &[u32]) -> Writer {
        let head = Writer::bare().u16(SESSIONS).u32(0).u32(code);
        let head = handles.iter().fold(head, |head, handle| head.u32(*handle));
        // TPM_RS_PW, no nonce, no attributes, no password.
        head.u32(9).u32(0x4000_0009).u16(0).bytes(&[0]).u16(0)
    }

    pub(crate) fn u16(self, number: u16) -> Writer {
        self.bytes(&number.to_be_bytes())
    }

    pub(crate) fn u32(self, number: u32) -> Writer {
        self.bytes(&number.to_be_bytes())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a TPM2B: the size in two bytes, and the bytes.
    pub(crate) fn sized(self, bytes: &[u8]) -> Writer {
        self.u16(u16::try_from(bytes.len()).unwrap()).bytes(bytes)
    }

    /// Returns a part of a command.
    pub(crate) fn raw(self) -> Vec<u8> {
        self.0
    }

    /// Writes the size into the header and returns the command.
    pub(crate) fn done(mut self) -> Vec<u8> {
        let size = u32::try_from(self.0.len()).unwrap();
        self.0[2..6].copy_from_slice(&size.to_be_bytes());
        self.0
    }
}

/// The unread rest of a response. Reading a field that is not there returns `None`.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.bytes(2).map(|bytes| u16::from_be_bytes(bytes.try_into().unwrap()))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.bytes(4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.bytes(8).map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()))
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn sized(&mut self) -> Option<&'a [u8]> {
        let size = self.u16()?;
        self.bytes(size.into())
    }

    /// Whether everything was read.
    pub(crate) fn is_done(&self) -> bool {
        self.0.is_empty()
    }
}
