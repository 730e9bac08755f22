// SPDX-License-Identifier: BSD-2-Clause
//! The error type of all modules: [`Error`] is a return code for C with a message for the user. It is made with
//! [`fail!`](crate::fail) where the detail is known, and passed on with `?`. The C boundary logs it when C receives the code;
//! code that recovers from an error drops it, or quotes it in another error.
#![forbid(unsafe_code)]

use crate::log::Line;
use crate::return_code::ReturnCode;
use core::fmt;
use log::{Level, Record};

/// A result whose error is [`Error`].
pub type Result<T> = core::result::Result<T, Error>;

/// Makes an error from a code and a format string.
///
/// ```
/// use tcti_core::{ReturnCode, fail};
///
/// let error = fail!(ReturnCode::IO_ERROR, "cannot open {}", "/dev/tpm0");
/// assert_eq!(error.to_string(), "cannot open /dev/tpm0");
/// ```
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

/// A return code, and a message unless the code is sufficient. Errors with the same code are equal, because C cannot
/// distinguish them.
pub struct Error {
    code: ReturnCode,
    /// Boxed to keep results small: most are successes or `TRY_AGAIN`.
    detail: Option<Box<Detail>>,
}

struct Detail {
    message: String,
    module: &'static str,
    /// The source line that made the error, `file:line`.
    origin: &'static str,
}

impl Error {
    /// Makes an error with a message; [`fail!`](crate::fail) calls this. `origin` is the source line, as `file:line`. If there
    /// is no memory for the message, the error has none.
    #[cold]
    pub fn new(code: ReturnCode, module: &'static str, origin: &'static str, message: fmt::Arguments<'_>) -> Error {
        Error { code, detail: Line::of(message).ok().map(|message| Box::new(Detail { message, module, origin })) }
    }

    /// Returns the return code.
    pub const fn code(&self) -> ReturnCode {
        self.code
    }

    /// Returns the message; empty if there is none.
    pub fn message(&self) -> &str {
        self.detail.as_ref().map_or("", |detail| &detail.message)
    }

    /// Writes the message to the log, at level error. Without a message it writes nothing: the code is an ordinary result such
    /// as `TRY_AGAIN`, or another library has logged the error.
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

    /// Writes the message to the log, at level warning: for errors that no caller receives, as in Finalize.
    pub fn warn(&self) {
        if !self.message().is_empty() {
            log::warn!("{}", self.message());
        }
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

/// Shows the message, or the name of the code if there is none.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message() {
            "" => fmt::Debug::fmt(&self.code, f),
            message => f.write_str(message),
        }
    }
}

/// Shows the name of the code and the message.
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
    fn an_error_has_a_code_and_a_message() {
        let error = fail!(ReturnCode::IO_ERROR, "cannot open {}", "/dev/tpm0");
        assert_eq!(error.code(), ReturnCode::IO_ERROR);
        assert_eq!(error.to_string(), "cannot open /dev/tpm0");
        assert_eq!(format!("{error:?}"), "IO_ERROR: cannot open /dev/tpm0");
        assert_eq!(error, ReturnCode::IO_ERROR.into());
    }

    #[test]
    fn an_error_without_a_message_shows_its_code() {
        assert_eq!(Error::from(ReturnCode::TRY_AGAIN).to_string(), "TRY_AGAIN");
    }
}
