// SPDX-License-Identifier: BSD-2-Clause
//! The capture file, [`Capture`]: pcapng (draft-ietf-opsawg-pcapng), appended to a file. Each context begins a section.
//! Several processes may write at the same time, because each message is one write(2), and every packet refers to interface
//! 0, which is the same in all sections.
#![forbid(unsafe_code)]

use crate::blocks::Blocks;
use crate::conversation::{Conversation, Direction};
use crate::target::Target;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tcti_core::Result;
use tcti_core::io::Outlet;

/// How long a write to a pipe may block before the capture ends.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// An open capture.
pub(crate) struct Capture {
    target: Target,
    /// Absent once a write has failed.
    file: Option<Outlet>,
    conversation: Conversation,
    /// A reused buffer.
    blocks: Blocks,
}

impl Capture {
    /// Opens the file and begins a section. `NOT_PERMITTED` or `IO_ERROR` if that fails: a user who asked for a capture
    /// should not miss it.
    pub(crate) fn open(target: Target) -> Result<Capture> {
        let file = target.open()?;
        let (target, mut blocks) = (target.absolute(), Blocks::default());
        match blocks.section().and_then(|()| write(&file, &blocks)) {
            Ok(()) => {
                blocks.clear();
                Ok(Capture { target, file: Some(file), conversation: Conversation::new(), blocks })
            }
            Err(error) => Err(target.refused(&error)),
        }
    }

    /// Begins a new conversation, so that the packets of this process differ from those of its parent.
    pub(crate) fn after_fork(&mut self) {
        self.conversation = Conversation::new();
    }

    /// Adds a message, or a comment without one. A failure must not cost the caller a response, so it ends the capture and
    /// is logged once.
    pub(crate) fn record(&mut self, direction: Direction, message: &[u8], comment: Option<&str>) {
        let Some(file) = self.file.take() else { return };
        let written = self.add(direction, message, comment).and_then(|()| self.write(file));
        self.blocks.clear();
        match written {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                log::warn!(
                    "cannot write the capture file {}: {error}. The capture ends here; commands are not affected",
                    self.target
                );
            }
        }
    }

    /// Appends the blocks of one message; the first has the comment.
    fn add(&mut self, direction: Direction, message: &[u8], mut comment: Option<&str>) -> io::Result<()> {
        // A clock before 1970 counts as 1970.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for packet in self.conversation.packets(direction, message) {
            self.blocks.packet(time, &packet.headers, packet.segment, comment.take())?;
        }
        Ok(())
    }

    /// Writes the blocks to `file`, or to a new section if the program has closed that; returns what was written to.
    fn write(&self, file: Outlet) -> io::Result<Outlet> {
        match write(&file, &self.blocks) {
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                let (again, mut section) = (self.target.open_again(&file)?, Blocks::default());
                section.section()?;
                write(&again, &section)?;
                write(&again, &self.blocks).map(|()| again)
            }
            written => written.map(|()| file),
        }
    }
}

fn write(file: &Outlet, blocks: &Blocks) -> io::Result<()> {
    file.write_all(blocks.as_slice(), WRITE_TIMEOUT)
}

#[cfg(test)]
pub(crate) mod tests;
