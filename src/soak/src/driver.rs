// SPDX-License-Identifier: BSD-2-Clause
//! Several contexts in one thread, each step of them drawn by lot: Init, commands, all the ways to wait for an answer,
//! calls out of turn, Finalize at any moment; and faults, after each of which the context has to work again.

mod outcome;
mod polling;

use crate::place::{Moment, Place, Programs, Strike};
use crate::storm::Storm;
use crate::sys::interrupts;
use crate::tally::Tally;
use crate::tcti::Tcti;
use crate::tools::Run;
use crate::watchdog::Watchdog;
use fastrand::Rng;
use std::time::Instant;
use tcti_core::{Rc, Wait};
use tss2_soak::{Ask, Knowledge, Trouble};

/// One command in so many has a fault.
const FAULTS: u32 = 50;

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
        codes: &'static [Rc],
        failed: u32,
        met: bool,
    },
}

/// A command whose answer has not come.
struct Due {
    ask: Ask,
    since: Instant,
    /// How many signals there had been.
    interrupts: u64,
}

struct Slot {
    context: Option<Box<dyn Tcti>>,
    due: Option<Due>,
    health: Health,
    knowledge: Knowledge,
}

pub(crate) struct Driver<P: Place> {
    pub(crate) place: P,
    slots: Vec<Slot>,
    rng: Rng,
    pub(crate) tally: Tally,
    pub(crate) watchdog: Watchdog,
    storm: Storm,
    /// A command was answered that the storm that is on had interrupted.
    weathered: bool,
    programs: Programs,
    trouble: Trouble,
    room: Vec<u8>,
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
            knowledge: Knowledge::new(first_index + u32::try_from(number).unwrap(), &mut rng),
        };
        let slots = (0..place.slots()).map(slot).collect();
        let programs = place.programs();
        Driver {
            place,
            slots,
            rng,
            tally: Tally::default(),
            watchdog,
            storm,
            weathered: false,
            programs,
            trouble,
            room: vec![0; 4096],
        }
    }

    /// A call out of turn, before all else: with its first error a module opens the log, which stays open.
    pub(crate) fn open_log(&mut self) {
        self.init(0);
        self.out_of_turn(0);
    }

    /// One step of one context.
    pub(crate) fn step(&mut self) {
        let slot = self.rng.usize(..self.slots.len());
        match (self.slots[slot].context.is_some(), self.slots[slot].due.is_some()) {
            (false, _) => self.open(slot),
            (true, false) => self.idle(slot),
            (true, true) => self.due(slot),
        }
        if self.rng.u32(..1000) == 0 && self.place.abilities().signals {
            self.weather();
        }
    }

    /// Finalizes all contexts and ends all faults.
    pub(crate) fn rest(&mut self) {
        self.end_storm();
        for slot in 0..self.slots.len() {
            self.close(slot);
            self.end_of_strike(slot);
        }
    }

    /// Goes on until no context has to prove that it works again.
    pub(crate) fn settle(&mut self) {
        self.end_storm();
        for slot in 0..self.slots.len() {
            while self.tally.failures.is_empty() && !matches!(self.slots[slot].health, Health::Well) {
                // Others on the same TPM must not hold it meanwhile.
                (0..self.slots.len()).filter(|other| *other != slot).for_each(|other| self.close(other));
                match (self.slots[slot].context.is_some(), self.slots[slot].due.is_some()) {
                    (false, _) => self.init(slot),
                    (true, false) => self.transmit(slot),
                    (true, true) => self.receive(slot, Wait::Millis(1000)),
                }
            }
        }
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
        if matches!(self.slots[slot].health, Health::Well) {
            self.lend();
        }
        if self.rng.u32(..10) == 0 {
            self.strike(slot, Moment::Open);
        }
        self.init(slot);
    }

    /// Lets another program have the TPM while no context has it. Nothing is wrong with it then.
    fn lend(&mut self) {
        let Programs::Between(name_conf) = &self.programs else { return };
        let run = Run::draw(name_conf, &mut self.rng);
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

    fn init(&mut self, slot: usize) {
        let (place, rng) = (&mut self.place, &mut self.rng);
        let opened = self.watchdog.watch(format_args!("Init of context {slot}"), || place.open(slot, rng));
        match opened {
            Ok(context) => {
                self.slots[slot].context = Some(context);
                self.slots[slot].knowledge.reopen();
                if !self.place.keeps_memory(slot) {
                    self.slots[slot].knowledge.forget();
                }
            }
            Err(rc) => self.failed(slot, "Init", rc),
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

    fn transmit(&mut self, slot: usize) {
        let Slot { context, knowledge, due, .. } = &mut self.slots[slot];
        let Some(context) = context else { return };
        let ask = knowledge.next(&mut self.rng);
        let command = ask.command();
        let interrupts = interrupts();
        match self.watchdog.watch(format_args!("transmit of {ask:?} on context {slot}"), || context.transmit(&command))
        {
            Ok(()) => {
                self.tally.sent += 1;
                *due = Some(Due { ask, since: Instant::now(), interrupts });
            }
            Err(rc) => {
                knowledge.lose(&ask);
                self.failed(slot, "transmit", rc);
            }
        }
    }

    fn set_locality(&mut self, slot: usize) {
        if self.rng.u32(..4) == 0 {
            self.strike(slot, Moment::Control);
        }
        let locality = self.rng.u8(..6);
        let Some(context) = &mut self.slots[slot].context else { return };
        let set = self
            .watchdog
            .watch(format_args!("setLocality {locality} on context {slot}"), || context.set_locality(locality));
        match (set, locality) {
            (Ok(()), 0..5) => self.end_of_strike(slot),
            (Err(Rc::BAD_VALUE), 5..) => {}
            (Ok(()), _) => self.tally.failures.push("locality 5 was set".to_owned()),
            (Err(rc), _) => self.failed(slot, "setLocality", rc),
        }
    }

    /// A response is due.
    fn due(&mut self, slot: usize) {
        // An answer that comes late is to meet a context that does not want it any more.
        let impatient = matches!(self.slots[slot].health, Health::Struck { .. }) && self.rng.u32(..20) == 0;
        match self.rng.u32(..2000) {
            0..1000 if impatient && self.place.abilities().cancel => self.cancel(slot),
            _ if impatient => self.close(slot),
            0..2 => self.close(slot),
            2..8 => self.out_of_turn(slot),
            8..12 if self.place.abilities().cancel => self.cancel(slot),
            12..20 => self.strike(slot, Moment::Due),
            20..200 if self.place.abilities().poll => self.poll(slot),
            200..260 => self.size(slot),
            260..300 => self.short(slot),
            n => {
                let most = self.most_millis(slot);
                let wait = match n % 8 {
                    0 => Wait::Millis(0),
                    1..3 => Wait::Millis(self.rng.u32(1..6).min(most)),
                    3 => Wait::Millis(most),
                    _ if most > 5 && self.may_block(slot) => Wait::Forever,
                    _ => Wait::Millis(most.min(50)),
                };
                self.receive(slot, wait);
            }
        }
    }

    /// Whether another context on the same TPM waits for an answer, and may have the next one.
    fn is_shared(&self, slot: usize) -> bool {
        let server = self.place.server(slot);
        let busy =
            |(other, it): (usize, &Slot)| other != slot && self.place.server(other) == server && it.due.is_some();
        self.slots.iter().enumerate().any(busy)
    }

    /// How long a wait makes sense.
    fn most_millis(&self, slot: usize) -> u32 {
        if self.is_shared(slot) { 1 } else { 500 }
    }

    /// Whether no fault holds the answer back for ever.
    fn may_block(&self, slot: usize) -> bool {
        match &self.slots[slot].health {
            Health::Struck { strike, .. } => !strike.endless,
            Health::Well | Health::Recovering { .. } => true,
        }
    }

    fn receive(&mut self, slot: usize, wait: Wait) {
        let Slot { context: Some(context), due: Some(Due { ask, .. }), .. } = &mut self.slots[slot] else { return };
        let room = &mut self.room;
        let received = self
            .watchdog
            .watch(format_args!("receive with {wait:?} of {ask:?} on context {slot}"), || context.receive(room, wait));
        match received {
            Ok(size) => self.answered(slot, size),
            Err(rc) => self.not_yet(slot, "receive", rc),
        }
    }

    fn size(&mut self, slot: usize) {
        let Some(context) = &mut self.slots[slot].context else { return };
        let wait = Wait::Millis(self.rng.u32(..5));
        match self
            .watchdog
            .watch(format_args!("size query with {wait:?} on context {slot}"), || context.response_size(wait))
        {
            Ok(size) => {
                let again = context.response_size(Wait::Millis(0));
                if again != Ok(size) {
                    self.tally.failures.push(format!("a size of {size}, then {again:?}"));
                }
            }
            Err(rc) => self.not_yet(slot, "size query", rc),
        }
    }

    fn short(&mut self, slot: usize) {
        let Some(context) = &mut self.slots[slot].context else { return };
        let room = &mut self.room[..self.rng.usize(1..10)];
        let wait = Wait::Millis(self.rng.u32(..5));
        match self.watchdog.watch(format_args!("short receive on context {slot}"), || context.receive(room, wait)) {
            Ok(size) => self.tally.wrong.push(format!("an answer of {size} bytes")),
            Err(Rc::INSUFFICIENT_BUFFER) => {}
            Err(rc) => self.not_yet(slot, "short receive", rc),
        }
    }

    fn cancel(&mut self, slot: usize) {
        let Some(context) = &mut self.slots[slot].context else { return };
        match self.watchdog.watch(format_args!("cancel on context {slot}"), || context.cancel()) {
            Ok(()) => self.give_up(slot),
            // If the connection was lost, the next receive says so.
            Err(rc) => self.hindered(slot, "cancel", rc),
        }
    }

    /// A call that is not for this state changes nothing.
    fn out_of_turn(&mut self, slot: usize) {
        let Slot { context, due, .. } = &mut self.slots[slot];
        let Some(context) = context else { return };
        let call = || match due {
            None => context.receive(&mut self.room, Wait::Millis(0)).map(drop),
            Some(Due { ask, .. }) => context.transmit(&ask.command()),
        };
        let answer = self.watchdog.watch(format_args!("call out of turn on context {slot}"), call);
        if answer != Err(Rc::BAD_SEQUENCE) {
            self.tally.failures.push(format!("a call out of turn answers {answer:?}"));
        }
    }

    fn close(&mut self, slot: usize) {
        let Some(context) = self.slots[slot].context.take() else { return };
        self.watchdog.watch(format_args!("Finalize of context {slot}"), || drop(context));
        self.give_up(slot);
    }
}
