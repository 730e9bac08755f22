// SPDX-License-Identifier: BSD-2-Clause
//! The capture: pcapng (draft-ietf-opsawg-pcapng), appended to a file. A section begins with each context. Several
//! processes may write at once, because a message is one write, and every packet refers to interface 0, which is the
//! same in all sections.
#![forbid(unsafe_code)]

use crate::blocks::Blocks;
use crate::conversation::{Conversation, Direction};
use crate::target::Target;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tcti_core::Result;
use tcti_core::io::Outlet;

/// How long the reader of a pipe may let us wait before we go on without it.
const PATIENCE: Duration = Duration::from_secs(1);

/// An open capture.
pub(crate) struct Capture {
    target: Target,
    /// None once it could not be written to.
    file: Option<Outlet>,
    conversation: Conversation,
    /// Of the last message.
    blocks: Blocks,
}

impl Capture {
    /// Opens the file and begins a section. `NOT_PERMITTED` or `IO_ERROR`: who asked for a capture learns at once that
    /// there is none.
    pub(crate) fn open(target: Target) -> Result<Capture> {
        let file = Outlet::new(target.open()?);
        let mut blocks = Blocks::default();
        match blocks.section().and_then(|()| write(&file, &blocks)) {
            Ok(()) => Ok(Capture { target, file: Some(file), conversation: Conversation::new(), blocks }),
            Err(error) => Err(target.refused(&error)),
        }
    }

    /// The packets of this process are a conversation of their own from here on.
    pub(crate) fn after_fork(&mut self) {
        self.conversation = Conversation::new();
    }

    /// Adds a message, or a comment without one. What fails here must not cost the caller a response, so a capture
    /// that cannot be written ends, and says so once.
    pub(crate) fn record(&mut self, direction: Direction, message: &[u8], comment: Option<&str>) {
        let Some(file) = self.file.take() else { return };
        self.blocks.clear();
        let written = self.add(direction, message, comment).and_then(|()| write(&file, &self.blocks));
        match written {
            Ok(()) => self.file = Some(file),
            Err(error) => {
                log::warn!("cannot write the capture file {}: {error}. It ends here; the TPM goes on", self.target);
            }
        }
    }

    /// The blocks of one message; the comment is that of the first.
    fn add(&mut self, direction: Direction, message: &[u8], mut comment: Option<&str>) -> io::Result<()> {
        // A clock before 1970 counts as 1970.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for packet in self.conversation.packets(direction, message) {
            self.blocks.packet(time, &packet.headers, packet.segment, comment.take())?;
        }
        Ok(())
    }
}

fn write(file: &Outlet, blocks: &Blocks) -> io::Result<()> {
    file.write_all(blocks.as_slice(), PATIENCE)
}

#[cfg(test)]
pub(crate) mod tests;
