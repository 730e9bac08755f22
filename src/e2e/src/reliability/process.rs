// SPDX-License-Identifier: BSD-2-Clause
//! The process that holds the context goes wrong, or does what a library has to bear.

use super::case::Case;
use super::module::Module;
use super::outcome::{After, Outcome};
use super::program::{self, Program};
use super::server;

#[derive(Clone, Copy, Debug)]
pub(super) enum Process {
    /// 1,000 signals without SA_RESTART.
    Interrupts,
    /// No descriptor can be opened when a context is opened.
    DescriptorsAtInit,
    /// No descriptor can be opened in a command.
    Descriptors,
    /// Standard streams are closed, and all is logged.
    ClosedStreams,
    /// The library is closed, not the context.
    Dlclose,
    /// It ends without Finalize, and another one comes.
    Leaves,
    /// It is killed while a response is due, and another one comes.
    Killed,
}

impl Process {
    pub(super) fn observe(self, module: Module) -> Outcome {
        match self {
            Process::Interrupts => {
                let mut case = Case::open(module);
                let code = case.program.step("storm 1000");
                case.ends(code)
            }
            Process::DescriptorsAtInit => no_descriptors_at_init(module),
            Process::Descriptors => {
                let mut case = Case::open(module);
                case.program.succeed("limit nofile 3");
                let code = case.program.step("random");
                case.ends_with(code, |case| case.program.succeed("limit nofile -1"))
            }
            Process::ClosedStreams => Outcome::of_all(STREAMS.map(|streams| closed_streams(module, streams))),
            Process::Dlclose => {
                let mut case = Case::open(module);
                case.program.succeed("dlclose");
                let code = case.program.step("random");
                case.ends(code)
            }
            Process::Leaves => {
                let mut case = Case::open(module);
                case.program.begin("exit");
                assert_eq!(case.program.code(), "EXIT exit status: 0");
                another(case, module)
            }
            Process::Killed => {
                let mut case = Case::open(module);
                case.program.succeed("transmit");
                case.program.kill();
                another(case, module)
            }
        }
    }
}

/// The next program finds the TPM as it should be.
fn another(case: Case, module: Module) -> Outcome {
    let command = program::command(module, &case.server.conf());
    let mut next = Program::start(command);
    let opened = next.step("open");
    let code = if opened == "SUCCESS" { next.step("random") } else { opened };
    next.succeed("random");
    next.end();
    Outcome::new(code, After::GoesOn)
}

fn no_descriptors_at_init(module: Module) -> Outcome {
    let server = server::start(module);
    let mut program = Program::start(program::command(module, &server.conf()));
    program.succeed("limit nofile 3");
    let code = program.step("open");
    program.succeed("limit nofile -1");
    program.succeed("open");
    program.succeed("random");
    program.end();
    Outcome::new(code, After::NewContext)
}

/// stdin, stdout and stderr, in every combination.
const STREAMS: [&[u32]; 7] = [&[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];

fn closed_streams(module: Module, streams: &[u32]) -> Outcome {
    let server = server::start(module);
    let mut command = program::command(module, &server.conf());
    command.env("TSS2_LOG", "all+trace");
    let mut program = Program::start(command);
    for stream in streams {
        program.succeed(&format!("close {stream}"));
    }
    program.succeed("open");
    let code = program.step("random");
    for stream in streams {
        assert_eq!(program.step(&format!("close {stream}")), "EBADF", "something took the place of {stream}");
    }
    program.succeed("random");
    program.end();
    Outcome::new(code, After::GoesOn)
}
