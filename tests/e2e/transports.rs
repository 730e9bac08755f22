// SPDX-License-Identifier: BSD-2-Clause
//! The ways to a TPM on which tests run in turn: [`TRANSPORTS`].

use crate::indirect;
use crate::needs::{SHORT_COMMANDS, SSH, SSHD};
use tss2_kit::mssim::Mssim;
use tss2_kit::need::{CC, LIBTPMS, Need, PKG_CONFIG, SWTPM};
use tss2_kit::pty::PtyDevice;
use tss2_kit::scenario::refused::{IO_ERROR, TPM_CODES};
use tss2_kit::server::{SocketKind, StateFile, Swtpm, TestTpm};

/// One way to a TPM.
#[derive(Clone, Copy)]
pub(crate) struct Transport {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Need],
    /// Additional needs of a program that also sends commands of ten bytes.
    pub(crate) short_commands: &'static [Need],
    /// Whether the module returns a handle to poll.
    pub(crate) is_pollable: bool,
    /// The code that a command larger than 4096 bytes is answered with, in hexadecimal.
    pub(crate) too_large: &'static str,
    pub(crate) start: fn() -> Box<dyn TestTpm>,
}

/// The values of most transports.
pub(crate) const PLAIN: Transport = Transport {
    name: "",
    needs: &[],
    short_commands: &[],
    is_pollable: true,
    too_large: TPM_CODES.too_large,
    start: || Box::new(StateFile::new()),
};

/// The values of the TCTI cmd: a command that the program behind it does not accept ends the program, which is started
/// again.
const CMD: Transport = Transport { too_large: IO_ERROR, ..PLAIN };

/// All ways.
pub(crate) const TRANSPORTS: [Transport; 10] = [
    Transport { name: "libtpms", needs: &[LIBTPMS], is_pollable: false, ..PLAIN },
    Transport { name: "swtpm_over_tcp", needs: &[SWTPM], start: || Box::new(Swtpm::start(SocketKind::Tcp)), ..PLAIN },
    Transport {
        name: "swtpm_over_a_unix_socket",
        needs: &[SWTPM],
        start: || Box::new(Swtpm::start(SocketKind::Unix)),
        ..PLAIN
    },
    Transport { name: "device", needs: &[SWTPM], start: || Box::new(PtyDevice::start()), ..PLAIN },
    Transport {
        name: "mssim_over_tcp",
        needs: &[LIBTPMS],
        start: || Box::new(Mssim::start(SocketKind::Tcp, 0)),
        ..PLAIN
    },
    Transport {
        name: "mssim_over_a_unix_socket",
        needs: &[LIBTPMS],
        start: || Box::new(Mssim::start(SocketKind::Unix, 0)),
        ..PLAIN
    },
    Transport {
        name: "a_command",
        needs: &[SWTPM],
        short_commands: &[SHORT_COMMANDS],
        start: indirect::command,
        ..CMD
    },
    Transport {
        name: "ssh",
        needs: &[SWTPM, SSHD, SSH],
        short_commands: &[SHORT_COMMANDS],
        start: indirect::ssh,
        ..CMD
    },
    Transport {
        name: "spi_with_wait_states",
        needs: &[LIBTPMS, CC, PKG_CONFIG],
        start: || indirect::spi("held burst=7,wait_states=2,data_after=2"),
        ..CMD
    },
    Transport {
        name: "spi_in_whole_frames",
        needs: &[LIBTPMS, CC, PKG_CONFIG],
        start: || indirect::spi("whole"),
        ..CMD
    },
];
