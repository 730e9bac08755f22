// SPDX-License-Identifier: BSD-2-Clause
//! Where the capture goes: the file that `TCTI_PCAP_FILE` names, opened so that it neither leads elsewhere nor blocks.
#![forbid(unsafe_code)]

use rustix::process::geteuid;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tcti_core::io::{above_stdio, runs_with_foreign_rights};
use tcti_core::{Error, Result, ReturnCode, fail};

/// The environment variable that names the file.
const VARIABLE: &str = "TCTI_PCAP_FILE";
/// The file when it names none.
const DEFAULT: &str = "tpm2_log.pcap";

/// Where blocks go.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// The standard output, by `-` or `stdout`.
    Stdout,
    /// The standard error, by `stderr`.
    Stderr,
    /// A file that somebody chose.
    Chosen(PathBuf),
    /// A file that nobody chose.
    Default(&'static Path),
}

impl Target {
    /// From the environment, which does not count in a process with more rights than its user.
    pub fn from_environment() -> Target {
        Target::new(std::env::var_os(VARIABLE).filter(|_| !runs_with_foreign_rights()).as_deref())
    }

    /// From the value of the variable.
    pub fn new(name: Option<&OsStr>) -> Target {
        match name.map(OsStr::as_bytes) {
            None | Some(b"") => Target::Default(Path::new(DEFAULT)),
            Some(b"-" | b"stdout") => Target::Stdout,
            Some(b"stderr") => Target::Stderr,
            Some(path) => Target::Chosen(OsStr::from_bytes(path).into()),
        }
    }

    /// `NOT_PERMITTED` or `IO_ERROR` when it cannot be opened.
    pub fn open(&self) -> Result<OwnedFd> {
        self.try_open().map_err(|error| self.refused(&error))
    }

    /// The error of a target that cannot be opened or written.
    pub fn refused(&self, error: &io::Error) -> Error {
        let rc = match error.kind() {
            io::ErrorKind::PermissionDenied => ReturnCode::NOT_PERMITTED,
            _ => ReturnCode::IO_ERROR,
        };
        let hint = match error.raw_os_error() {
            Some(libc::ENXIO) => " (nobody reads this pipe)",
            Some(libc::ELOOP) => " (only a file that is named may be a symbolic link)",
            _ => "",
        };
        fail!(rc, "cannot write the capture file {self}: {error}{hint}. {VARIABLE} names another one")
    }

    fn try_open(&self) -> io::Result<OwnedFd> {
        match self {
            // A descriptor of our own outlives a stream that the program closes.
            Target::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Target::Stderr => io::stderr().as_fd().try_clone_to_owned(),
            Target::Chosen(path) => above_stdio(append(path, 0)?.into()),
            Target::Default(path) => {
                // Somebody else may have put it into this directory, to have us write elsewhere or to read along.
                let file = append(path, libc::O_NOFOLLOW)?;
                if runs_with_foreign_rights() && file.metadata()?.uid() != geteuid().as_raw() {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                above_stdio(file.into())
            }
        }
    }
}

/// Opens a file to append to. Neither this nor a later write waits for the reader of a pipe.
fn append(path: &Path, flags: i32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600); // commands hold secrets
    options.custom_flags(flags | libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Stdout => f.write_str("stdout"),
            Target::Stderr => f.write_str("stderr"),
            Target::Chosen(path) => path.display().fmt(f),
            Target::Default(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_streams_have_names() {
        let target = |name: &str| Target::new(Some(OsStr::new(name)));
        assert_eq!(target("-"), Target::Stdout);
        assert_eq!(target("stdout"), Target::Stdout);
        assert_eq!(target("stderr"), Target::Stderr);
        assert_eq!(target("./stdout"), Target::Chosen("./stdout".into()));
        assert_eq!(target(""), Target::Default(Path::new("tpm2_log.pcap")));
        assert_eq!(Target::new(None), Target::Default(Path::new("tpm2_log.pcap")));
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture");
        Target::Chosen(path.clone()).open().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_link_is_followed_only_when_it_is_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("capture"), dir.path().join("link"));
        symlink(&path, &link).unwrap();
        let link: &'static Path = Box::leak(link.into_boxed_path());
        assert_eq!(Target::Default(link).open().err(), Some(ReturnCode::IO_ERROR.into()));
        assert!(!path.exists());
        Target::Chosen(link.into()).open().unwrap();
        assert!(path.exists());
        Target::Default(Box::leak(path.into_boxed_path())).open().unwrap();
    }

    #[test]
    fn what_cannot_be_opened_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &Path| Target::Chosen(path.into()).open().err();
        assert_eq!(open(dir.path()), Some(ReturnCode::IO_ERROR.into()));
        assert_eq!(open(&dir.path().join("missing/capture")), Some(ReturnCode::IO_ERROR.into()));
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(open(&pipe), Some(ReturnCode::IO_ERROR.into()), "nobody reads, and nothing waits");
    }
}
