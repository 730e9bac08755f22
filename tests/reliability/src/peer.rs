// SPDX-License-Identifier: BSD-2-Clause
//! A server that responds to TPM2_GetRandom as `c-tests/fault.c` expects it, except where a fault is armed.

use super::module::Module;
use super::server::Server;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use tempfile::TempDir;
use tss2_faults::{Framing, Listener, Peer, Terminal};

/// `TPM_SESSION_END` of the simulators' control channel (TcpTpmProtocol.h).
const SESSION_END: [u8; 4] = [0, 0, 0, 20];

/// Returns the framing of a module's data channel.
pub(super) fn framing(module: Module) -> Framing {
    if module == Module::Mssim { Framing::Enveloped } else { Framing::Raw }
}

/// Returns the response to a TPM2_GetRandom of `count` bytes, with `size` bytes in all.
pub(super) fn response(count: u8, size: usize) -> Vec<u8> {
    let size_field = u32::try_from(size).unwrap().to_be_bytes();
    let header = [&[0x80, 0x01], &size_field[..], &[0, 0, 0, 0, 0, count]].concat();
    let random = (header.len()..size).map(|offset| random(count, offset));
    header.iter().copied().chain(random).collect()
}

/// Returns the byte that `c-tests/fault.c` expects at this offset. It differs from those at the same place of other
/// responses, pages and buffers.
fn random(count: u8, offset: usize) -> u8 {
    let place = u32::from(count) << 20 | u32::try_from(offset).unwrap();
    place.wrapping_mul(2_654_435_761).to_be_bytes()[0]
}

/// The server of one module.
pub(super) struct FaultyServer {
    module: Module,
    terminal: Option<Terminal>,
    /// The data channel.
    pub(super) data: Peer,
    /// The control channel; unused where the module has none.
    pub(super) control: Peer,
    /// Of the data and the control channel, on TCP.
    ports: [Option<u16>; 2],
    dir: TempDir,
}

impl FaultyServer {
    pub(super) fn start(module: Module) -> FaultyServer {
        let dir = tempfile::tempdir().unwrap();
        let listen = |name| match module {
            Module::Swtpm => Listener::tcp(),
            _ => Listener::unix(&dir.path().join(name)),
        };
        let control = listen("sock.ctrl");
        let (terminal, data, port) = match module {
            Module::Terminal => {
                let (terminal, data) = open_terminal(&dir);
                (Some(terminal), data, None)
            }
            _ => {
                let data = listen("sock");
                let port = data.port();
                (None, Peer::listen(data, framing(module), Box::new(get_random)), port)
            }
        };
        let ports = [port, control.port()];
        let control = Peer::listen(control, Framing::Word, Box::new(control_command));
        FaultyServer { module, terminal, data, control, ports, dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("sock")
    }
}

/// The last byte of the command says how many random bytes it asks for.
fn get_random(command: &[u8]) -> Option<Vec<u8>> {
    command.last().map(|&count| response(count, 12 + usize::from(count)))
}

/// Every control command succeeds, except the end of a session, which has no reply: a simulator gets it from a context that
/// is finalized, perhaps after the next fault was armed.
fn control_command(command: &[u8]) -> Option<Vec<u8>> {
    (command != SESSION_END).then(|| vec![0; 4])
}

/// Opens a terminal, with a link to it that has always the same name.
fn open_terminal(dir: &TempDir) -> (Terminal, Peer) {
    let (terminal, stream) = Terminal::open();
    let link = dir.path().join("sock");
    let _ = fs::remove_file(&link); // the first one has no predecessor
    symlink(terminal.path(), link).unwrap();
    (terminal, Peer::serve(stream, Framing::Raw, Box::new(get_random)))
}

impl Server for FaultyServer {
    fn conf(&self) -> String {
        let path = self.path().display().to_string();
        match (self.module, self.ports) {
            (Module::Cmd, _) => format!("exec {} relay {path}", std::env::current_exe().unwrap().display()),
            (Module::Terminal, _) => path,
            (_, [Some(data), Some(control)]) => format!("host=127.0.0.1,port={data},ctrl_port={control}"),
            (Module::SwtpmKept, _) => format!("path={path},keep=true"),
            (Module::Pcap | Module::Loader, _) => format!("swtpm:path={path}"),
            _ => format!("path={path}"),
        }
    }

    /// Replaces a terminal that was closed.
    fn restore(&mut self) {
        if self.terminal.is_some() && !self.data.is_connected() {
            let (terminal, data) = open_terminal(&self.dir);
            (self.terminal, self.data) = (Some(terminal), data);
        }
    }
}
