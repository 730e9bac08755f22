// SPDX-License-Identifier: BSD-2-Clause
//! A simulated LetsTrust-TPM2Go in this machine, with a swtpm as its TPM: the program of `tests/sim/tpm2go`.

use crate::server::{Socket, Swtpm};
use crate::{output, stage};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A stick that is plugged in until the value ends.
pub struct Simulator {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Works while the USB does something else, as a chip does.
    _tpm: Swtpm,
}

/// What passed over the USB.
#[derive(Debug, PartialEq, Eq)]
pub struct Counters {
    /// Announcements.
    pub control: u32,
    /// Bulk OUT transfers.
    pub bulk_out: u32,
    /// Bulk IN transfers.
    pub bulk_in: u32,
    /// Transactions on the SPI bus.
    pub spi: u32,
}

impl Simulator {
    /// Plugs a stick in, with a new TPM that is started.
    pub fn plug_in(serial: &str) -> Simulator {
        output::succeed(Command::new("modprobe").arg("vhci-hcd"));
        let tpm = Swtpm::start(Socket::Unix);
        let name_conf = format!("swtpm:{},keep=true", tpm.conf());
        let mut command = stage::command(stage::sim("tpm2go"));
        command.args(["--serial", serial, "--tpm", &name_conf]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut simulator = Simulator { child, stdin, stdout, _tpm: tpm };
        assert!(simulator.answer().starts_with("ready "));
        simulator
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// One command of the simulator, and its answer.
    pub fn ask(&mut self, command: &str) -> String {
        writeln!(self.stdin, "{command}").unwrap();
        self.answer()
    }

    /// What goes wrong from now on.
    pub fn set(&mut self, faults: &str) {
        assert_eq!(self.ask(&format!("faults {faults}")), "ok");
    }

    /// What a transfer over a USB takes, in microseconds.
    pub fn set_latency(&mut self, micros: u32) {
        assert_eq!(self.ask(&format!("latency-us {micros}")), "ok");
    }

    /// What passed since [`Simulator::reset_counters`]. No driver did what it should not.
    pub fn counters(&mut self) -> Counters {
        let line = self.ask("counters");
        assert_eq!(value(&line, "offences"), 0, "{}", self.ask("offences"));
        let [control, bulk_out, bulk_in, spi] = ["control", "out", "in", "spi"].map(|key| value(&line, key));
        Counters { control, bulk_out, bulk_in, spi }
    }

    /// How often a fault changed something.
    pub fn strikes(&mut self) -> u32 {
        value(&self.ask("counters"), "strikes")
    }

    /// Counts from zero again.
    pub fn reset_counters(&mut self) {
        assert_eq!(self.ask("reset-counters"), "ok");
    }

    /// Ends it as a crash would, in the middle of whatever it does: the stick is pulled out.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // The kernel tells later.
        while !interfaces().is_empty() {
            std::thread::yield_now();
        }
    }
}

/// Of a line with `key=value` between spaces.
fn value(line: &str, key: &str) -> u32 {
    let part = line.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    part.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key} in {line}"))
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }
}

/// The interfaces of sticks that the kernel has, in sysfs.
fn interfaces() -> Vec<PathBuf> {
    let devices = fs::read_dir("/sys/bus/usb/devices").unwrap().map(|entry| entry.unwrap().path());
    let id = |device: &PathBuf| fs::read_to_string(device.join("idVendor")).unwrap_or_default();
    let sticks = devices.filter(|device| id(device).trim() == "365d");
    sticks.map(|stick| stick.join(format!("{}:1.0", stick.file_name().unwrap().to_string_lossy()))).collect()
}

/// The device of the one stick that is plugged in.
pub fn node() -> PathBuf {
    let interface = interfaces().pop().unwrap();
    let uevent = fs::read_to_string(interface.parent().unwrap().join("uevent")).unwrap();
    Path::new("/dev").join(uevent.lines().find_map(|line| line.strip_prefix("DEVNAME=")).unwrap())
}

/// How many sticks are claimed by a program: the kernel's driver for that has their interface.
pub fn claimed() -> usize {
    interfaces().iter().filter(|interface| interface.join("driver").exists()).count()
}
