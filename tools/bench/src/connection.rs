// SPDX-License-Identifier: BSD-2-Clause
//! The unit of measurement: a [`Connection`] sends a TPM command and receives the response. [`Library`] opens one through a
//! TCTI module.

use anyhow::{Context, Result, ensure};
use std::ffi::CString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use tcti_core::Tcti;
use tcti_core::Wait;
use tcti_loader::{Child, NameConf};

/// The TPM commands that are measured.
#[derive(Clone, Copy)]
pub(crate) enum Command {
    /// TPM2_GetRandom for 8 bytes.
    GetRandom,
    /// TPM2_GetCapability for the fixed properties; the response has about 400 bytes.
    GetCapability,
    /// TPM2_NV_Increment of the counter that [`COUNTER`] defines.
    Increment,
}

impl Command {
    /// Returns the command as sent to the TPM.
    pub(crate) fn bytes(self) -> &'static [u8] {
        match self {
            Command::GetRandom => &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8],
            Command::Increment => &[
                0x80, 0x02, 0, 0, 0, 31, 0, 0, 0x01, 0x34, 0x40, 0, 0, 0x01, 0x01, 0x50, 0, 0x20, 0, 0, 0, 9, 0x40, 0,
                0, 0x09, 0, 0, 0, 0, 0,
            ],
            Command::GetCapability => {
                &[0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 127]
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Command::GetRandom => "GetRandom",
            Command::GetCapability => "GetCapability",
            Command::Increment => "NV_Increment",
        })
    }
}

/// Sends a command and receives the response in two calls, as libtss2-sys does: the first one queries the size. Returns the size
/// of the response in bytes.
pub(crate) fn exchange(child: &mut Child, response: &mut [u8], command: &[u8]) -> Result<usize> {
    child.transmit(command)?;
    child.response_size(Wait::Forever)?;
    Ok(child.receive(response, Wait::Forever)?)
}

/// TPM2_Startup with TPM_SU_CLEAR. A TPM that is already started returns an error, which is harmless.
pub(crate) const STARTUP: &[u8] = &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];

/// TPM2_NV_DefineSpace for a counter in the owner hierarchy.
pub(crate) const COUNTER: &[u8] = &[
    0x80, 0x02, 0, 0, 0, 45, 0, 0, 0x01, 0x2a, 0x40, 0, 0, 0x01, 0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, 0, 0, 0,
    14, 0x01, 0x50, 0, 0x20, 0, 0x0b, 0, 0x02, 0, 0x12, 0, 0, 0, 8,
];

/// Sends a command, receives the response and returns its size in bytes.
pub(crate) type Connection = Box<dyn FnMut(&[u8]) -> Result<usize>>;

/// Opens a connection. Connections only stay open for one turn, because some servers serve one at a time.
pub(crate) type Connector = Box<dyn Fn() -> Result<Connection>>;

/// A TCTI module and its configuration string.
pub(crate) struct Library {
    pub(crate) file: PathBuf,
    pub(crate) conf: String,
}

impl Library {
    /// Opens the module by its path.
    pub(crate) fn open(&self) -> Result<Child> {
        let conf = CString::new(self.conf.as_str())?;
        let file = CString::new(self.file.as_os_str().as_bytes())?;
        let name_conf = NameConf::new(Some(&file), Some(&conf))?;
        tcti_loader::open(&name_conf).with_context(|| format!("cannot open {}", self.file.display()))
    }

    /// Returns a connector that sends commands with [`exchange`].
    pub(crate) fn connector(&self) -> Connector {
        let library = Library { file: self.file.clone(), conf: self.conf.clone() };
        Box::new(move || {
            let mut child = library.open()?;
            let mut response = vec![0; 4096];
            if library.needs_startup() {
                exchange(&mut child, &mut response, STARTUP)?;
            }
            if library.has_a_state_file() {
                exchange(&mut child, &mut response, COUNTER)?; // fails if the counter exists
            }
            Ok(Box::new(move |command| exchange(&mut child, &mut response, command)))
        })
    }

    /// Returns whether to send TPM2_Startup: the C module for libtpms opens a TPM without starting it. Not sent to other modules,
    /// because the C module for devices hangs if a response of ten bytes is received in two calls.
    fn needs_startup(&self) -> bool {
        self.file.to_string_lossy().contains("tcti-libtpms")
    }

    /// Returns whether this is a module for libtpms with a state file.
    fn has_a_state_file(&self) -> bool {
        self.needs_startup() && !self.conf.is_empty()
    }

    /// Opens a connection and sends this number of commands.
    pub(crate) fn send_commands(&self, count: usize) -> Result<()> {
        let mut connection = self.connector()()?;
        (0..count).try_for_each(|_| send(&mut connection, Command::GetRandom))
    }
}

/// Sends one command and checks that the response is more than a header.
pub(crate) fn send(connection: &mut Connection, command: Command) -> Result<()> {
    let size = connection(command.bytes())?;
    ensure!(size > 10, "a response of only {size} bytes");
    Ok(())
}
