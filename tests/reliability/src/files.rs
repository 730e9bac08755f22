// SPDX-License-Identifier: BSD-2-Clause
//! Files that a module reads and writes: the state of libtpms, the capture of pcap. A disk of their own is mounted in a
//! mount namespace of the program.

use super::case::{Case, opens_again};
use super::module::Module;
use super::outcome::Outcome;
use super::program::{self, Program, Resource};
use super::reply::Reply;
use super::server::Server;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tss2_kit::server::{SocketKind, Swtpm};
use tss2_kit::{output, stage};

#[derive(Clone, Copy, Debug)]
pub(super) enum Files {
    /// The disk is full.
    Full,
    /// The disk is full during Init.
    FullAtInit,
    /// The file reaches RLIMIT_FSIZE.
    Limit,
    /// The file system becomes read-only.
    ReadOnly,
    /// The file system is read-only during Init.
    ReadOnlyAtInit,
    /// The file has other contents, or fewer bytes.
    Damaged,
    /// The file is damaged before Init.
    DamagedAtInit,
    /// The file is removed.
    Removed,
}

/// Mounts a disk with room for two states, but not for three, and runs a command.
const DISK: &str = "mount -t tmpfs -o size=128k none \"$0\" && exec \"$@\"";
/// The number of commands that fill the last page of a capture.
const COMMANDS: usize = 50;

/// The directory with the file, and the TPM when the file is not its state.
struct Disk {
    dir: TempDir,
    module: Module,
    swtpm: Option<Swtpm>,
}

impl Server for Disk {
    fn conf(&self) -> String {
        self.swtpm.as_ref().map_or_else(|| self.file().display().to_string(), |swtpm| format!("swtpm:{}", swtpm.conf()))
    }
}

impl Disk {
    fn new(module: Module) -> Box<Disk> {
        let swtpm = (module == Module::Pcap).then(|| Swtpm::start(SocketKind::Unix));
        Box::new(Disk { dir: tempfile::tempdir().unwrap(), module, swtpm })
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("file")
    }

    /// Returns the command that runs the program.
    fn plain(&self) -> Command {
        let mut command = program::command(self.module, &self.conf());
        command.env("TCTI_PCAP_FILE", self.file());
        command
    }

    /// Returns the command that runs the program with a disk of its own on the directory.
    fn mounted(&self) -> Command {
        let plain = self.plain();
        let mut command = stage::command("unshare");
        command
            .args(["--mount", "sh", "-c", DISK])
            .arg(self.dir.path())
            .arg(plain.get_program())
            .args(plain.get_args());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// Returns the path of the directory that the program sees.
    fn seen_by(&self, program: &Program) -> PathBuf {
        let dir = self.dir.path().strip_prefix("/").unwrap();
        Path::new(&format!("/proc/{}/root", program.id())).join(dir)
    }

    /// Runs a shell script in the mount namespace of the program; `$0` is the directory.
    fn within(&self, program: &Program, script: &str) {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--mount=/proc/{}/ns/mnt", program.id())).args(["sh", "-c", script]).arg(self.dir.path());
        output::succeed(&mut nsenter);
    }

    /// Makes the directory read-only for files that are opened from now on.
    fn set_read_only(&self, program: &Program) {
        self.within(program, "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"");
    }

    fn set_writable(&self, program: &Program) {
        self.within(program, "umount \"$0\"");
    }

    /// Fills the disk to the last byte.
    fn fill(&self, program: &Program) {
        let mut file = File::create(self.filler(program)).unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn make_room(&self, program: &Program) {
        fs::remove_file(self.filler(program)).unwrap();
    }

    fn filler(&self, program: &Program) -> PathBuf {
        self.seen_by(program).join("filler")
    }

    /// Opens a context. A fault happens only once to a capture, which is closed then or no longer in the directory.
    fn open(self: Box<Disk>, command: Command) -> Case<Disk> {
        let case = Case::with(self.module, self, command).with_key();
        if case.server.module == Module::Pcap { case.times(1) } else { case }
    }
}

/// Returns the permanent state of the TPM, which survives without power, from a state file.
fn permanent(state: &[u8]) -> &[u8] {
    let (size, rest) = state.split_first_chunk().unwrap();
    &rest[..usize::try_from(u32::from_be_bytes(*size)).unwrap()]
}

impl Files {
    pub(super) fn observe(self, module: Module) -> Outcome {
        let disk = Disk::new(module);
        match self {
            Files::Full => {
                let command = disk.mounted();
                disk.open(command).endures(
                    |case| {
                        case.server.fill(&case.program);
                        let state = case.server.seen_by(&case.program).join("file");
                        let before = fs::read(&state).unwrap();
                        let code = fill_page(case);
                        assert!(
                            code.is_success() || fs::read(&state).unwrap() == before,
                            "a command fails, but the state has changed"
                        );
                        code
                    },
                    |case| case.server.make_room(&case.program),
                )
            }
            Files::FullAtInit => opens_again(module.times(), disk.mounted(), |program| {
                let _ = fs::remove_file(disk.seen_by(program).join("file")); // the first time it does not exist
                disk.fill(program);
                let code = program.init().reply();
                disk.make_room(program);
                code
            }),
            Files::Limit => {
                let command = disk.plain();
                disk.open(command).endures(
                    |case| {
                        case.program.exhaust(Resource::FileSize);
                        fill_page(case)
                    },
                    |case| case.program.replenish(Resource::FileSize),
                )
            }
            Files::ReadOnly => {
                let command = disk.mounted();
                disk.open(command).endures(
                    |case| {
                        case.server.set_read_only(&case.program);
                        case.program.get_random().reply()
                    },
                    |case| case.server.set_writable(&case.program),
                )
            }
            Files::ReadOnlyAtInit => opens_again(module.times(), disk.mounted(), |program| {
                disk.set_read_only(program);
                let code = program.init().reply();
                disk.set_writable(program);
                code
            }),
            Files::Damaged => Outcome::of_all((0..DAMAGES).map(|damage| {
                let disk = Disk::new(module);
                let (command, file) = (disk.plain(), disk.file());
                let good = RefCell::new(Vec::new());
                disk.open(command).endures(
                    |case| {
                        good.replace(fs::read(&file).unwrap());
                        fs::write(&file, damaged(&good.borrow(), damage)).unwrap();
                        case.program.get_random().reply()
                    },
                    |_| {
                        let good = good.borrow();
                        assert_eq!(fs::read(&file).unwrap(), damaged(&good, damage), "{UNTOUCHED}");
                        fs::write(&file, &*good).unwrap();
                    },
                )
            })),
            Files::DamagedAtInit => Outcome::of_all((0..DAMAGES).map(|damage| {
                let disk = Disk::new(module);
                let file = disk.file();
                let mut first = Program::start(disk.plain());
                first.init().succeeds(); // creates the file
                first.finalize();
                first.end();
                opens_again(module.times(), disk.plain(), |program| {
                    let good = fs::read(&file).unwrap();
                    let bad = damaged(&good, damage);
                    fs::write(&file, &bad).unwrap();
                    let code = program.init().reply();
                    assert_eq!(fs::read(&file).unwrap(), bad, "{UNTOUCHED}");
                    fs::write(&file, good).unwrap();
                    code
                })
            })),
            Files::Removed => {
                let (command, file) = (disk.plain(), disk.file());
                disk.open(command).endures(
                    |case| {
                        let before = fs::read(&file).unwrap();
                        fs::remove_file(&file).unwrap();
                        let code = case.program.get_random().reply();
                        let after = fs::read(&file).ok();
                        match module {
                            Module::Pcap => assert_eq!(after, None),
                            _ => assert_eq!(permanent(&after.unwrap()), permanent(&before)),
                        }
                        code
                    },
                    Case::restore,
                )
            }
        }
    }
}

/// The message when a damaged file was written: it may still be of use to its owner.
const UNTOUCHED: &str = "a damaged file stays as it is";

/// The number of ways to damage a file.
const DAMAGES: usize = 8;

fn damaged(good: &[u8], how: usize) -> Vec<u8> {
    let end = |at: usize| good[..at].to_vec();
    match how {
        0 => b"this is no state of a TPM".to_vec(),
        1 => b"x".to_vec(), // zeroes alone are a new TPM
        2 => end(4),
        3 => end(good.len() / 2),
        4 => end(good.len() - 1),
        5 => [good, b"x"].concat(),
        6 => [&[0xff; 4], &good[4..]].concat(),
        _ => vec![0xff; good.len()],
    }
}

/// Sends as many commands as fill a page of a capture. A capture that cannot be written is closed.
fn fill_page(case: &mut Case<Disk>) -> Reply {
    let code = case.program.get_random_times(COMMANDS).reply();
    case.descriptors -= u64::from(case.server.module == Module::Pcap);
    code
}
