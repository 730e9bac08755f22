// SPDX-License-Identifier: BSD-2-Clause
//! The servers that are measured against, and the cases: which module talks to which, and what its floor is.

use crate::floor;
use crate::subject::{Library, Subject};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where things are.
#[derive(Args)]
pub(crate) struct Parts {
    /// Directory of our libraries.
    #[arg(long)]
    pub(crate) ours: PathBuf,
    /// Directory of the distribution's C libraries.
    #[arg(long)]
    pub(crate) theirs: PathBuf,
    /// The mssim server program.
    #[arg(long)]
    pub(crate) mssim_server: PathBuf,
}

/// Where a connection leads, and how the least that its protocol needs gets there.
enum Place {
    SwtpmEach(u16),
    SwtpmUnix(PathBuf),
    SwtpmKept(u16),
    MssimTcp(u16),
    MssimUnix(PathBuf),
    Recorded(PathBuf),
    Command,
    Device(PathBuf),
    /// Nothing is between the module and its TPM.
    Inside,
}

/// One connection.
pub(crate) struct Case {
    pub(crate) name: String,
    module: &'static str,
    conf: String,
    place: Place,
    directories: [PathBuf; 2],
    _server: Option<Server>,
}

impl Case {
    fn new(parts: &Parts, name: &str, module: &'static str, conf: String, place: Place) -> Case {
        let directories = [parts.ours.clone(), parts.theirs.clone()];
        Case { name: name.to_owned(), module, conf, place, directories, _server: None }
    }

    fn with(self, server: Server) -> Case {
        Case { _server: Some(server), ..self }
    }

    pub(crate) fn ours(&self) -> Library {
        Library { file: module(&self.directories[0], self.module), conf: self.conf.clone() }
    }

    /// Absent where there is no such C module, or none that can do this.
    pub(crate) fn theirs(&self) -> Option<Library> {
        let file = Some(module(&self.directories[1], self.module)).filter(|file| file.exists())?;
        match self.place {
            Place::MssimUnix(_) => None,
            _ => Some(Library { file, conf: self.conf.replace(",keep=true", "") }),
        }
    }

    /// The module below this one, which is the same for both.
    pub(crate) fn carrier(&self) -> Option<PathBuf> {
        matches!(self.place, Place::Recorded(_)).then(|| module(&self.directories[1], "swtpm"))
    }

    /// Whether the C module waits for delayed acknowledgements: 88 ms for a command.
    pub(crate) fn slow_c(&self) -> bool {
        matches!(self.place, Place::MssimTcp(_))
    }

    /// By how much a context takes longer to be made than one that only connects: a program is started, or a TPM made.
    pub(crate) fn slowness(&self) -> usize {
        match self.place {
            Place::Inside if self.module == "libtpms" => 10,
            _ => 1,
        }
    }

    pub(crate) fn floor(&self) -> Option<Subject> {
        Some(match &self.place {
            Place::SwtpmEach(port) => floor::tcp_each(*port),
            Place::SwtpmUnix(path) => floor::unix_each(path.clone()),
            Place::SwtpmKept(port) => floor::tcp_kept(*port),
            Place::MssimTcp(port) => floor::mssim_tcp(*port),
            Place::MssimUnix(path) => floor::mssim_unix(path.clone()),
            Place::Recorded(path) => floor::recorded(floor::unix_each(path.clone())),
            Place::Command => floor::pipes(self.conf.clone()),
            Place::Device(path) => floor::device(path.clone()),
            Place::Inside => return None,
        })
    }
}

/// A server, ended with it.
pub(crate) struct Server {
    process: Child,
    dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that is free together with the next one.
fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0")?;
        let port = first.local_addr()?.port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no two free ports")
}

fn wait_until(ready: impl Fn() -> bool, what: &str) -> Result<()> {
    let give_up = Instant::now() + Duration::from_secs(10);
    while !ready() {
        ensure!(Instant::now() < give_up, "{what} does not listen");
        std::thread::yield_now();
    }
    Ok(())
}

fn swtpm(server: [String; 2]) -> Result<(Child, TempDir)> {
    let dir = tempfile::tempdir()?;
    let [data, control] = server.map(|place| place.replace("DIR", &dir.path().display().to_string()));
    let process = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
        .arg(format!("dir={}", dir.path().display()))
        .args(["--server", &data, "--ctrl", &control])
        .stderr(Stdio::null()) // a line for each client that goes
        .spawn()
        .context("swtpm")?;
    Ok((process, dir))
}

fn swtpm_tcp() -> Result<(Server, u16)> {
    let port = free_port()?;
    let (process, dir) = swtpm([format!("type=tcp,port={port}"), format!("type=tcp,port={}", port + 1)])?;
    let server = Server { process, dir };
    wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok(), "swtpm")?;
    Ok((server, port))
}

pub(crate) fn swtpm_unix() -> Result<(Server, PathBuf)> {
    let (process, dir) = swtpm(["type=unixio,path=DIR/s".to_owned(), "type=unixio,path=DIR/s.ctrl".to_owned()])?;
    let server = Server { process, dir };
    let path = server.dir.path().join("s");
    wait_until(|| UnixStream::connect(&path).is_ok(), "swtpm")?;
    Ok((server, path))
}

/// Starts an mssim server; its first line of output says that it listens.
fn mssim(parts: &Parts, arguments: &[&str]) -> Result<(Server, String)> {
    let dir = tempfile::tempdir()?;
    let arguments = arguments.iter().map(|argument| argument.replace("DIR", &dir.path().display().to_string()));
    let mut command = Command::new(&parts.mssim_server);
    command.args(arguments).arg("--libtpms").arg(parts.ours.join("libtss2-tcti-libtpms.so.0"));
    if Path::new("/dev/shm").is_dir() {
        command.env("TMPDIR", "/dev/shm"); // the time of the disk is not what is measured
    }
    let mut process = command.stdout(Stdio::piped()).spawn().context("mssim-server")?;
    let mut line = String::new();
    BufReader::new(process.stdout.take().context("no stdout")?).read_line(&mut line)?;
    Ok((Server { process, dir }, line))
}

pub(crate) fn module(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("libtss2-tcti-{name}.so.0"))
}

/// Every connection that can be on any machine, its server running.
pub(crate) fn cases(parts: &Parts) -> Result<Vec<Case>> {
    let case = |name, module, conf, place| Case::new(parts, name, module, conf, place);
    let at_port = |port: u16| format!("host=127.0.0.1,port={port}");
    let at_path = |path: &Path| format!("path={}", path.display());
    let mut cases = Vec::new();

    let (server, port) = swtpm_tcp()?;
    cases.push(case("swtpm TCP", "swtpm", at_port(port), Place::SwtpmEach(port)).with(server));
    let (server, path) = swtpm_unix()?;
    cases.push(case("swtpm Unix socket", "swtpm", at_path(&path), Place::SwtpmUnix(path)).with(server));
    let (server, port) = swtpm_tcp()?;
    let conf = format!("{},keep=true", at_port(port));
    cases.push(case("swtpm TCP kept", "swtpm", conf, Place::SwtpmKept(port)).with(server));

    let port = free_port()?;
    let (server, _) = mssim(parts, &["--port", &port.to_string()])?;
    cases.push(case("mssim TCP", "mssim", at_port(port), Place::MssimTcp(port)).with(server));
    let (server, _) = mssim(parts, &["--path", "DIR/s"])?;
    let path = server.dir.path().join("s");
    cases.push(case("mssim Unix socket", "mssim", at_path(&path), Place::MssimUnix(path)).with(server));

    // Around the same C module for both, so that recording is what differs.
    let (server, path) = swtpm_unix()?;
    let carrier = module(&parts.theirs, "swtpm");
    let conf = format!("{}:{}", carrier.display(), at_path(&path));
    cases.push(case("pcap, swtpm Unix socket", "pcap", conf, Place::Recorded(path)).with(server));

    let responder = format!("exec {} respond", std::env::current_exe()?.display());
    cases.push(case("cmd", "cmd", responder, Place::Command));
    cases.push(case("libtpms, in memory", "libtpms", String::new(), Place::Inside));
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
