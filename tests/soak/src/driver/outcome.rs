// SPDX-License-Identifier: BSD-2-Clause
//! Judges the result of a call: whether a response is right, whether a fault explains an error, and when a context has
//! recovered.

use super::{Driver, Due, Health, Role};
use crate::sys;
use crate::target::{Moment, Now, Reach, Refusals, Strike, Target};
use std::time::{Duration, Instant};
use tcti_core::ReturnCode;
use tss2_soak::{Answer, Ask, Cost, Finding, Kind, Loaded, TRIES, Verdict};

/// How long a response may take without a fault. Several contexts and tools share one TPM.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a fault lasts when no call ends it.
const SPELL: Duration = Duration::from_millis(300);

/// Data that a TPM may have lost.
#[derive(Clone, Copy)]
pub(super) struct Lost {
    written: bool,
    loaded: bool,
}

impl<P: Target> Driver<P> {
    /// Abandons the command whose response is due.
    pub(super) fn give_up(&mut self, slot: usize) {
        if let Some(Due { ask, .. }) = self.slots[slot].due.take() {
            self.tally.abandoned += 1;
            self.lose(slot, &ask);
            self.end_of_strike(slot);
        }
    }

    pub(super) fn lose(&mut self, slot: usize, ask: &Ask) {
        let at = self.loaded_at(slot);
        self.slots[slot].knowledge.lose(&mut self.loaded[at], ask);
    }

    /// Forgets what the TPM of a context may have lost since the last call. Returns what that was.
    pub(super) fn remember(&mut self, slot: usize) -> Lost {
        let lost = Lost { written: !self.target.keeps_memory(slot), loaded: self.target.may_have_unloaded(slot) };
        self.forget(slot, lost);
        lost
    }

    fn forget(&mut self, slot: usize, lost: Lost) {
        if lost.written {
            self.slots[slot].knowledge.forget();
        }
        if lost.loaded {
            let at = self.loaded_at(slot);
            self.loaded[at].doubt();
        }
    }

    pub(super) fn answered(&mut self, slot: usize, size: usize) {
        let Some(Due { ask, since, interrupts }) = self.slots[slot].due.take() else { return };
        let lost = self.remember(slot);
        let answer = self.room.get(..size).map_or(Answer::Wrong, |response| ask.judge(response));
        let (may, at) = (self.may(slot), self.loaded_at(slot));
        let verdict = self.slots[slot].knowledge.learn(&mut self.loaded[at], &may, &ask, &answer);
        self.weathered |= sys::interrupts() > interrupts;
        match verdict {
            Verdict::True => self.tally.matched += 1,
            Verdict::Kept => {
                self.tally.matched += 1;
                self.tally.kept += 1;
            }
            Verdict::Refused => self.tally.refused += 1,
            Verdict::Lost(text) => self.lost(slot, &text),
            Verdict::False => {
                let bytes: String = self.room.iter().take(size).map(|byte| format!("{byte:02x}")).collect();
                let text = format!("{ask:?} got {answer:?}: {bytes}; {}", self.state(slot));
                let kind = if answer == Answer::Wrong { Kind::Wrong } else { Kind::Untrue };
                if let Some(text) = self.find(slot, kind, text) {
                    self.tally.wrong.push(text);
                }
            }
        }
        // The response may be older than the loss.
        self.forget(slot, lost);
        self.slots[slot].well = since.duration_since(self.start);
        match &self.slots[slot].health {
            Health::Recovering { met, .. } => {
                self.tally.survived += u64::from(*met);
                self.slots[slot].health = Health::Well;
            }
            _ => self.end_of_strike(slot),
        }
    }

    /// Whether an error is the right result, because a driver has to refuse the command.
    pub(super) fn is_refused(&self, slot: usize, ask: &Ask, rc: ReturnCode) -> bool {
        self.target.abilities().refusals == Refusals::Driver
            && rc == ReturnCode::IO_ERROR
            && self.loaded[self.loaded_at(slot)].is_refused_with_an_error(ask, &self.may(slot))
    }

    /// Counts a refusal by a driver, with which nothing is lost.
    pub(super) fn refused(&mut self, slot: usize) {
        self.tally.refused += 1;
        let at = self.loaded_at(slot);
        self.loaded[at].was_refused();
    }

    fn lost(&mut self, slot: usize, text: &str) {
        self.tally.ended += 1;
        if let Some(text) = self.find(slot, Kind::Lost, format!("{text}; {}", self.state(slot))) {
            self.tally.lost.push(text);
        }
    }

    /// In a forked process, leaves the finding to the parent. In the parent, returns the text.
    fn find(&mut self, slot: usize, kind: Kind, text: String) -> Option<String> {
        let ended = self.now();
        let Role::Worker { born, findings, .. } = &mut self.role else { return Some(text) };
        let since = if matches!(kind, Kind::Failed(_)) { self.slots[slot].well } else { *born };
        if kind == Kind::Wrong {
            self.tally.wrong.push(text.clone()); // ends this process
        }
        findings.push(Finding { kind, slot, since, began: self.began, ended, text });
        None
    }

    pub(super) fn state(&self, slot: usize) -> String {
        match &self.slots[slot].health {
            Health::Well => format!("context {slot}, no fault"),
            Health::Struck { strike, .. } => format!("context {slot}, during {}", strike.fault),
            Health::Recovering { fault, .. } => format!("context {slot}, after {fault}"),
        }
    }

    /// Handles a receive without a response.
    pub(super) fn not_yet(&mut self, slot: usize, call: &str, rc: ReturnCode) {
        if rc != ReturnCode::TRY_AGAIN {
            return self.failed(slot, call, rc);
        }
        let since = self.slots[slot].due.as_ref().map_or(Duration::ZERO, |due| due.since.elapsed());
        match &self.slots[slot].health {
            // The fault holds the response back.
            Health::Struck { strike, since } if strike.reach == Reach::Process || since.elapsed() > SPELL => {
                self.end_of_strike(slot);
            }
            _ if since > PATIENCE => {
                self.tally.failures.push(format!("no response within {PATIENCE:?}; {}", self.state(slot)));
            }
            _ => {}
        }
    }

    pub(super) fn failed(&mut self, slot: usize, call: &str, rc: ReturnCode) {
        let state = self.state(slot);
        let due = self.slots[slot].due.take();
        if let Some(Due { ask, .. }) = &due {
            if self.is_refused(slot, ask, rc) {
                return self.refused(slot);
            }
            self.tally.ended += 1;
            self.lose(slot, ask);
        }
        self.hold_against(slot, call, rc, state, due.map(|due| due.since));
    }

    /// Handles a failed call after which the command is still in progress.
    pub(super) fn hindered(&mut self, slot: usize, call: &str, rc: ReturnCode) {
        self.hold_against(slot, call, rc, self.state(slot), None);
    }

    /// Judges an error. `since` is when the command was sent, if the error has ended it.
    fn hold_against(&mut self, slot: usize, call: &str, rc: ReturnCode, state: String, since: Option<Instant>) {
        let text = format!("{call} returns {rc:?}; {state}");
        let Some(text) = self.find(slot, Kind::Failed(rc.to_c()), text) else { return };
        match &mut self.slots[slot].health {
            Health::Struck { strike, .. } if strike.codes.contains(&rc) => self.recover(slot, true),
            Health::Recovering { codes, failed, met, .. } if codes.contains(&rc) && *failed < TRIES => {
                *failed += 1;
                self.tally.faults += u64::from(!*met);
                *met = true;
            }
            _ if rc == ReturnCode::IO_ERROR && since.is_some_and(|since| self.trouble.is_outside(since)) => {
                eprintln!("soak: {text}, which the kernel's log explains");
                let at = self.loaded_at(slot);
                self.loaded[at].doubt();
            }
            _ => self.tally.failures.push(text),
        }
    }

    pub(super) fn strike(&mut self, slot: usize, moment: Moment) {
        let others: Vec<usize> = (0..self.slots.len()).filter(|other| *other != slot).collect();
        let is_well = |slot: usize| matches!(self.slots[slot].health, Health::Well);
        if !is_well(slot) {
            return;
        }
        let calm = others.iter().all(|other| is_well(*other));
        let now = Now { moment, calm, alone: self.workers.is_empty() };
        let Driver { target, rng, watchdog, trouble, .. } = self;
        let make =
            || watchdog.watch(format_args!("a fault for context {slot}, {moment:?}"), || target.strike(slot, now, rng));
        let from = self.start.elapsed();
        if self.workers.is_empty() {
            self.history.clear();
        }
        let strike = trouble.begin(make, |strike| strike.is_some_and(|strike| strike.reaches_programs));
        let Some(strike) = strike else { return };
        let server = self.target.server(slot);
        let mut hit = vec![slot];
        hit.extend(others.into_iter().filter(|other| match strike.reach {
            Reach::One => false,
            Reach::Server | Reach::Memory => self.target.server(*other) == server,
            Reach::Process => true,
        }));
        for slot in hit {
            self.unload(slot, strike);
            if strike.forked {
                let Strike { fault, codes, unloads, reach, .. } = strike;
                let cost = Cost { fault, codes, unloads, forgets: reach == Reach::Memory };
                self.history.begin(slot, cost, from);
            }
            self.slots[slot].health = Health::Struck { strike, since: Instant::now() };
        }
    }

    /// Ends the fault of a context.
    pub(super) fn end_of_strike(&mut self, slot: usize) {
        self.recover(slot, false);
    }

    /// Forgets what a fault makes the TPM lose.
    fn unload(&mut self, slot: usize, strike: Strike) {
        if strike.reach == Reach::Memory {
            self.slots[slot].knowledge.forget();
        }
        if strike.unloads {
            let at = self.loaded_at(slot);
            self.loaded[at] = Loaded::new();
        }
    }

    /// Ends a fault. It counts when a call has failed because of it, or when it has affected something else.
    fn recover(&mut self, slot: usize, noticed: bool) {
        let Health::Struck { strike, .. } = self.slots[slot].health else { return };
        let Strike { fault, codes, reach, reaches_programs, .. } = strike;
        let target = &mut self.target;
        let met = self.watchdog.watch(format_args!("the end of {fault} for context {slot}"), || target.heal(slot));
        if reaches_programs {
            self.trouble.end();
        }
        // The last response may have left the server before it lost its memory.
        self.unload(slot, strike);
        self.history.end(slot, self.start.elapsed());
        let met = met || noticed;
        self.tally.faults += u64::from(met);
        self.slots[slot].health = match reach {
            Reach::One if !met => Health::Well,
            // A fault that reaches several contexts may show in this one with the next call.
            _ => Health::Recovering { fault, codes, failed: 0, met },
        };
    }
}
