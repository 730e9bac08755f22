// SPDX-License-Identifier: BSD-2-Clause
//! What the program of `c-tests/fault.c` replies to a step.

use std::fmt::{self, Display};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::str::FromStr;

/// A response code without its prefix (`SUCCESS`, `IO_ERROR`), a number, or how the program or one of its children ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reply(String);

/// A response code that a promise or a test names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Success,
    BadSequence,
    BadValue,
    InsufficientBuffer,
    IoError,
    MalformedResponse,
    Memory,
    NoConnection,
    NotImplemented,
    NotSupported,
    TryAgain,
}

impl Code {
    /// Returns the name without `TSS2_TCTI_RC_`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Code::Success => "SUCCESS",
            Code::BadSequence => "BAD_SEQUENCE",
            Code::BadValue => "BAD_VALUE",
            Code::InsufficientBuffer => "INSUFFICIENT_BUFFER",
            Code::IoError => "IO_ERROR",
            Code::MalformedResponse => "MALFORMED_RESPONSE",
            Code::Memory => "MEMORY",
            Code::NoConnection => "NO_CONNECTION",
            Code::NotImplemented => "NOT_IMPLEMENTED",
            Code::NotSupported => "NOT_SUPPORTED",
            Code::TryAgain => "TRY_AGAIN",
        }
    }
}

impl Reply {
    /// The program has exited with status 0.
    pub(super) const EXITED: &str = "EXIT 0";
    /// A child that had the steps has exited with status 0.
    pub(super) const CHILD_EXITED: &str = "exit 0";
    /// A child that had the steps was killed.
    pub(super) const CHILD_KILLED: &str = "signal 9";

    pub(super) fn new(text: impl Into<String>) -> Reply {
        Reply(text.into())
    }

    pub(super) fn success() -> Reply {
        Reply::new(Code::Success.name())
    }

    /// Tells how the program ended.
    pub(super) fn of_end(status: ExitStatus) -> Reply {
        Reply(match (status.code(), status.signal()) {
            (Some(code), _) => format!("EXIT {code}"),
            (None, Some(signal)) => format!("SIGNAL {signal}"),
            (None, None) => format!("EXIT {status}"),
        })
    }

    pub(super) fn is_success(&self) -> bool {
        *self == Code::Success
    }

    /// Whether the program has ended.
    pub(super) fn is_the_end(&self) -> bool {
        self.0.starts_with("SIGNAL ") || self.0.starts_with("EXIT ")
    }

    pub(super) fn number(&self) -> Option<u64> {
        u64::from_str(&self.0).ok()
    }

    /// The process id of a child that was forked.
    pub(super) fn child(&self) -> Option<u32> {
        self.0.strip_prefix("child ")?.parse().ok()
    }

    /// The reply of a parent whose child has the steps.
    pub(super) fn of_parent(&self) -> Option<Reply> {
        self.0.strip_prefix("parent ").map(Reply::new)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<Code> for Reply {
    fn eq(&self, code: &Code) -> bool {
        self.0 == code.name()
    }
}

impl PartialEq<&str> for Reply {
    fn eq(&self, text: &&str) -> bool {
        self.0 == *text
    }
}
