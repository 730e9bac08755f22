// SPDX-License-Identifier: BSD-2-Clause
//! A TPM as a character device in user space, such as swtpm_cuse provides: [`Cuse`]. Its driver implements open,
//! write, read and release, but not poll, so that the kernel reports it as always readable. A read blocks until the
//! response is there.

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
use tss2_kit::scenario::refused::{TPM_CODES, keeps_objects};
use tss2_kit::scenario::tools;
use tss2_kit::server::{Address, SocketKind, Swtpm};
use tss2_kit::suite::Suite;
use tss2_kit::waiting::wait_until;
use tss2_kit::{output, stage};

/// Operation codes of FUSE requests, and of CUSE's own (Linux `include/uapi/linux/fuse.h`).
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INTERRUPT: u32 = 36;
const CUSE_INIT: u32 = 4096;

/// The sizes of `struct fuse_in_header` and of `struct fuse_write_in`, in bytes.
const HEADER: usize = 40;
const WRITE_HEADER: usize = 40;
/// The size of the buffer for requests in bytes; the kernel sends none that are larger.
const LARGEST: usize = 16 << 10;
/// The largest read or write of a program in bytes. The kernel splits larger ones.
const MESSAGE: u32 = 8192;
const ENOSYS: i32 = 38;
/// `FOPEN_DIRECT_IO`.
const DIRECT_IO: u32 = 1;

/// The name of the device in /dev.
const NAME: &str = "vtpm-cuse";

/// A device that exists until the value is dropped.
pub(crate) struct Cuse {
    child: Child,
    _tpm: Swtpm,
}

impl Cuse {
    /// Makes a device with a new TPM that takes `latency` for each command.
    pub(crate) fn start(latency: Duration) -> Cuse {
        output::succeed(Command::new("modprobe").arg("cuse"));
        let tpm = Swtpm::start(SocketKind::Unix);
        let Address::Path(socket) = tpm.at() else { unreachable!("a Unix socket was asked for") };
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

/// The state of one open file: the command that was written, and the response that was not read yet.
#[derive(Default)]
struct OpenFile {
    command: Option<Vec<u8>>,
    response: Vec<u8>,
}

/// Serves the kernel in a process of its own, with the swtpm that listens on `socket`.
pub(crate) fn serve(socket: &Path, latency: Duration) -> ! {
    let mut kernel = OpenOptions::new().read(true).write(true).open("/dev/cuse").unwrap();
    let mut tpm = UnixStream::connect(socket).unwrap();
    let mut files: HashMap<u64, OpenFile> = HashMap::new();
    let mut next = 0;
    let mut work = |file: &mut OpenFile| {
        if let Some(command) = file.command.take() {
            thread::sleep(latency); // the time of the TPM
            file.response = exchange(&mut tpm, &command);
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
                files.insert(next, OpenFile::default());
                let opened = [&u64::to_ne_bytes(next)[..], &DIRECT_IO.to_ne_bytes(), &[0; 4]].concat();
                reply(&mut kernel, unique, &opened);
            }
            WRITE => {
                let file = files.get_mut(&long(body, 0)).unwrap();
                work(file); // executes a pending command, whose response is dropped
                let size = word(body, 16);
                file.command = Some(body[WRITE_HEADER..][..size as usize].to_vec());
                reply(&mut kernel, unique, &[size.to_ne_bytes(), [0; 4]].concat());
            }
            READ => {
                let file = files.get_mut(&long(body, 0)).unwrap();
                work(file);
                let rest = file.response.split_off(file.response.len().min(word(body, 16) as usize));
                reply(&mut kernel, unique, &file.response);
                file.response = rest;
            }
            RELEASE => {
                files.remove(&long(body, 0));
                reply(&mut kernel, unique, &[]);
            }
            FLUSH => reply(&mut kernel, unique, &[]),
            INTERRUPT => {} // the interrupted request completes
            _ => refuse(&mut kernel, unique),
        }
    }
}

/// Returns `struct cuse_init_out`: version 7.31, the sizes, device numbers that the kernel chooses, and the name.
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

/// Writes `struct fuse_out_header` and the body.
fn answer(kernel: &mut File, unique: u64, error: i32, body: &[u8]) {
    let size = u32::try_from(16 + body.len()).unwrap();
    let head = [&size.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes()].concat();
    // The program may have been killed in the meantime (ENOENT).
    let _ = kernel.write(&[&head, body].concat());
}

pub(crate) fn tests(suite: &mut Suite) {
    suite.test("cuse::a_driver_without_poll_works", &[SWTPM], || {
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
    suite.test("cuse::objects_stay_loaded", &[SWTPM], || {
        let _cuse = Cuse::start(Duration::ZERO);
        keeps_objects(&format!("device:{}", Cuse::path().display()), TPM_CODES);
    });
}
