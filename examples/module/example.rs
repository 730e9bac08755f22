// SPDX-License-Identifier: BSD-2-Clause
//! A TPM behind a Unix socket that carries raw commands and responses: [`Example`].
#![forbid(unsafe_code)]

use nix::poll::PollFlags;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tcti_core::io::{above_stdio, wait_for, write_all};
use tcti_core::kept::Kept;
use tcti_core::{
    Conf, Deadline, GetPollHandles, Inheritance, Module, Open, Progress, Result, ReturnCode, RxBuf, Transport, Wait,
    fail,
};

/// How long the server may take to read a command.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// A TPM behind a Unix socket.
pub struct Example {
    path: PathBuf,
    /// `None` after an error; the next command connects again.
    socket: Option<Kept<UnixStream>>,
}

fn connect(path: &Path) -> Result<Kept<UnixStream>> {
    let socket = UnixStream::connect(path).and_then(|socket| above_stdio(OwnedFd::from(socket)));
    socket.and_then(|socket| Kept::owner(UnixStream::from(socket))).map_err(|error| {
        fail!(ReturnCode::IO_ERROR, "cannot connect to {}: {error}. Is the server running?", path.display())
    })
}

impl Module for Example {
    // A random number, which identifies the contexts of this module.
    const MAGIC: u64 = 0x1d3f_86a2_5be0_97c4;
}

impl Open for Example {
    fn open(conf: Conf<'_>) -> Result<Example> {
        let path = conf
            .path()
            .ok_or_else(|| fail!(ReturnCode::BAD_VALUE, "give the path of the socket, as in example:/run/tpm"))?;
        Ok(Example { path: path.to_owned(), socket: Some(connect(path)?) })
    }
}

impl Transport for Example {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        // Readable before a command was sent: the server has closed the connection, or breaks the protocol.
        let socket = match self.socket.take() {
            Some(socket) if !wait_for(socket.as_fd(), PollFlags::POLLIN, &Deadline::Now)? => socket,
            _ => connect(&self.path)?,
        };
        let socket = self.socket.insert(socket);
        write_all(socket.as_fd(), command, &Deadline::within(SEND_TIMEOUT))
            .map_err(|error| fail!(ReturnCode::IO_ERROR, "cannot send to {}: {error}", self.path.display()))
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        let Some(mut socket) = self.socket.as_deref() else { return Err(ReturnCode::IO_ERROR.into()) };
        let deadline = Deadline::after(wait);
        while rx.missing()? > 0 {
            if !wait_for(socket.as_fd(), PollFlags::POLLIN, &deadline)? {
                return Ok(Progress::Pending);
            }
            let path = self.path.display();
            match rx.read_with(|room| socket.read(room))? {
                Ok(0) => return Err(fail!(ReturnCode::IO_ERROR, "{path} was closed before the response was complete")),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(fail!(ReturnCode::IO_ERROR, "cannot receive from {path}: {error}")),
            }
        }
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {
        self.socket = None;
    }

    fn after_fork(&mut self, _inheritance: Inheritance) {
        self.socket = None;
    }

    fn drop_closed(&mut self) -> bool {
        self.socket.take_if(|socket| !socket.is_open()).is_some()
    }

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|example, watch| {
        example.socket.iter().map(|socket| socket.as_raw_fd()).for_each(watch);
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::net::UnixListener;
    use tcti_core::Tcti;
    use tcti_core::session::{Received, Session};
    use tcti_core::testing::{GET_RANDOM, OK, Step, play};

    #[test]
    fn a_command_gets_its_response() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let conf = CString::new(path.to_str().unwrap()).unwrap();
        let mut session = Session::new(Example::open(Conf::new(Some(&conf))).unwrap());
        let server = play(listener.accept().unwrap().0, vec![Step::command(GET_RANDOM), Step::write(OK)]);
        assert_eq!(session.transmit(GET_RANDOM), Ok(()));
        assert_eq!(session.receive(Some(64), Wait::Forever), Ok(Received::Response(OK)));
        assert_eq!(server.join().unwrap(), GET_RANDOM);
    }

    #[test]
    fn a_socket_must_be_named_and_exist() {
        assert_eq!(Example::open(Conf::new(None)).err(), Some(ReturnCode::BAD_VALUE.into()));
        assert_eq!(Example::open(Conf::new(Some(c"/nonexistent"))).err(), Some(ReturnCode::IO_ERROR.into()));
    }
}
