// SPDX-License-Identifier: BSD-2-Clause
//! Encodes blocks of pcapng (draft-ietf-opsawg-pcapng) in the byte order of the machine. [`Blocks`] is a buffer to which
//! blocks are appended; it is cleared and reused, so that recording a message allocates nothing.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;
use zeroize::Zeroize;

/// Block types (sections 4.1 to 4.3).
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Shows a reader the byte order of the section (section 4.1).
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const VERSION: [u16; 2] = [1, 0];
/// Packets begin with an IPv4 header.
const LINKTYPE_IPV4: u16 = 228;
/// Packets may have any size.
const NO_SNAPLEN: u32 = 0;
/// The one interface of each section.
const INTERFACE: u32 = 0;
/// Codes of options (sections 3.5 and 4.2).
const COMMENT: u16 = 1;
const TIMESTAMP_RESOLUTION: u16 = 9;
/// The resolution of time stamps, as a negative power of ten. A TPM in memory answers within microseconds.
const NANOSECONDS: u8 = 9;
/// Follows the last option (section 3.5): code and length are 0.
const END_OF_OPTIONS: [u8; WORD] = [0; WORD];
/// Bytes of a word; data and options are padded to words.
const WORD: usize = 4;
/// The largest buffer that is reused, in bytes. Most messages have a few hundred.
const MAX_REUSED: usize = 8192;

/// A buffer of blocks. Appending fails if there is no memory.
#[derive(Default)]
pub(crate) struct Blocks(Vec<u8>);

impl Blocks {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Overwrites and removes all blocks, and frees a buffer of unusual size.
    pub(crate) fn clear(&mut self) {
        self.0.as_mut_slice().zeroize();
        match self.0.capacity() <= MAX_REUSED {
            true => self.0.clear(),
            false => self.0 = Vec::new(),
        }
    }

    /// Makes room for `more` bytes. Moves the blocks to a larger buffer by itself, because a `Vec` would leave a copy behind.
    fn reserve(&mut self, more: usize) -> io::Result<()> {
        if self.0.capacity() - self.0.len() < more {
            let mut larger = Vec::new();
            larger.try_reserve_exact(self.0.len() + more)?;
            larger.extend_from_slice(&self.0);
            self.clear();
            self.0 = larger;
        }
        Ok(())
    }

    /// Appends the header of a section and its one interface, and makes room for the messages of real TPMs.
    pub(crate) fn section(&mut self) -> io::Result<()> {
        self.reserve(MAX_REUSED)?;
        let [[a, b], [c, d]] = VERSION.map(u16::to_ne_bytes);
        let [high, low] = [[u8::MAX; WORD]; 2]; // -1: the length of the section is unknown
        let words = [BYTE_ORDER_MAGIC.to_ne_bytes(), [a, b, c, d], high, low];
        self.block(SECTION_HEADER, words, &[], None)?;
        let [a, b] = LINKTYPE_IPV4.to_ne_bytes();
        let words = [[a, b, 0, 0], NO_SNAPLEN.to_ne_bytes()];
        self.block(INTERFACE_DESCRIPTION, words, &[], Some((TIMESTAMP_RESOLUTION, &[NANOSECONDS])))
    }

    /// Appends a packet: its time since 1970, its headers, and its data.
    pub(crate) fn packet(
        &mut self,
        time: Duration,
        headers: &[[u8; WORD]; 10],
        segment: &[u8],
        comment: Option<&str>,
    ) -> io::Result<()> {
        let len = u32::try_from(headers.as_flattened().len() + segment.len()).map_err(io::Error::other)?.to_ne_bytes();
        // 64 bits of nanoseconds are enough for five centuries.
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default().to_ne_bytes();
        let (high, low) = (half(time >> 32), half(time));
        let [a, b, c, d, e, f, g, h, i, j] = *headers;
        let words = [INTERFACE.to_ne_bytes(), high, low, len, len, a, b, c, d, e, f, g, h, i, j];
        self.block(ENHANCED_PACKET, words, segment, comment.map(|comment| (COMMENT, comment.as_bytes())))
    }

    /// Appends a block: its type, its length, words, data, an optional option, and its length again.
    fn block<const WORDS: usize>(
        &mut self,
        type_: u32,
        words: [[u8; WORD]; WORDS],
        data: &[u8],
        option: Option<(u16, &[u8])>,
    ) -> io::Result<()> {
        let option_len =
            option.map_or(0, |(_, value)| WORD + value.len().next_multiple_of(WORD) + END_OF_OPTIONS.len());
        let data_len = data.len().next_multiple_of(WORD);
        let len = (3 + WORDS) * WORD + data_len + option_len;
        let start = self.0.len();
        self.reserve(len)?;
        self.0.resize(start + len, 0);
        let room = self.0.get_mut(start..).unwrap_or_default();
        let len = u32::try_from(len).map_err(io::Error::other)?.to_ne_bytes();
        let room = put(room, 2 * WORD, [type_.to_ne_bytes(), len].as_flattened());
        let room = put(room, WORDS * WORD, words.as_flattened());
        let mut room = put(room, data_len, data);
        if let Some((code, value)) = option {
            let len = u16::try_from(value.len()).map_err(io::Error::other)?;
            room = put(room, WORD, [code.to_ne_bytes(), len.to_ne_bytes()].as_flattened());
            room = put(room, value.len().next_multiple_of(WORD), value);
            room = put(room, WORD, &END_OF_OPTIONS);
        }
        put(room, WORD, &len);
        Ok(())
    }
}

/// Copies `bytes` to the first `size` bytes of `room`, which is large enough, and returns the rest.
#[inline]
fn put<'a>(room: &'a mut [u8], size: usize, bytes: &[u8]) -> &'a mut [u8] {
    let Some((field, rest)) = room.split_at_mut_checked(size) else { return &mut [] };
    if let Some(field) = field.get_mut(..bytes.len()) {
        field.copy_from_slice(bytes);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
    use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
    use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;
    use pcap_file::{DataLink, Endianness};

    const TIME: Duration = Duration::new(1_800_000_000, 123_456_789);

    #[test]
    fn blocks_match_those_of_another_encoder() {
        let mut blocks = Blocks::default();
        blocks.section().unwrap();
        let header = SectionHeaderBlock { endianness: Endianness::native(), ..SectionHeaderBlock::default() };
        let mut other = PcapNgWriter::with_section_header(Vec::new(), header).unwrap();
        let mut interface = InterfaceDescriptionBlock::new(DataLink::IPV4, 0);
        interface.options.push(InterfaceDescriptionOption::IfTsResol(9));
        other.write_pcapng_block(interface).unwrap();
        for size in 0..9 {
            let (data, comment) = (&b"abcdefghi"[..size], Some("nine or fewer").filter(|_| size != 4));
            let comment = comment.and_then(|comment| comment.get(size..));
            blocks.packet(TIME, &[*b"1234"; 10], data, comment).unwrap();
            let packet = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: TIME,
                original_len: 40 + size as u32,
                data: [&b"1234".repeat(10), data].concat().into(),
                options: comment.map(|comment| EnhancedPacketOption::Comment(comment.into())).into_iter().collect(),
            };
            other.write_pcapng_block(packet).unwrap();
        }
        assert_eq!(blocks.as_slice(), other.into_inner());
    }

    #[test]
    fn the_buffer_of_a_large_message_is_freed() {
        let mut blocks = Blocks::default();
        for (size, kept) in [(4096, true), (1 << 20, false)] {
            blocks.packet(TIME, &[[0; 4]; 10], &vec![0; size], None).unwrap();
            blocks.clear();
            assert!(blocks.as_slice().is_empty());
            assert_eq!(blocks.0.capacity() > 0, kept, "{size} bytes");
        }
    }
}
