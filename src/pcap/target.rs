// SPDX-License-Identifier: BSD-2-Clause
//! The destination of the capture, [`Target`]: the file that `TCTI_PCAP_FILE` names.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tcti_core::io::{Outlet, runs_with_foreign_rights};
use tcti_core::own_file::{self, Accepts};
use tcti_core::{Error, Result, ReturnCode, fail};

/// The environment variable that names the file.
const VARIABLE: &str = "TCTI_PCAP_FILE";
/// The mode of a new file: commands hold secrets.
const MODE: u32 = 0o600;
/// The file if the variable is not set or empty.
const DEFAULT: &str = "tpm2_log.pcap";

/// The destination of the blocks.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// The standard output: `-` or `stdout`.
    Stdout,
    /// The standard error: `stderr`.
    Stderr,
    /// A file that the variable names.
    Chosen(PathBuf),
    /// The default file.
    Default(PathBuf),
}

impl Target {
    /// Reads the environment variable, which is ignored in a process with more rights than its user.
    pub fn from_environment() -> Target {
        Target::new(std::env::var_os(VARIABLE).filter(|_| !runs_with_foreign_rights()).as_deref())
    }

    /// Parses the value of the variable.
    pub fn new(name: Option<&OsStr>) -> Target {
        match name.map(OsStr::as_bytes) {
            None | Some(b"") => Target::Default(DEFAULT.into()),
            Some(b"-" | b"stdout" | b"/dev/stdout") => Target::Stdout,
            Some(b"stderr" | b"/dev/stderr") => Target::Stderr,
            Some(path) => Target::Chosen(OsStr::from_bytes(path).into()),
        }
    }

    /// Opens the destination. `NOT_PERMITTED` or `IO_ERROR` if that fails.
    pub fn open(&self) -> Result<Outlet> {
        self.try_open().map_err(|error| self.refused(&error))
    }

    /// Opens the destination again after the program has closed `closed`. A standard stream must still be the same: after
    /// closing it, the program may have opened any file under its number.
    pub fn open_again(&self, closed: &Outlet) -> io::Result<Outlet> {
        let is_same = match self {
            Target::Stdout => closed.is_open_as(io::stdout().as_fd()),
            Target::Stderr => closed.is_open_as(io::stderr().as_fd()),
            Target::Chosen(_) | Target::Default(_) => true,
        };
        if is_same { self.try_open() } else { Err(io::Error::other("the program has closed it")) }
    }

    /// Returns a destination that stays the same when the program changes its directory.
    pub fn absolute(self) -> Target {
        let absolute = |path| std::path::absolute(&path).unwrap_or(path);
        match self {
            Target::Chosen(path) => Target::Chosen(absolute(path)),
            Target::Default(path) => Target::Default(absolute(path)),
            stream => stream,
        }
    }

    /// Makes the error for a destination that cannot be opened or written.
    pub fn refused(&self, error: &io::Error) -> Error {
        let code = match error.kind() {
            io::ErrorKind::PermissionDenied => ReturnCode::NOT_PERMITTED,
            _ => ReturnCode::IO_ERROR,
        };
        let hint = match error.raw_os_error() {
            Some(libc::ENXIO) => " (the pipe has no reader)",
            _ => "",
        };
        fail!(code, "cannot write the capture file {self}: {error}{hint}. {VARIABLE} names another one")
    }

    fn try_open(&self) -> io::Result<Outlet> {
        let opened = match self {
            // A duplicate stays open when the program closes the stream.
            Target::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Target::Stderr => io::stderr().as_fd().try_clone_to_owned(),
            Target::Chosen(path) => append(path, Accepts::Stream),
            Target::Default(path) => append(path, Accepts::File),
        };
        Outlet::new(opened?)
    }
}

fn append(path: &Path, accepts: Accepts) -> io::Result<OwnedFd> {
    own_file::append(&CString::new(path.as_os_str().as_bytes())?, MODE, accepts)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Stdout => f.write_str("stdout"),
            Target::Stderr => f.write_str("stderr"),
            Target::Chosen(path) | Target::Default(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn standard_streams_are_recognised_by_name() {
        let target = |name: &str| Target::new(Some(OsStr::new(name)));
        assert_eq!(target("-"), Target::Stdout);
        assert_eq!(target("stdout"), Target::Stdout);
        assert_eq!(target("stderr"), Target::Stderr);
        assert_eq!(target("./stdout"), Target::Chosen("./stdout".into()));
        assert_eq!(target(""), Target::Default("tpm2_log.pcap".into()));
        assert_eq!(Target::new(None), Target::Default("tpm2_log.pcap".into()));
    }

    #[test]
    fn a_new_file_has_mode_0600() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture");
        Target::Chosen(path.clone()).open().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_link_is_followed_only_if_the_variable_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("capture"), dir.path().join("link"));
        symlink(&path, &link).unwrap();
        assert_eq!(Target::Default(link.clone()).open().err(), Some(ReturnCode::IO_ERROR.into()));
        assert!(!path.exists());
        Target::Chosen(link).open().unwrap();
        assert!(path.exists());
        Target::Default(path).open().unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &Path| Target::Chosen(path.into()).open().err();
        assert_eq!(open(dir.path()), Some(ReturnCode::IO_ERROR.into()));
        assert_eq!(open(&dir.path().join("missing/capture")), Some(ReturnCode::IO_ERROR.into()));
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(open(&pipe), Some(ReturnCode::IO_ERROR.into()), "a pipe without a reader does not block");
    }
}
