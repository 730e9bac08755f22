// SPDX-License-Identifier: BSD-2-Clause
//! The capture: pcapng (draft-ietf-opsawg-pcapng), appended to a file. A section begins with each context. Several
//! processes may write at once, because a message is one write, and every packet refers to interface 0, which is the
//! same in all sections.
#![forbid(unsafe_code)]

use crate::conversation::{Conversation, Direction};
use crate::target::Target;
use byteorder_slice::NativeEndian;
use pcap_file::pcapng::PcapNgBlock;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;
use pcap_file::pcapng::blocks::{ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, SECTION_HEADER_BLOCK};
use pcap_file::{DataLink, Endianness};
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tcti_core::Result;
use tcti_core::io::Outlet;

/// How long the reader of a pipe may let us wait before we go on without it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time stamps count billionths of a second, as this writer makes them. A TPM in memory answers within millionths.
const NANOSECONDS: u8 = 9;
/// Between the end of a body and the end of its block, which is one of 32 bits.
const PADDING: [u8; 3] = [0; 3];
/// Bytes around a message: IPv4 and TCP headers, a block and its fields.
const ROOM: usize = 128;

/// An open capture.
pub(crate) struct Capture {
    target: Target,
    /// None once it could not be written to.
    file: Option<Outlet>,
    conversation: Conversation,
}

impl Capture {
    /// Opens the file and begins a section. `NOT_PERMITTED` or `IO_ERROR`: who asked for a capture learns at once that
    /// there is none.
    pub(crate) fn open(target: Target) -> Result<Capture> {
        let file = Outlet::new(target.open()?);
        match section().and_then(|blocks| write(&file, &blocks)) {
            Ok(()) => Ok(Capture { target, file: Some(file), conversation: Conversation::new() }),
            Err(error) => Err(target.refused(&error)),
        }
    }

    /// The packets of this process are a conversation of their own from here on.
    pub(crate) fn inherited(&mut self) {
        self.conversation = Conversation::new();
    }

    /// Adds a message, or a comment without one. What fails here must not cost the caller a response, so a capture
    /// that cannot be written ends, and says so once.
    pub(crate) fn record(&mut self, direction: Direction, message: &[u8], comment: Option<String>) {
        let Some(file) = self.file.take() else { return };
        let written = self.add(direction, message, comment).and_then(|blocks| write(&file, &blocks));
        match written {
            Ok(()) => self.file = Some(file),
            Err(error) => {
                log::warn!("cannot write the capture file {}: {error}. It ends here; the TPM goes on", self.target);
            }
        }
    }

    /// The blocks of one message; the comment is that of the first.
    fn add(&mut self, direction: Direction, message: &[u8], mut comment: Option<String>) -> io::Result<Vec<u8>> {
        // A clock before 1970 counts as 1970.
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut blocks = Growing::with_room(message.len() + ROOM)?;
        for packet in self.conversation.packets(direction, message) {
            let packet = packet?;
            let comment = comment.take().map(|comment| EnhancedPacketOption::Comment(comment.into()));
            let block = EnhancedPacketBlock {
                interface_id: 0,
                timestamp,
                original_len: u32::try_from(packet.len()).map_err(io::Error::other)?,
                data: packet.into(),
                options: comment.into_iter().collect(),
            };
            append(&mut blocks, ENHANCED_PACKET_BLOCK, &block)?;
        }
        Ok(blocks.0)
    }
}

/// Bytes that fail to grow where there is no memory.
struct Growing(Vec<u8>);

impl Growing {
    fn with_room(size: usize) -> io::Result<Growing> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size)?;
        Ok(Growing(bytes))
    }
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_reserve(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What opens a section: its header and the one interface.
fn section() -> io::Result<Vec<u8>> {
    let mut blocks = Growing::with_room(ROOM)?;
    let header = SectionHeaderBlock { endianness: Endianness::native(), ..SectionHeaderBlock::default() };
    append(&mut blocks, SECTION_HEADER_BLOCK, &header)?;
    let mut interface = InterfaceDescriptionBlock::new(DataLink::IPV4, 0); // packets of any size
    interface.options.push(InterfaceDescriptionOption::IfTsResol(NANOSECONDS));
    append(&mut blocks, INTERFACE_DESCRIPTION_BLOCK, &interface)?;
    Ok(blocks.0)
}

/// Adds a block. The crate's own writer can write all kinds of blocks in both byte orders, and take this
/// module more than all of its own code.
fn append<'a>(blocks: &mut Growing, type_: u32, block: &impl PcapNgBlock<'a>) -> io::Result<()> {
    let start = blocks.0.len();
    blocks.write_all(&type_.to_ne_bytes())?;
    blocks.write_all(&[0; size_of::<u32>()])?; // the length, once it is known
    block.write_to::<NativeEndian, _>(blocks)?;
    let padding = blocks.0.len().next_multiple_of(4) - blocks.0.len(); // every block before it has a multiple of 4, too
    blocks.write_all(PADDING.get(..padding).unwrap_or_default())?;
    let len = u32::try_from(blocks.0.len() - start + size_of::<u32>()).map_err(io::Error::other)?.to_ne_bytes();
    blocks.write_all(&len)?;
    if let Some(place) = blocks.0.get_mut(start..).and_then(|block| block.get_mut(4..8)) {
        place.copy_from_slice(&len);
    }
    Ok(())
}

fn write(file: &Outlet, blocks: &[u8]) -> io::Result<()> {
    file.write_all(blocks, PATIENCE)
}

#[cfg(test)]
pub(crate) mod tests;
