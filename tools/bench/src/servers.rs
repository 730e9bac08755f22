// SPDX-License-Identifier: BSD-2-Clause
//! The servers that are measured against, and the cases: which module talks to which, and what its floor is.

use crate::again;
use crate::floor;
use crate::state_file;
use crate::subject::{Command, Library, Subject};
use anyhow::{Context, Result};
use clap::Args;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tempfile::TempDir;
use tss2_kit::mssim::Mssim;
use tss2_kit::server::{Address, SocketKind, Swtpm, TestTpm};

/// Where things are.
#[derive(Args, Clone)]
pub(crate) struct Parts {
    /// Directory of our libraries.
    #[arg(long)]
    pub(crate) ours: PathBuf,
    /// A version of the C libraries and their directory, such as `4.2.0=/usr/lib`; the columns have the order of these.
    #[arg(long, required = true)]
    pub(crate) theirs: Vec<Theirs>,
    /// Connections whose name has this in it, and no others.
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

impl Parts {
    /// Where every C module and every one of ours may rely on the same module below it.
    fn carriers(&self) -> Result<&Path> {
        Ok(&self.theirs.first().context("no C libraries")?.dir)
    }
}

/// Where a connection leads, and how the least that its protocol needs gets there.
enum Place {
    SwtpmEach(Address),
    SwtpmKept(Address),
    Mssim(Address),
    Recorded(Address),
    Command,
    Device(PathBuf),
    /// The name of a state file, of which each library has one.
    StateFile(TempDir),
    /// Nothing that a floor could do without.
    Inside,
}

/// One connection.
pub(crate) struct Case {
    pub(crate) name: String,
    module: &'static str,
    conf: String,
    place: Place,
    parts: Parts,
    _server: Option<Box<dyn TestTpm>>,
}

impl Case {
    fn new(parts: &Parts, name: &str, module: &'static str, conf: String, place: Place) -> Case {
        Case { name: name.to_owned(), module, conf, place, parts: parts.clone(), _server: None }
    }

    fn with(self, server: impl TestTpm + 'static) -> Case {
        Case { _server: Some(Box::new(server)), ..self }
    }

    pub(crate) fn ours(&self) -> Library {
        Library { file: module(&self.parts.ours, self.module), conf: self.conf.clone() }
    }

    /// One for each version; absent where it has no such C module. None of them keeps a connection.
    pub(crate) fn theirs(&self) -> Vec<Option<Library>> {
        let library = |theirs: &Theirs| {
            let file = Some(module(&theirs.dir, self.module)).filter(|file| file.exists())?;
            let conf = match self.place {
                Place::StateFile(_) => format!("{}-{}", self.conf, theirs.version),
                _ => self.conf.replace(",keep=true", ""),
            };
            Some(Library { file, conf })
        };
        self.parts.theirs.iter().map(library).collect()
    }

    pub(crate) fn versions(&self) -> impl Iterator<Item = &str> {
        self.parts.theirs.iter().map(|theirs| theirs.version.as_str())
    }

    /// The module below this one, which is the same for all.
    pub(crate) fn carrier(&self) -> Result<Option<PathBuf>> {
        match self.place {
            Place::Recorded(_) => Ok(Some(module(self.parts.carriers()?, "swtpm"))),
            _ => Ok(None),
        }
    }

    /// Whether the C module waits for delayed acknowledgements: 88 ms for a command.
    pub(crate) fn slow_c(&self) -> bool {
        matches!(self.place, Place::Mssim(Address::Port(_)))
    }

    /// Whether there is a TPM.
    pub(crate) fn carries_commands(&self) -> bool {
        self.module != "null"
    }

    /// What is sent. To a state file, one that leaves what is permanent as it is, and one that does not.
    pub(crate) fn commands(&self) -> [Command; 2] {
        match self.place {
            Place::StateFile(_) => [Command::GetRandom, Command::Increment],
            _ => [Command::GetRandom, Command::GetCapability],
        }
    }

    pub(crate) fn floor(&self) -> Option<Subject> {
        Some(match &self.place {
            Place::SwtpmEach(at) => floor::each(at.clone()),
            Place::SwtpmKept(at) => floor::kept(at.clone()),
            Place::Mssim(at) => floor::mssim(at.clone()),
            Place::Recorded(at) => floor::recorded(floor::each(at.clone())),
            Place::Command => floor::pipes(self.conf.clone()),
            Place::Device(path) => floor::device(path.clone()),
            Place::StateFile(dir) => state_file::floor(dir.path().join("floor")),
            Place::Inside => return None,
        })
    }
}

pub(crate) fn module(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("libtss2-tcti-{name}.so.0"))
}

/// Every connection that can be on any machine, its server running.
pub(crate) fn cases(parts: &Parts) -> Result<Vec<Case>> {
    let case = |name, module, conf, place| Case::new(parts, name, module, conf, place);
    let mut cases = Vec::new();

    let server = Swtpm::start(SocketKind::Tcp);
    cases.push(case("swtpm TCP", "swtpm", server.conf(), Place::SwtpmEach(server.at().clone())).with(server));
    let server = Swtpm::start(SocketKind::Unix);
    cases.push(case("swtpm Unix socket", "swtpm", server.conf(), Place::SwtpmEach(server.at().clone())).with(server));
    let server = Swtpm::start(SocketKind::Tcp);
    let conf = format!("{},keep=true", server.conf());
    cases.push(case("swtpm TCP kept", "swtpm", conf, Place::SwtpmKept(server.at().clone())).with(server));

    for (name, socket) in [("mssim TCP", SocketKind::Tcp), ("mssim Unix socket", SocketKind::Unix)] {
        let server = Mssim::start(socket, 0);
        cases.push(case(name, "mssim", server.conf(), Place::Mssim(server.at().clone())).with(server));
    }

    // Around the same C module for all, so that recording is what differs.
    let server = Swtpm::start(SocketKind::Unix);
    let carrier = module(parts.carriers()?, "swtpm");
    let conf = format!("{}:{}", carrier.display(), server.conf());
    cases.push(case("pcap, swtpm Unix socket", "pcap", conf, Place::Recorded(server.at().clone())).with(server));

    let responder = format!("exec {} respond", again::program()?.to_string_lossy());
    cases.push(case("cmd", "cmd", responder, Place::Command));
    cases.push(case("libtpms, in memory", "libtpms", String::new(), Place::Inside));
    // In the directory of the program, which is on a disk; temporary files may be in memory.
    let program = again::program()?;
    let dir = tempfile::tempdir_in(Path::new(&program).parent().context("the program has no directory")?)?;
    let conf = dir.path().join("state").display().to_string();
    cases.push(case("libtpms, state file", "libtpms", conf, Place::StateFile(dir)));
    cases.retain(|case| case.name.contains(&parts.only));
    Ok(cases)
}

/// What carries no command.
pub(crate) fn null(parts: &Parts) -> Case {
    Case::new(parts, "null", "null", String::new(), Place::Inside)
}

/// The devices of this machine's kernel.
pub(crate) fn devices(parts: &Parts) -> Vec<Case> {
    let device =
        |path: &str| Case::new(parts, &format!("device {path}"), "device", path.to_owned(), Place::Device(path.into()));
    ["/dev/tpmrm0", "/dev/tpm0"].map(device).into()
}

/// The one stick on this machine's USB.
pub(crate) fn stick(parts: &Parts) -> Case {
    Case::new(parts, "spi-ltt2go", "spi-ltt2go", String::new(), Place::Inside)
}

/// Answers each command on standard input: GetCapability with 400 bytes, anything else with 20.
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
