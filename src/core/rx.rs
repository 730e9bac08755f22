// SPDX-License-Identifier: BSD-2-Clause
//! The buffer a response is collected in, and the one rule of framing: a response says its size in its header.
//! The buffer grows with bytes received, never with a size that a peer claims.

use crate::header::{HEADER_SIZE, Header};
use crate::{Result, ReturnCode};

/// Largest response we take, in bytes. The largest of a real TPM is 4096.
pub const MAX_RESPONSE: usize = 1 << 20;

/// How a response begins: without sessions, with sessions, or as a TPM 1.2 answers a command it does not know
/// (TPM 2.0 Library Part 2, section 6.9).
const TAGS: [u16; 3] = [0x8001, 0x8002, 0x00c4];

/// How much of something else a message quotes, in bytes.
const QUOTED: usize = 80;

/// Room offered to each read, in bytes: what the kernel's driver delivers at most in one read.
const CHUNK: usize = 4096;

/// Bytes received so far.
#[derive(Default)]
pub struct RxBuf {
    /// Received bytes, then initialised room.
    bytes: Vec<u8>,
    len: usize,
}

impl RxBuf {
    /// An empty buffer.
    pub const fn new() -> RxBuf {
        RxBuf { bytes: Vec::new(), len: 0 }
    }

    /// Forgets what was received; keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// What was received.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Bytes received.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was received yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets `read` fill the room behind what was received and takes over as many bytes as it says. `MEMORY` when there
    /// is no room; `read` was not called then.
    pub fn read_with<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> core::result::Result<usize, E>,
    ) -> Result<core::result::Result<usize, E>> {
        self.read_into(CHUNK, read)
    }

    /// As `read_with`, with room for `size` bytes at least.
    pub fn read_into<E>(
        &mut self,
        size: usize,
        read: impl FnOnce(&mut [u8]) -> core::result::Result<usize, E>,
    ) -> Result<core::result::Result<usize, E>> {
        if self.bytes.len() < self.len + size {
            self.reserve(self.len + size)?;
            self.bytes.resize(self.len + size, 0);
        }
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let count = read(room).map(|count| count.min(room.len()));
        self.len += count.as_ref().map_or(0, |count| *count);
        Ok(count)
    }

    /// Adds bytes that are already in memory. `MEMORY` when there is no room.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.reserve(self.len + bytes.len())?;
        self.bytes.truncate(self.len);
        self.bytes.extend_from_slice(bytes);
        self.len = self.bytes.len();
        Ok(())
    }

    /// Makes room for `size` bytes in all. The peer has a say in that, so it must not end the process when there is no
    /// memory, as a Vec that grows does.
    fn reserve(&mut self, size: usize) -> Result<()> {
        let more = size.saturating_sub(self.bytes.len());
        self.bytes.try_reserve(more).map_err(|_| {
            crate::fail!(
                ReturnCode::MEMORY,
                "there is no memory for a response of more than {} bytes",
                self.bytes.len()
            )
        })
    }

    /// Bytes still missing for a whole response: at least those of the header while it is incomplete, 0 when the
    /// response is whole. `MALFORMED_RESPONSE` for what does not begin as a response does, for a size outside
    /// 10 ..= 1 MiB, and when more arrived than it says.
    pub fn missing(&self) -> Result<usize> {
        if let Some(tag) = self.as_slice().first_chunk().filter(|tag| !TAGS.contains(&u16::from_be_bytes(**tag))) {
            let start = self.as_slice().get(..QUOTED.min(self.len)).unwrap_or(tag);
            return Err(crate::fail!(
                ReturnCode::MALFORMED_RESPONSE,
                "this is no response of a TPM 2.0: \"{}\"{}",
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
                "the response says it has {} bytes; {HEADER_SIZE} to {MAX_RESPONSE} are possible. Is a TPM 2.0 at the other end?",
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

    fn with(bytes: &[u8]) -> RxBuf {
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
    fn the_header_comes_first() {
        for len in 0..HEADER_SIZE {
            assert_eq!(with(&response(12, HEADER_SIZE)[..len]).missing(), Ok(HEADER_SIZE - len));
        }
        assert_eq!(with(&response(12, 10)).missing(), Ok(2));
        assert_eq!(with(&response(12, 12)).missing(), Ok(0));
    }

    #[test]
    fn impossible_sizes_are_malformed() {
        for size in [0, 1, 9, MAX_RESPONSE as u32 + 1, u32::MAX] {
            assert_eq!(with(&response(size, 10)).missing(), Err(ReturnCode::MALFORMED_RESPONSE.into()), "{size}");
        }
        assert_eq!(with(&response(MAX_RESPONSE as u32, 10)).missing(), Ok(MAX_RESPONSE - 10));
    }

    #[test]
    fn what_does_not_begin_as_a_response_is_malformed() {
        assert_eq!(with(b"Password: ").missing(), Err(ReturnCode::MALFORMED_RESPONSE.into()));
        assert_eq!(with(b"\x80").missing(), Ok(9));
        assert_eq!(with(&[0x80, 0x03]).missing(), Err(ReturnCode::MALFORMED_RESPONSE.into()));
        assert_eq!(with(&[0x00, 0xc4]).missing(), Ok(8));
    }

    #[test]
    fn bytes_after_the_response_are_malformed() {
        assert_eq!(with(&response(12, 13)).missing(), Err(ReturnCode::MALFORMED_RESPONSE.into()));
    }

    #[test]
    fn memory_grows_with_bytes_received_not_claimed() {
        let mut rx = with(&response(MAX_RESPONSE as u32, 10));
        rx.read_with(|room| {
            assert_eq!(room.len(), CHUNK);
            Ok::<_, ()>(1)
        })
        .unwrap()
        .unwrap();
        assert_eq!(rx.len(), 11);
        assert!(rx.bytes.len() <= 10 + CHUNK);
    }

    #[test]
    fn a_read_cannot_claim_more_than_its_room() {
        let mut rx = RxBuf::new();
        assert_eq!(rx.read_with(|_| Ok::<_, ()>(usize::MAX)), Ok(Ok(CHUNK)));
        assert_eq!(rx.len(), CHUNK);
    }

    #[test]
    fn clearing_keeps_no_old_byte() {
        let mut rx = with(&[1, 2, 3]);
        rx.clear();
        assert!(rx.is_empty());
        rx.extend(&[9]).unwrap();
        assert_eq!(rx.as_slice(), &[9]);
    }

    #[test]
    fn without_memory_it_keeps_what_it_has() {
        let mut rx = with(&[1, 2, 3]);
        let never = |_: &mut [u8]| -> core::result::Result<usize, ()> { panic!("there is no room to read into") };
        assert_eq!(rx.read_into(isize::MAX as usize, never), Err(ReturnCode::MEMORY.into()));
        assert_eq!(rx.as_slice(), &[1, 2, 3]);
    }
}
