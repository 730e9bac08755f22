// SPDX-License-Identifier: BSD-2-Clause
//! Runs QEMU: boots the machine, runs a command, forwards its output and returns its exit status.

use crate::initramfs;
use crate::kernel::Kernel;
use crate::next::{self, Next};
use crate::own_time::OwnTime;
use crate::script::{self, EXIT_PORT, SHARE, STATUS};
use crate::swtpm::Swtpm;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Exit status of QEMU after the guest has written 0 to the port of isa-debug-exit. If the guest's kernel panics, it is 0.
const FINISHED: i32 = 1;

/// The configuration of a machine.
pub struct Machine {
    /// Memory in MiB; 310 is enough for programs that need a few megabytes.
    pub memory: u32,
    /// Number of processors.
    pub processors: u32,
    /// Whether it has a TPM. Each run has a new one.
    pub tpm: bool,
    /// Time limit, after which the machine is killed. Time that it waits for a host processor does not count.
    pub limit: Duration,
    /// Working directory of the command. Like all files of the host, it has the same path in the guest.
    pub directory: PathBuf,
    /// Other paths of the host that must be visible even if they are in /run or /dev.
    pub paths: Vec<PathBuf>,
    /// A directory whose files are mounted on top of the host's, as if they were installed.
    pub layer: Option<PathBuf>,
    /// Environment variables of the command, in addition to PATH and HOME.
    pub environment: Vec<(String, String)>,
}

impl Machine {
    /// Runs a command and returns its exit status. Its output is written to `out` immediately. A single word is a shell command
    /// line; several words are a program and its arguments. Errors are failures of the machine, not of the command.
    pub fn run(&self, kernel: &Kernel, words: &[String], out: &mut dyn Write) -> Result<i32> {
        let work = tempfile::tempdir().context("cannot create a temporary directory")?;
        let dir = |name: &str| -> Result<PathBuf> {
            let dir = work.path().join(name);
            fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
            Ok(dir)
        };
        let write = |path: PathBuf, text: String| {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        let archive = work.path().join("initramfs");
        initramfs::write(kernel, &dir("initramfs.d")?, self.layer.is_some(), &archive)
            .context("cannot create the initramfs")?;
        let share = dir("share")?;
        write(share.join("start"), script::start(words, &self.directory, &self.environment))?;
        write(share.join("paths"), self.visible(kernel))?;
        let (tpm, log) = (dir("tpm")?, work.path().join("qemu"));

        let mut command = self.qemu(&kernel.image(), &archive, "")?;
        self.share_files(&mut command, &share);
        let status = self.power_on(command, &tpm, &log, out)?;
        let status = result(status, &share.join(STATUS), &log)?;
        match next::left_in(&share)? {
            Some(next) if status == 0 => self.boot_next(kernel, &next, &tpm, &log, out),
            _ => Ok(status),
        }
    }

    /// Boots the initramfs and disk that the guest has left. This machine does not see the host's files.
    fn boot_next(&self, kernel: &Kernel, next: &Next, tpm: &Path, log: &Path, out: &mut dyn Write) -> Result<i32> {
        let mut command = self.qemu(&kernel.image(), &next.initramfs, &next.words)?;
        command.args(["-drive", &format!("file={},format=raw,if=none,id=disk", next.disk.display())]);
        command.args(["-device", "virtio-blk-pci,drive=disk"]);
        let status = self.power_on(command, tpm, log, out)?;
        next::status(status, &fs::read_to_string(log).unwrap_or_default())
    }

    /// Runs QEMU until it exits, with a TPM whose state is in the directory `tpm`. QEMU's standard error goes to `log`.
    fn power_on(&self, mut command: Command, tpm: &Path, log: &Path, out: &mut dyn Write) -> Result<ExitStatus> {
        let tpm = if self.tpm { Some(Swtpm::start(tpm)?) } else { None };
        if let Some(tpm) = &tpm {
            command.args(tpm.arguments());
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log).context("cannot write QEMU's log")?);
        let mut child = command.spawn().context("cannot run setpriv; is util-linux installed?")?;
        let time = OwnTime::of([Some(child.id()), tpm.as_ref().map(Swtpm::id)].into_iter().flatten());
        let watched = self.watch(&mut child, &time, out);
        if watched.is_err() {
            let _ = child.kill(); // it may have exited already
        }
        let status = child.wait().context("cannot wait for QEMU")?;
        watched?;
        Ok(status)
    }

    /// Returns the paths that `init.sh` makes visible. The last one is the directory of the kernel modules.
    fn visible(&self, kernel: &Kernel) -> String {
        let modules = kernel.modules();
        let paths = self.paths.iter().chain([&self.directory, &modules]);
        paths.map(|path| format!("{}\n", path.display())).collect()
    }

    /// Returns the command line of QEMU with a kernel, an initramfs and a console. `words` are appended to the kernel's command
    /// line.
    fn qemu(&self, kernel: &Path, archive: &Path, words: &str) -> Result<Command> {
        // With a TPM and a PVH kernel, QEMU's -initrd option overwrites the ACPI tables. Therefore load the initramfs at
        // 128 MiB and pass its address on the kernel's command line.
        let size = fs::metadata(archive).with_context(|| format!("cannot read {}", archive.display()))?.len();
        let kept = size.div_ceil(1 << 20).next_multiple_of(16);
        let needed = 128 + kept + 48;
        ensure!(u64::from(self.memory) >= needed, "the machine needs at least {needed} MiB of memory");
        let append = format!(
            "console=ttyS0 quiet loglevel=1 panic=-1 oops=panic mitigations=off cryptomgr.notests \
             initrdmem=0x8000000,{size} memmap={kept}M$128M {words}"
        );
        let initramfs = format!("loader,file={},addr=0x8000000,force-raw=on", archive.display());
        let exit = format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1");
        // Kill QEMU when the process that started it exits.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args("-accel tcg -machine q35 -cpu max -nodefaults -display none -no-reboot -serial stdio".split(' '));
        command
            .args(["-m", &self.memory.to_string(), "-smp", &self.processors.to_string(), "-append", &append, "-kernel"])
            .arg(kernel);
        command.args(["-device", &initramfs, "-device", &exit]);
        Ok(command)
    }

    /// Adds the host's files, the layer, and the directory that host and guest use to exchange files.
    fn share_files(&self, command: &mut Command, share: &Path) {
        let share_device = format!("local,id=share,path={},security_model=none", share.display());
        // Inode numbers may not be unique across the host's file systems.
        command.args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]);
        command.args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]);
        if let Some(layer) = &self.layer {
            command
                .args(["-fsdev", &format!("local,id=layer,path={},security_model=none,readonly=on", layer.display())]);
            command.args(["-device", "virtio-9p-pci,fsdev=layer,mount_tag=layer"]);
        }
        command.args(["-fsdev", &share_device, "-device", "virtio-9p-pci,fsdev=share,mount_tag=share"]);
    }

    /// Forwards the machine's output until it exits.
    fn watch(&self, child: &mut Child, time: &OwnTime, out: &mut dyn Write) -> Result<()> {
        let console = child.stdout.take().context("no console")?;
        let (sender, printed) = sync_channel(16);
        // The thread ends when the machine exits or when the receiver is dropped.
        thread::spawn(move || read_console(console, &sender));
        forward(&printed, self.limit, || time.elapsed(), out)
    }
}

/// Writes received bytes to `out` until the sender is dropped. Fails if that takes longer than the limit.
fn forward(
    printed: &Receiver<Vec<u8>>,
    limit: Duration,
    elapsed: impl Fn() -> Duration,
    out: &mut dyn Write,
) -> Result<()> {
    let since = Instant::now();
    // Check the limit first: recv_timeout with a zero time-out still returns pending bytes, so a machine that prints without a
    // pause would never time out.
    while let Some(left) = limit.checked_sub(elapsed()).filter(|left| !left.is_zero()) {
        match printed.recv_timeout(left) {
            Ok(bytes) => out.write_all(&bytes).and_then(|()| out.flush()).context("cannot print")?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            // There may be time left, because `elapsed` does not count waiting for a processor.
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    bail!(
        "the machine timed out after {} s of its own time, {} s of wall-clock time, and was killed",
        limit.as_secs(),
        since.elapsed().as_secs()
    )
}

/// Sends the console's output in pieces.
fn read_console(mut console: ChildStdout, sender: &SyncSender<Vec<u8>>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = console.read(&mut piece) {
        if sender.send(piece.get(..count).unwrap_or_default().to_vec()).is_err() {
            return;
        }
    }
}

/// Returns the command's exit status from the file that the guest has written. Fails unless both QEMU and the guest's script have
/// finished.
fn result(status: ExitStatus, file: &Path, log: &Path) -> Result<i32> {
    let stderr = fs::read_to_string(log).unwrap_or_default();
    if status.code() != Some(FINISHED) || !file.exists() {
        let how = match status.code() {
            Some(0) => "the guest's kernel panicked, or the guest powered off".to_owned(),
            Some(127) => "QEMU cannot be started; is qemu-system-x86 installed?".to_owned(),
            _ => format!("QEMU exited with {status}"),
        };
        bail!("the machine did not finish: {how}. {}", stderr.trim());
    }
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {SHARE}/{STATUS}"))?;
    text.trim().parse().with_context(|| format!("the guest reported the exit status \"{}\"", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_machine_that_prints_without_a_pause_times_out() {
        let (sender, printed) = sync_channel(16);
        let printing = thread::spawn(move || while sender.send(vec![b'x']).is_ok() {});
        let since = Instant::now();
        let limit = Duration::from_millis(20);
        let error = forward(&printed, limit, || since.elapsed(), &mut std::io::sink()).unwrap_err();
        assert!(error.to_string().contains("timed out after"), "{error}");
        drop(printed);
        printing.join().unwrap();
    }

    #[test]
    fn waiting_for_a_processor_does_not_count_towards_the_limit() {
        let (sender, printed) = sync_channel(1);
        let calls = Cell::new(0);
        // By wall-clock time, each of these calls is after the limit.
        let elapsed = || {
            calls.set(calls.get() + 1);
            match calls.get() {
                3 => sender.send(b"done".to_vec()).unwrap(),
                5.. => return Duration::from_millis(2),
                _ => {}
            }
            Duration::ZERO
        };
        let mut out = Vec::new();
        forward(&printed, Duration::from_millis(1), elapsed, &mut out).unwrap_err();
        assert_eq!((out, calls.get()), (b"done".to_vec(), 5));
    }

    #[test]
    fn all_output_is_forwarded_after_the_machine_exits() {
        let (sender, printed) = sync_channel(2);
        sender.send(b"first ".to_vec()).unwrap();
        sender.send(b"last".to_vec()).unwrap();
        drop(sender);
        let mut out = Vec::new();
        forward(&printed, Duration::from_secs(600), || Duration::ZERO, &mut out).unwrap();
        assert_eq!(out, b"first last");
    }
}
