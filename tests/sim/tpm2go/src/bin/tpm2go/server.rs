// SPDX-License-Identifier: BSD-2-Clause
//! The event loop for URBs of the kernel, commands on stdin, and uevents.
#![forbid(unsafe_code)]

use crate::command::Command;
use crate::console::Console;
use crate::uevents::Uevents;
use crate::vhci;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;
use sim_tpm2go::usbip::Link;
use sim_tpm2go::{Faults, Stick};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The interval between checks of sysfs when a device is removed: the directory disappears shortly after the last
/// uevent.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The event that the current command waits for. Later commands wait, too.
enum Wait {
    /// The kernel enumerates the stick at this port.
    Arrival(u32),
    /// The kernel removes the device from this port.
    Departure(u32),
}

pub(crate) struct Server {
    stick: Stick,
    /// The connection and the port, while the stick is plugged in.
    link: Option<(Link, u32)>,
    wait: Option<Wait>,
    console: Console,
    uevents: Uevents,
}

impl Server {
    /// Plugs the stick in.
    pub(crate) fn new(stick: Stick) -> Result<Server> {
        // Otherwise each latency would be 50 us longer.
        set_timerslack(1).context("cannot set the timer slack")?;
        let (console, uevents) = (Console::new().context("cannot use stdin")?, Uevents::new()?);
        let mut server = Server { stick, link: None, wait: None, console, uevents };
        server.plug()?;
        Ok(server)
    }

    /// Serves until the stick is unplugged and stdin has ended.
    pub(crate) fn run(mut self) -> Result<()> {
        loop {
            self.serve()?;
            self.check_wait()?;
            while self.wait.is_none() {
                let Some(line) = self.console.line() else { break };
                self.execute(&line);
            }
            if self.link.is_none() && self.console.fd().is_none() {
                return Ok(());
            }
            self.poll()?;
        }
    }

    fn plug(&mut self) -> Result<()> {
        let (ours, kernel) = UnixStream::pair().context("cannot make a pair of sockets")?;
        let port = vhci::attach(&OwnedFd::from(kernel))?;
        self.stick.plug();
        self.link = Some((Link::new(ours).context("cannot use a socket")?, port));
        self.wait = Some(Wait::Arrival(port));
        Ok(())
    }

    fn serve(&mut self) -> Result<()> {
        let Some((link, _)) = &mut self.link else { return Ok(()) };
        match link.serve(&mut self.stick) {
            Ok(()) if self.stick.is_plugged() => {}
            Ok(()) => self.link = None,
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(error.into()),
            // The kernel has removed the stick.
            Err(_) => {
                self.stick.unplug();
                self.link = None;
            }
        }
        Ok(())
    }

    /// Checks whether the event of the current command has occurred.
    fn check_wait(&mut self) -> Result<()> {
        match self.wait {
            Some(Wait::Arrival(_)) if self.link.is_none() => bail!("the kernel did not take the stick, see dmesg"),
            Some(Wait::Arrival(port)) if vhci::is_ready(port) => {
                self.wait = None;
                Console::answer(&format!("ready {port}"));
            }
            Some(Wait::Departure(port)) if vhci::device(port).is_none() => {
                self.wait = None;
                Console::answer("ok");
            }
            _ => {}
        }
        Ok(())
    }

    fn execute(&mut self, line: &str) {
        let answer = match Command::parse(line) {
            Ok(Command::Counters) => self.counters(),
            Ok(Command::ResetCounters) => {
                self.stick.reset_counters();
                "ok".to_owned()
            }
            Ok(Command::Faults(faults)) => {
                let latency = self.stick.faults().latency;
                *self.stick.faults() = Faults { latency, ..*faults };
                "ok".to_owned()
            }
            Ok(Command::Latency(latency)) => {
                self.stick.faults().latency = latency;
                "ok".to_owned()
            }
            Ok(Command::Unplug) => match self.link.take() {
                Some((_, port)) => {
                    self.stick.unplug();
                    self.wait = Some(Wait::Departure(port));
                    return;
                }
                None => "ok".to_owned(),
            },
            Ok(Command::Plug) => match &self.link {
                Some((_, port)) => format!("ready {port}"),
                None => match self.plug() {
                    Ok(()) => return,
                    Err(error) => format!("error {error:#}"),
                },
            },
            Ok(Command::Locality) => u8::from(self.stick.has_locality()).to_string(),
            Ok(Command::Offences) => {
                let offences = self.stick.offences();
                format!("{} {}", offences.len(), offences.join("; ")).trim_end().to_owned()
            }
            Err(wrong) => format!("error {wrong}"),
        };
        Console::answer(&answer);
    }

    fn counters(&self) -> String {
        let (counters, offences) = (self.stick.counters(), self.stick.offences().len());
        format!(
            "control={} out={} in={} spi={} bytes={} offences={offences} standard={} strikes={}",
            counters.control,
            counters.bulk_out,
            counters.bulk_in,
            counters.spi,
            counters.bytes,
            counters.standard,
            self.stick.strikes()
        )
    }

    /// Waits for the kernel, a command, a uevent or the time of a transfer.
    fn poll(&mut self) -> Result<()> {
        let mut deadline = None;
        let mut fds = vec![PollFd::new(self.uevents.as_fd(), PollFlags::POLLIN)];
        if let Some((link, _)) = &self.link {
            deadline = link.deadline();
            let more = if link.is_behind() { PollFlags::POLLOUT } else { PollFlags::empty() };
            fds.push(PollFd::new(link.as_fd(), PollFlags::POLLIN | more));
        }
        if let Some(Wait::Departure(_)) = self.wait {
            deadline = Some(Instant::now() + LOOK_AGAIN);
        }
        let timeout = deadline.map(|at| TimeSpec::from_duration(at.saturating_duration_since(Instant::now())));
        // While a command waits, stdin is not polled: neither lines nor the end of input could be handled.
        let console_fd = self.console.fd().filter(|_| self.wait.is_none());
        let has_console = console_fd.is_some();
        fds.extend(console_fd.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match ppoll(&mut fds, timeout, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot poll"),
        }
        let is_ready = |fd: Option<&PollFd>| fd.and_then(PollFd::any).unwrap_or(false);
        let (uevents, console) = (is_ready(fds.first()), has_console && is_ready(fds.last()));
        drop(fds);
        if uevents {
            self.uevents.drain();
        }
        if console {
            self.console.read();
        }
        Ok(())
    }
}
