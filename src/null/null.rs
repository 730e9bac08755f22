// SPDX-License-Identifier: BSD-2-Clause
//! The transport [`Null`] has no TPM behind it. It is for programs that need a context but send nothing, such as the policy
//! calculation of FAPI.
#![forbid(unsafe_code)]

use tcti_core::{Conf, Inheritance, Module, Open, Progress, Result, ReturnCode, RxBuf, Transport, Wait, fail};

/// A transport without a TPM.
pub struct Null;

impl Module for Null {
    const MAGIC: u64 = 0x9af4_5c5d_7d9d_0d3f;
    const SIZE_OPTIONAL: bool = true;
}

impl Open for Null {
    fn open(_conf: Conf<'_>) -> Result<Null> {
        Ok(Null)
    }
}

impl Transport for Null {
    /// Logs why every call fails. The C module logs nothing, and a person who named it by mistake sees only what callers
    /// make of the code.
    fn available(&mut self) -> Result<()> {
        Err(fail!(ReturnCode::NOT_IMPLEMENTED, "the TCTI null has no TPM behind it; name another one for this program"))
    }

    fn send(&mut self, _command: &[u8]) -> Result<()> {
        Err(ReturnCode::NOT_IMPLEMENTED.into())
    }

    fn recv(&mut self, _rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        Err(ReturnCode::NOT_IMPLEMENTED.into())
    }

    fn abandon(&mut self) {}

    fn after_fork(&mut self, _inheritance: Inheritance) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use tcti_core::Session;

    #[test]
    fn no_call_is_implemented() {
        let mut session = Session::new(Null::open(Conf::new(Some(c"whatever"))).unwrap());
        assert_eq!(session.enter().err(), Some(ReturnCode::NOT_IMPLEMENTED.into()));
    }
}
