// SPDX-License-Identifier: BSD-2-Clause
//! A character device with a real TPM behind it: a raw pseudo-terminal that a thread connects to a swtpm. A terminal
//! has no message boundaries, so the thread finds them by the size in the TPM header.

use crate::server::{SocketKind, Swtpm, TestTpm};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::ttyname;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// A device that exists until it is dropped.
pub struct PtyDevice {
    path: PathBuf,
    /// Keeps the terminal open while no program has it open.
    _slave: OwnedFd,
    /// The thread ends when this is closed.
    stop: Option<UnixStream>,
    bridge: Option<JoinHandle<()>>,
}

impl PtyDevice {
    /// Makes a device with a new TPM.
    pub fn start() -> PtyDevice {
        let swtpm = Swtpm::start(SocketKind::Unix);
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let mut attributes = tcgetattr(&slave).unwrap();
        cfmakeraw(&mut attributes);
        tcsetattr(&slave, SetArg::TCSANOW, &attributes).unwrap();
        let path = ttyname(&slave).unwrap();
        let (stopped, stop) = UnixStream::pair().unwrap();
        let bridge = std::thread::spawn(move || bridge(&swtpm, File::from(master), &stopped));
        PtyDevice { path, _slave: slave, stop: Some(stop), bridge: Some(bridge) }
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PtyDevice {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(bridge) = self.bridge.take() {
            let _ = bridge.join(); // when the bridge fails, the test fails, too
        }
    }
}

impl TestTpm for PtyDevice {
    fn name_conf(&self) -> String {
        format!("device:{}", self.path.display())
    }
}

fn bridge(swtpm: &Swtpm, mut line: File, stopped: &UnixStream) {
    let mut tpm = swtpm.connect();
    let mut command = Vec::new();
    while wait(&line, stopped) {
        let mut piece = [0; 4096];
        let Ok(count) = line.read(&mut piece) else { return };
        command.extend(&piece[..count]);
        while let Some(size) = message_size(&command).filter(|&size| size <= command.len()) {
            let rest = command.split_off(size);
            tpm.write_all(&command).unwrap();
            command = rest;
            let mut response = vec![0; 10];
            tpm.read_exact(&mut response).unwrap();
            response.resize(message_size(&response).unwrap(), 0);
            tpm.read_exact(&mut response[10..]).unwrap();
            line.write_all(&response).unwrap();
        }
    }
}

/// Waits until the terminal is readable. Returns `false` when the test is over.
fn wait(line: &File, stopped: &UnixStream) -> bool {
    let mut ends = [PollFd::new(line.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    poll(&mut ends, PollTimeout::NONE).unwrap();
    !ends[1].any().unwrap_or_default()
}

/// Returns the size field of a message, or `None` until its header is complete.
fn message_size(message: &[u8]) -> Option<usize> {
    let size = message.get(2..6).filter(|_| message.len() >= 10)?;
    usize::try_from(u32::from_be_bytes(size.try_into().ok()?)).ok()
}
