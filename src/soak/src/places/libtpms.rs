// SPDX-License-Identifier: BSD-2-Clause
//! libtpms: a TPM in memory, a state file of our own, and one that other processes use, too, some of which are killed.
//! libtpms is one TPM per process, so there is one context.

use super::open;
use crate::descriptors::Exhausted;
use crate::place::{Abilities, Moment, Place, Reach, Strike};
use crate::tcti::Tcti;
use fastrand::Rng;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, geteuid, seteuid};
use std::env;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tcti_core::{Rc, Result};
use tempfile::TempDir;

/// Whom root becomes to have no rights.
const NOBODY: u32 = 65534;

/// What a fault took.
enum Taken {
    Nothing,
    /// Descriptors.
    Descriptors(#[expect(dead_code, reason = "its end gives them back")] Exhausted),
    /// The limit of the size of files, which was this.
    Size(u64, u64),
    /// The rights of root.
    Rights,
    /// What was in the state file.
    Content(Vec<u8>),
    /// The state file, which is a directory now, and had this in it.
    File(Vec<u8>),
}

/// The TPMs.
pub(crate) struct Libtpms {
    dir: Option<TempDir>,
    own: PathBuf,
    shared: PathBuf,
    /// Processes on the shared file, the last of which is killed now and then.
    others: Vec<Child>,
    taken: Taken,
    using: Using,
    /// Of the other processes.
    seeds: Rng,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Using {
    Memory,
    Own,
    Shared,
}

/// The codes of a fault of a file, the last one that of a library which is not to be opened.
const OF_FILES: &[Rc] = &[Rc::IO_ERROR, Rc::NOT_PERMITTED, Rc::NOT_SUPPORTED];

impl Libtpms {
    /// The main process, and two others beside it.
    pub(crate) fn new(seeds: Rng) -> Libtpms {
        let dir = tempfile::tempdir().unwrap();
        let (own, shared) = (dir.path().join("own"), dir.path().join("shared"));
        let mut place = Libtpms {
            dir: Some(dir),
            own,
            shared,
            others: Vec::new(),
            taken: Taken::Nothing,
            using: Using::Memory,
            seeds,
        };
        place.others = (0..2).map(|_| place.other()).collect();
        place
    }

    /// A process on a state file that it shares.
    pub(crate) fn beside(shared: PathBuf) -> Libtpms {
        Libtpms {
            dir: None,
            own: PathBuf::new(),
            shared,
            others: Vec::new(),
            taken: Taken::Nothing,
            using: Using::Shared,
            seeds: Rng::with_seed(0),
        }
    }

    /// It ends when its input does.
    fn other(&mut self) -> Child {
        let seed = self.seeds.u64(..).to_string();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(env::current_exe().unwrap());
        command.args(["libtpms-beside", "--seed", &seed, "--shared"]).arg(&self.shared);
        command.env("TSS2_LOG", "all+none").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn file(&self) -> Option<&PathBuf> {
        match self.using {
            Using::Memory => None,
            Using::Own => Some(&self.own),
            Using::Shared => Some(&self.shared),
        }
    }
}

impl Place for Libtpms {
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
        open(&format!("libtpms:{}", self.file().map_or_else(String::new, |file| file.display().to_string())))
    }

    fn strike(&mut self, _slot: usize, moment: Moment, rng: &mut Rng) -> Option<Strike> {
        if !matches!(self.taken, Taken::Nothing) || moment == Moment::Due || moment == Moment::Control {
            return None;
        }
        let own = self.using == Using::Own && self.own.is_file();
        let (fault, taken) = match (rng.u8(..8), self.using) {
            (0, _) => ("no more descriptors", Taken::Descriptors(Exhausted::now()?)),
            (1..3, Using::Own | Using::Shared) => {
                let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
                setrlimit(Resource::RLIMIT_FSIZE, rng.u64(..1000), hard).unwrap();
                ("a full disk", Taken::Size(soft, hard))
            }
            (3, Using::Own | Using::Shared) if geteuid() == Uid::from_raw(0) => {
                seteuid(Uid::from_raw(NOBODY)).unwrap();
                ("no rights", Taken::Rights)
            }
            (4, Using::Own) if own => {
                fs::remove_file(&self.own).unwrap();
                ("a removed state file", Taken::Nothing)
            }
            (5, Using::Shared) => {
                // Between two commands of the others, for whom it is no fault.
                let file = Flock::lock(File::open(&self.shared).ok()?, FlockArg::LockExclusive).ok()?;
                let inode = |metadata: fs::Metadata| metadata.ino();
                if fs::metadata(&self.shared).map(inode).ok() != file.metadata().map(inode).ok() {
                    return None;
                }
                fs::remove_file(&self.shared).unwrap();
                ("a removed state file", Taken::Nothing)
            }
            (6, Using::Own) if own => {
                let content = fs::read(&self.own).unwrap();
                let mut damaged = content.clone();
                match rng.bool() {
                    true => damaged.truncate(rng.usize(1..content.len())),
                    false => damaged[0] ^= 0x40, // a length
                }
                fs::write(&self.own, damaged).unwrap();
                ("a damaged state file", Taken::Content(content))
            }
            (7, Using::Own) if own => {
                let content = fs::read(&self.own).unwrap();
                fs::remove_file(&self.own).unwrap();
                fs::create_dir(&self.own).unwrap();
                ("a state file that is a directory", Taken::File(content))
            }
            (_, Using::Shared) if !self.others.is_empty() && rng.u8(..4) == 0 => {
                let mut killed = self.others.pop()?;
                killed.kill().unwrap();
                killed.wait().unwrap();
                let next = self.other();
                self.others.push(next);
                ("a killed neighbour", Taken::Nothing)
            }
            _ => return None,
        };
        self.taken = taken;
        Some(Strike { fault, codes: OF_FILES, reach: Reach::Memory, endless: false })
    }

    fn heal(&mut self, _slot: usize) {
        match std::mem::replace(&mut self.taken, Taken::Nothing) {
            Taken::Nothing | Taken::Descriptors(_) => {}
            Taken::Size(soft, hard) => setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap(),
            Taken::Rights => seteuid(Uid::from_raw(0)).unwrap(),
            Taken::Content(content) => fs::write(&self.own, content).unwrap(),
            Taken::File(content) => {
                fs::remove_dir(&self.own).unwrap();
                fs::write(&self.own, content).unwrap();
            }
        }
    }

    /// Other processes remove the file, and each open may be of another TPM.
    fn keeps_memory(&self, _slot: usize) -> bool {
        false
    }

    fn abilities(&self) -> Abilities {
        Abilities { cancel: false, locality: true, poll: false }
    }

    fn for_tools(&self) -> Option<String> {
        self.dir.as_ref().map(|_| format!("libtpms:{}", self.shared.display()))
    }

    /// The rows of the others.
    fn finish(&mut self) -> Vec<String> {
        let ended = self.others.drain(..).map(|mut other| {
            drop(other.stdin.take());
            let output = other.wait_with_output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            assert!(output.status.success(), "a process beside this one: {printed}");
            printed
        });
        ended.collect()
    }
}
