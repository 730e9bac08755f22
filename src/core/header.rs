// SPDX-License-Identifier: BSD-2-Clause
//! Parses the ten bytes that begin every TPM command and response (TPM 2.0 Library Part 1, sections 18.2 and 18.3): tag,
//! size of the whole message in bytes, command or response code, all big-endian. The entry is [`Header::parse`].

/// The size of a header in bytes.
pub const HEADER_SIZE: usize = 10;

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `TPM_ST_NO_SESSIONS` or `TPM_ST_SESSIONS`.
    pub tag: u16,
    /// Size of the whole message in bytes, including the header.
    pub size: u32,
    /// Command or response code.
    pub code: u32,
}

impl Header {
    /// Decodes the first ten bytes; `None` if there are fewer.
    pub fn parse(message: &[u8]) -> Option<Header> {
        let (tag, rest) = message.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        let (code, _) = rest.split_first_chunk()?;
        Some(Header { tag: u16::from_be_bytes(*tag), size: u32::from_be_bytes(*size), code: u32::from_be_bytes(*code) })
    }

    /// Returns whether the header states a size of exactly `len` bytes.
    pub fn says(&self, len: usize) -> bool {
        usize::try_from(self.size).is_ok_and(|size| size == len)
    }
}
