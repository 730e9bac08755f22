// SPDX-License-Identifier: BSD-2-Clause
//! Return codes of the TCTI layer: [`ReturnCode`].

use crate::abi::TSS2_RC;
use crate::error::Result;
use core::fmt;
use core::num::NonZeroU32;

/// A return code other than success (TCG "TSS 2.0 Overview and Common Structures", section 3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReturnCode(NonZeroU32);

/// The layer of a TCTI in a return code.
const TCTI_LAYER: u32 = 10 << 16;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl ReturnCode {
            $($(#[$doc])* pub const $name: ReturnCode = ReturnCode::tcti($code);)*
        }

        impl fmt::Debug for ReturnCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(ReturnCode::$name => f.write_str(stringify!($name)),)*
                    ReturnCode(other) => write!(f, "{other:#010x}"),
                }
            }
        }
    };
}

codes! {
    /// Anything without a code of its own.
    GENERAL_FAILURE = 0x1;
    /// This module has no such function.
    NOT_IMPLEMENTED = 0x2;
    /// Not a context of this module.
    BAD_CONTEXT = 0x3;
    /// The context is of a version we do not know.
    ABI_MISMATCH = 0x4;
    /// A NULL where none may be.
    BAD_REFERENCE = 0x5;
    /// The response does not fit; it is kept.
    INSUFFICIENT_BUFFER = 0x6;
    /// Not in this state of the context.
    BAD_SEQUENCE = 0x7;
    /// The TPM went away.
    NO_CONNECTION = 0x8;
    /// No response yet; ask again.
    TRY_AGAIN = 0x9;
    /// The system refused or the peer broke off.
    IO_ERROR = 0xa;
    /// A parameter or a configuration string is wrong.
    BAD_VALUE = 0xb;
    /// The system denies access.
    NOT_PERMITTED = 0xc;
    /// The response is not one.
    MALFORMED_RESPONSE = 0x11;
    /// There is no such module.
    NOT_SUPPORTED = 0x15;
    /// Out of memory.
    MEMORY = 0x17;
}

impl ReturnCode {
    const fn tcti(code: u32) -> ReturnCode {
        match NonZeroU32::new(TCTI_LAYER | code) {
            Some(value) => ReturnCode(value),
            None => unreachable!(),
        }
    }

    /// The result that another library returned. An error has no message: the other library has logged one, or nobody.
    pub fn from_c(rc: TSS2_RC) -> Result<()> {
        match NonZeroU32::new(rc) {
            Some(code) => Err(ReturnCode(code).into()),
            None => Ok(()),
        }
    }

    /// The number that C receives; never 0.
    pub const fn to_c(self) -> TSS2_RC {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_carry_the_tcti_layer() {
        assert_eq!(ReturnCode::TRY_AGAIN.to_c(), 0x000a_0009);
        assert_eq!(ReturnCode::MALFORMED_RESPONSE.to_c(), 0x000a_0011);
    }

    #[test]
    fn codes_of_others_pass_through() {
        assert_eq!(ReturnCode::from_c(0), Ok(()));
        assert_eq!(ReturnCode::from_c(0x0007_000b).map_err(|error| error.code().to_c()), Err(0x0007_000b));
    }
}
