// SPDX-License-Identifier: BSD-2-Clause
//! The TPM behind the registers.
#![forbid(unsafe_code)]

use core::ffi::CStr;
use tcti_core::Tcti;
use tcti_core::{Result, ReturnCode, Wait};
use tcti_loader::{Child, NameConf};

/// Whatever answers TPM commands.
pub trait Tpm: Send {
    /// The response to a command that came through this locality.
    fn execute(&mut self, locality: u8, command: &[u8]) -> Vec<u8>;

    /// Begins a command, and forgets one that is under way; the response, if it is there already.
    fn begin(&mut self, locality: u8, command: &[u8]) -> Option<Vec<u8>> {
        Some(self.execute(locality, command))
    }

    /// The response to the command that was begun, once it is there.
    fn response(&mut self) -> Option<Vec<u8>> {
        None
    }
}

impl<F: FnMut(u8, &[u8]) -> Vec<u8> + Send> Tpm for F {
    fn execute(&mut self, locality: u8, command: &[u8]) -> Vec<u8> {
        self(locality, command)
    }
}

/// Any TCTI as the TPM, our libtpms module for one.
pub struct Chip {
    tcti: Child,
    /// A command is under way.
    works: bool,
}

/// What a TPM that cannot answer answers: TPM_RC_FAILURE (TPM 2.0 Library Part 2, section 6.6).
const FAILURE: [u8; 10] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x01];

impl Chip {
    /// Opens `name:conf`, such as `libtpms:FILE`.
    pub fn open(name_conf: &CStr) -> Result<Chip> {
        let tcti = tcti_loader::open(&NameConf::parse(Some(name_conf))?)?;
        Ok(Chip { tcti, works: false })
    }

    fn receive(&mut self, wait: Wait) -> Option<Vec<u8>> {
        if !self.works {
            return None;
        }
        let mut response = vec![0; 4096];
        let size = match self.tcti.receive(&mut response, wait) {
            Err(error) if error.code() == ReturnCode::TRY_AGAIN => return None,
            received => received.unwrap_or_default(),
        };
        self.works = false;
        response.truncate(size);
        Some(if response.is_empty() { FAILURE.to_vec() } else { response })
    }
}

impl Tpm for Chip {
    fn execute(&mut self, locality: u8, command: &[u8]) -> Vec<u8> {
        self.begin(locality, command).or_else(|| self.receive(Wait::Forever)).unwrap_or_else(|| FAILURE.to_vec())
    }

    fn begin(&mut self, locality: u8, command: &[u8]) -> Option<Vec<u8>> {
        // One that nobody wants any more.
        self.receive(Wait::Forever);
        // A module without localities has locality 0 alone.
        let _ = self.tcti.set_locality(locality);
        self.works = self.tcti.transmit(command).is_ok();
        match self.works {
            true => self.receive(Wait::Millis(0)),
            false => Some(FAILURE.to_vec()),
        }
    }

    fn response(&mut self) -> Option<Vec<u8>> {
        self.receive(Wait::Millis(0))
    }
}
