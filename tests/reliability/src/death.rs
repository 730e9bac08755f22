// SPDX-License-Identifier: BSD-2-Clause
//! The TPM, or what leads to it, is killed: at each step of a context's life.

use super::case::{Case, opens_anew};
use super::module::Module;
use super::outcome::Outcome;
use super::program::{self, Program};
use super::server::{self, Server};

/// When it dies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Death {
    /// Before a context is opened.
    Unopened,
    /// Init waits for a reply.
    Opening,
    /// Before the command.
    Idle,
    /// Before the command, and it is back by then.
    IdleAndBack,
    /// Transmit waits for it to read.
    Written,
    /// The command was sent.
    Sent,
    /// While the caller waits for the response.
    Awaited,
    /// The caller knows the size of the response.
    Sized,
    /// The caller cancels the command then.
    Cancel,
    /// Cancel waits for the reply.
    Cancelling,
    /// The command was cancelled.
    Cancelled,
    /// The caller sets the locality then.
    Locality,
    /// The caller finalizes then, between two commands.
    Finalize,
    /// The caller finalizes then, and a response is due.
    FinalizeDue,
}

impl Death {
    pub(super) fn observe(self, module: Module) -> Outcome {
        match self {
            Death::Unopened => opening(module, |server, program| {
                server.kill();
                program.step("open")
            }),
            Death::Opening => opening(module, |server, program| {
                server.pause();
                dies_during(server, program, "open")
            }),
            Death::Idle => open(module, |server, program| {
                server.kill();
                program.step("random")
            }),
            Death::IdleAndBack => open(module, |server, program| {
                server.kill();
                server.restore();
                program.step("random")
            }),
            Death::Written => open(module, |server, program| {
                server.pause();
                dies_during(server, program, "transmit-largest")
            }),
            Death::Sent => open(module, |server, program| {
                server.pause();
                program.succeed("transmit");
                server.kill();
                program.step("receive -1")
            }),
            Death::Awaited => open(module, |server, program| {
                server.pause();
                program.succeed("transmit");
                dies_during(server, program, "receive -1")
            }),
            Death::Sized => open(module, |server, program| {
                program.succeed("transmit");
                program.succeed("size -1");
                server.kill();
                program.step("receive -1")
            }),
            Death::Cancel => open(module, |server, program| {
                server.pause();
                program.succeed("transmit");
                server.kill();
                let code = program.step("cancel");
                assert_eq!(program.step("receive -1"), "IO_ERROR", "the response that was due");
                code
            }),
            Death::Cancelling => open(module, |server, program| {
                server.pause();
                program.succeed("transmit");
                let code = dies_during(server, program, "cancel");
                assert_eq!(program.step("receive -1"), "IO_ERROR", "the response that was due");
                code
            }),
            Death::Cancelled => open(module, |server, program| {
                program.succeed("transmit");
                program.succeed("cancel");
                server.kill();
                program.step("random")
            }),
            Death::Locality => case(module).endures(
                |case| {
                    case.server.kill();
                    case.program.step("locality 0")
                },
                |case| {
                    case.server.restore();
                    let code = case.program.step("locality 0");
                    assert!(["SUCCESS", "NOT_IMPLEMENTED"].contains(&code.as_str()), "{code}, though it is back");
                },
            ),
            Death::Finalize => finalizing(module, |server, _| server.kill()),
            Death::FinalizeDue => finalizing(module, |server, program| {
                server.pause();
                program.succeed("transmit");
                server.kill();
            }),
        }
    }
}

/// When it dies while a context is opened.
fn opening(module: Module, fault: impl Fn(&mut dyn Server, &mut Program) -> String) -> Outcome {
    let mut server = server::start(module);
    opens_anew(module.times(), program::command(module, &server.conf()), |program| {
        let code = fault(&mut *server, program);
        server.restore();
        code
    })
}

/// When it dies while a context is open.
fn open(module: Module, fault: fn(&mut dyn Server, &mut Program) -> String) -> Outcome {
    case(module).endures(|case| fault(&mut *case.server, &mut case.program), Case::restore)
}

/// The TPM of the simulated stick keeps its power, and what is loaded, when the stick is pulled out; a real one does not.
fn case(module: Module) -> Case {
    if module == Module::Stick { Case::without_key(module) } else { Case::open(module) }
}

/// When it has died and the context is finalized.
fn finalizing(module: Module, fault: fn(&mut dyn Server, &mut Program)) -> Outcome {
    opening(module, |server, program| {
        program.open();
        fault(server, program);
        program.finalize();
        assert!(server.is_released(), "something is left of the context");
        "SUCCESS".to_owned()
    })
}

/// It dies when this step waits for it.
fn dies_during(server: &mut dyn Server, program: &mut Program, step: &str) -> String {
    program.begin(step);
    program.await_blocked();
    server.kill();
    program.code()
}
