// SPDX-License-Identifier: BSD-2-Clause
//! What a call's result means: whether an answer is right, whether an error fits a fault, and when a context has got
//! over it.

use super::{Driver, Due, Health, Slot};
use crate::place::{Moment, Place, Reach, Strike};
use crate::sys;
use std::time::{Duration, Instant};
use tcti_core::Rc;
use tss2_soak::Answer;

/// So many calls may fail after a fault is over, before one succeeds: the end of a connection behind an answer is met by
/// the next command.
const TRIES: u32 = 1;
/// How long an answer may take that no fault holds back: with several contexts and tools on one TPM.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a fault lasts that no call ends.
const SPELL: Duration = Duration::from_millis(300);

impl<P: Place> Driver<P> {
    /// The answer to what is due will not come to us.
    pub(super) fn give_up(&mut self, slot: usize) {
        if let Some(Due { ask, .. }) = self.slots[slot].due.take() {
            self.tally.given_up += 1;
            self.slots[slot].knowledge.lose(&ask);
            self.end_of_strike(slot);
        }
    }

    pub(super) fn answered(&mut self, slot: usize, size: usize) {
        let memory = self.place.keeps_memory(slot);
        let Slot { due, knowledge, .. } = &mut self.slots[slot];
        let Some(Due { ask, interrupts, .. }) = due.take() else { return };
        if !memory {
            knowledge.forget();
        }
        let answer = self.room.get(..size).map_or(Answer::Wrong, |response| ask.judge(response));
        match knowledge.learn(&ask, &answer) {
            true => {
                self.tally.matched += 1;
                self.weathered |= sys::interrupts() > interrupts;
            }
            false => {
                let bytes: String = self.room.iter().take(size).map(|byte| format!("{byte:02x}")).collect();
                self.tally.wrong.push(format!("{ask:?} got {answer:?}: {bytes}; {}", self.state(slot)));
            }
        }
        if !memory {
            // The answer may be of the time before.
            self.slots[slot].knowledge.forget();
        }
        match &self.slots[slot].health {
            Health::Recovering { met, .. } => {
                self.tally.survived += u64::from(*met);
                self.slots[slot].health = Health::Well;
            }
            _ => self.end_of_strike(slot),
        }
    }

    pub(super) fn state(&self, slot: usize) -> String {
        match &self.slots[slot].health {
            Health::Well => format!("context {slot}, no fault"),
            Health::Struck { strike, .. } => format!("context {slot}, during {}", strike.fault),
            Health::Recovering { fault, .. } => format!("context {slot}, after {fault}"),
        }
    }

    /// A receive that gave no answer.
    pub(super) fn not_yet(&mut self, slot: usize, call: &str, rc: Rc) {
        if rc != Rc::TRY_AGAIN {
            return self.failed(slot, call, rc);
        }
        let since = self.slots[slot].due.as_ref().map_or(Duration::ZERO, |due| due.since.elapsed());
        match &self.slots[slot].health {
            // What holds it back is to go.
            Health::Struck { strike, since } if strike.reach == Reach::Process || since.elapsed() > SPELL => {
                self.end_of_strike(slot);
            }
            _ if since > PATIENCE => {
                self.tally.failures.push(format!("no answer within {PATIENCE:?}; {}", self.state(slot)));
            }
            _ => {}
        }
    }

    pub(super) fn failed(&mut self, slot: usize, call: &str, rc: Rc) {
        let state = self.state(slot);
        let due = self.slots[slot].due.take();
        if let Some(Due { ask, .. }) = &due {
            self.tally.ended += 1;
            self.slots[slot].knowledge.lose(ask);
        }
        self.hold_against(slot, call, rc, state, due.map(|due| due.since));
    }

    /// A call failed, and the command is still under way.
    pub(super) fn hindered(&mut self, slot: usize, call: &str, rc: Rc) {
        self.hold_against(slot, call, rc, self.state(slot), None);
    }

    /// `since`: when a command was sent that has ended now.
    fn hold_against(&mut self, slot: usize, call: &str, rc: Rc, state: String, since: Option<Instant>) {
        match &mut self.slots[slot].health {
            Health::Struck { strike, .. } if strike.codes.contains(&rc) => self.recover(slot, true),
            Health::Recovering { codes, failed, met, .. } if codes.contains(&rc) && *failed < TRIES => {
                *failed += 1;
                self.tally.faults += u64::from(!*met);
                *met = true;
            }
            _ if rc == Rc::IO_ERROR && since.is_some_and(|since| self.trouble.is_outside(since)) => {
                eprintln!("soak: {call} answers {rc:?}; {state}, and the kernel's log says why");
            }
            _ => self.tally.failures.push(format!("{call} answers {rc:?}; {state}")),
        }
    }

    pub(super) fn strike(&mut self, slot: usize, moment: Moment) {
        let others: Vec<usize> = (0..self.slots.len()).filter(|other| *other != slot).collect();
        let is_well = |slot: usize| matches!(self.slots[slot].health, Health::Well);
        if !is_well(slot) {
            return;
        }
        let calm = others.iter().all(|other| is_well(*other));
        let Driver { place, rng, watchdog, trouble, .. } = self;
        let make = || {
            watchdog
                .watch(format_args!("a fault for context {slot}, {moment:?}"), || place.strike(slot, moment, calm, rng))
        };
        let strike = trouble.begin(make, |strike| strike.is_some_and(|strike| strike.beside));
        let Some(strike) = strike else { return };
        let server = self.place.server(slot);
        let mut hit = vec![slot];
        hit.extend(others.into_iter().filter(|other| match strike.reach {
            Reach::One => false,
            Reach::Server | Reach::Memory => self.place.server(*other) == server,
            Reach::Process => true,
        }));
        for slot in hit {
            if strike.reach == Reach::Memory {
                self.slots[slot].knowledge.forget();
            }
            self.slots[slot].health = Health::Struck { strike, since: Instant::now() };
        }
    }

    /// The fault has done what it does.
    pub(super) fn end_of_strike(&mut self, slot: usize) {
        self.recover(slot, false);
    }

    /// Ends a fault. It counts when a call failed of it, or when something else met it.
    fn recover(&mut self, slot: usize, noticed: bool) {
        let Health::Struck { strike: Strike { fault, codes, reach, beside, .. }, .. } = self.slots[slot].health else {
            return;
        };
        let place = &mut self.place;
        let met = self.watchdog.watch(format_args!("the end of {fault} for context {slot}"), || place.heal(slot));
        if beside {
            self.trouble.end();
        }
        let slot = &mut self.slots[slot];
        if reach == Reach::Memory {
            // The last answer may have left the server before it lost its memory.
            slot.knowledge.forget();
        }
        let met = met || noticed;
        self.tally.faults += u64::from(met);
        slot.health = match reach {
            Reach::One if !met => Health::Well,
            // What reaches others may have met this one as well, which learns of it with the next call.
            _ => Health::Recovering { fault, codes, failed: 0, met },
        };
    }
}
