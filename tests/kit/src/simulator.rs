// SPDX-License-Identifier: BSD-2-Clause
//! A simulated LetsTrust-TPM2Go behind this kernel's USB stack, with a swtpm as its TPM: the program of
//! `tests/sim/tpm2go`.

use crate::server::{SocketKind, Swtpm};
use crate::{output, stage};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A simulated stick, which is plugged in until the value is dropped.
pub struct Simulator {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Processes a command while other USB transfers happen, as a chip does.
    _tpm: Swtpm,
}

/// Transfers over the USB.
#[derive(Debug, PartialEq, Eq)]
pub struct Counters {
    /// Control transfers, each of which announces a length.
    pub control: u32,
    /// Bulk OUT transfers.
    pub bulk_out: u32,
    /// Bulk IN transfers.
    pub bulk_in: u32,
    /// Transactions on the SPI bus.
    pub spi: u32,
}

impl Simulator {
    /// Plugs a stick in, with a new TPM that is started up.
    pub fn plug_in(serial: &str) -> Simulator {
        output::succeed(Command::new("modprobe").arg("vhci-hcd"));
        let tpm = Swtpm::start(SocketKind::Unix);
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

    /// Sends a command to the simulator, see `tests/sim/tpm2go/src/bin/tpm2go/command.rs`. Returns its answer.
    pub fn ask(&mut self, command: &str) -> String {
        writeln!(self.stdin, "{command}").unwrap();
        self.answer()
    }

    /// Sets the faults from now on, see `sim_tpm2go::Faults::parse`.
    pub fn set(&mut self, faults: &str) {
        assert_eq!(self.ask(&format!("faults {faults}")), "ok");
    }

    /// Sets the duration of each USB transfer, in microseconds.
    pub fn set_latency(&mut self, micros: u32) {
        assert_eq!(self.ask(&format!("latency-us {micros}")), "ok");
    }

    /// Returns the transfers since [`Simulator::reset_counters`]. Fails when the driver has violated the protocol.
    pub fn counters(&mut self) -> Counters {
        let line = self.ask("counters");
        assert_eq!(value(&line, "offences"), 0, "{}", self.ask("offences"));
        let [control, bulk_out, bulk_in, spi] = ["control", "out", "in", "spi"].map(|key| value(&line, key));
        Counters { control, bulk_out, bulk_in, spi }
    }

    /// Returns how often a fault took effect.
    pub fn strikes(&mut self) -> u32 {
        value(&self.ask("counters"), "strikes")
    }

    /// Resets the counters.
    pub fn reset_counters(&mut self) {
        assert_eq!(self.ask("reset-counters"), "ok");
    }

    /// Unplugs the stick.
    pub fn unplug(&mut self) {
        assert_eq!(self.ask("unplug"), "ok");
    }

    /// Plugs the stick in again.
    pub fn plug(&mut self) {
        let answer = self.ask("plug");
        assert!(answer.starts_with("ready "), "{answer}");
    }

    /// Whether the driver has claimed locality 0 of the TPM.
    pub fn has_locality(&mut self) -> bool {
        self.ask("locality") == "1"
    }

    /// Kills the simulator at any point of its work: the stick is unplugged.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // sysfs changes a little later.
        while !interfaces().is_empty() {
            std::thread::yield_now();
        }
    }
}

/// Returns the value of a key in a line of `key=value` words.
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

/// Returns the USB interfaces of all sticks, in sysfs.
fn interfaces() -> Vec<PathBuf> {
    let devices = fs::read_dir("/sys/bus/usb/devices").unwrap().map(|entry| entry.unwrap().path());
    let id = |device: &PathBuf| fs::read_to_string(device.join("idVendor")).unwrap_or_default();
    let sticks = devices.filter(|device| id(device).trim() == "365d");
    sticks.map(|stick| stick.join(format!("{}:1.0", stick.file_name().unwrap().to_string_lossy()))).collect()
}

/// Returns the device node of the only stick that is plugged in.
pub fn node() -> PathBuf {
    let interface = interfaces().pop().unwrap();
    let uevent = fs::read_to_string(interface.parent().unwrap().join("uevent")).unwrap();
    Path::new("/dev").join(uevent.lines().find_map(|line| line.strip_prefix("DEVNAME=")).unwrap())
}

/// Returns how many sticks programs have claimed: their interface is bound to the kernel's driver for this.
pub fn claimed() -> usize {
    interfaces().iter().filter(|interface| interface.join("driver").exists()).count()
}
