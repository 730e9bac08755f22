// SPDX-License-Identifier: BSD-2-Clause
//! The TPM behind the registers.
#![forbid(unsafe_code)]

use core::ffi::CStr;
use tcti_core::{Result, Wait};
use tcti_loader::{Child, NameConf};

/// Whatever answers TPM commands.
pub trait Tpm: Send {
    /// The response to a command that came through this locality.
    fn execute(&mut self, locality: u8, command: &[u8]) -> Vec<u8>;
}

impl<F: FnMut(u8, &[u8]) -> Vec<u8> + Send> Tpm for F {
    fn execute(&mut self, locality: u8, command: &[u8]) -> Vec<u8> {
        self(locality, command)
    }
}

/// Any TCTI as the TPM, our libtpms module for one.
pub struct Chip(Child);

/// What a TPM that cannot answer answers: TPM_RC_FAILURE (TPM 2.0 Library Part 2, section 6.6).
const FAILURE: [u8; 10] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x01];

impl Chip {
    /// Opens `name:conf`, such as `libtpms:FILE`.
    pub fn open(name_conf: &CStr) -> Result<Chip> {
        tcti_loader::open(&NameConf::parse(Some(name_conf))?).map(Chip)
    }
}

impl Tpm for Chip {
    fn execute(&mut self, locality: u8, command: &[u8]) -> Vec<u8> {
        let mut response = vec![0; 4096];
        // A module without localities has locality 0 alone.
        let _ = self.0.set_locality(locality);
        let size =
            self.0.transmit(command).and_then(|()| self.0.receive(&mut response, Wait::Forever)).unwrap_or_default();
        response.truncate(size);
        match response.is_empty() {
            true => FAILURE.to_vec(),
            false => response,
        }
    }
}
