// SPDX-License-Identifier: BSD-2-Clause
//! Receive buffer and framing: [`RxBuf`] collects the bytes of a response until it has the size that its header states. It has
//! room for the responses of real TPMs, and grows for larger ones: with the bytes received, never with the size that a peer
//! claims. Bytes that are no longer needed are overwritten, because responses contain secrets.
#![forbid(unsafe_code)]

use crate::header::{HEADER_SIZE, Header};
use crate::{Result, ReturnCode};
use zeroize::Zeroize;

/// The largest response that is accepted, in bytes. Responses of real TPMs have at most 4096.
pub const MAX_RESPONSE: usize = 1 << 20;

/// The tags of a response: without sessions, with sessions, and the tag with which a TPM 1.2 rejects an unknown command (TPM
/// 2.0 Library Part 2, section 6.9).
const TAGS: [u16; 3] = [0x8001, 0x8002, 0x00c4];

/// How many bytes of a malformed response an error message quotes.
const QUOTED: usize = 80;

/// The bytes that fit without an allocation. The kernel's TPM driver returns at most this many in one read.
const CAPACITY: usize = 4096;

/// The bytes received so far, which are overwritten when they are discarded.
pub struct RxBuf {
    start: [u8; CAPACITY],
    /// Replaces `start` once a response is larger.
    large: Vec<u8>,
    len: usize,
}

impl Default for RxBuf {
    fn default() -> RxBuf {
        RxBuf::new()
    }
}

impl Drop for RxBuf {
    fn drop(&mut self) {
        self.clear();
    }
}

impl RxBuf {
    /// Creates an empty buffer.
    pub const fn new() -> RxBuf {
        RxBuf { start: [0; CAPACITY], large: Vec::new(), len: 0 }
    }

    /// Overwrites and discards the received bytes.
    pub fn clear(&mut self) {
        if self.len > 0 {
            let len = core::mem::take(&mut self.len);
            self.space().get_mut(..len).unwrap_or_default().zeroize();
            self.large = Vec::new();
        }
    }

    /// Returns the received bytes.
    pub fn as_slice(&self) -> &[u8] {
        let all = if self.large.is_empty() { &self.start } else { self.large.as_slice() };
        all.get(..self.len).unwrap_or_default()
    }

    /// Returns the number of bytes received.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no byte was received yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Calls `read` with free space, 4096 bytes in an empty buffer, and appends as many bytes as `read` returns. Fails with
    /// `MEMORY`, without calling `read`, if the buffer is full and cannot grow.
    pub fn read_with<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> core::result::Result<usize, E>,
    ) -> Result<core::result::Result<usize, E>> {
        self.read_into(1, read)
    }

    /// Reads like [`read_with`](Self::read_with), with space for at least `size` bytes.
    pub fn read_into<E>(
        &mut self,
        size: usize,
        read: impl FnOnce(&mut [u8]) -> core::result::Result<usize, E>,
    ) -> Result<core::result::Result<usize, E>> {
        self.reserve(size)?;
        let len = self.len;
        let space = self.space().get_mut(len..).unwrap_or_default();
        let count = read(space).map(|count| count.min(space.len()));
        self.len += count.as_ref().map_or(0, |count| *count);
        Ok(count)
    }

    /// Appends bytes. Fails with `MEMORY` if the buffer cannot grow.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.reserve(bytes.len())?;
        let end = self.len + bytes.len();
        let start = core::mem::replace(&mut self.len, end);
        self.space().get_mut(start..end).unwrap_or_default().copy_from_slice(bytes);
        Ok(())
    }

    /// Returns the received bytes and the free space.
    fn space(&mut self) -> &mut [u8] {
        if self.large.is_empty() { &mut self.start } else { &mut self.large }
    }

    /// Makes room for `more` bytes. A peer influences their number, so a failure must be an error, whereas a `Vec` that cannot
    /// grow would abort the process.
    fn reserve(&mut self, more: usize) -> Result<()> {
        let capacity = self.space().len();
        if more <= capacity - self.len {
            return Ok(());
        }
        let size = self.len.saturating_add(more).max(2 * capacity);
        let mut larger = Vec::new();
        larger.try_reserve_exact(size).map_err(|_| {
            crate::fail!(ReturnCode::MEMORY, "no memory for a response of more than {} bytes", self.len)
        })?;
        larger.extend_from_slice(self.as_slice());
        larger.resize(size, 0);
        let len = self.len;
        self.clear();
        (self.large, self.len) = (larger, len);
        Ok(())
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
            assert_eq!(space.len(), CAPACITY - 10);
            Ok::<_, ()>(1)
        })
        .unwrap()
        .unwrap();
        assert_eq!(rx.len(), 11);
        assert!(rx.large.is_empty());
        while rx.len() < MAX_RESPONSE {
            rx.read_with(|space| Ok::<_, ()>(space.len().min(100))).unwrap().unwrap();
            assert!(rx.large.capacity() <= 2 * rx.len(), "{} for {}", rx.large.capacity(), rx.len());
        }
    }

    #[test]
    fn a_response_of_a_real_tpm_fits_without_an_allocation() {
        let mut rx = RxBuf::new();
        for _ in 0..CAPACITY / 64 {
            rx.extend(&[7; 64]).unwrap();
        }
        assert!(rx.large.is_empty());
        rx.extend(&[8]).unwrap();
        assert_eq!(rx.as_slice(), [&[7; CAPACITY][..], &[8]].concat());
    }

    #[test]
    fn discarded_bytes_are_overwritten() {
        let mut rx = received(&[7; CAPACITY]);
        rx.extend(&[7; 10]).unwrap();
        assert_eq!(rx.start, [0; CAPACITY], "the copy in the smaller buffer");
        let mut rx = received(&[7; 100]);
        rx.clear();
        assert_eq!(rx.start, [0; CAPACITY]);
    }

    #[test]
    fn a_read_cannot_claim_more_bytes_than_its_space() {
        let mut rx = RxBuf::new();
        assert_eq!(rx.read_with(|_| Ok::<_, ()>(usize::MAX)), Ok(Ok(CAPACITY)));
        assert_eq!(rx.len(), CAPACITY);
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
