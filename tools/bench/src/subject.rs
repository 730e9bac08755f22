// SPDX-License-Identifier: BSD-2-Clause
//! What is timed: something that carries one TPM command and gives the response.

use anyhow::{Context, Result, anyhow, ensure};
use std::ffi::CString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use tcti_core::Tcti;
use tcti_core::Wait;
use tcti_loader::{Child, NameConf};

/// A TPM command to send.
#[derive(Clone, Copy)]
pub(crate) enum Command {
    /// 8 random bytes.
    GetRandom,
    /// The fixed properties, a response of some 400 bytes.
    GetCapability,
    /// Counts one up in NV memory, see [`COUNTER`].
    Increment,
}

impl Command {
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

/// As libtss2-sys does it: the size first, then the response. The answer is its size.
pub(crate) fn exchange(child: &mut Child, response: &mut [u8], command: &[u8]) -> Result<usize> {
    let size = child
        .transmit(command)
        .and_then(|()| child.response_size(Wait::Forever))
        .and_then(|_| child.receive(response, Wait::Forever));
    size.map_err(|rc| anyhow!("{rc:?}"))
}

/// TPM2_Startup with TPM_SU_CLEAR. A TPM that has been started answers with an error, which does no harm.
pub(crate) const STARTUP: &[u8] = &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];

/// TPM2_NV_DefineSpace of a counter of the owner.
pub(crate) const COUNTER: &[u8] = &[
    0x80, 0x02, 0, 0, 0, 45, 0, 0, 0x01, 0x2a, 0x40, 0, 0, 0x01, 0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, 0, 0, 0,
    14, 0x01, 0x50, 0, 0x20, 0, 0x0b, 0, 0x02, 0, 0x12, 0, 0, 0, 8,
];

/// Carries a command; the answer is the size of the response.
pub(crate) type Carrier = Box<dyn FnMut(&[u8]) -> Result<usize>>;

/// Makes a carrier. A server may serve one connection at a time, so a subject connects for its turn only.
pub(crate) type Subject = Box<dyn Fn() -> Result<Carrier>>;

/// A library and what it is opened with.
pub(crate) struct Library {
    pub(crate) file: PathBuf,
    pub(crate) conf: String,
}

impl Library {
    /// Opens it by its path.
    pub(crate) fn open(&self) -> Result<Child> {
        let conf = CString::new(self.conf.as_str())?;
        let file = CString::new(self.file.as_os_str().as_bytes())?;
        let what = NameConf::new(Some(file), Some(&conf)).map_err(|rc| anyhow!("{rc:?}"))?;
        tcti_loader::open(&what)
            .map_err(|rc| anyhow!("{rc:?}"))
            .with_context(|| format!("cannot open {}", self.file.display()))
    }

    /// Used as [`exchange`] does.
    pub(crate) fn subject(&self) -> Subject {
        let library = Library { file: self.file.clone(), conf: self.conf.clone() };
        Box::new(move || {
            let mut child = library.open()?;
            let mut response = vec![0; 4096];
            if library.leaves_startup_to_us() {
                exchange(&mut child, &mut response, STARTUP)?;
            }
            if library.has_a_state_file() {
                exchange(&mut child, &mut response, COUNTER)?; // it may be there
            }
            Ok(Box::new(move |command| exchange(&mut child, &mut response, command)))
        })
    }

    /// The C module opens a TPM in memory that nobody has started. Nowhere else: the C module for devices never returns from
    /// the two calls for a response of ten bytes.
    fn leaves_startup_to_us(&self) -> bool {
        self.file.to_string_lossy().contains("tcti-libtpms")
    }

    fn has_a_state_file(&self) -> bool {
        self.leaves_startup_to_us() && !self.conf.is_empty()
    }

    /// Sends so many commands.
    pub(crate) fn send(&self, commands: usize) -> Result<()> {
        let mut carrier = self.subject()()?;
        (0..commands).try_for_each(|_| carry(&mut carrier, Command::GetRandom))
    }
}

/// Carries one command.
pub(crate) fn carry(carrier: &mut Carrier, command: Command) -> Result<()> {
    let size = carrier(command.bytes())?;
    ensure!(size > 10, "a response of {size} bytes");
    Ok(())
}
