// SPDX-License-Identifier: BSD-2-Clause
//! A context in a process of its own that is driven step by step: [`Steps`], by `c-tests/steps.c`.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use tss2_kit::program::{self, Link};
use tss2_kit::{output, stage};

/// One step.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// GetRandom.
    Random,
    /// CreatePrimary of a key.
    Create,
    /// ReadPublic of this key.
    Read,
    /// StartAuthSession.
    Session,
    /// ReadPublic of a handle that does not exist.
    Refused,
}

impl Step {
    /// The word that the program reads.
    fn word(self) -> &'static str {
        match self {
            Step::Random => "random",
            Step::Create => "create",
            Step::Read => "read",
            Step::Session => "session",
            Step::Refused => "refused",
        }
    }
}

/// The process with the context.
pub(crate) struct Steps(Child);

/// Builds the program.
pub(crate) fn program() -> PathBuf {
    program::build("steps", Link::Staged("tss2-tctildr"), &[])
}

impl Steps {
    /// Opens a context on `name_conf`, or without it on the loader's default.
    pub(crate) fn open(name_conf: Option<&str>) -> Steps {
        let mut command = stage::command(program());
        command.args(name_conf).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut steps = Steps(command.spawn().unwrap());
        assert_eq!(steps.code(), "SUCCESS");
        steps
    }

    /// Opens a context and creates an object in it.
    pub(crate) fn with_object(name_conf: &str) -> Steps {
        let mut steps = Steps::open(Some(name_conf));
        assert_eq!(steps.step(Step::Create), "SUCCESS");
        steps
    }

    /// Does a step. Returns the name of its code, such as `IO_ERROR`.
    pub(crate) fn step(&mut self, step: Step) -> String {
        writeln!(self.0.stdin.as_mut().unwrap(), "{}", step.word()).unwrap();
        self.code()
    }

    fn code(&mut self) -> String {
        let mut line = String::new();
        BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Returns the process ID.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Finalizes the context and waits for the process. Returns what it logged.
    pub(crate) fn finish(mut self) -> String {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", output::show(&output));
        output::stderr(&output)
    }
}
