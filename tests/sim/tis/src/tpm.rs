// SPDX-License-Identifier: BSD-2-Clause
//! The TPM behind the registers.
#![forbid(unsafe_code)]

use core::ffi::CStr;
use tcti_core::Tcti;
use tcti_core::{Result, ReturnCode, Wait};
use tcti_loader::{Child, NameConf};

/// Executes TPM commands.
pub trait CommandProcessor: Send {
    /// Executes a command in this locality. Returns the response.
    fn execute(&mut self, locality: u8, command: &[u8]) -> Vec<u8>;

    /// Begins a command, and drops one that is in progress. Returns the response if it is available already.
    fn begin(&mut self, locality: u8, command: &[u8]) -> Option<Vec<u8>> {
        Some(self.execute(locality, command))
    }

    /// Returns the response to the command that was begun, once it is available.
    fn response(&mut self) -> Option<Vec<u8>> {
        None
    }
}

impl<F: FnMut(u8, &[u8]) -> Vec<u8> + Send> CommandProcessor for F {
    fn execute(&mut self, locality: u8, command: &[u8]) -> Vec<u8> {
        self(locality, command)
    }
}

/// A TPM that is opened through any TCTI, such as our libtpms module.
pub struct TctiTpm {
    tcti: Child,
    /// Whether a command is in progress.
    is_busy: bool,
}

/// The response when the TCTI fails: TPM_RC_FAILURE (TPM 2.0 Library Part 2, section 6.6).
const FAILURE: [u8; 10] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x01];

impl TctiTpm {
    /// Opens `name:conf`, such as `libtpms:FILE`.
    pub fn open(name_conf: &CStr) -> Result<TctiTpm> {
        let tcti = tcti_loader::open(&NameConf::parse(Some(name_conf))?)?;
        Ok(TctiTpm { tcti, is_busy: false })
    }

    fn receive(&mut self, wait: Wait) -> Option<Vec<u8>> {
        if !self.is_busy {
            return None;
        }
        let mut response = vec![0; 4096];
        let size = match self.tcti.receive(&mut response, wait) {
            Err(error) if error.code() == ReturnCode::TRY_AGAIN => return None,
            received => received.unwrap_or_default(),
        };
        self.is_busy = false;
        response.truncate(size);
        Some(if response.is_empty() { FAILURE.to_vec() } else { response })
    }
}

impl CommandProcessor for TctiTpm {
    fn execute(&mut self, locality: u8, command: &[u8]) -> Vec<u8> {
        self.begin(locality, command).or_else(|| self.receive(Wait::Forever)).unwrap_or_else(|| FAILURE.to_vec())
    }

    fn begin(&mut self, locality: u8, command: &[u8]) -> Option<Vec<u8>> {
        // Drops the response of a command before.
        self.receive(Wait::Forever);
        // A module that cannot set a locality uses locality 0.
        let _ = self.tcti.set_locality(locality);
        self.is_busy = self.tcti.transmit(command).is_ok();
        match self.is_busy {
            true => self.receive(Wait::Millis(0)),
            false => Some(FAILURE.to_vec()),
        }
    }

    fn response(&mut self) -> Option<Vec<u8>> {
        self.receive(Wait::Millis(0))
    }
}
