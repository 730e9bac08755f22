// SPDX-License-Identifier: BSD-2-Clause
//! The columns of the tables: a module in one configuration.

use std::path::PathBuf;
use tss2_kit::need::{CC, LIBTPMS, Need, SWTPM, TPM2_TOOLS};
use tss2_kit::stage;

/// Where a test of a cell runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Like all other tests.
    Host,
    /// In the virtual machine.
    Guest,
}

/// A column of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Module {
    /// With a state file.
    Libtpms,
    /// A connection per command, over TCP.
    Swtpm,
    /// A connection per command, over a Unix socket.
    SwtpmUnix,
    /// One connection, over a Unix socket.
    SwtpmKept,
    Mssim,
    Cmd,
    /// The module of the kernel's devices on a pseudo-terminal: the driver itself sends no malformed responses.
    Terminal,
    /// Over swtpm.
    Pcap,
    /// Over swtpm.
    Loader,
    /// The kernel's resource manager.
    Device,
    Stick,
}

impl Module {
    /// The heading of its column.
    pub(super) fn title(self) -> &'static str {
        match self {
            Module::Libtpms => "libtpms",
            Module::Swtpm => "swtpm, TCP",
            Module::SwtpmUnix => "swtpm, Unix socket",
            Module::SwtpmKept => "swtpm, keep=true",
            Module::Mssim => "mssim",
            Module::Cmd => "cmd",
            Module::Terminal => "device, pseudo-terminal",
            Module::Device => "device",
            Module::Pcap => "pcap",
            Module::Loader => "tctildr",
            Module::Stick => "spi-ltt2go",
        }
    }

    /// The last part of the names of its tests.
    pub(super) fn slug(self) -> &'static str {
        match self {
            Module::Swtpm => "swtpm_tcp",
            Module::SwtpmUnix => "swtpm_unix",
            Module::SwtpmKept => "swtpm_kept",
            Module::Terminal => "terminal",
            Module::Stick => "spi_ltt2go",
            other => other.title(),
        }
    }

    pub(super) fn library(self) -> PathBuf {
        stage::library(match self {
            Module::Libtpms => "tcti-libtpms",
            Module::Swtpm | Module::SwtpmUnix | Module::SwtpmKept => "tcti-swtpm",
            Module::Mssim => "tcti-mssim",
            Module::Cmd => "tcti-cmd",
            Module::Terminal | Module::Device => "tcti-device",
            Module::Pcap => "tcti-pcap",
            Module::Loader => "tctildr",
            Module::Stick => "tcti-spi-ltt2go",
        })
    }

    /// The number of contexts, a multiple of 100, that takes seconds one after the other.
    pub(super) fn contexts(self) -> u64 {
        match self {
            Module::Stick => 100,
            Module::Cmd => 1000,
            _ => 10_000,
        }
    }

    /// How often a fault happens to a context: less often in the virtual machine, which is slow.
    pub(super) fn times(self) -> usize {
        match self.environment() {
            Environment::Host => 4,
            Environment::Guest => 2,
        }
    }

    pub(super) fn environment(self) -> Environment {
        match self {
            Module::Device | Module::Stick => Environment::Guest,
            _ => Environment::Host,
        }
    }

    pub(super) fn needs(self) -> &'static [Need] {
        match self {
            Module::Libtpms | Module::Mssim => &[CC, LIBTPMS],
            Module::Cmd => &[CC, SWTPM, TPM2_TOOLS],
            Module::Terminal | Module::Device => &[CC],
            Module::Swtpm | Module::SwtpmUnix | Module::SwtpmKept | Module::Pcap | Module::Loader | Module::Stick => {
                &[CC, SWTPM]
            }
        }
    }
}
