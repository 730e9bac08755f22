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
    /// Descriptors after a command that went well.
    descriptors: u64,
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

impl<S: Server + ?Sized> Case<S> {
    /// Opens a context, with which one command goes well.
    pub(super) fn with(server: Box<S>, command: Command) -> Case<S> {
        let mut program = Program::start(command);
        program.succeed("open");
        program.succeed("random");
        let descriptors = program.number("descriptors");
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
        let after = self.settle(restore);
        // A capture that ended is closed, so there may be fewer.
        assert!(self.program.number("descriptors") <= self.descriptors, "descriptors after {code}");
        self.program.succeed("finalize");
        assert!(self.server.is_released(), "something is left of the context");
        self.program.end();
        Outcome::new(code, after)
    }

    fn settle(&mut self, restore: impl FnOnce(&mut Case<S>)) -> After {
        if self.program.step("random") == "SUCCESS" {
            return After::GoesOn;
        }
        restore(self);
        // A transport may have to notice first that what it has is not what there is now.
        if (0..2).any(|_| self.program.step("random") == "SUCCESS") {
            return After::WhenBack;
        }
        self.program.succeed("finalize");
        match self.program.step("open") == "SUCCESS" && self.program.step("random") == "SUCCESS" {
            true => After::NewContext,
            false => After::Never,
        }
    }
}
