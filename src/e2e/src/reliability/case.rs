// SPDX-License-Identifier: BSD-2-Clause
//! One module in one process, before and after something goes wrong: what it opened is counted, and what the context
//! does afterwards.

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
}

impl Case {
    /// With a real TPM.
    pub(super) fn open(module: Module) -> Case {
        let server = server::start(module);
        let command = program::command(module, &server.conf());
        Case::with(server, command)
    }
}

/// After `open` gave this code, and what was wrong is right again: another context in the same process works.
pub(super) fn opens_anew(mut program: Program, code: String) -> Outcome {
    let after = match code.as_str() {
        "SUCCESS" => After::GoesOn,
        _ => After::NewContext,
    };
    program.succeed("finalize"); // there may be none
    program.succeed("open");
    program.succeed("random");
    program.end();
    Outcome::new(code, after)
}

impl<S: Server + ?Sized> Case<S> {
    /// Opens a context, with which one command goes well.
    pub(super) fn with(server: Box<S>, command: Command) -> Case<S> {
        let mut program = Program::start(command);
        program.succeed("open");
        program.succeed("random");
        let descriptors = program.descriptors();
        Case { program, descriptors, server }
    }

    /// What comes after the fault showed with this code.
    pub(super) fn ends(self, code: String) -> Outcome {
        self.ends_with(code, |case| case.server.restore())
    }

    /// As `ends`; this makes good what went wrong.
    pub(super) fn ends_with(mut self, code: String, restore: impl FnOnce(&mut Case<S>)) -> Outcome {
        if code.starts_with("SIGNAL") || code.starts_with("EXIT") {
            return Outcome::new(code, After::Never);
        }
        // Whatever it is, the exchange is over.
        assert_eq!(self.program.step("receive 0"), "BAD_SEQUENCE", "a receive after {code}");
        let after = self.settle(restore);
        self.closes();
        Outcome::new(code, after)
    }

    fn settle(&mut self, restore: impl FnOnce(&mut Case<S>)) -> After {
        let goes_on = self.program.step("random") == "SUCCESS";
        restore(self);
        match self.program.step("random") == "SUCCESS" {
            true if goes_on => After::GoesOn,
            true => After::WhenBack,
            false => self.reopens(),
        }
    }

    fn reopens(&mut self) -> After {
        self.program.succeed("finalize");
        match self.program.step("open") == "SUCCESS" && self.program.step("random") == "SUCCESS" {
            true => After::NewContext,
            false => After::Never,
        }
    }

    /// What comes after the context was finalized because of this code.
    pub(super) fn gives_up(mut self, code: String) -> Outcome {
        let after = self.reopens();
        self.closes();
        Outcome::new(code, after)
    }

    /// Nothing is left of what went wrong, and then nothing of the context.
    fn closes(mut self) {
        assert_eq!(self.program.descriptors(), self.descriptors, "descriptors");
        self.program.succeed("finalize");
        assert!(self.server.is_released(), "something is left of the context");
        self.program.end();
    }
}
