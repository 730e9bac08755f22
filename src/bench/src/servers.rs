// SPDX-License-Identifier: BSD-2-Clause
//! The servers that are measured against, and the cases: which module talks to which, and what its floor is.

use crate::floor;
use crate::subject::Subject;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where things are.
pub(crate) struct Parts {
    pub(crate) ours: PathBuf,
    pub(crate) theirs: PathBuf,
    pub(crate) mssim_server: PathBuf,
}

/// One row of the table.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) conf: String,
    /// The same without what only ours has.
    pub(crate) conf_of_theirs: String,
    pub(crate) ours: PathBuf,
    /// Absent where the C module has no such thing.
    pub(crate) theirs: Option<PathBuf>,
    /// Whether the C module takes so long that fewer commands have to do.
    pub(crate) slow_c: bool,
    pub(crate) floor: fn(&Case) -> Subject,
    port: u16,
    socket: PathBuf,
    _server: Option<Server>,
}

/// A server, ended with it.
struct Server {
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

fn swtpm_unix() -> Result<(Server, PathBuf)> {
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

fn module(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("libtss2-tcti-{name}.so.0"))
}

/// Every case, its server running.
pub(crate) fn cases(parts: &Parts) -> Result<Vec<Case>> {
    let case = |name: &'static str, library: &str, conf: String, floor: fn(&Case) -> Subject| Case {
        name,
        conf_of_theirs: conf.replace(",keep=true", ""),
        conf,
        ours: module(&parts.ours, library),
        theirs: Some(module(&parts.theirs, library)).filter(|path| path.exists()),
        slow_c: false,
        floor,
        port: 0,
        socket: PathBuf::new(),
        _server: None,
    };
    let (server, port) = swtpm_tcp()?;
    let conf = format!("host=127.0.0.1,port={port}");
    let each = |case: &Case| floor::tcp_each(case.port);
    let tcp = Case { port, _server: Some(server), ..case("swtpm TCP", "swtpm", conf, each) };

    let (server, socket) = swtpm_unix()?;
    let conf = format!("path={}", socket.display());
    let each = |case: &Case| floor::unix_each(case.socket.clone());
    let unix = Case { socket, _server: Some(server), ..case("swtpm Unix socket", "swtpm", conf, each) };

    let (server, port) = swtpm_tcp()?;
    let conf = format!("host=127.0.0.1,port={port},keep=true");
    let kept = |case: &Case| floor::tcp_kept(case.port);
    let keep = Case { port, _server: Some(server), ..case("swtpm TCP kept", "swtpm", conf, kept) };

    let port = free_port()?;
    let (server, _) = mssim(parts, &["--port", &port.to_string()])?;
    let conf = format!("host=127.0.0.1,port={port}");
    let kept = |case: &Case| floor::mssim_tcp(case.port);
    let mssim_tcp = Case { port, slow_c: true, _server: Some(server), ..case("mssim TCP", "mssim", conf, kept) };

    let (server, _) = mssim(parts, &["--path", "DIR/s"])?;
    let socket = server.dir.path().join("s");
    let conf = format!("path={}", socket.display());
    let kept = |case: &Case| floor::mssim_unix(case.socket.clone());
    let unix_case = case("mssim Unix socket", "mssim", conf, kept);
    let mssim_unix = Case { socket, theirs: None, _server: Some(server), ..unix_case };

    // Around the same C module for both, so that recording is what differs.
    let (server, socket) = swtpm_unix()?;
    let child = module(&parts.theirs, "swtpm");
    let conf = format!("{}:path={}", child.display(), socket.display());
    let recorded = |case: &Case| floor::recorded(floor::unix_each(case.socket.clone()));
    let pcap = Case { socket, _server: Some(server), ..case("pcap, swtpm Unix socket", "pcap", conf, recorded) };

    let responder = format!("exec {} respond", std::env::current_exe()?.display());
    let pipes = |case: &Case| floor::pipes(case.conf.clone());
    let cmd = case("cmd", "cmd", responder, pipes);
    Ok(vec![tcp, unix, keep, mssim_tcp, mssim_unix, pcap, cmd])
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
