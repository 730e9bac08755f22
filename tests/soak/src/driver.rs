// SPDX-License-Identifier: BSD-2-Clause
//! Drives several contexts in one thread. Each step is drawn at random: Init, commands, all the ways to wait for a
//! response, calls out of sequence, Finalize at any time, and forks of processes that go on with the contexts. After
//! each fault the context has to work again.

mod calls;
mod forks;
mod outcome;
mod polling;
mod report;
mod worker;

use crate::storm::Storm;
use crate::tally::Tally;
use crate::target::{Keeps, Moment, Programs, Strike, Target};
use crate::tools::{Mode, Run};
use crate::watchdog::Watchdog;
use fastrand::Rng;
use forks::Worker;
pub(crate) use report::Report;
use std::time::{Duration, Instant};
use tcti_core::Tcti;
use tcti_core::{Result, ReturnCode, Wait};
use tss2_soak::{Ask, Finding, History, Knowledge, Loaded, May, Trouble};

/// One of this many commands has a fault.
const FAULTS: u32 = 50;
/// One of this many steps forks a process.
const FORKS: u32 = 150;

/// The state of a context.
enum Health {
    Well,
    /// A fault lasts.
    Struck {
        strike: Strike,
        since: Instant,
    },
    /// The fault is over, and this many calls have failed since. `met`: it has affected this context.
    Recovering {
        fault: &'static str,
        codes: &'static [ReturnCode],
        failed: u32,
        met: bool,
    },
}

/// A command whose response has not come.
struct Due {
    ask: Ask,
    since: Instant,
    /// The number of signals before it was sent.
    interrupts: usize,
}

struct Slot {
    context: Option<Box<dyn Tcti>>,
    due: Option<Due>,
    health: Health,
    knowledge: Knowledge,
    /// When the last command with a right response was sent; for forked processes.
    well: Duration,
}

/// Opens a context of a target.
type Open<P> = fn(&mut P, usize, &mut Rng) -> Result<Box<dyn Tcti>>;

/// The kind of this process.
enum Role {
    Parent,
    /// A process that was forked at the time `born`, its findings that are not in its report yet, and the number of
    /// failures that are.
    Worker {
        born: Duration,
        findings: Vec<Finding>,
        failures: usize,
    },
}

pub(crate) struct Driver<P: Target> {
    pub(crate) target: P,
    slots: Vec<Slot>,
    /// The loaded objects: first those of each TPM, then those of each context.
    loaded: Vec<Loaded>,
    rng: Rng,
    pub(crate) tally: Tally,
    pub(crate) watchdog: Watchdog,
    storm: Storm,
    /// Whether a command was answered although the present storm had interrupted it.
    weathered: bool,
    programs: Programs,
    trouble: Trouble,
    room: Vec<u8>,
    first_index: u32,
    role: Role,
    workers: Vec<Worker>,
    history: History,
    /// The beginning of the run, and of the last step.
    start: Instant,
    began: Duration,
}

impl<P: Target> Driver<P> {
    /// `first_index` is the NV index of the first context.
    pub(crate) fn new(
        target: P,
        first_index: u32,
        mut rng: Rng,
        watchdog: Watchdog,
        storm: Storm,
        trouble: Trouble,
    ) -> Driver<P> {
        let slot = |number: usize| Slot {
            context: None,
            due: None,
            health: Health::Well,
            knowledge: Knowledge::new(index(first_index, number), &mut rng),
            well: Duration::ZERO,
        };
        let slots: Vec<Slot> = (0..target.slots()).map(slot).collect();
        let loaded = (0..2 * slots.len()).map(|_| Loaded::new()).collect();
        let programs = target.programs();
        Driver {
            target,
            slots,
            loaded,
            rng,
            tally: Tally::default(),
            watchdog,
            storm,
            weathered: false,
            programs,
            trouble,
            room: vec![0; 4096],
            first_index,
            role: Role::Parent,
            workers: Vec::new(),
            history: History::default(),
            start: Instant::now(),
            began: Duration::ZERO,
        }
    }

    /// Makes a call out of sequence before everything else: with its first error a module opens the log, which stays
    /// open.
    pub(crate) fn open_log(&mut self) {
        self.init(0, P::open);
        self.out_of_turn(0);
    }

    /// Takes one step of one context.
    pub(crate) fn step(&mut self) {
        self.reap();
        let slot = self.rng.usize(..self.slots.len());
        match (self.slots[slot].context.is_some(), self.slots[slot].due.is_some()) {
            (false, _) => self.open(slot),
            (true, false) => self.idle(slot),
            (true, true) => self.due(slot),
        }
        if self.rng.u32(..1000) == 0 && self.target.abilities().signals {
            self.weather();
        }
        if self.rng.u32(..FORKS) == 0 && self.target.abilities().forks {
            self.fork();
        }
    }

    /// Ends all faults and all forked processes, uses everything that is kept, and finalizes all contexts.
    pub(crate) fn rest(&mut self) {
        self.end_storm();
        for slot in 0..self.slots.len() {
            self.end_of_strike(slot);
        }
        // A forked process must not wait for a turn of this process.
        while !self.tally.is_bad() && self.slots.iter().any(|slot| slot.due.is_some()) {
            (0..self.slots.len()).for_each(|slot| self.receive(slot, Wait::Millis(1)));
        }
        if self.tally.is_bad() {
            self.kill_workers();
        }
        self.end_workers();
        for slot in 0..self.slots.len() {
            let (tpm, own) = (self.target.server(slot), self.slots.len() + slot);
            [tpm, own].into_iter().for_each(|at| self.loaded[at].ask_all(true));
            self.prove(slot, P::open, |driver| driver.is_asking(slot));
            if self.loaded[tpm].is_asking() {
                self.close(slot);
                self.prove(slot, P::open_kept, |driver| driver.loaded[tpm].is_asking());
            }
        }
        (0..self.slots.len()).for_each(|slot| self.close(slot));
    }

    /// Goes on until a context has recovered, and as long as `more`.
    fn prove(&mut self, slot: usize, open: Open<P>, more: impl Fn(&Self) -> bool) {
        while !self.tally.is_bad() && (!matches!(self.slots[slot].health, Health::Well) || more(self)) {
            match (self.slots[slot].context.is_some(), self.slots[slot].due.is_some()) {
                (false, _) => self.init(slot, open),
                (true, false) => self.transmit(slot),
                (true, true) => self.receive(slot, Wait::Millis(1000)),
            }
        }
    }

    /// Whether the context has to use kept objects.
    fn is_asking(&self, slot: usize) -> bool {
        self.slots[slot].context.is_some() && self.loaded[self.loaded_at(slot)].is_asking()
    }

    /// Returns the index of the objects that the open context has loaded.
    fn loaded_at(&self, slot: usize) -> usize {
        match self.target.keeps(slot) {
            Keeps::Tpm => self.target.server(slot),
            Keeps::Connection | Keeps::Nowhere => self.slots.len() + slot,
        }
    }

    fn may(&self, slot: usize) -> May {
        May {
            alone: matches!(self.role, Role::Parent) && self.workers.is_empty(),
            keep: self.target.keeps(slot) != Keeps::Nowhere,
            largest: self.target.abilities().largest,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn weather(&mut self) {
        match self.storm.is_on() {
            true => self.end_storm(),
            false => {
                self.weathered = false;
                self.storm.begin(self.rng.u32(20..2000));
            }
        }
    }

    /// Ends the storm. It counts as a survived fault if it has interrupted a command that was answered.
    fn end_storm(&mut self) {
        let weathered = u64::from(self.storm.is_on() && self.weathered);
        self.storm.end();
        self.tally.faults += weathered;
        self.tally.survived += weathered;
    }

    fn open(&mut self, slot: usize) {
        // A process with the previous context would not be served any more.
        if self.target.is_exclusive(slot) && self.workers.iter().any(|worker| worker.has(slot)) {
            return;
        }
        if matches!(self.slots[slot].health, Health::Well) {
            self.lend();
        }
        if self.rng.u32(..10) == 0 {
            self.strike(slot, Moment::Open);
        }
        self.init(slot, P::open);
    }

    /// Runs another program on the TPM while no context has it and no fault lasts.
    fn lend(&mut self) {
        let Programs::Between(name_conf) = &self.programs else { return };
        let run = Run::draw(name_conf, Mode::Plain, &mut self.rng);
        self.tally.runs.count(&run, run.end(&self.watchdog), || false);
    }

    /// Repeats that until a program of each kind has worked.
    pub(crate) fn lend_to_all(&mut self) {
        while matches!(self.programs, Programs::Between(_))
            && !self.tally.is_bad()
            && !self.tally.runs.are_of_all_kinds()
        {
            self.lend();
        }
    }

    fn init(&mut self, slot: usize, open: Open<P>) {
        let (target, rng) = (&mut self.target, &mut self.rng);
        let opened = self.watchdog.watch(format_args!("Init of context {slot}"), || open(target, slot, rng));
        match opened {
            Ok(context) => {
                self.slots[slot].context = Some(context);
                let at = self.loaded_at(slot);
                if self.target.keeps(slot) != Keeps::Tpm {
                    self.loaded[at] = Loaded::new();
                }
                self.remember(slot);
            }
            Err(error) => self.failed(slot, "Init", error.code()),
        }
    }

    fn idle(&mut self, slot: usize) {
        match self.rng.u32(..1000) {
            0..2 => self.close(slot),
            2..5 => self.out_of_turn(slot),
            5..8 if self.target.abilities().locality => self.set_locality(slot),
            5..12 if matches!(self.programs, Programs::Between(_)) => self.close(slot),
            // Otherwise one would wait for the other most of the time.
            8..900 if self.is_shared(slot) => {}
            _ => {
                if self.rng.u32(..FAULTS) == 0 {
                    self.strike(slot, Moment::Command);
                }
                self.transmit(slot);
            }
        }
    }
}

/// Returns the NV index of a context.
fn index(first: u32, slot: usize) -> u32 {
    first + u32::try_from(slot).unwrap()
}
