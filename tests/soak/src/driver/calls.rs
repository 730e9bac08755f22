// SPDX-License-Identifier: BSD-2-Clause
//! The calls on one context, and all the ways to wait for a response.

use super::{Driver, Due, Health, Role, Slot};
use crate::sys::interrupts;
use crate::target::{Moment, Target};
use std::time::Instant;
use tcti_core::{ReturnCode, Wait};

impl<P: Target> Driver<P> {
    pub(super) fn transmit(&mut self, slot: usize) {
        let (may, at) = (self.may(slot), self.loaded_at(slot));
        let Slot { context: Some(context), knowledge, due, .. } = &mut self.slots[slot] else { return };
        let ask = knowledge.next(&mut self.loaded[at], &may, &mut self.rng);
        let command = ask.command();
        let interrupts = interrupts();
        let sent =
            self.watchdog.watch(format_args!("transmit of {ask:?} on context {slot}"), || context.transmit(&command));
        match sent {
            Ok(()) => {
                self.tally.sent += 1;
                *due = Some(Due { ask, since: Instant::now(), interrupts });
            }
            Err(error) if self.is_refused(slot, &ask, error.code()) => {
                self.tally.sent += 1;
                self.refused(slot);
            }
            Err(error) => {
                self.lose(slot, &ask);
                self.failed(slot, "transmit", error.code());
            }
        }
    }

    pub(super) fn set_locality(&mut self, slot: usize) {
        if self.rng.u32(..4) == 0 && matches!(self.role, Role::Parent) {
            self.strike(slot, Moment::Control);
        }
        let locality = self.rng.u8(..6);
        let Some(context) = &mut self.slots[slot].context else { return };
        let set = self
            .watchdog
            .watch(format_args!("setLocality {locality} on context {slot}"), || context.set_locality(locality));
        match (set, locality) {
            (Ok(()), 0..5) => self.end_of_strike(slot),
            (Err(error), 5..) if error.code() == ReturnCode::BAD_VALUE => {}
            (Ok(()), _) => self.tally.failures.push("locality 5 was set".to_owned()),
            (Err(error), _) => self.failed(slot, "setLocality", error.code()),
        }
    }

    /// Takes a step while a response is due.
    pub(super) fn due(&mut self, slot: usize) {
        // A late response has to meet a context that has abandoned it.
        let impatient = matches!(self.slots[slot].health, Health::Struck { .. }) && self.rng.u32(..20) == 0;
        match self.rng.u32(..2000) {
            0..1000 if impatient && self.target.abilities().cancel => self.cancel(slot),
            _ if impatient => self.close(slot),
            0..2 => self.close(slot),
            2..8 => self.out_of_turn(slot),
            8..12 if self.target.abilities().cancel => self.cancel(slot),
            12..20 if matches!(self.role, Role::Parent) => self.strike(slot, Moment::Due),
            20..200 if self.target.abilities().poll => self.poll(slot),
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

    /// Whether another context on the same TPM waits for a response, which may come first.
    pub(super) fn is_shared(&self, slot: usize) -> bool {
        let server = self.target.server(slot);
        let busy =
            |(other, it): (usize, &Slot)| other != slot && self.target.server(other) == server && it.due.is_some();
        self.slots.iter().enumerate().any(busy)
    }

    /// Returns the longest useful wait, in milliseconds.
    pub(super) fn most_millis(&self, slot: usize) -> u32 {
        if self.is_shared(slot) { 1 } else { 500 }
    }

    /// Whether no fault holds the response back for ever.
    pub(super) fn may_block(&self, slot: usize) -> bool {
        match &self.slots[slot].health {
            Health::Struck { strike, .. } => !strike.endless,
            Health::Well | Health::Recovering { .. } => true,
        }
    }

    pub(super) fn receive(&mut self, slot: usize, wait: Wait) {
        let Slot { context: Some(context), due: Some(Due { ask, .. }), .. } = &mut self.slots[slot] else { return };
        let room = &mut self.room;
        let received = self
            .watchdog
            .watch(format_args!("receive with {wait:?} of {ask:?} on context {slot}"), || context.receive(room, wait));
        match received {
            Ok(size) => self.answered(slot, size),
            Err(error) => self.not_yet(slot, "receive", error.code()),
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
                    self.tally.failures.push(format!("the size was {size}, then {again:?}"));
                }
            }
            Err(error) => self.not_yet(slot, "size query", error.code()),
        }
    }

    fn short(&mut self, slot: usize) {
        let Some(context) = &mut self.slots[slot].context else { return };
        let room = &mut self.room[..self.rng.usize(1..10)];
        let wait = Wait::Millis(self.rng.u32(..5));
        match self.watchdog.watch(format_args!("short receive on context {slot}"), || context.receive(room, wait)) {
            Ok(size) => self.tally.wrong.push(format!("a response of {size} bytes")),
            Err(error) if error.code() == ReturnCode::INSUFFICIENT_BUFFER => {}
            Err(error) => self.not_yet(slot, "short receive", error.code()),
        }
    }

    pub(super) fn cancel(&mut self, slot: usize) {
        let Some(context) = &mut self.slots[slot].context else { return };
        match self.watchdog.watch(format_args!("cancel on context {slot}"), || context.cancel()) {
            Ok(()) => self.give_up(slot),
            // If the connection was lost, the next receive returns that.
            Err(error) => self.hindered(slot, "cancel", error.code()),
        }
    }

    /// Makes a call that is not allowed in this state. It must change nothing.
    pub(super) fn out_of_turn(&mut self, slot: usize) {
        let Slot { context, due, .. } = &mut self.slots[slot];
        let Some(context) = context else { return };
        let call = || match due {
            None => context.receive(&mut self.room, Wait::Millis(0)).map(drop),
            Some(Due { ask, .. }) => context.transmit(&ask.command()),
        };
        let answer = self.watchdog.watch(format_args!("call out of sequence on context {slot}"), call);
        if answer != Err(ReturnCode::BAD_SEQUENCE.into()) {
            self.tally.failures.push(format!("a call out of sequence returns {answer:?}"));
        }
    }

    pub(super) fn close(&mut self, slot: usize) {
        let Some(context) = self.slots[slot].context.take() else { return };
        self.watchdog.watch(format_args!("Finalize of context {slot}"), || drop(context));
        self.give_up(slot);
    }
}
