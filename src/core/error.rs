// SPDX-License-Identifier: BSD-2-Clause
//! Errors: [`Error`] is a return code for C and a sentence for a person. It is made where the detail is known, with
//! [`fail!`](crate::fail), and passed on with `?`. The C boundary logs it when C receives the code; whoever recovers
//! from it drops it, or quotes it in an error of its own.
#![forbid(unsafe_code)]

use crate::log::Line;
use crate::return_code::ReturnCode;
use core::fmt;
use log::{Level, Record};

/// `Ok` is the only success.
pub type Result<T> = core::result::Result<T, Error>;

/// Makes an error: `fail!(ReturnCode::IO_ERROR, "cannot open {path}: {error}")`.
#[macro_export]
macro_rules! fail {
    ($code:expr, $($message:tt)+) => {
        $crate::Error::new(
            $code,
            module_path!(),
            concat!(file!(), ":", line!()),
            format_args!($($message)+),
        )
    };
}

/// An error: a return code, and a message unless the code says it all. Two errors with the same code are equal, since C
/// cannot tell them apart.
pub struct Error {
    code: ReturnCode,
    /// Boxed, so that a result stays small: most are successes or `TRY_AGAIN`.
    detail: Option<Box<Detail>>,
}

struct Detail {
    message: String,
    module: &'static str,
    /// The source line that made the error, `file:line`.
    origin: &'static str,
}

impl Error {
    /// An error with a message; [`fail!`](crate::fail) calls this. `origin` is the source line, `file:line`. Without memory
    /// for the message the code goes alone.
    #[cold]
    pub fn new(code: ReturnCode, module: &'static str, origin: &'static str, message: fmt::Arguments<'_>) -> Error {
        Error { code, detail: Line::of(message).ok().map(|message| Box::new(Detail { message, module, origin })) }
    }

    /// The return code.
    pub const fn code(&self) -> ReturnCode {
        self.code
    }

    /// The message; empty without one.
    pub fn message(&self) -> &str {
        self.detail.as_ref().map_or("", |detail| &detail.message)
    }

    /// Writes the message to the log, at level error. An error without one leaves no line: it is an ordinary answer such
    /// as `TRY_AGAIN`, or another library has logged it.
    pub fn log(&self) {
        let Some(Detail { message, module, origin }) = self.detail.as_deref() else { return };
        log::logger().log(
            &Record::builder()
                .level(Level::Error)
                .target(module)
                .file_static(Some(origin))
                .args(format_args!("{message}"))
                .build(),
        );
    }
}

impl From<ReturnCode> for Error {
    fn from(code: ReturnCode) -> Error {
        Error { code, detail: None }
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        self.code == other.code
    }
}

impl Eq for Error {}

/// The message, or the name of the code.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message() {
            "" => fmt::Debug::fmt(&self.code, f),
            message => f.write_str(message),
        }
    }
}

/// The name of the code, and the message.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message() {
            "" => fmt::Debug::fmt(&self.code, f),
            message => write!(f, "{:?}: {message}", self.code),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_its_code_and_its_message() {
        let error = fail!(ReturnCode::IO_ERROR, "cannot open {}", "/dev/tpm0");
        assert_eq!(error.code(), ReturnCode::IO_ERROR);
        assert_eq!(error.to_string(), "cannot open /dev/tpm0");
        assert_eq!(format!("{error:?}"), "IO_ERROR: cannot open /dev/tpm0");
        assert_eq!(error, ReturnCode::IO_ERROR.into());
    }

    #[test]
    fn a_code_alone_names_itself() {
        assert_eq!(Error::from(ReturnCode::TRY_AGAIN).to_string(), "TRY_AGAIN");
    }
}
