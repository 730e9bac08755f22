// SPDX-License-Identifier: BSD-2-Clause
//! One module in one process, before and after something goes wrong: what it opened is counted, what it keeps of it, and
//! what the context does afterwards.

use super::module::Module;
use super::outcome::{After, Outcome};
use super::program::{self, Program};
use super::server::{self, Server};
use std::process::Command;

pub(super) struct Case<S: ?Sized = dyn Server> {
    pub(super) program: Program,
    /// Descriptors after a command that goes well.
    pub(super) descriptors: u64,
    pub(super) server: Box<S>,
    /// How often the fault happens.
    times: usize,
    /// Whether a key is loaded in the TPM.
    has_key: bool,
}

impl Case {
    /// With a real TPM, and a key in it.
    pub(super) fn open(module: Module) -> Case {
        Case::without_key(module).with_key()
    }

    /// With a real TPM.
    pub(super) fn without_key(module: Module) -> Case {
        let server = server::start(module);
        let command = program::command(module, &server.conf());
        Case::with(module, server, command)
    }
}

/// What comes of a fault after which there is no context, and which happens so often. `fault` gives the code in which it
/// shows, and has made good what went wrong: another context in the same process works.
pub(super) fn opens_anew(times: usize, command: Command, mut fault: impl FnMut(&mut Program) -> String) -> Outcome {
    let mut program = Program::start(command);
    let round = |program: &mut Program| {
        let code = fault(program);
        if has_ended(&code) {
            return Outcome::new(code, After::Never);
        }
        program.finalize(); // there may be none
        program.open();
        program.finalize();
        let after = if code == "SUCCESS" { After::GoesOn } else { After::NewContext };
        Outcome::new(code, after)
    };
    let outcome = repeat(&mut program, |program| program, times, round);
    if !outcome.is_the_end() {
        program.end();
    }
    outcome
}

/// How many rounds more are run while the heap has grown with each.
const DOUBTS: usize = 6;

/// Runs `round` so often. A buffer may grow with the first, and with one in which an answer happens to come in pieces; what
/// is lost each time grows with each, also with those that are run more for that reason.
fn repeat<T>(
    holder: &mut T,
    program: fn(&mut T) -> &mut Program,
    times: usize,
    mut round: impl FnMut(&mut T) -> Outcome,
) -> Outcome {
    let mut all = round(holder);
    let mut heaps = Vec::new();
    while !all.is_the_end() {
        heaps.push(program(holder).number("heap"));
        if heaps.len() >= times {
            let grows = times > 1 && heaps.is_sorted_by(|before, after| before < after);
            if !grows {
                break;
            }
            assert!(heaps.len() < times + DOUBTS, "bytes in use: {heaps:?}");
        }
        all = Outcome::of_all([all, round(holder)]);
    }
    all
}

/// Whether a code is the end of the program.
fn has_ended(code: &str) -> bool {
    code.starts_with("SIGNAL") || code.starts_with("EXIT")
}

impl<S: Server + ?Sized> Case<S> {
    /// Opens a context, with which commands go well.
    pub(super) fn with(module: Module, server: Box<S>, command: Command) -> Case<S> {
        let mut program = Program::start(command);
        program.open();
        let descriptors = program.descriptors();
        Case { program, descriptors, server, times: module.times(), has_key: false }
    }

    /// Loads a key, of which the outcome tells.
    pub(super) fn with_key(mut self) -> Case<S> {
        self.program.succeed("load");
        Case { has_key: true, ..self }
    }

    /// The fault happens so often.
    pub(super) fn times(self, times: usize) -> Case<S> {
        Case { times, ..self }
    }

    /// What comes of a fault that happens to the same context again and again. `fault` gives the code of the call in which
    /// it shows, `restore` makes good what went wrong.
    pub(super) fn endures(
        mut self,
        mut fault: impl FnMut(&mut Case<S>) -> String,
        restore: impl Fn(&mut Case<S>),
    ) -> Outcome {
        let round = |case: &mut Case<S>| {
            let code = fault(case);
            if has_ended(&code) {
                return Outcome::new(code, After::Never);
            }
            // Whatever it is, the exchange is over.
            assert_eq!(case.program.step("receive 0"), "BAD_SEQUENCE", "a receive after {code}");
            let meanwhile = case.program.step("random");
            restore(case);
            let then = case.program.step("random");
            assert_eq!(then, "SUCCESS", "after {code} and {meanwhile}, when what was lost is there again");
            assert_eq!(case.program.descriptors(), case.descriptors, "descriptors");
            match meanwhile == "SUCCESS" {
                true => Outcome::new(code, After::GoesOn),
                false => Outcome::new(code, After::WhenBack).and_then(meanwhile),
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

    /// What was lost is there again.
    pub(super) fn restore(&mut self) {
        self.server.restore();
    }

    /// Nothing is left of the context.
    fn closes(mut self) {
        self.program.succeed("finalize");
        assert!(self.server.is_released(), "something is left of the context");
        self.program.end();
    }
}
