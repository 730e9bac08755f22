// SPDX-License-Identifier: BSD-2-Clause
//! A character device with a real TPM behind it: a raw pseudo-terminal that a thread connects to a swtpm.

use crate::server::{SocketKind, Swtpm, TestTpm};
use std::cell::RefCell;
use std::io::Write;
use std::path::Path;
use tss2_faults::{Framing, Peer, Terminal};

/// A device that exists until it is dropped.
pub struct PtyDevice {
    terminal: Terminal,
    _peer: Peer,
}

impl PtyDevice {
    /// Makes a device with a new TPM.
    pub fn start() -> PtyDevice {
        let swtpm = Swtpm::start(SocketKind::Unix);
        let (terminal, stream) = Terminal::open();
        let tpm = RefCell::new((swtpm.connect(), swtpm));
        let respond = move |command: &[u8]| {
            let (connection, _) = &mut *tpm.borrow_mut();
            connection.write_all(command).ok()?;
            Framing::Raw.read_message(connection).ok()
        };
        PtyDevice { terminal, _peer: Peer::serve(stream, Framing::Raw, Box::new(respond)) }
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.terminal.path()
    }
}

impl TestTpm for PtyDevice {
    fn name_conf(&self) -> String {
        format!("device:{}", self.path().display())
    }
}
