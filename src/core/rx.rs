// SPDX-License-Identifier: BSD-2-Clause
//! Receive buffer and framing: [`RxBuf`] collects the bytes of a response until it has the size that its header states. The
//! buffer grows with the bytes received, never with the size that a peer claims.

use crate::header::{HEADER_SIZE, Header};
use crate::{Result, ReturnCode};

/// The largest response that is accepted, in bytes. Responses of real TPMs have at most 4096.
pub const MAX_RESPONSE: usize = 1 << 20;

/// The tags of a response: without sessions, with sessions, and the tag with which a TPM 1.2 rejects an unknown command (TPM
/// 2.0 Library Part 2, section 6.9).
const TAGS: [u16; 3] = [0x8001, 0x8002, 0x00c4];

/// How many bytes of a malformed response an error message quotes.
const QUOTED: usize = 80;

/// The space offered to each read, in bytes: the kernel's TPM driver returns at most this much in one read.
const CHUNK: usize = 4096;

/// The bytes received so far.
#[derive(Default)]
pub struct RxBuf {
    /// Received bytes, followed by initialised free space.
    bytes: Vec<u8>,
    len: usize,
}

impl RxBuf {
    /// Creates an empty buffer.
    pub const fn new() -> RxBuf {
        RxBuf { bytes: Vec::new(), len: 0 }
    }

    /// Discards the received bytes and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Returns the received bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Returns the number of bytes received.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no byte was received yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Calls `read` with free space, and appends as many bytes as `read` returns. Fails with `MEMORY`, without calling `read`,
    /// if the buffer cannot grow.
    pub fn read_with<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> core::result::Result<usize, E>,
    ) -> Result<core::result::Result<usize, E>> {
        self.read_into(CHUNK, read)
    }

    /// Reads like [`read_with`](Self::read_with), with space for at least `size` bytes.
    pub fn read_into<E>(
        &mut self,
        size: usize,
        read: impl FnOnce(&mut [u8]) -> core::result::Result<usize, E>,
    ) -> Result<core::result::Result<usize, E>> {
        if self.bytes.len() < self.len + size {
            self.reserve(self.len + size)?;
            self.bytes.resize(self.len + size, 0);
        }
        let space = self.bytes.get_mut(self.len..).unwrap_or_default();
        let count = read(space).map(|count| count.min(space.len()));
        self.len += count.as_ref().map_or(0, |count| *count);
        Ok(count)
    }

    /// Appends bytes. Fails with `MEMORY` if the buffer cannot grow.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.reserve(self.len + bytes.len())?;
        self.bytes.truncate(self.len);
        self.bytes.extend_from_slice(bytes);
        self.len = self.bytes.len();
        Ok(())
    }

    /// Reserves memory for `size` bytes in all. A peer influences the size, so a failure must be an error, whereas a `Vec` that
    /// cannot grow would abort the process.
    fn reserve(&mut self, size: usize) -> Result<()> {
        let more = size.saturating_sub(self.bytes.len());
        self.bytes.try_reserve(more).map_err(|_| {
            crate::fail!(ReturnCode::MEMORY, "no memory for a response of more than {} bytes", self.bytes.len())
        })
    }

    /// Returns how many bytes are missing from a whole response: those of the header while that is incomplete, 0 once the
    /// response is whole. Fails with `MALFORMED_RESPONSE` if the tag is not that of a response, if the header states a size
    /// outside 10 bytes to 1 MiB, or if more bytes have arrived than it states.
    pub fn missing(&self) -> Result<usize> {
        if let Some(tag) = self.as_slice().first_chunk().filter(|tag| !TAGS.contains(&u16::from_be_bytes(**tag))) {
            let start = self.as_slice().get(..QUOTED.min(self.len)).unwrap_or(tag);
            return Err(crate::fail!(
                ReturnCode::MALFORMED_RESPONSE,
                "this is not a TPM 2.0 response: \"{}\"{}",
                start.escape_ascii(),
                if self.len > start.len() { " and more" } else { "" }
            ));
        }
        let Some(header) = Header::parse(self.as_slice()) else {
            return Ok(HEADER_SIZE - self.len);
        };
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        if !(HEADER_SIZE..=MAX_RESPONSE).contains(&size) {
            return Err(crate::fail!(
                ReturnCode::MALFORMED_RESPONSE,
                "the response states a size of {} bytes; {HEADER_SIZE} to {MAX_RESPONSE} are possible. Is a TPM 2.0 at the other end?",
                header.size
            ));
        }
        size.checked_sub(self.len).ok_or_else(|| {
            crate::fail!(
                ReturnCode::MALFORMED_RESPONSE,
                "{} bytes followed a response of {size} bytes",
                self.len - size
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(bytes: &[u8]) -> RxBuf {
        let mut rx = RxBuf::new();
        rx.extend(bytes).unwrap();
        rx
    }

    fn response(size: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0x80, 0x01];
        bytes.extend(size.to_be_bytes());
        bytes.resize(len, 0);
        bytes
    }

    #[test]
    fn the_header_is_awaited_before_the_rest() {
        for len in 0..HEADER_SIZE {
            assert_eq!(received(&response(12, HEADER_SIZE)[..len]).missing(), Ok(HEADER_SIZE - len));
        }
        assert_eq!(received(&response(12, 10)).missing(), Ok(2));
        assert_eq!(received(&response(12, 12)).missing(), Ok(0));
    }

    #[test]
    fn impossible_sizes_are_malformed() {
        for size in [0, 1, 9, MAX_RESPONSE as u32 + 1, u32::MAX] {
            assert_eq!(received(&response(size, 10)).missing(), Err(ReturnCode::MALFORMED_RESPONSE.into()), "{size}");
        }
        assert_eq!(received(&response(MAX_RESPONSE as u32, 10)).missing(), Ok(MAX_RESPONSE - 10));
    }

    #[test]
    fn an_unknown_tag_is_malformed() {
        assert_eq!(received(b"Password: ").missing(), Err(ReturnCode::MALFORMED_RESPONSE.into()));
        assert_eq!(received(b"\x80").missing(), Ok(9));
        assert_eq!(received(&[0x80, 0x03]).missing(), Err(ReturnCode::MALFORMED_RESPONSE.into()));
        assert_eq!(received(&[0x00, 0xc4]).missing(), Ok(8));
    }

    #[test]
    fn bytes_after_the_response_are_malformed() {
        assert_eq!(received(&response(12, 13)).missing(), Err(ReturnCode::MALFORMED_RESPONSE.into()));
    }

    #[test]
    fn memory_grows_with_received_bytes_and_not_with_claimed_ones() {
        let mut rx = received(&response(MAX_RESPONSE as u32, 10));
        rx.read_with(|space| {
            assert_eq!(space.len(), CHUNK);
            Ok::<_, ()>(1)
        })
        .unwrap()
        .unwrap();
        assert_eq!(rx.len(), 11);
        assert!(rx.bytes.len() <= 10 + CHUNK);
    }

    #[test]
    fn a_read_cannot_claim_more_bytes_than_its_space() {
        let mut rx = RxBuf::new();
        assert_eq!(rx.read_with(|_| Ok::<_, ()>(usize::MAX)), Ok(Ok(CHUNK)));
        assert_eq!(rx.len(), CHUNK);
    }

    #[test]
    fn clearing_discards_all_bytes() {
        let mut rx = received(&[1, 2, 3]);
        rx.clear();
        assert!(rx.is_empty());
        rx.extend(&[9]).unwrap();
        assert_eq!(rx.as_slice(), &[9]);
    }

    #[test]
    fn received_bytes_survive_a_lack_of_memory() {
        let mut rx = received(&[1, 2, 3]);
        let never = |_: &mut [u8]| -> core::result::Result<usize, ()> { panic!("called without space to read into") };
        assert_eq!(rx.read_into(isize::MAX as usize, never), Err(ReturnCode::MEMORY.into()));
        assert_eq!(rx.as_slice(), &[1, 2, 3]);
    }
}
