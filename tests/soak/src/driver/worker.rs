// SPDX-License-Identifier: BSD-2-Clause
//! A forked process: it sends some commands on the contexts that it has inherited, and ends. It writes its counts and
//! findings to its report.

use super::forks::Fate;
use super::{Driver, Health, Report, Role};
use crate::sys;
use crate::target::Target;
use crate::watchdog::Watchdog;
use fastrand::Rng;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigEvent, SigevNotify, Signal, raise};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::alarm;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tcti_core::Wait;
use tss2_soak::{Finding, Kind, Loaded};

/// The most commands of one process.
const COMMANDS: u64 = 40;
/// The most steps. During a fault it may be that no command can be sent.
const STEPS: u32 = 1000;
/// Seconds after which it counts as hung; longer than it waits for its turn.
const LIFE: u32 = 80;
/// How often it asks for a loaded key before it ends, because there may be a fault.
const ATTEMPTS: u32 = 10;

/// Exit statuses.
const DONE: i32 = 0;
const PANICKED: i32 = 101;

impl<P: Target> Driver<P> {
    /// Runs the process. `birth` is the time of the fork and the seed, `indices` are the NV indices that no other
    /// process uses, one per context.
    pub(super) fn work(&mut self, fate: Fate, report: &Report, birth: (Duration, u64), indices: Vec<u32>) -> ! {
        let lived = catch_unwind(AssertUnwindSafe(|| {
            self.be_born(fate, report, birth, indices);
            self.live(fate, report);
        }));
        sys::leave(if lived.is_ok() { DONE } else { PANICKED });
    }

    fn be_born(&mut self, fate: Fate, report: &Report, (born, seed): (Duration, u64), indices: Vec<u32>) {
        alarm::set(LIFE);
        // Without the parent nobody reads the report.
        set_pdeathsig(Signal::SIGKILL).unwrap();
        if let Fate::Kill(micros) = fate {
            kill_within(Duration::from_micros(micros.into()));
        }
        self.rng = Rng::with_seed(seed);
        self.watchdog = Watchdog::of_worker(report.again().unwrap());
        self.workers.clear();
        self.tally = crate::tally::Tally::default();
        self.loaded = self.loaded.iter().map(Loaded::inherited).collect();
        self.role = Role::Worker { born, findings: Vec::new(), failures: 0 };
        for (slot, index) in self.slots.iter_mut().zip(indices) {
            slot.knowledge = slot.knowledge.inherited(index, &mut self.rng);
            slot.well = born;
            slot.health = Health::Well;
        }
    }

    fn live(&mut self, fate: Fate, report: &Report) {
        // A response that was due belongs to the parent.
        for slot in 0..self.slots.len() {
            if self.slots[slot].due.take().is_some() {
                self.out_of_turn(slot);
            }
        }
        let commands = self.rng.u64(1..=COMMANDS);
        for _ in 0..STEPS {
            if self.tally.sent == commands || !self.act(report) {
                break;
            }
            if fate == Fate::KillDue && self.tally.sent == commands {
                raise(Signal::SIGKILL).unwrap();
            }
        }
        if fate == Fate::Exit && self.rng.bool() {
            return;
        }
        while !self.tally.is_bad() && self.step_due(report) {}
        self.ask_what_is_loaded(report);
        if fate == Fate::Finalize {
            (0..self.slots.len()).for_each(|slot| self.close(slot));
        }
    }

    /// Takes one step. At most one exchange is in progress, because the parent holds other contexts while it waits for
    /// its turn on one. Returns `false` when nothing is left to do, or after a failure.
    fn act(&mut self, report: &Report) -> bool {
        if self.step_due(report) {
            return !self.tally.is_bad();
        }
        let open: Vec<usize> = (0..self.slots.len()).filter(|slot| self.slots[*slot].context.is_some()).collect();
        let Some(slot) = self.rng.choice(open) else { return false };
        self.began = self.now();
        match self.rng.u32(..100) {
            0 => self.out_of_turn(slot),
            1 if self.target.abilities().locality => self.set_locality(slot),
            _ => self.transmit(slot),
        }
        self.tell(report);
        !self.tally.is_bad()
    }

    /// Takes one step of the exchange in progress. Returns `false` if there is none.
    fn step_due(&mut self, report: &Report) -> bool {
        let Some(slot) = self.slots.iter().position(|slot| slot.due.is_some()) else { return false };
        self.began = self.now();
        self.due(slot);
        self.tell(report);
        true
    }

    /// Uses all keys that were loaded when this process was forked.
    fn ask_what_is_loaded(&mut self, report: &Report) {
        self.loaded.iter_mut().for_each(|loaded| loaded.ask_all(false));
        for slot in 0..self.slots.len() {
            let mut attempts = 0;
            while attempts < ATTEMPTS && self.is_asking(slot) && !self.tally.is_bad() {
                self.began = self.now();
                let failed = self.tally.ended;
                match self.slots[slot].due.is_some() {
                    false => self.transmit(slot),
                    true => self.receive(slot, Wait::Millis(1000)),
                }
                attempts += u32::from(self.tally.ended > failed || self.slots[slot].due.is_none());
                self.tell(report);
            }
            self.give_up(slot);
        }
        self.tell(report);
    }

    /// Writes new counts and findings to the report.
    fn tell(&mut self, report: &Report) {
        let tally = &self.tally;
        report.count([tally.sent, tally.matched, tally.ended, tally.refused, tally.kept]);
        let (began, ended) = (self.began, self.start.elapsed());
        let Role::Worker { findings, failures, .. } = &mut self.role else { return };
        findings.drain(..).for_each(|finding| report.find(&finding));
        for text in self.tally.failures.iter().skip(std::mem::replace(failures, self.tally.failures.len())).cloned() {
            report.find(&Finding { kind: Kind::Failure, slot: 0, since: began, began, ended, text });
        }
    }
}

/// Lets the kernel kill this process after this time, whatever it does then.
fn kill_within(time: Duration) {
    let event = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 });
    let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, event).unwrap();
    let soon = time.max(Duration::from_nanos(1)); // zero would disarm the timer
    timer.set(Expiration::OneShot(soon.into()), TimerSetTimeFlags::empty()).unwrap();
    std::mem::forget(timer); // it lives as long as the process
}
