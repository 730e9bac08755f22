// SPDX-License-Identifier: BSD-2-Clause
//! Every way to a TPM that the tools are run on.

use crate::behind;
use crate::mssim::Mssim;
use crate::need::{CC, LIBTPMS, Need, PKG_CONFIG, SSH, SSHD, SWTPM};
use crate::pty::PtyDevice;
use crate::server::{Socket, StateFile, Swtpm, Tpm};

/// The transport, what it needs and how it starts.
pub type Case = (&'static str, &'static [Need], fn() -> Box<dyn Tpm>);

/// What a program that also sends commands of ten bytes needs besides.
pub fn short_commands(name: &str) -> &'static [Need] {
    if ["a_command", "ssh"].contains(&name) { &[Need::ShortCommands] } else { &[] }
}

/// All of them.
pub const EVERY: [Case; 10] = [
    ("libtpms", &[LIBTPMS], || Box::new(StateFile::new())),
    ("swtpm_over_tcp", &[SWTPM], || Box::new(Swtpm::start(Socket::Tcp))),
    ("swtpm_over_a_unix_socket", &[SWTPM], || Box::new(Swtpm::start(Socket::Unix))),
    ("device", &[SWTPM], || Box::new(PtyDevice::start())),
    ("mssim_over_tcp", &[LIBTPMS], || Box::new(Mssim::start(Socket::Tcp, 0))),
    ("mssim_over_a_unix_socket", &[LIBTPMS], || Box::new(Mssim::start(Socket::Unix, 0))),
    ("a_command", &[SWTPM], behind::command),
    ("ssh", &[SWTPM, SSHD, SSH], behind::ssh),
    ("spi_with_wait_states", &[LIBTPMS, CC, PKG_CONFIG], || behind::spi("held burst=7,wait_states=2,data_after=2")),
    ("spi_in_whole_frames", &[LIBTPMS, CC, PKG_CONFIG], || behind::spi("whole")),
];
