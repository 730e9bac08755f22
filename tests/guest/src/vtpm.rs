// SPDX-License-Identifier: BSD-2-Clause
//! A TPM behind the kernel's driver tpm_vtpm_proxy: [`Vtpm`]. It has room for many objects, so that it is the kernel's
//! resource manager that refuses the fourth of a connection. Objects are invented here; all else is answered by a swtpm.

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

/// A TPM that is there until the value ends.
pub(crate) struct Vtpm {
    child: Child,
    stdin: ChildStdin,
    number: u32,
    _tpm: Swtpm,
}

impl Vtpm {
    /// A new TPM 2.0 whose resource manager can be opened.
    pub(crate) fn plug_in() -> Vtpm {
        output::succeed(Command::new("modprobe").arg("tpm_vtpm_proxy"));
        let tpm = Swtpm::start(SocketKind::Unix);
        let Address::Path(socket) = tpm.at() else { panic!("it listens on a Unix socket") };
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg("vtpm").arg(socket).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let number = line(&mut child).parse().unwrap();
        let vtpm = Vtpm { child, stdin, number, _tpm: tpm };
        // The driver asks it some questions first.
        wait_until("the device", || vtpm.manager().exists());
        vtpm
    }

    /// The device of its resource manager.
    pub(crate) fn manager(&self) -> PathBuf {
        format!("/dev/tpmrm{}", self.number).into()
    }

    /// What opens it through the loader.
    pub(crate) fn name_conf(&self) -> String {
        format!("device:{}", self.manager().display())
    }

    /// So many answers from here on are none.
    pub(crate) fn garble(&mut self, count: u32) {
        writeln!(self.stdin, "{count}").unwrap();
        assert_eq!(line(&mut self.child), "garbled");
    }

    /// Pulls it out.
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

/// The next line that it prints.
fn line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// How many answers are none.
static GARBLED: AtomicU32 = AtomicU32::new(0);

/// Serves the driver in a process of its own, with the swtpm that listens at `socket`. Prints the number of the TPM. A
/// number on stdin is one of answers that are to be none.
pub(crate) fn serve(socket: &Path) -> ! {
    let (mut driver, number) = sys::new_device().unwrap();
    println!("{number}");
    thread::spawn(|| {
        for line in std::io::stdin().lines() {
            GARBLED.store(line.unwrap().parse().unwrap(), Ordering::SeqCst);
            println!("garbled");
        }
    });
    let mut tpm = UnixStream::connect(socket).unwrap();
    let mut objects = Objects::default();
    loop {
        let command = read_command(&mut driver);
        let response = objects.answer(&command).unwrap_or_else(|| exchange(&mut tpm, &command));
        let counts_down = |count: u32| count.checked_sub(1);
        match GARBLED.fetch_update(Ordering::SeqCst, Ordering::SeqCst, counts_down) {
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

/// Has a swtpm answer a command.
pub(crate) fn exchange(tpm: &mut UnixStream, command: &[u8]) -> Vec<u8> {
    tpm.write_all(command).unwrap();
    let mut response = vec![0; 10];
    tpm.read_exact(&mut response).unwrap();
    let size = u32::from_be_bytes(response[2..6].try_into().unwrap());
    response.resize(size.try_into().unwrap(), 0);
    tpm.read_exact(&mut response[10..]).unwrap();
    response
}
