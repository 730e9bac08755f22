// SPDX-License-Identifier: BSD-2-Clause
//! One module in one process, before and after a fault: counts descriptors and memory, and looks at what the context does
//! afterwards.

use super::module::Module;
use super::outcome::{After, Outcome};
use super::program::{self, Program, Wait};
use super::reply::{Code, Reply};
use super::server::{self, Server};
use std::process::Command;

pub(super) struct Case<S: ?Sized = dyn Server> {
    pub(super) program: Program,
    /// The number of open descriptors after a command that worked.
    pub(super) descriptors: u64,
    pub(super) server: Box<S>,
    /// How often the fault happens.
    times: usize,
    /// Whether a key is loaded in the TPM.
    has_key: bool,
}

impl Case {
    /// Opens a context on a real TPM, and loads a key.
    pub(super) fn open(module: Module) -> Case {
        Case::without_key(module).with_key()
    }

    /// Opens a context on a real TPM.
    pub(super) fn without_key(module: Module) -> Case {
        let server = server::start(module);
        let command = program::command(module, &server.conf());
        Case::with(module, server, command)
    }
}

/// Observes a fault that leaves no context, `times` times in the same process. `fault` returns the code in which the fault
/// shows, and has removed the cause by then: a new context works each time.
pub(super) fn opens_again(times: usize, command: Command, mut fault: impl FnMut(&mut Program) -> Reply) -> Outcome {
    let mut program = Program::start(command);
    let round = |program: &mut Program| {
        let code = fault(program);
        if code.is_the_end() {
            return Outcome::new(code, After::Never);
        }
        program.finalize();
        program.open();
        program.finalize();
        let after = if code.is_success() { After::Continues } else { After::NewContext };
        Outcome::new(code, after)
    };
    let outcome = repeat(&mut program, |program| program, times, round);
    if !outcome.is_the_end() {
        program.end();
    }
    outcome
}

/// How many further rounds are run while the heap has grown with each of them.
const DOUBTS: usize = 6;

/// Runs `round` at least `times` times and fails when the heap grows with each round. A buffer may grow in the first round,
/// and in one in which a response happens to arrive in pieces; a leak grows in every round, also in the further ones.
fn repeat<T>(
    holder: &mut T,
    program: fn(&mut T) -> &mut Program,
    times: usize,
    mut round: impl FnMut(&mut T) -> Outcome,
) -> Outcome {
    let mut all = round(holder);
    let mut heaps = Vec::new();
    while !all.is_the_end() {
        heaps.push(program(holder).heap());
        if heaps.len() >= times {
            let grows = times > 1 && heaps.is_sorted_by(|before, after| before < after);
            if !grows {
                break;
            }
            assert!(heaps.len() < times + DOUBTS, "bytes of the heap in use after each round: {heaps:?}");
        }
        all = Outcome::of_all([all, round(holder)]);
    }
    all
}

impl<S: Server + ?Sized> Case<S> {
    /// Opens a context on `server`.
    pub(super) fn with(module: Module, server: Box<S>, command: Command) -> Case<S> {
        let mut program = Program::start(command);
        program.open();
        let descriptors = program.descriptors();
        Case { program, descriptors, server, times: module.times(), has_key: false }
    }

    /// Loads a key, and notes in the outcome whether it stays.
    pub(super) fn with_key(mut self) -> Case<S> {
        self.program.load_key().succeeds();
        Case { has_key: true, ..self }
    }

    /// Sets how often the fault happens.
    pub(super) fn times(self, times: usize) -> Case<S> {
        Case { times, ..self }
    }

    /// Observes a fault that happens to the same context several times. `fault` returns the code in which the fault shows,
    /// `restore` removes the cause.
    pub(super) fn endures(
        mut self,
        mut fault: impl FnMut(&mut Case<S>) -> Reply,
        restore: impl Fn(&mut Case<S>),
    ) -> Outcome {
        let round = |case: &mut Case<S>| {
            let code = fault(case);
            if code.is_the_end() {
                return Outcome::new(code, After::Never);
            }
            // The exchange is over, whatever the code is.
            assert_eq!(case.program.receive(Wait::Not).reply(), Code::BadSequence, "a receive after {code}");
            let meanwhile = case.program.get_random().reply();
            restore(case);
            let then = case.program.get_random().reply();
            assert_eq!(then, Code::Success, "a command after {code} and {meanwhile}, when the cause was removed");
            assert_eq!(case.program.descriptors(), case.descriptors, "descriptors");
            match meanwhile.is_success() {
                true => Outcome::new(code, After::Continues),
                false => Outcome::new(code, After::Recovers).and_then(meanwhile),
            }
        };
        let times = self.times;
        let outcome = repeat(&mut self, |case| &mut case.program, times, round);
        if outcome.is_the_end() {
            return outcome;
        }
        let key = self.has_key.then(|| self.program.key());
        self.closes();
        outcome.with_key(key)
    }

    /// Makes the server work again.
    pub(super) fn restore(&mut self) {
        self.server.restore();
    }

    /// Finalizes the context and ends the program. Nothing of the context may be left.
    fn closes(mut self) {
        self.program.finalize();
        assert!(self.server.is_released(), "the server still has something of the context");
        self.program.end();
    }
}
