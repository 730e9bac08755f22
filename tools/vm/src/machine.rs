// SPDX-License-Identifier: BSD-2-Clause
//! One run of QEMU: boots, runs a command, prints what it prints, gives its exit status.

use crate::busy::OwnTime;
use crate::initramfs;
use crate::kernel::Kernel;
use crate::next::{self, Next};
use crate::script::{self, EXIT_PORT, SHARE, STATUS};
use crate::tpm::Tpm;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How QEMU ends when the guest writes 0 to the port of isa-debug-exit. When the guest panics it ends with 0.
const ORDERLY: i32 = 1;

/// A machine to be booted.
pub struct Machine {
    /// Its memory in megabytes; 310 is enough for programs of a few megabytes.
    pub memory: u32,
    /// How many processors it has.
    pub processors: u32,
    /// Whether it has a TPM, a new one each time.
    pub tpm: bool,
    /// How long it may take; then it is killed. Time in which the host's processors are with others does not count.
    pub limit: Duration,
    /// Where the command runs. It is visible in the guest under the same path, as are all files of the host.
    pub directory: PathBuf,
    /// Other paths that have to be visible, wherever on the host they are.
    pub paths: Vec<PathBuf>,
    /// A directory whose files lie over those of the host, as if they were installed there.
    pub layer: Option<PathBuf>,
    /// What the command has in its environment besides PATH and HOME.
    pub environment: Vec<(String, String)>,
}

impl Machine {
    /// Runs a command and gives its exit status; what it prints goes to `out` as it comes. One word is a command line
    /// for the shell, several are a program and its arguments. An error is one of the machine.
    pub fn run(&self, kernel: &Kernel, words: &[String], out: &mut dyn Write) -> Result<i32> {
        let work = tempfile::tempdir().context("cannot make a temporary directory")?;
        let dir = |name: &str| -> Result<PathBuf> {
            let dir = work.path().join(name);
            fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            Ok(dir)
        };
        let write = |path: PathBuf, text: String| {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        let archive = work.path().join("initramfs");
        initramfs::write(kernel, &dir("initramfs.d")?, self.layer.is_some(), &archive)
            .context("cannot make the machine's first file system")?;
        let share = dir("share")?;
        write(share.join("start"), script::start(words, &self.directory, &self.environment))?;
        write(share.join("paths"), self.visible(kernel))?;
        let (tpm, log) = (dir("tpm")?, work.path().join("qemu"));

        let mut command = self.qemu(&kernel.image(), &archive, "")?;
        self.share_files(&mut command, &share);
        let ended = self.power_on(command, &tpm, &log, out)?;
        let status = result(ended, &share.join(STATUS), &log)?;
        match next::left_in(&share)? {
            Some(next) if status == 0 => self.boot_next(kernel, &next, &tpm, &log, out),
            _ => Ok(status),
        }
    }

    /// Boots what the guest has left. It has none of the host's files.
    fn boot_next(&self, kernel: &Kernel, next: &Next, tpm: &Path, log: &Path, out: &mut dyn Write) -> Result<i32> {
        let mut command = self.qemu(&kernel.image(), &next.initramfs, &next.words)?;
        command.args(["-drive", &format!("file={},format=raw,if=none,id=disk", next.disk.display())]);
        command.args(["-device", "virtio-blk-pci,drive=disk"]);
        let ended = self.power_on(command, tpm, log, out)?;
        next::status(ended, &fs::read_to_string(log).unwrap_or_default())
    }

    /// Runs QEMU until it ends, with the TPM whose state is in `tpm`; what it complains of goes to `log`.
    fn power_on(&self, mut command: Command, tpm: &Path, log: &Path, out: &mut dyn Write) -> Result<ExitStatus> {
        let tpm = if self.tpm { Some(Tpm::start(tpm)?) } else { None };
        if let Some(tpm) = &tpm {
            command.args(tpm.arguments());
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log).context("cannot write QEMU's log")?);
        let mut child = command.spawn().context("cannot run setpriv; is util-linux installed?")?;
        let time = OwnTime::of([Some(child.id()), tpm.as_ref().map(Tpm::id)].into_iter().flatten());
        let ended = self.watch(&mut child, &time, out);
        if ended.is_err() {
            let _ = child.kill(); // it may have ended by itself
        }
        let status = child.wait().context("cannot wait for QEMU")?;
        ended?;
        Ok(status)
    }

    /// The paths for `init.sh`. The last is that of the modules, which may be below another.
    fn visible(&self, kernel: &Kernel) -> String {
        let modules = kernel.modules();
        let paths = self.paths.iter().chain([&self.directory, &modules]);
        paths.map(|path| format!("{}\n", path.display())).collect()
    }

    /// A machine with a kernel, an initramfs and a console. `words` are more for the kernel's command line.
    fn qemu(&self, kernel: &Path, archive: &Path, words: &str) -> Result<Command> {
        // QEMU's own way of loading an initramfs puts it over the ACPI tables when there is a TPM and the kernel is
        // booted by PVH. So it goes to the 128th megabyte, and the kernel is told.
        let size = fs::metadata(archive).with_context(|| format!("no {}", archive.display()))?.len();
        let kept = size.div_ceil(1 << 20).next_multiple_of(16);
        let needed = 128 + kept + 48;
        ensure!(u64::from(self.memory) >= needed, "the machine needs {needed} MB of memory at least");
        let append = format!(
            "console=ttyS0 quiet loglevel=1 panic=-1 oops=panic mitigations=off cryptomgr.notests \
             initrdmem=0x8000000,{size} memmap={kept}M$128M {words}"
        );
        let initramfs = format!("loader,file={},addr=0x8000000,force-raw=on", archive.display());
        let exit = format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1");
        // A machine does not outlive who started it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args("-accel tcg -machine q35 -cpu max -nodefaults -display none -no-reboot -serial stdio".split(' '));
        command
            .args(["-m", &self.memory.to_string(), "-smp", &self.processors.to_string(), "-append", &append, "-kernel"])
            .arg(kernel);
        command.args(["-device", &initramfs, "-device", &exit]);
        Ok(command)
    }

    /// Gives the guest the files of the host, the layer, and the directory that both write to.
    fn share_files(&self, command: &mut Command, share: &Path) {
        let share_device = format!("local,id=share,path={},security_model=none", share.display());
        // The host's file systems may have files of equal numbers.
        command.args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]);
        command.args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]);
        if let Some(layer) = &self.layer {
            command
                .args(["-fsdev", &format!("local,id=layer,path={},security_model=none,readonly=on", layer.display())]);
            command.args(["-device", "virtio-9p-pci,fsdev=layer,mount_tag=layer"]);
        }
        command.args(["-fsdev", &share_device, "-device", "virtio-9p-pci,fsdev=share,mount_tag=share"]);
    }

    /// Hands on what the machine prints until it ends.
    fn watch(&self, child: &mut Child, time: &OwnTime, out: &mut dyn Write) -> Result<()> {
        let console = child.stdout.take().context("no console")?;
        let (sender, printed) = sync_channel(16);
        // It ends with the machine, or when nobody listens any more.
        thread::spawn(move || forward(console, &sender));
        hand_on(&printed, self.limit, || time.elapsed(), out)
    }
}

/// Writes what comes until nobody sends any more. It is an error when that takes longer than the limit.
fn hand_on(
    printed: &Receiver<Vec<u8>>,
    limit: Duration,
    elapsed: impl Fn() -> Duration,
    out: &mut dyn Write,
) -> Result<()> {
    let since = Instant::now();
    // Without time left, recv_timeout still gives what waits: a machine that never falls silent would not be noticed.
    while let Some(left) = limit.checked_sub(elapsed()).filter(|left| !left.is_zero()) {
        match printed.recv_timeout(left) {
            Ok(bytes) => out.write_all(&bytes).and_then(|()| out.flush()).context("cannot print")?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            // If the host was busy, there is time left.
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    bail!(
        "the machine was killed: it was not done after {} s of its own, which took {} s here",
        limit.as_secs(),
        since.elapsed().as_secs()
    )
}

fn forward(mut console: ChildStdout, sender: &SyncSender<Vec<u8>>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = console.read(&mut piece) {
        if sender.send(piece.get(..count).unwrap_or_default().to_vec()).is_err() {
            return;
        }
    }
}

/// What the command's status was; an error unless both QEMU and the guest's script came to their end.
fn result(status: ExitStatus, file: &Path, log: &Path) -> Result<i32> {
    let complaint = fs::read_to_string(log).unwrap_or_default();
    if status.code() != Some(ORDERLY) || !file.exists() {
        let how = match status.code() {
            Some(0) => "the guest's kernel panicked, or the guest switched itself off".to_owned(),
            Some(127) => "it cannot be started; is qemu-system-x86 installed?".to_owned(),
            _ => format!("QEMU ended with {status}"),
        };
        bail!("the machine did not come to its end: {how}. {}", complaint.trim());
    }
    let text = fs::read_to_string(file).with_context(|| format!("nothing in {SHARE}/{STATUS}"))?;
    text.trim().parse().with_context(|| format!("the guest's status is \"{}\"", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_limit_holds_while_the_machine_prints_without_a_pause() {
        let (sender, printed) = sync_channel(16);
        let printing = thread::spawn(move || while sender.send(vec![b'x']).is_ok() {});
        let since = Instant::now();
        let limit = Duration::from_millis(20);
        let error = hand_on(&printed, limit, || since.elapsed(), &mut std::io::sink()).unwrap_err();
        assert!(error.to_string().contains("was not done after"), "{error}");
        drop(printed);
        printing.join().unwrap();
    }

    #[test]
    fn the_limit_waits_for_a_machine_that_got_no_processor() {
        let (sender, printed) = sync_channel(1);
        let asked = Cell::new(0);
        // By the clock each of these is over the limit.
        let elapsed = || {
            asked.set(asked.get() + 1);
            match asked.get() {
                3 => sender.send(b"done".to_vec()).unwrap(),
                5.. => return Duration::from_millis(2),
                _ => {}
            }
            Duration::ZERO
        };
        let mut out = Vec::new();
        hand_on(&printed, Duration::from_millis(1), elapsed, &mut out).unwrap_err();
        assert_eq!((out, asked.get()), (b"done".to_vec(), 5));
    }

    #[test]
    fn all_that_a_machine_printed_before_its_end_is_handed_on() {
        let (sender, printed) = sync_channel(2);
        sender.send(b"first ".to_vec()).unwrap();
        sender.send(b"last".to_vec()).unwrap();
        drop(sender);
        let mut out = Vec::new();
        hand_on(&printed, Duration::from_secs(600), || Duration::ZERO, &mut out).unwrap();
        assert_eq!(out, b"first last");
    }
}
