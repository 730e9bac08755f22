// SPDX-License-Identifier: BSD-2-Clause
//! libtpms: a TPM in memory, a private state file, and a state file that other processes share, some of which are
//! killed. libtpms has one TPM per process, so there is one context.

use super::open;
use crate::descriptors::Exhausted;
use crate::target::{Abilities, Keeps, Moment, Now, Programs, Refusals, Strike, TAKEN, Target};
use fastrand::Rng;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{self, F_WRLCK, SEEK_SET};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, geteuid, seteuid};
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use tcti_core::Tcti;
use tcti_core::{Result, ReturnCode};
use tempfile::TempDir;
use tss2_kit::output;

/// The user that root becomes in order to have no rights.
const NOBODY: u32 = 65534;

/// The part that a fault has taken away.
enum Taken {
    Nothing,
    /// The state file.
    Name,
    /// Another process.
    OtherProcess,
    /// Descriptors.
    Descriptors(#[expect(dead_code, reason = "dropping it restores the limit")] Exhausted),
    /// The previous soft and hard limit of the file size.
    Size(u64, u64),
    /// The rights of root.
    Rights,
    /// The content of the state file.
    Content(Vec<u8>),
    /// The state file, which is a directory now; its content.
    File(Vec<u8>),
}

/// The TPMs.
pub(crate) struct Libtpms {
    dir: Option<TempDir>,
    own: State,
    shared: State,
    /// Processes on the shared file. The last one is killed at random.
    others: Vec<Child>,
    /// The failures of processes that have ended.
    crashes: Vec<String>,
    taken: Taken,
    using: Using,
    /// The number of TPMs in memory so far.
    made: u64,
    /// How often the private file was removed before the last call.
    removed: u64,
    known: Tpm,
    /// For the seeds of the other processes.
    seeds: Rng,
}

/// A state file.
struct State {
    path: PathBuf,
    /// A file with one byte for each removal. It stays open, because the process may lose its rights.
    removals: File,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Using {
    Memory,
    Own,
    Shared,
}

/// A TPM, as long as it keeps everything that was written to it.
type Tpm = (Using, u64);

/// The number of the process that is killed at random.
const VICTIM: u32 = 2;

/// No code: the state exists elsewhere.
const NONE: &[ReturnCode] = &[];
/// The codes for a file that cannot be used.
const OF_FILES: &[ReturnCode] = &[ReturnCode::IO_ERROR];
/// The same, and the code for a library that cannot be opened.
const NO_DESCRIPTORS: &[ReturnCode] = &[ReturnCode::IO_ERROR, ReturnCode::NOT_SUPPORTED];
const NO_RIGHTS: &[ReturnCode] = &[ReturnCode::NOT_PERMITTED, ReturnCode::NOT_SUPPORTED];

impl Libtpms {
    /// The main process. It starts two others.
    pub(crate) fn new(seeds: Rng) -> Libtpms {
        let dir = tempfile::tempdir().unwrap();
        let own = State::new(dir.path().join("own"));
        let shared = dir.path().join("shared");
        let mut target =
            Libtpms { dir: Some(dir), own, seeds, using: Using::Memory, ..Libtpms::other_instance(shared) };
        target.others = (1..=VICTIM).map(|number| target.other(number)).collect();
        target
    }

    /// One of the other processes, on the shared state file.
    pub(crate) fn other_instance(shared: PathBuf) -> Libtpms {
        Libtpms {
            dir: None,
            own: State::new(shared.clone()), // unused
            shared: State::new(shared),
            others: Vec::new(),
            crashes: Vec::new(),
            taken: Taken::Nothing,
            using: Using::Shared,
            made: 0,
            removed: 0,
            known: (Using::Memory, 0),
            seeds: Rng::with_seed(0),
        }
    }

    /// Starts another process. It ends when its input ends. Each number has an NV index and a log of its own.
    fn other(&mut self, number: u32) -> Child {
        let seed = self.seeds.u64(..).to_string();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(env::current_exe().unwrap());
        command
            .args(["libtpms-other", "--seed", &seed, "--number", &number.to_string(), "--shared"])
            .arg(&self.shared.path);
        if let Ok(log) = env::var("TSS2_LOGFILE") {
            command.env("TSS2_LOGFILE", format!("{log}.{number}"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Returns the TPM of the context.
    fn tpm(&self) -> Tpm {
        let time = match self.using {
            Using::Memory => self.made,
            Using::Own => self.own.removals(),
            Using::Shared => self.shared.removals(),
        };
        (self.using, time)
    }

    /// Kills a process at any point. If it has ended before, that is a failure.
    fn kill_other_process(&mut self) -> Option<()> {
        let mut killed = self.others.pop()?;
        killed.kill().unwrap();
        let ended = killed.wait_with_output().unwrap();
        let was_there = ended.status.signal() == Some(Signal::SIGKILL as i32);
        if !was_there {
            self.crashes.push(told(&ended));
        }
        let next = self.other(VICTIM);
        self.others.push(next);
        was_there.then_some(())
    }

    /// Opens a context on the TPM in use.
    fn init(&mut self) -> Result<Box<dyn Tcti>> {
        if self.using == Using::Memory {
            self.made += 1;
        }
        open(&format!("libtpms:{}", self.file().map_or_else(String::new, |file| file.display().to_string())))
    }

    fn file(&self) -> Option<&PathBuf> {
        match self.using {
            Using::Memory => None,
            Using::Own => Some(&self.own.path),
            Using::Shared => Some(&self.shared.path),
        }
    }
}

impl State {
    fn new(path: PathBuf) -> State {
        let removals = OpenOptions::new().create(true).append(true).open(path.with_extension("removals")).unwrap();
        State { path, removals }
    }

    /// Returns how often it was removed.
    fn removals(&self) -> u64 {
        self.removals.metadata().unwrap().len()
    }

    /// Removes it between two commands. The next process to use it writes it again from its own copy, which may be
    /// older than what other processes wrote. `alone`: there are no other processes, and a context is open.
    fn remove(&self, alone: bool) -> Option<()> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path).ok()?;
        lock(&file);
        let inode = |metadata: fs::Metadata| metadata.ino();
        if fs::metadata(&self.path).map(inode).ok() != file.metadata().map(inode).ok() {
            return None;
        }
        if !alone {
            // Noted first, so that a process that notices the loss knows the reason.
            (&self.removals).write_all(&[0]).unwrap();
        }
        fs::remove_file(&self.path).unwrap();
        Some(())
    }
}

/// Locks a file as the module does. Closing it releases the lock.
fn lock(file: &File) {
    let whole = libc::flock { l_type: F_WRLCK as _, l_whence: SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    while let Err(error) = fcntl(file, FcntlArg::F_SETLKW(&whole)) {
        assert_eq!(error, Errno::EINTR, "F_SETLKW");
    }
}

impl Target for Libtpms {
    fn slots(&self) -> usize {
        1
    }

    fn server(&self, _slot: usize) -> usize {
        0
    }

    fn open(&mut self, _slot: usize, rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        if matches!(self.taken, Taken::Nothing) {
            self.using = match (&self.dir, rng.u8(..4)) {
                (None, _) | (_, 0) => Using::Shared,
                (_, 1) => Using::Own,
                _ => Using::Memory,
            };
        }
        self.init()
    }

    fn open_kept(&mut self, _slot: usize, _rng: &mut Rng) -> Result<Box<dyn Tcti>> {
        self.using = if self.dir.is_some() { Using::Own } else { Using::Shared };
        self.init()
    }

    /// In the shared file, each process flushes the objects of the others.
    fn keeps(&self, _slot: usize) -> Keeps {
        match self.using {
            Using::Memory => Keeps::Connection,
            Using::Own => Keeps::Tpm,
            Using::Shared => Keeps::Nowhere,
        }
    }

    fn strike(&mut self, _slot: usize, now: Now, rng: &mut Rng) -> Option<Strike> {
        let Now { moment, alone, .. } = now;
        if !matches!(self.taken, Taken::Nothing) || moment == Moment::Due || moment == Moment::Control {
            return None;
        }
        let own = self.using == Using::Own && self.own.path.is_file();
        let (fault, codes, taken) = match (rng.u8(..8), self.using) {
            (0, _) => ("no free descriptors", NO_DESCRIPTORS, Taken::Descriptors(Exhausted::now()?)),
            (1..3, Using::Own | Using::Shared) => {
                let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
                setrlimit(Resource::RLIMIT_FSIZE, rng.u64(..1000), hard).unwrap();
                ("a full disk", OF_FILES, Taken::Size(soft, hard))
            }
            (3, Using::Own | Using::Shared) if geteuid() == Uid::from_raw(0) => {
                seteuid(Uid::from_raw(NOBODY)).unwrap();
                ("no rights", NO_RIGHTS, Taken::Rights)
            }
            (4, Using::Own) if own => {
                self.own.remove(alone && moment != Moment::Open)?;
                ("a removed state file", NONE, Taken::Name)
            }
            (5, Using::Shared) => {
                self.shared.remove(false)?;
                ("a removed state file", NONE, Taken::Name)
            }
            // Restoring the content would lose what another process stores meanwhile.
            (6, Using::Own) if own && alone => {
                let content = fs::read(&self.own.path).unwrap();
                let mut damaged = content.clone();
                match rng.bool() {
                    true => damaged.truncate(rng.usize(1..content.len())),
                    false => damaged[0] ^= 0x40, // a length
                }
                fs::write(&self.own.path, damaged).unwrap();
                ("a damaged state file", OF_FILES, Taken::Content(content))
            }
            (7, Using::Own) if own && alone => {
                let content = fs::read(&self.own.path).unwrap();
                fs::remove_file(&self.own.path).unwrap();
                fs::create_dir(&self.own.path).unwrap();
                ("a state file that is a directory", OF_FILES, Taken::File(content))
            }
            (_, Using::Shared) if rng.u8(..4) == 0 => {
                self.kill_other_process()?;
                ("another process is killed", NONE, Taken::OtherProcess)
            }
            _ => return None,
        };
        self.taken = taken;
        // Programs inherit limits and rights.
        let reaches_programs = matches!(self.taken, Taken::Descriptors(_) | Taken::Size(..) | Taken::Rights);
        Some(Strike { reaches_programs, forked: false, ..Strike::of_one(fault, codes) })
    }

    /// A removed state file has affected a process if that has written it again. Other faults show in failed calls.
    fn heal(&mut self, _slot: usize) -> bool {
        match std::mem::replace(&mut self.taken, Taken::Nothing) {
            Taken::Name => return self.file().is_some_and(|file| file.is_file()),
            Taken::OtherProcess => return true,
            Taken::Nothing | Taken::Descriptors(_) => {}
            Taken::Size(soft, hard) => setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap(),
            Taken::Rights => seteuid(Uid::from_raw(0)).unwrap(),
            Taken::Content(content) => fs::write(&self.own.path, content).unwrap(),
            Taken::File(content) => {
                fs::remove_dir(&self.own.path).unwrap();
                fs::write(&self.own.path, content).unwrap();
            }
        }
        false
    }

    fn keeps_memory(&mut self, _slot: usize) -> bool {
        let now = self.tpm();
        std::mem::replace(&mut self.known, now) == now
    }

    fn may_have_unloaded(&mut self, _slot: usize) -> bool {
        match self.tpm() {
            (Using::Own, removed) => std::mem::replace(&mut self.removed, removed) != removed,
            (Using::Memory | Using::Shared, _) => false,
        }
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            forks: self.dir.is_some(),
            refusals: Refusals::Tpm,
            largest: TAKEN,
            signals: true,
            cancel: false,
            locality: true,
            poll: false,
        }
    }

    fn programs(&self) -> Programs {
        match self.dir {
            Some(_) => Programs::Concurrent(format!("libtpms:{}", self.shared.path.display()), Keeps::Nowhere),
            None => Programs::None,
        }
    }

    /// Returns the rows of the other processes.
    fn finish(&mut self) -> Vec<std::result::Result<String, String>> {
        self.others.iter_mut().for_each(|other| drop(other.stdin.take()));
        let ended = self.others.drain(..).map(|other| {
            let ended = other.wait_with_output().unwrap();
            match ended.status.success() {
                true => Ok(output::stdout(&ended).trim().to_owned()),
                false => Err(told(&ended)),
            }
        });
        self.crashes.drain(..).map(Err).chain(ended).collect()
    }
}

/// Describes a process that has failed. Its last log lines are on standard error.
fn told(ended: &Output) -> String {
    format!("another process ended with {}: {}", ended.status, output::stdout(ended).trim())
}
