// SPDX-License-Identifier: BSD-2-Clause
//! A TPM that is reached through something else: a command, ssh, a SPI bus.

use crate::program::{self, Link};
use crate::server::{Socket, StateFile, Swtpm, Tpm};
use crate::ssh::Sshd;
use crate::stage;
use std::path::PathBuf;

/// What stands between, as long as the test runs, and the `name:conf` that leads through it.
pub struct Behind<T> {
    _between: T,
    _tpm: Box<dyn Tpm>,
    name_conf: String,
}

impl<T: Send> Tpm for Behind<T> {
    fn name_conf(&self) -> String {
        self.name_conf.clone()
    }
}

/// A swtpm behind tpm2_send.
pub fn command() -> Box<dyn Tpm> {
    let swtpm = Swtpm::start(Socket::Unix);
    let name_conf = format!("cmd:tpm2_send -T {}", swtpm.name_conf());
    Box::new(Behind { _between: (), _tpm: Box::new(swtpm), name_conf })
}

/// A swtpm behind ssh and tpm2_send.
pub fn ssh() -> Box<dyn Tpm> {
    let (swtpm, sshd) = (Swtpm::start(Socket::Unix), Sshd::start());
    let name_conf = format!("cmd:{}", sshd.command(&format!("tpm2_send -T {}", swtpm.name_conf())));
    Box::new(Behind { _between: sshd, _tpm: Box::new(swtpm), name_conf })
}

/// The C program that drives the SPI bus of a simulated TPM through spi-helper.
pub fn spi_program() -> PathBuf {
    let sim = stage::sim("").display().to_string();
    let link = [&format!("-L{sim}"), "-lsim_tis", &format!("-Wl,-rpath,{sim}")];
    program::build("spi-helper", Link::Staged("tss2-tcti-spi-helper"), &link)
}

/// A libtpms behind a simulated SPI bus; `how` is how the bus transfers and what the TPM does on it.
pub fn spi(how: &str) -> Box<dyn Tpm> {
    let file = StateFile::new();
    let name_conf = format!("cmd:{} serve {} {how}", spi_program().display(), file.name_conf());
    Box::new(Behind { _between: (), _tpm: Box::new(file), name_conf })
}
