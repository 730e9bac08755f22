// SPDX-License-Identifier: BSD-2-Clause
//! A TPM behind the kernel's driver tpm_vtpm_proxy: [`Vtpm`]. It has room for many objects, so that the kernel's
//! resource manager is the one to refuse the fourth object of a connection. Objects are simulated here; a swtpm
//! executes all other commands.

mod objects;
mod sys;

use objects::Objects;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, thread};
use tss2_kit::output;
use tss2_kit::server::{Address, SocketKind, Swtpm};
use tss2_kit::waiting::wait_until;

/// A TPM that exists until the value is dropped.
pub(crate) struct Vtpm {
    child: Child,
    stdin: ChildStdin,
    number: u32,
    _tpm: Swtpm,
}

impl Vtpm {
    /// Makes a new TPM 2.0. Its resource manager can be opened.
    pub(crate) fn plug_in() -> Vtpm {
        output::succeed(Command::new("modprobe").arg("tpm_vtpm_proxy"));
        let tpm = Swtpm::start(SocketKind::Unix);
        let Address::Path(socket) = tpm.at() else { unreachable!("a Unix socket was asked for") };
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg("vtpm").arg(socket).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let number = line(&mut child).parse().unwrap();
        let vtpm = Vtpm { child, stdin, number, _tpm: tpm };
        // The driver sends some commands to the TPM first.
        wait_until("the device", || vtpm.manager().exists());
        vtpm
    }

    /// Returns the device of its resource manager.
    pub(crate) fn manager(&self) -> PathBuf {
        format!("/dev/tpmrm{}", self.number).into()
    }

    /// Returns the `name:conf` that opens it through the loader.
    pub(crate) fn name_conf(&self) -> String {
        format!("device:{}", self.manager().display())
    }

    /// Truncates the next `count` responses.
    pub(crate) fn truncate(&mut self, count: u32) {
        writeln!(self.stdin, "{count}").unwrap();
        assert_eq!(line(&mut self.child), "ok");
    }

    /// Removes the TPM.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        wait_until("the end of the device", || !self.manager().exists());
    }
}

impl Drop for Vtpm {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

/// Returns the next line that a process prints.
fn line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// How many responses are to be truncated.
static TRUNCATED: AtomicU32 = AtomicU32::new(0);

/// Serves the driver in a process of its own, with the swtpm that listens on `socket`. Prints the number of the TPM.
/// Each line on stdin is a number of responses to truncate.
pub(crate) fn serve(socket: &Path) -> ! {
    let (mut driver, number) = sys::new_device().unwrap();
    println!("{number}");
    thread::spawn(|| {
        for line in std::io::stdin().lines() {
            TRUNCATED.store(line.unwrap().parse().unwrap(), Ordering::SeqCst);
            println!("ok");
        }
    });
    let mut tpm = UnixStream::connect(socket).unwrap();
    let mut objects = Objects::default();
    loop {
        let command = read_command(&mut driver);
        let response = objects.answer(&command).unwrap_or_else(|| exchange(&mut tpm, &command));
        let counts_down = |count: u32| count.checked_sub(1);
        match TRUNCATED.fetch_update(Ordering::SeqCst, Ordering::SeqCst, counts_down) {
            Ok(_) => driver.write_all(&response[..response.len() - 1]).unwrap(),
            Err(_) => driver.write_all(&response).unwrap(),
        }
    }
}

fn read_command(driver: &mut File) -> Vec<u8> {
    let mut room = [0; 4096];
    let count = driver.read(&mut room).unwrap();
    room[..count].to_vec()
}

/// Sends a command to a swtpm. Returns the response.
pub(crate) fn exchange(tpm: &mut UnixStream, command: &[u8]) -> Vec<u8> {
    tpm.write_all(command).unwrap();
    let mut response = vec![0; 10];
    tpm.read_exact(&mut response).unwrap();
    let size = u32::from_be_bytes(response[2..6].try_into().unwrap());
    response.resize(size.try_into().unwrap(), 0);
    tpm.read_exact(&mut response[10..]).unwrap();
    response
}
