// SPDX-License-Identifier: BSD-2-Clause
//! stdin and stdout, line by line. stdin stays in blocking mode: it is read only when poll reports it as readable.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

pub(crate) struct Console {
    /// `None` after the end of input.
    stdin: Option<File>,
    input: Vec<u8>,
}

impl Console {
    pub(crate) fn new() -> io::Result<Console> {
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Console { stdin: Some(stdin), input: Vec::new() })
    }

    /// Returns the descriptor to poll for reading, or `None` after the end of input.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().map(AsFd::as_fd)
    }

    /// Reads the available input after poll. An error counts as the end of input.
    pub(crate) fn read(&mut self) {
        let mut bytes = [0; 1024];
        match self.stdin.as_mut().map_or(Ok(0), |stdin| stdin.read(&mut bytes)) {
            Ok(0) | Err(_) => self.stdin = None,
            Ok(len) => self.input.extend(bytes.iter().take(len)),
        }
    }

    /// Returns the next complete line.
    pub(crate) fn line(&mut self) -> Option<String> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// Prints a line. Errors are ignored, because reading it is optional.
    pub(crate) fn answer(text: &str) {
        let mut stdout = io::stdout().lock();
        let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }
}
