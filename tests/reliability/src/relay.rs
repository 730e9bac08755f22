// SPDX-License-Identifier: BSD-2-Clause
//! A command for the TCTI cmd: copies its standard input to a socket, and the socket's output to its standard output.

use std::io::{Read, Write, stdin, stdout};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

/// Copies until either side ends.
pub fn relay(socket: &Path) -> ExitCode {
    let socket = UnixStream::connect(socket).unwrap();
    let out = socket.try_clone().unwrap();
    thread::spawn(move || {
        copy(stdin().lock(), out);
        std::process::exit(0);
    });
    copy(socket, stdout().lock());
    ExitCode::SUCCESS
}

fn copy(mut from: impl Read, mut to: impl Write) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..count]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}
