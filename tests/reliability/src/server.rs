// SPDX-License-Identifier: BSD-2-Clause
//! Real TPMs that are killed and restored, one for each module.

use super::module::Module;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use tempfile::TempDir;
use tss2_kit::mssim::Mssim;
use tss2_kit::server::{Emulator, EmulatorProgram, SocketKind, StateFile, Swtpm, TestTpm};
use tss2_kit::simulator::{self, Simulator};
use tss2_kit::waiting::wait_until;

/// The server of a module.
pub(super) trait Server: Send {
    /// Returns the configuration string for the module.
    fn conf(&self) -> String;

    /// Lets it accept commands without responding.
    fn pause(&mut self) {
        panic!("it cannot be paused");
    }

    /// Kills it. It is no longer paused.
    fn kill(&mut self) {
        panic!("it cannot be killed");
    }

    /// Makes it work again.
    fn restore(&mut self) {}

    /// Whether a finalized context has left nothing behind.
    fn is_released(&self) -> bool {
        true
    }
}

pub(super) fn start(module: Module) -> Box<dyn Server> {
    let swtpm = |socket, before, behind| Box::new(Simulated::new(Swtpm::start(socket), before, behind));
    match module {
        Module::Libtpms => Box::new(StateFile::new()),
        Module::Swtpm => swtpm(SocketKind::Tcp, "", ""),
        Module::SwtpmUnix => swtpm(SocketKind::Unix, "", ""),
        Module::SwtpmKept => swtpm(SocketKind::Unix, "", ",keep=true"),
        Module::Pcap | Module::Loader => swtpm(SocketKind::Unix, "swtpm:", ""),
        Module::Mssim => Box::new(Simulated::new(Mssim::start(SocketKind::Tcp, 0), "", ",timeout=2000")),
        Module::Cmd => Box::new(Command::start()),
        Module::Terminal => Box::new(tss2_kit::pty::PtyDevice::start()),
        Module::Device => Box::new(Driver::new()),
        Module::Stick => Box::new(Simulator::plug_in("0042")),
    }
}

impl Server for StateFile {
    fn conf(&self) -> String {
        self.path().display().to_string()
    }
}

impl Server for tss2_kit::pty::PtyDevice {
    fn conf(&self) -> String {
        self.path().display().to_string()
    }
}

/// A simulator, which may have been killed.
struct Simulated<P> {
    process: Emulator<P>,
    before: &'static str,
    behind: &'static str,
    is_running: bool,
}

impl<P: EmulatorProgram> Simulated<P> {
    fn new(process: Emulator<P>, before: &'static str, behind: &'static str) -> Simulated<P> {
        Simulated { process, before, behind, is_running: true }
    }
}

impl<P: EmulatorProgram> Server for Simulated<P> {
    fn conf(&self) -> String {
        format!("{}{}{}", self.before, self.process.conf(), self.behind)
    }

    fn pause(&mut self) {
        self.process.pause();
    }

    fn kill(&mut self) {
        self.process.kill();
        self.is_running = false;
    }

    fn restore(&mut self) {
        if !self.is_running {
            self.process.restart();
            self.is_running = true;
        }
    }
}

/// tpm2_send with a swtpm behind it. The command is killed, not the swtpm.
struct Command {
    swtpm: Swtpm,
    dir: TempDir,
    is_paused: bool,
}

impl Command {
    fn start() -> Command {
        Command { swtpm: Swtpm::start(SocketKind::Unix), dir: tempfile::tempdir().unwrap(), is_paused: false }
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.path().join("pid")
    }
}

impl Server for Command {
    fn conf(&self) -> String {
        format!("echo $$ >{}; exec tpm2_send -T {}", self.pid_file().display(), self.swtpm.name_conf())
    }

    fn pause(&mut self) {
        self.swtpm.pause();
        self.is_paused = true;
    }

    /// Kills the command. If it was paused, waits until it has read what was sent, because the module would send it
    /// again.
    fn kill(&mut self) {
        let pid: i32 = fs::read_to_string(self.pid_file()).unwrap().trim().parse().unwrap();
        let call = || fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
        // A running process may not have read yet.
        let has_read = |call: String| !call.starts_with(READS_STDIN) && !call.starts_with("running");
        wait_until("a command that is read", || !self.is_paused || has_read(call()));
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let is_dead = || fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
        wait_until("the end of the command", is_dead);
        self.swtpm.resume();
    }
}

/// The beginning of `/proc/PID/syscall` in a `read(2)` of stdin.
const READS_STDIN: &str = "0 0x0 ";

/// The kernel's driver for the TPM of the virtual machine. A device that is bound again gets the next number, so
/// modules use a link, as udev rules make them.
struct Driver(TempDir);

/// The directory in which the driver is bound to its device.
const DRIVER: &str = "/sys/bus/platform/drivers/tpm_tis";

impl Driver {
    fn new() -> Driver {
        let driver = Driver(tempfile::tempdir().unwrap());
        driver.link();
        driver
    }

    /// Returns the name of the device on its bus.
    fn device() -> String {
        let devices = fs::read_dir("/sys/bus/platform/devices").unwrap().map(|entry| entry.unwrap().file_name());
        let mut tpms = devices.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with("MSFT0101"));
        tpms.next().expect("a TPM on the platform bus")
    }

    /// Returns the path of the resource manager, while the driver is bound to the device.
    fn node() -> Option<PathBuf> {
        let nodes = fs::read_dir("/dev").unwrap().map(|entry| entry.unwrap().path());
        nodes.into_iter().find(|path| path.to_str().is_some_and(|path| path.starts_with("/dev/tpmrm")))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("tpm")
    }

    fn link(&self) {
        let _ = fs::remove_file(self.path()); // the first one has no predecessor
        let mut node = None;
        wait_until("the new device", || {
            node = Driver::node();
            node.is_some()
        });
        symlink(node.unwrap(), self.path()).unwrap();
    }
}

impl Server for Driver {
    fn conf(&self) -> String {
        self.path().display().to_string()
    }

    /// Does nothing: it is a race whether the driver begins a command before it is unbound, and it would finish that.
    fn pause(&mut self) {}

    fn kill(&mut self) {
        fs::write(format!("{DRIVER}/unbind"), Driver::device()).unwrap();
        wait_until("the end of the device", || Driver::node().is_none());
    }

    fn restore(&mut self) {
        if Driver::node().is_none() {
            fs::write(format!("{DRIVER}/bind"), Driver::device()).unwrap();
        }
        self.link();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.restore();
    }
}

impl Server for Simulator {
    fn conf(&self) -> String {
        "-".to_owned()
    }

    fn pause(&mut self) {
        self.set("data_after=1000000");
    }

    fn kill(&mut self) {
        assert_eq!(self.ask("unplug"), "ok");
    }

    fn restore(&mut self) {
        self.set("");
        assert!(self.ask("plug").starts_with("ready "));
    }

    fn is_released(&self) -> bool {
        simulator::claimed() == 0
    }
}
