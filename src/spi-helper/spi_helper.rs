// SPDX-License-Identifier: BSD-2-Clause
//! The TPM interface over a program's functions.

pub mod abi;
mod sys;

use abi::TSS2_TCTI_SPI_HELPER_PLATFORM;
use sys::Platform;
use tcti_core::{Before, Company, Inheritance, Module, Progress, Result, ReturnCode, RxBuf, Transport, Wait, fail};
use tcti_tis::{MAGIC, Tis};

/// A TPM that a program's functions reach.
pub struct Helper(Tis<Platform>);

impl Helper {
    /// Opens it. From now on the platform is ours, so that its `finalize` is called at the end.
    pub fn open(platform: Option<&TSS2_TCTI_SPI_HELPER_PLATFORM>) -> Result<Helper> {
        let platform = platform
            .ok_or_else(|| fail!(ReturnCode::BAD_VALUE, "the pointer to the functions of the platform is NULL"))?;
        let mut tis = Tis::over(Platform::new(*platform)?)?;
        tis.bus_mut().keep();
        Ok(Helper(tis))
    }
}

impl Module for Helper {
    const MAGIC: u64 = MAGIC;
    const TOO_SMALL: ReturnCode = ReturnCode::INSUFFICIENT_BUFFER; // as the C module
}

impl Transport for Helper {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        self.0.send(command)
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        self.0.recv(rx, wait)
    }

    fn abandon(&mut self) {
        self.0.abandon();
    }

    fn inherited(&mut self, inheritance: Inheritance) {
        self.0.inherited(inheritance);
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    fn resume(&mut self, before: Before) -> Result<()> {
        self.0.resume(before)
    }

    fn close(&mut self, company: Company) {
        self.0.close(company);
    }
}
