// SPDX-License-Identifier: BSD-2-Clause
//! A TPM that is reached through something else: a command, ssh, a SPI bus.

use crate::need::{C_CMD, C_SWTPM, Need, SWTPM, TPM2_TOOLS};
use crate::program::{self, Link};
use crate::server::{Socket, StateFile, Swtpm, Tpm};
use crate::ssh::Sshd;
use crate::stage;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::LazyLock;
use tempfile::TempDir;

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

/// What a TPM behind tpm2_send needs.
pub const COMMAND: [Need; 3] = [SWTPM, TPM2_TOOLS, Need::ShortCommands];

/// Whether tpm2_send hands on a command that is no more than a header. That of tpm2-tools 5.7 does not: "Failed to read command
/// body". It is asked through the distribution's own libraries, so that the fault is not ours; where it cannot be asked, what
/// is missing is another need.
pub fn hands_on_short_commands() -> bool {
    static CACHE: LazyLock<bool> = LazyLock::new(|| {
        if [SWTPM, TPM2_TOOLS, C_CMD, C_SWTPM].into_iter().any(|need| need.missing().is_some()) {
            return true;
        }
        let tpm = command();
        let mut tool = stage::distribution_command("tpm2_readclock");
        tool.args(["-T", &tpm.name_conf()]).output().unwrap().status.success()
    });
    *CACHE
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
    with_sim("spi-helper", Link::Staged("tss2-tcti-spi-helper"))
}

/// A C program with the simulated TPM in it.
fn with_sim(name: &'static str, link: Link) -> PathBuf {
    let sim = stage::sim("").display().to_string();
    program::build(name, link, &[&format!("-L{sim}"), "-lsim_tis", &format!("-Wl,-rpath,{sim}")])
}

/// A libtpms behind a simulated SPI bus; `how` is how the bus transfers and what the TPM does on it.
pub fn spi(how: &str) -> Box<dyn Tpm> {
    let file = StateFile::new();
    let name_conf = format!("cmd:{} serve {} {how}", spi_program().display(), file.name_conf());
    Box::new(Behind { _between: (), _tpm: Box::new(file), name_conf })
}

/// A TPM that lives as long as the command that it is behind.
pub fn spi_in_memory(how: &str) -> Box<dyn Tpm> {
    let name_conf = format!("cmd:exec {} serve libtpms: {how}", spi_program().display());
    Box::new(Behind { _between: (), _tpm: Box::new(StateFile::new()), name_conf })
}

/// A SPI bus that is a process, with a TPM on it. Forked programs share it as they do one of the kernel's.
struct Bus {
    server: Child,
    dir: TempDir,
    how: &'static str,
}

/// Drivers hold the bus over several transfers, or they shift whole frames; `faults` is what the TPM does on it.
pub fn bus(how: &'static str, faults: &str) -> Box<dyn Tpm> {
    let dir = program::readable_dir();
    program::shared_with("spi-bus", &dir.path().join("libtss2-tcti-spi-bus.so.0"), "tss2-tcti-spi-helper");
    let mut command = stage::command(with_sim("bus", Link::Nothing));
    command.arg("libtpms:").arg(dir.path().join("bus")).arg(faults).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    Box::new(Bus { server, dir, how })
}

impl Tpm for Bus {
    fn name_conf(&self) -> String {
        let dir = self.dir.path().display();
        format!("{dir}/libtss2-tcti-spi-bus.so.0:{} {dir}/bus", self.how)
    }
}

/// No driver came while another had the bus.
impl Drop for Bus {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let status = self.server.wait().unwrap();
        assert!(status.success() || std::thread::panicking(), "the bus: {status}");
    }
}
