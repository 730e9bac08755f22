// SPDX-License-Identifier: BSD-2-Clause
//! Forked processes, from the parent's side. Each uses the open contexts, taking turns with the parent, and ends in one
//! of the ways of [`Fate`].
//!
//! This program has other threads when it forks, as real programs do. None of them calls a TCTI or writes to the log.
//! The child takes no lock that another thread may have held at the fork, except those of malloc(3), which fork(3)
//! handles: it prints nothing, and ends with _exit(2).

use super::{Driver, Health, Report, index};
use crate::sys::{self, Forked};
use crate::target::Target;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tss2_soak::{Finding, Kind};

/// The most processes at a time.
const SEATS: u32 = 2;
/// NV indices between the first of one process and the first of the next.
const INDICES: u32 = 0x100;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It exits without Finalize, perhaps while a response is due.
    Exit,
    /// It finalizes, and exits.
    Finalize,
    /// SIGKILL ends it this many microseconds after its start.
    Kill(u32),
    /// SIGKILL ends it while a response is due.
    KillDue,
}

impl Fate {
    fn is_kill(self) -> bool {
        matches!(self, Fate::Kill(_) | Fate::KillDue)
    }
}

/// A forked process that has not been waited for.
pub(super) struct Worker {
    pid: Pid,
    seat: u32,
    fate: Fate,
    /// Whether it has inherited each context.
    slots: Vec<bool>,
    report: Report,
}

impl Worker {
    pub(super) fn has(&self, slot: usize) -> bool {
        self.slots[slot]
    }
}

impl<P: Target> Driver<P> {
    /// Forks a process, unless there are enough of them or a fault lasts: some faults are inherited, and the process
    /// could not explain failures by a fault that is older than itself.
    pub(super) fn fork(&mut self) {
        let free = (0..SEATS).find(|seat| self.workers.iter().all(|worker| worker.seat != *seat));
        let Some(seat) = free else { return };
        let slots: Vec<bool> = self.slots.iter().map(|slot| slot.context.is_some()).collect();
        if !slots.contains(&true) || !self.slots.iter().all(|slot| matches!(slot.health, Health::Well)) {
            return;
        }
        let fate = match self.rng.u8(..4) {
            0 => Fate::Exit,
            1 => Fate::Finalize,
            2 => {
                let bits = self.rng.u32(5..18);
                Fate::Kill(self.rng.u32(..1 << bits))
            }
            _ => Fate::KillDue,
        };
        let (report, seed) = (Report::new().unwrap(), self.rng.u64(..));
        // Taken before the fork, because a fault may be made before the process does anything.
        let born = self.now();
        match sys::fork() {
            Forked::Child => {
                let first = self.first_index + INDICES * (1 + seat);
                let indices = (0..slots.len()).map(|slot| index(first, slot)).collect();
                self.work(fate, &report, (born, seed), indices);
            }
            Forked::Parent(pid) => {
                self.tally.forks += 1;
                self.workers.push(Worker { pid, seat, fate, slots, report });
            }
        }
    }

    /// Collects the processes that have ended.
    pub(super) fn reap(&mut self) {
        for at in (0..self.workers.len()).rev() {
            match waitpid(self.workers[at].pid, Some(WaitPidFlag::WNOHANG)).unwrap() {
                WaitStatus::StillAlive => {}
                status => self.take_in(at, status),
            }
        }
    }

    /// Waits until all processes have ended.
    pub(super) fn end_workers(&mut self) {
        while let Some(Worker { pid, fate, .. }) = self.workers.last() {
            let pid = *pid;
            let wait = || loop {
                match waitpid(pid, None) {
                    Err(Errno::EINTR) => {}
                    ended => return ended.unwrap(),
                }
            };
            let status = self.watchdog.watch(format_args!("the end of process {pid} with the fate {fate:?}"), wait);
            self.take_in(self.workers.len() - 1, status);
        }
    }

    /// Kills all processes, after a failure.
    pub(crate) fn kill_workers(&mut self) {
        for worker in &mut self.workers {
            worker.fate = Fate::KillDue;
            let _ = kill(worker.pid, Signal::SIGKILL); // it may have ended already
        }
        self.end_workers();
    }

    fn take_in(&mut self, at: usize, status: WaitStatus) {
        let Worker { pid, fate, report, .. } = self.workers.remove(at);
        self.loaded.iter_mut().for_each(|loaded| loaded.look_again());
        let told = report.read();
        let [sent, matched, ended, refused, kept] = told.counts;
        let tally = &mut self.tally;
        tally.sent += sent;
        tally.matched += matched;
        tally.ended += ended;
        tally.refused += refused;
        tally.kept += kept;
        // The last command of a killed process is abandoned.
        tally.abandoned += sent - matched - ended - refused;
        let of = format!("process {pid} with the fate {fate:?}");
        match status {
            WaitStatus::Exited(_, 0) => {}
            WaitStatus::Signaled(_, Signal::SIGKILL, _) if fate.is_kill() => tally.killed += 1,
            WaitStatus::Signaled(_, Signal::SIGALRM, _) => {
                tally.failures.push(format!("{of} hangs: {} has not returned", told.call));
            }
            other => tally.failures.push(format!("{of} ended with {other:?} in {}", told.call)),
        }
        for finding in self.history.unexplained(&told.findings) {
            let Finding { slot, since, began, ended, text, .. } = finding;
            let faults = self.history.list(*slot);
            let text = format!("{of}: {text}; from {began:?} to {ended:?}, last success {since:?}; faults: {faults}");
            match finding.kind {
                Kind::Wrong | Kind::Untrue => self.tally.wrong.push(text),
                Kind::Lost => self.tally.lost.push(text),
                // Something outside the soak has delayed the machine.
                Kind::Failed(_) if self.trouble.is_outside(self.start + finding.since) => {
                    eprintln!("soak: {text}, which the kernel's log explains");
                }
                Kind::Failed(_) | Kind::Failure => self.tally.failures.push(text),
            }
        }
    }
}
