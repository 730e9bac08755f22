// SPDX-License-Identifier: BSD-2-Clause
//! Return codes of the TCTI layer. `Rc` is the whole error type, since C can receive nothing richer;
//! the detail goes to the log where it is known (see [`crate::fail`]).

use crate::abi::TSS2_RC;
use core::fmt;
use core::num::NonZeroU32;

/// A return code other than success (TCG "TSS 2.0 Overview and Common Structures", section 3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rc(NonZeroU32);

/// `Ok` is the only success.
pub type Result<T> = core::result::Result<T, Rc>;

/// The layer of a TCTI in a return code.
const TCTI_LAYER: u32 = 10 << 16;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl Rc {
            $($(#[$doc])* pub const $name: Rc = Rc::tcti($code);)*
        }

        impl fmt::Debug for Rc {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Rc::$name => f.write_str(stringify!($name)),)*
                    Rc(other) => write!(f, "{other:#010x}"),
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

impl Rc {
    const fn tcti(code: u32) -> Rc {
        match NonZeroU32::new(TCTI_LAYER | code) {
            Some(value) => Rc(value),
            None => unreachable!(),
        }
    }

    /// The code that another library answered; success is not one.
    pub fn from_c(rc: TSS2_RC) -> Result<()> {
        match NonZeroU32::new(rc) {
            Some(code) => Err(Rc(code)),
            None => Ok(()),
        }
    }

    /// What C receives.
    pub fn to_c(result: Result<()>) -> TSS2_RC {
        match result {
            Ok(()) => crate::abi::TSS2_RC_SUCCESS,
            Err(Rc(code)) => code.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_carry_the_tcti_layer() {
        assert_eq!(Rc::to_c(Err(Rc::TRY_AGAIN)), 0x000a_0009);
        assert_eq!(Rc::to_c(Err(Rc::MALFORMED_RESPONSE)), 0x000a_0011);
        assert_eq!(Rc::to_c(Ok(())), 0);
    }

    #[test]
    fn codes_of_others_pass_through() {
        assert_eq!(Rc::from_c(0), Ok(()));
        assert_eq!(Rc::to_c(Rc::from_c(0x0007_000b)), 0x0007_000b);
    }
}
