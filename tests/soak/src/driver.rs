// SPDX-License-Identifier: BSD-2-Clause
//! Several contexts in one thread, each step of them drawn by lot: Init, commands, all the ways to wait for an answer,
//! calls out of turn, Finalize at any moment; processes that are forked and go on with all of it; and faults, after each
//! of which the context has to work again.

mod calls;
mod forks;
mod outcome;
mod polling;
mod report;
mod worker;

use crate::place::{Keeps, Moment, Place, Programs, Strike};
use crate::storm::Storm;
use crate::tally::Tally;
use crate::tools::{Mode, Run};
use crate::watchdog::Watchdog;
use fastrand::Rng;
use forks::Worker;
pub(crate) use report::Report;
use std::time::{Duration, Instant};
use tcti_core::Tcti;
use tcti_core::{Result, ReturnCode, Wait};
use tss2_soak::{Ask, Finding, History, Knowledge, Loaded, May, Trouble};

/// One command in so many has a fault.
const FAULTS: u32 = 50;
/// In one step in so many a process is forked.
const FORKS: u32 = 150;

/// How a context is.
enum Health {
    Well,
    /// A fault is there.
    Struck {
        strike: Strike,
        since: Instant,
    },
    /// It is over, and so many calls failed since. `met` when it is known to have met this context.
    Recovering {
        fault: &'static str,
        codes: &'static [ReturnCode],
        failed: u32,
        met: bool,
    },
}

/// A command whose answer has not come.
struct Due {
    ask: Ask,
    since: Instant,
    /// How many signals there had been.
    interrupts: usize,
}

struct Slot {
    context: Option<Box<dyn Tcti>>,
    due: Option<Due>,
    health: Health,
    knowledge: Knowledge,
    /// When the last command was sent that was answered right, in a process that was forked.
    well: Duration,
}

/// Init of a place.
type Open<P> = fn(&mut P, usize, &mut Rng) -> Result<Box<dyn Tcti>>;

/// Which process this is.
enum Role {
    Parent,
    /// One that was forked at this time; what it has found since it last said so, and how many failures it has told of.
    Worker {
        born: Duration,
        findings: Vec<Finding>,
        failures: usize,
    },
}

pub(crate) struct Driver<P: Place> {
    pub(crate) place: P,
    slots: Vec<Slot>,
    /// What is loaded: in the TPMs, then for each context.
    loaded: Vec<Loaded>,
    rng: Rng,
    pub(crate) tally: Tally,
    pub(crate) watchdog: Watchdog,
    storm: Storm,
    /// A command was answered that the storm that is on had interrupted.
    weathered: bool,
    programs: Programs,
    trouble: Trouble,
    room: Vec<u8>,
    first_index: u32,
    role: Role,
    workers: Vec<Worker>,
    history: History,
    /// When this began, and the last step did.
    start: Instant,
    began: Duration,
}

impl<P: Place> Driver<P> {
    /// `first_index` is the NV index of the first context.
    pub(crate) fn new(
        place: P,
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
        let slots: Vec<Slot> = (0..place.slots()).map(slot).collect();
        let loaded = (0..2 * slots.len()).map(|_| Loaded::new()).collect();
        let programs = place.programs();
        Driver {
            place,
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

    /// A call out of turn, before all else: with its first error a module opens the log, which stays open.
    pub(crate) fn open_log(&mut self) {
        self.init(0, P::open);
        self.out_of_turn(0);
    }

    /// One step of one context.
    pub(crate) fn step(&mut self) {
        self.reap();
        let slot = self.rng.usize(..self.slots.len());
        match (self.slots[slot].context.is_some(), self.slots[slot].due.is_some()) {
            (false, _) => self.open(slot),
            (true, false) => self.idle(slot),
            (true, true) => self.due(slot),
        }
        if self.rng.u32(..1000) == 0 && self.place.abilities().signals {
            self.weather();
        }
        if self.rng.u32(..FORKS) == 0 && self.place.abilities().forks {
            self.fork();
        }
    }

    /// Ends all faults and all forked processes, has everything that is kept answer, and finalizes all contexts.
    pub(crate) fn rest(&mut self) {
        self.end_storm();
        for slot in 0..self.slots.len() {
            self.end_of_strike(slot);
        }
        // A process that waits for its turn must not wait for this one.
        while !self.tally.is_bad() && self.slots.iter().any(|slot| slot.due.is_some()) {
            (0..self.slots.len()).for_each(|slot| self.receive(slot, Wait::Millis(1)));
        }
        if self.tally.is_bad() {
            self.kill_workers();
        }
        self.end_workers();
        for slot in 0..self.slots.len() {
            let (tpm, own) = (self.place.server(slot), self.slots.len() + slot);
            [tpm, own].into_iter().for_each(|at| self.loaded[at].ask_all(true));
            self.prove(slot, P::open, |driver| driver.is_asking(slot));
            if self.loaded[tpm].is_asking() {
                self.close(slot);
                self.prove(slot, P::open_kept, |driver| driver.loaded[tpm].is_asking());
            }
        }
        (0..self.slots.len()).for_each(|slot| self.close(slot));
    }

    /// Goes on until a context does not have to prove that it works again, and as long as there is more to ask.
    fn prove(&mut self, slot: usize, open: Open<P>, more: impl Fn(&Self) -> bool) {
        while !self.tally.is_bad() && (!matches!(self.slots[slot].health, Health::Well) || more(self)) {
            match (self.slots[slot].context.is_some(), self.slots[slot].due.is_some()) {
                (false, _) => self.init(slot, open),
                (true, false) => self.transmit(slot),
                (true, true) => self.receive(slot, Wait::Millis(1000)),
            }
        }
    }

    /// Whether something has yet to answer that the context can ask.
    fn is_asking(&self, slot: usize) -> bool {
        self.slots[slot].context.is_some() && self.loaded[self.loaded_at(slot)].is_asking()
    }

    /// Where that is which the open context has loaded.
    fn loaded_at(&self, slot: usize) -> usize {
        match self.place.keeps(slot) {
            Keeps::Tpm => self.place.server(slot),
            Keeps::Connection | Keeps::Nowhere => self.slots.len() + slot,
        }
    }

    fn may(&self, slot: usize) -> May {
        May {
            alone: matches!(self.role, Role::Parent) && self.workers.is_empty(),
            keep: self.place.keeps(slot) != Keeps::Nowhere,
            largest: self.place.abilities().largest,
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

    /// One that a command has met and was answered in spite of was a fault, and is survived.
    fn end_storm(&mut self) {
        let weathered = u64::from(self.storm.is_on() && self.weathered);
        self.storm.end();
        self.tally.faults += weathered;
        self.tally.survived += weathered;
    }

    fn open(&mut self, slot: usize) {
        // A process that has the context of before would not be served any more.
        if self.place.is_exclusive(slot) && self.workers.iter().any(|worker| worker.has(slot)) {
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

    /// Lets another program have the TPM while no context has it. Nothing is wrong with it then.
    fn lend(&mut self) {
        let Programs::Between(name_conf) = &self.programs else { return };
        let run = Run::draw(name_conf, Mode::Plain, &mut self.rng);
        self.tally.runs.count(&run, run.end(&self.watchdog), || false);
    }

    /// Lends it until a program of each kind has worked.
    pub(crate) fn lend_to_all(&mut self) {
        while matches!(self.programs, Programs::Between(_))
            && !self.tally.is_bad()
            && !self.tally.runs.are_of_all_kinds()
        {
            self.lend();
        }
    }

    fn init(&mut self, slot: usize, open: Open<P>) {
        let (place, rng) = (&mut self.place, &mut self.rng);
        let opened = self.watchdog.watch(format_args!("Init of context {slot}"), || open(place, slot, rng));
        match opened {
            Ok(context) => {
                self.slots[slot].context = Some(context);
                let at = self.loaded_at(slot);
                if self.place.keeps(slot) != Keeps::Tpm {
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
            5..8 if self.place.abilities().locality => self.set_locality(slot),
            5..12 if matches!(self.programs, Programs::Between(_)) => self.close(slot),
            // One would wait for the other most of the time.
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

/// The NV index of a context.
fn index(first: u32, slot: usize) -> u32 {
    first + u32::try_from(slot).unwrap()
}
