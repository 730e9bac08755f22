// SPDX-License-Identifier: BSD-2-Clause
//! TPMs that are reached through a command, through ssh or over a simulated SPI bus.

use crate::needs::{C_CMD, C_SWTPM, SHORT_COMMANDS};
use crate::ssh::Sshd;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::LazyLock;
use tempfile::TempDir;
use tss2_kit::need::{Need, SWTPM, TPM2_TOOLS};
use tss2_kit::program::{self, Link};
use tss2_kit::server::{SocketKind, StateFile, Swtpm, TestTpm};
use tss2_kit::stage;

/// A TPM, the server that leads to it, and the `name:conf` that goes through this server.
struct Indirect<T> {
    _server: T,
    _tpm: Box<dyn TestTpm>,
    name_conf: String,
}

impl<T: Send> TestTpm for Indirect<T> {
    fn name_conf(&self) -> String {
        self.name_conf.clone()
    }
}

/// The needs of a TPM behind tpm2_send.
pub(crate) const COMMAND: [Need; 3] = [SWTPM, TPM2_TOOLS, SHORT_COMMANDS];

/// Whether tpm2_send forwards a command that consists of a header alone. It runs on the distribution's own libraries
/// here, so that a failure is not ours. Where a package for this is missing it returns true, because the list of tests
/// then names that package.
pub(crate) fn forwards_short_commands() -> bool {
    static CACHE: LazyLock<bool> = LazyLock::new(|| {
        if [SWTPM, TPM2_TOOLS, C_CMD, C_SWTPM].into_iter().any(|need| need.unmet().is_some()) {
            return true;
        }
        let tpm = command();
        let mut tool = stage::distribution_command("tpm2_readclock");
        tool.args(["-T", &tpm.name_conf()]).output().unwrap().status.success()
    });
    *CACHE
}

/// A swtpm behind tpm2_send.
pub(crate) fn command() -> Box<dyn TestTpm> {
    let swtpm = Swtpm::start(SocketKind::Unix);
    let name_conf = format!("cmd:tpm2_send -T {}", swtpm.name_conf());
    Box::new(Indirect { _server: (), _tpm: Box::new(swtpm), name_conf })
}

/// A swtpm behind ssh and tpm2_send.
pub(crate) fn ssh() -> Box<dyn TestTpm> {
    let (swtpm, sshd) = (Swtpm::start(SocketKind::Unix), Sshd::start());
    let name_conf = format!("cmd:{}", sshd.command(&format!("tpm2_send -T {}", swtpm.name_conf())));
    Box::new(Indirect { _server: sshd, _tpm: Box::new(swtpm), name_conf })
}

/// Builds `c-tests/spi-helper.c`, which drives the SPI bus of a simulated TPM through spi-helper.
pub(crate) fn spi_program() -> PathBuf {
    with_sim("spi-helper", Link::Staged("tss2-tcti-spi-helper"))
}

/// Builds a C program that contains the simulated TPM.
fn with_sim(name: &'static str, link: Link) -> PathBuf {
    let sim = stage::sim("").display().to_string();
    program::build(name, link, &[&format!("-L{sim}"), "-lsim_tis", &format!("-Wl,-rpath,{sim}")])
}

/// A libtpms with a state file behind a simulated SPI bus. `options` are `held` or `whole` and the faults of the
/// simulator, see `c-tests/spi-helper.c`.
pub(crate) fn spi(options: &str) -> Box<dyn TestTpm> {
    let file = StateFile::new();
    let name_conf = format!("cmd:{} serve {} {options}", spi_program().display(), file.name_conf());
    Box::new(Indirect { _server: (), _tpm: Box::new(file), name_conf })
}

/// The same with a TPM that exists as long as its command runs.
pub(crate) fn spi_in_memory(options: &str) -> Box<dyn TestTpm> {
    let name_conf = format!("cmd:exec {} serve libtpms: {options}", spi_program().display());
    Box::new(Indirect { _server: (), _tpm: Box::new(StateFile::new()), name_conf })
}

/// How a driver uses an SPI bus.
#[derive(Clone, Copy)]
pub(crate) enum SpiTransfers {
    /// It holds the bus over several transfers, with spi_acquire and spi_release.
    Held,
    /// Each transfer is a whole frame.
    Whole,
}

/// An SPI bus in a process of its own, with a TPM on it. Forked programs share it as they share a bus of the kernel.
struct Bus {
    server: Child,
    dir: TempDir,
    transfers: SpiTransfers,
}

/// A TPM on an SPI bus that several processes can drive. `faults` are those of the simulator.
pub(crate) fn bus(transfers: SpiTransfers, faults: &str) -> Box<dyn TestTpm> {
    let dir = program::readable_dir();
    program::shared_with("spi-bus", &dir.path().join("libtss2-tcti-spi-bus.so.0"), "tss2-tcti-spi-helper");
    let mut command = stage::command(with_sim("bus", Link::Nothing));
    command.arg("libtpms:").arg(dir.path().join("bus")).arg(faults).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    Box::new(Bus { server, dir, transfers })
}

impl TestTpm for Bus {
    fn name_conf(&self) -> String {
        let dir = self.dir.path().display();
        let transfers = match self.transfers {
            SpiTransfers::Held => "held",
            SpiTransfers::Whole => "whole",
        };
        format!("{dir}/libtss2-tcti-spi-bus.so.0:{transfers} {dir}/bus")
    }
}

/// Fails when a driver used the bus while another one held it.
impl Drop for Bus {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let status = self.server.wait().unwrap();
        assert!(status.success() || std::thread::panicking(), "the bus: {status}");
    }
}
