// SPDX-License-Identifier: BSD-2-Clause
//! The measured connections: each [`Case`] has a module, a server to connect to, and the minimal client of its protocol.

use crate::again;
use crate::connection::{Command, Connector, Library};
use crate::floor;
use crate::state_file;
use anyhow::{Context, Result};
use clap::Args;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tempfile::TempDir;
use tss2_kit::mssim::Mssim;
use tss2_kit::server::{Address, SocketKind, Swtpm, TestTpm};

/// Which libraries and connections to measure.
#[derive(Args, Clone)]
pub(crate) struct Selection {
    /// Directory of our libraries.
    #[arg(long)]
    pub(crate) ours: PathBuf,
    /// A version of the C libraries and their directory, such as `4.2.0=/usr/lib`. Repeatable; determines the order of columns.
    #[arg(long, required = true)]
    pub(crate) theirs: Vec<Theirs>,
    /// Only measure connections whose name contains this text.
    #[arg(long, default_value = "")]
    pub(crate) only: String,
}

/// One version of the C libraries.
#[derive(Clone)]
pub(crate) struct Theirs {
    pub(crate) version: String,
    pub(crate) dir: PathBuf,
}

impl FromStr for Theirs {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Theirs> {
        let (version, dir) = text.split_once('=').context("not of the form VERSION=DIRECTORY")?;
        Ok(Theirs { version: version.to_owned(), dir: dir.into() })
    }
}

impl Selection {
    /// Returns the directory of the first C modules. pcap loads its child module from there, for ours and for all C versions.
    fn c_modules(&self) -> Result<&Path> {
        Ok(&self.theirs.first().context("no C libraries")?.dir)
    }
}

/// How the minimal client communicates, and with which server.
enum Protocol {
    ConnectionPerCommand(Address),
    KeptConnection(Address),
    Mssim(Address),
    Recorded(Address),
    Pipes,
    Device(PathBuf),
    /// libtpms with a state file. Each library has its own file in this directory.
    StateFile(TempDir),
    /// There is no minimal client.
    None,
}

/// One connection to measure.
pub(crate) struct Case {
    pub(crate) name: String,
    module: &'static str,
    conf: String,
    protocol: Protocol,
    selection: Selection,
    _server: Option<Box<dyn TestTpm>>,
}

impl Case {
    fn new(selection: &Selection, name: &str, module: &'static str, conf: String, protocol: Protocol) -> Case {
        Case { name: name.to_owned(), module, conf, protocol, selection: selection.clone(), _server: None }
    }

    /// Keeps the server running as long as the case exists.
    fn with(self, server: impl TestTpm + 'static) -> Case {
        Case { _server: Some(Box::new(server)), ..self }
    }

    /// Returns our module.
    pub(crate) fn ours(&self) -> Library {
        Library { file: module(&self.selection.ours, self.module), conf: self.conf.clone() }
    }

    /// Returns the C module of each version, if it exists. C modules do not support `keep=true`.
    pub(crate) fn theirs(&self) -> Vec<Option<Library>> {
        let library = |theirs: &Theirs| {
            let file = Some(module(&theirs.dir, self.module)).filter(|file| file.exists())?;
            let conf = match self.protocol {
                Protocol::StateFile(_) => format!("{}-{}", self.conf, theirs.version),
                _ => self.conf.replace(",keep=true", ""),
            };
            Some(Library { file, conf })
        };
        self.selection.theirs.iter().map(library).collect()
    }

    /// Returns the versions of the C modules.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &str> {
        self.selection.theirs.iter().map(|theirs| theirs.version.as_str())
    }

    /// Returns the child module that this module loads, which is the same for all libraries.
    pub(crate) fn child(&self) -> Result<Option<PathBuf>> {
        match self.protocol {
            Protocol::Recorded(_) => Ok(Some(module(self.selection.c_modules()?, "swtpm"))),
            _ => Ok(None),
        }
    }

    /// Returns whether the C module waits for delayed acknowledgements, which takes 88 ms per command.
    pub(crate) fn slow_c(&self) -> bool {
        matches!(self.protocol, Protocol::Mssim(Address::Port(_)))
    }

    /// Returns whether the module has a TPM.
    pub(crate) fn has_tpm(&self) -> bool {
        self.module != "null"
    }

    /// Returns the commands to send. With a state file, one of them changes the permanent state and the other does not.
    pub(crate) fn commands(&self) -> [Command; 2] {
        match self.protocol {
            Protocol::StateFile(_) => [Command::GetRandom, Command::Increment],
            _ => [Command::GetRandom, Command::GetCapability],
        }
    }

    /// Returns the minimal client, if there is one.
    pub(crate) fn floor(&self) -> Option<Connector> {
        Some(match &self.protocol {
            Protocol::ConnectionPerCommand(at) => floor::connection_per_command(at.clone()),
            Protocol::KeptConnection(at) => floor::kept_connection(at.clone()),
            Protocol::Mssim(at) => floor::mssim(at.clone()),
            Protocol::Recorded(at) => floor::recorded(floor::connection_per_command(at.clone())),
            Protocol::Pipes => floor::pipes(self.conf.clone()),
            Protocol::Device(path) => floor::device(path.clone()),
            Protocol::StateFile(dir) => state_file::floor(dir.path().join("floor")),
            Protocol::None => return None,
        })
    }
}

/// Returns the path of a module's library.
pub(crate) fn module(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("libtss2-tcti-{name}.so.0"))
}

/// Starts the servers and returns the connections that need no special kernel.
pub(crate) fn cases(selection: &Selection) -> Result<Vec<Case>> {
    let case = |name, module, conf, protocol| Case::new(selection, name, module, conf, protocol);
    let mut cases = Vec::new();

    let server = Swtpm::start(SocketKind::Tcp);
    cases.push(
        case("swtpm TCP", "swtpm", server.conf(), Protocol::ConnectionPerCommand(server.at().clone())).with(server),
    );
    let server = Swtpm::start(SocketKind::Unix);
    cases.push(
        case("swtpm Unix socket", "swtpm", server.conf(), Protocol::ConnectionPerCommand(server.at().clone()))
            .with(server),
    );
    let server = Swtpm::start(SocketKind::Tcp);
    let conf = format!("{},keep=true", server.conf());
    cases.push(case("swtpm TCP kept", "swtpm", conf, Protocol::KeptConnection(server.at().clone())).with(server));

    for (name, socket) in [("mssim TCP", SocketKind::Tcp), ("mssim Unix socket", SocketKind::Unix)] {
        let server = Mssim::start(socket, 0);
        cases.push(case(name, "mssim", server.conf(), Protocol::Mssim(server.at().clone())).with(server));
    }

    // Use the same C module as the child for all libraries, so that only recording differs.
    let server = Swtpm::start(SocketKind::Unix);
    let child = module(selection.c_modules()?, "swtpm");
    let conf = format!("{}:{}", child.display(), server.conf());
    cases.push(case("pcap, swtpm Unix socket", "pcap", conf, Protocol::Recorded(server.at().clone())).with(server));

    let responder = format!("exec {} respond", again::program()?.to_string_lossy());
    cases.push(case("cmd", "cmd", responder, Protocol::Pipes));
    cases.push(case("libtpms, in memory", "libtpms", String::new(), Protocol::None));
    // Put the state file in the program's directory, which is on a disk; temporary files may be in memory.
    let program = again::program()?;
    let dir = tempfile::tempdir_in(Path::new(&program).parent().context("the program has no directory")?)?;
    let conf = dir.path().join("state").display().to_string();
    cases.push(case("libtpms, state file", "libtpms", conf, Protocol::StateFile(dir)));
    cases.retain(|case| case.name.contains(&selection.only));
    Ok(cases)
}

/// Returns the case of the module null, which has no TPM.
pub(crate) fn null(selection: &Selection) -> Case {
    Case::new(selection, "null", "null", String::new(), Protocol::None)
}

/// Returns the cases of this kernel's TPM devices.
pub(crate) fn devices(selection: &Selection) -> Vec<Case> {
    let device = |path: &str| {
        Case::new(selection, &format!("device {path}"), "device", path.to_owned(), Protocol::Device(path.into()))
    };
    ["/dev/tpmrm0", "/dev/tpm0"].map(device).into()
}

/// Returns the case of the only LetsTrust-TPM2Go on this system's USB.
pub(crate) fn stick(selection: &Selection) -> Case {
    Case::new(selection, "spi-ltt2go", "spi-ltt2go", String::new(), Protocol::None)
}

/// Answers each command on standard input: GetCapability with 400 bytes, other commands with 20.
pub(crate) fn respond() -> Result<()> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut command = [0; 4096];
    loop {
        let count = input.read(&mut command)?;
        if count == 0 {
            return Ok(());
        }
        let size: u16 = if count > 12 { 400 } else { 20 };
        let mut response = vec![0; usize::from(size)];
        let header = [&[0x80, 0x01, 0, 0][..], &size.to_be_bytes(), &[0; 4]].concat();
        response.splice(..header.len(), header);
        output.write_all(&response)?;
        output.flush()?;
    }
}
