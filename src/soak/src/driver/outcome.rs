// SPDX-License-Identifier: BSD-2-Clause
//! What a call's result means: whether an answer is right, whether an error fits a fault, and when a context has got
//! over it.

use super::{Driver, Health, Slot};
use crate::place::{Moment, Place, Reach, Strike};
use std::time::{Duration, Instant};
use tcti_core::Rc;
use tss2_soak::Answer;

/// So many calls may fail after a fault is over, before one succeeds.
const TRIES: u32 = 5;
/// How long an answer may take that no fault holds back: with several contexts and tools on one TPM.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a fault lasts that no call ends.
const SPELL: Duration = Duration::from_millis(300);

impl<P: Place> Driver<P> {
    /// The answer to what is due will not come to us.
    pub(super) fn give_up(&mut self, slot: usize) {
        if let Some((ask, _)) = self.slots[slot].due.take() {
            self.tally.given_up += 1;
            self.slots[slot].knowledge.lose(&ask);
            self.end_of_strike(slot);
        }
    }

    pub(super) fn answered(&mut self, slot: usize, size: usize) {
        let memory = self.place.keeps_memory(slot);
        let Slot { due, knowledge, .. } = &mut self.slots[slot];
        let Some((ask, _)) = due.take() else { return };
        if !memory {
            knowledge.forget();
        }
        let answer = self.room.get(..size).map_or(Answer::Wrong, |response| ask.judge(response));
        match knowledge.learn(&ask, &answer) {
            true => self.tally.matched += 1,
            false => {
                let bytes: String = self.room.iter().take(size).map(|byte| format!("{byte:02x}")).collect();
                self.tally.wrong.push(format!("{ask:?} got {answer:?}: {bytes}; {}", self.state(slot)));
            }
        }
        match &self.slots[slot].health {
            Health::Recovering { .. } => {
                self.slots[slot].health = Health::Well;
                self.tally.survived += 1;
            }
            _ => self.end_of_strike(slot),
        }
    }

    fn state(&self, slot: usize) -> String {
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
        let since = self.slots[slot].due.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
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
        if let Some((ask, _)) = self.slots[slot].due.take() {
            self.tally.ended += 1;
            self.slots[slot].knowledge.lose(&ask);
        }
        match &mut self.slots[slot].health {
            Health::Struck { strike, .. } if strike.codes.contains(&rc) => self.end_of_strike(slot),
            Health::Recovering { failed, .. } if *failed < TRIES => *failed += 1,
            _ => self.tally.failures.push(format!("{call} answers {rc:?}; {state}")),
        }
    }

    pub(super) fn strike(&mut self, slot: usize, moment: Moment) {
        let others: Vec<usize> = (0..self.slots.len()).filter(|other| *other != slot).collect();
        let is_well = |slot: &Slot| matches!(slot.health, Health::Well);
        if !is_well(&self.slots[slot]) {
            return;
        }
        let Some(strike) = self.place.strike(slot, moment, &mut self.rng) else { return };
        let Strike { fault, codes, reach, endless } = strike;
        let server = self.place.server(slot);
        let mut hit = vec![slot];
        hit.extend(others.into_iter().filter(|other| match reach {
            Reach::One => false,
            Reach::Server | Reach::Memory => self.place.server(*other) == server,
            Reach::Process => true,
        }));
        for slot in hit {
            if reach == Reach::Memory {
                self.slots[slot].knowledge.forget();
            }
            // One that has not got over an earlier fault counts that as survived with this one.
            if is_well(&self.slots[slot]) {
                self.tally.faults += 1;
            }
            self.slots[slot].health =
                Health::Struck { strike: Strike { fault, codes, reach, endless }, since: Instant::now() };
        }
    }

    /// The fault has done what it does.
    pub(super) fn end_of_strike(&mut self, slot: usize) {
        if matches!(self.slots[slot].health, Health::Struck { .. }) {
            self.recover(slot);
        }
    }

    pub(super) fn recover(&mut self, slot: usize) {
        if let Health::Struck { strike, .. } = &self.slots[slot].health {
            let (fault, reach) = (strike.fault, strike.reach);
            self.place.heal(slot);
            if reach == Reach::Memory {
                // The last answer may have left the server before it lost its memory.
                self.slots[slot].knowledge.forget();
            }
            self.slots[slot].health = Health::Recovering { fault, failed: 0 };
        }
    }
}
