// SPDX-License-Identifier: BSD-2-Clause
//! A TPM as a character device in user space, as swtpm_cuse makes one: [`Cuse`]. Its driver has open, write, read and
//! release, and no poll: the kernel says of it that it can always be read. A read waits for the response.

use crate::programs;
use crate::vtpm::exchange;
use std::collections::HashMap;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use tss2_kit::need::{OPENSSL, SWTPM, TPM2_TOOLS};
use tss2_kit::scenario::refused::{BY_THE_TPM, nothing_is_lost};
use tss2_kit::scenario::tools;
use tss2_kit::server::{Address, SocketKind, Swtpm};
use tss2_kit::suite::Suite;
use tss2_kit::waiting::wait_until;
use tss2_kit::{output, stage};

/// Requests of the kernel, and CUSE's own (Linux `include/uapi/linux/fuse.h`).
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INTERRUPT: u32 = 36;
const CUSE_INIT: u32 = 4096;

/// `struct fuse_in_header`, and what comes before the bytes of a write.
const HEADER: usize = 40;
const WRITE_HEADER: usize = 40;
/// The kernel sends larger requests to nobody whose buffer is smaller.
const LARGEST: usize = 16 << 10;
/// Of a command, and of a response. More comes in pieces.
const MESSAGE: u32 = 8192;
const ENOSYS: i32 = 38;
/// `FOPEN_DIRECT_IO`.
const DIRECT_IO: u32 = 1;

/// The name of the device in /dev.
const NAME: &str = "vtpm-cuse";

/// A device that is there until the value ends.
pub(crate) struct Cuse {
    child: Child,
    _tpm: Swtpm,
}

impl Cuse {
    /// A new TPM that takes so long for each command.
    pub(crate) fn start(latency: Duration) -> Cuse {
        output::succeed(Command::new("modprobe").arg("cuse"));
        let tpm = Swtpm::start(SocketKind::Unix);
        let Address::Path(socket) = tpm.at() else { panic!("it listens on a Unix socket") };
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg("cuse").arg(socket).arg(latency.as_millis().to_string()).stdin(Stdio::null());
        let cuse = Cuse { child: command.spawn().unwrap(), _tpm: tpm };
        wait_until("the device", || Cuse::path().exists());
        cuse
    }

    pub(crate) fn path() -> PathBuf {
        Path::new("/dev").join(NAME)
    }
}

impl Drop for Cuse {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
        wait_until("the end of the device", || !Cuse::path().exists());
    }
}

/// What a program that has the device open has sent and not read.
#[derive(Default)]
struct Line {
    command: Option<Vec<u8>>,
    response: Vec<u8>,
}

/// Serves the kernel in a process of its own, with the swtpm that listens at `socket`.
pub(crate) fn serve(socket: &Path, latency: Duration) -> ! {
    let mut kernel = OpenOptions::new().read(true).write(true).open("/dev/cuse").unwrap();
    let mut tpm = UnixStream::connect(socket).unwrap();
    let mut lines: HashMap<u64, Line> = HashMap::new();
    let mut next = 0;
    let mut work = |line: &mut Line| {
        if let Some(command) = line.command.take() {
            thread::sleep(latency); // what it does for the time of a command
            line.response = exchange(&mut tpm, &command);
        }
    };
    loop {
        let mut room = vec![0; LARGEST];
        let count = kernel.read(&mut room).unwrap();
        let (header, body) = room[..count].split_at(HEADER);
        let (operation, unique) = (word(header, 4), long(header, 8));
        match operation {
            CUSE_INIT => reply(&mut kernel, unique, &init()),
            OPEN => {
                next += 1;
                lines.insert(next, Line::default());
                let opened = [&u64::to_ne_bytes(next)[..], &DIRECT_IO.to_ne_bytes(), &[0; 4]].concat();
                reply(&mut kernel, unique, &opened);
            }
            WRITE => {
                let line = lines.get_mut(&long(body, 0)).unwrap();
                work(line); // one at a time; a response that nobody reads is lost
                let size = word(body, 16);
                line.command = Some(body[WRITE_HEADER..][..size as usize].to_vec());
                reply(&mut kernel, unique, &[size.to_ne_bytes(), [0; 4]].concat());
            }
            READ => {
                let line = lines.get_mut(&long(body, 0)).unwrap();
                work(line);
                let rest = line.response.split_off(line.response.len().min(word(body, 16) as usize));
                reply(&mut kernel, unique, &line.response);
                line.response = rest;
            }
            RELEASE => {
                lines.remove(&long(body, 0));
                reply(&mut kernel, unique, &[]);
            }
            FLUSH => reply(&mut kernel, unique, &[]),
            INTERRUPT => {} // it comes to its end
            _ => refuse(&mut kernel, unique),
        }
    }
}

/// `struct cuse_init_out`: version 7.31, the sizes, any number, and the name.
fn init() -> Vec<u8> {
    let numbers = [7, 31, 0, 0, MESSAGE, MESSAGE, 0, 0];
    let words = numbers.into_iter().chain([0; 10]).flat_map(u32::to_ne_bytes);
    words.chain(format!("DEVNAME={NAME}\0").into_bytes()).collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn reply(kernel: &mut File, unique: u64, body: &[u8]) {
    answer(kernel, unique, 0, body);
}

fn refuse(kernel: &mut File, unique: u64) {
    answer(kernel, unique, -ENOSYS, &[]);
}

/// `struct fuse_out_header`, and the body.
fn answer(kernel: &mut File, unique: u64, error: i32, body: &[u8]) {
    let size = u32::try_from(16 + body.len()).unwrap();
    let head = [&size.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes()].concat();
    // Who asked may have been killed meanwhile (ENOENT).
    let _ = kernel.write(&[&head, body].concat());
}

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("cuse::a_driver_without_poll_is_read_from", &[SWTPM], || {
        let latency = 20;
        let _cuse = Cuse::start(Duration::from_millis(latency));
        let mut unpolled = stage::command(programs::unpolled());
        unpolled.arg(Cuse::path()).arg(latency.to_string());
        output::passes(&output::succeed(&mut unpolled), 21);
    });
    suite.test("cuse::all_steps", &[SWTPM, TPM2_TOOLS, OPENSSL], || {
        let _cuse = Cuse::start(Duration::ZERO);
        tools::all_steps(&format!("device:{}", Cuse::path().display()));
    });
    suite.test("cuse::nothing_that_is_loaded_is_lost", &[SWTPM], || {
        let _cuse = Cuse::start(Duration::ZERO);
        nothing_is_lost(&format!("device:{}", Cuse::path().display()), BY_THE_TPM);
    });
}
