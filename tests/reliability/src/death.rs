// SPDX-License-Identifier: BSD-2-Clause
//! Kills the TPM, or the connection to it, at each step in the life of a context.

use super::case::{Case, opens_again};
use super::module::Module;
use super::outcome::Outcome;
use super::program::{self, Program, Step, Wait};
use super::reply::{Code, Reply};
use super::server::{self, Server};

/// When the TPM is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Death {
    /// Before Init.
    BeforeInit,
    /// While Init waits for a reply.
    DuringInit,
    /// Before a command.
    Idle,
    /// Before a command, which it is back for.
    IdleAndBack,
    /// While Transmit waits for the TPM to read.
    DuringTransmit,
    /// After Transmit.
    Sent,
    /// While Receive waits for the response.
    DuringReceive,
    /// After Receive has returned the size of the response.
    Sized,
    /// Before Cancel.
    BeforeCancel,
    /// While Cancel waits for a reply.
    DuringCancel,
    /// After Cancel.
    Cancelled,
    /// Before SetLocality.
    BeforeSetLocality,
    /// Before Finalize, with no command under way.
    BeforeFinalize,
    /// Before Finalize, while a response is due.
    BeforeFinalizeDue,
}

impl Death {
    pub(super) fn observe(self, module: Module) -> Outcome {
        match self {
            Death::BeforeInit => without_context(module, |server, program| {
                server.kill();
                program.init().reply()
            }),
            Death::DuringInit => without_context(module, |server, program| {
                server.pause();
                dies_during(server, program.init())
            }),
            Death::Idle => with_context(module, |server, program| {
                server.kill();
                program.get_random().reply()
            }),
            Death::IdleAndBack => with_context(module, |server, program| {
                server.kill();
                server.restore();
                program.get_random().reply()
            }),
            Death::DuringTransmit => with_context(module, |server, program| {
                server.pause();
                dies_during(server, program.transmit_largest())
            }),
            Death::Sent => with_context(module, |server, program| {
                server.pause();
                program.transmit().succeeds();
                server.kill();
                program.receive(Wait::Forever).reply()
            }),
            Death::DuringReceive => with_context(module, |server, program| {
                server.pause();
                program.transmit().succeeds();
                dies_during(server, program.receive(Wait::Forever))
            }),
            Death::Sized => with_context(module, |server, program| {
                program.transmit().succeeds();
                program.receive_size(Wait::Forever).succeeds();
                server.kill();
                program.receive(Wait::Forever).reply()
            }),
            Death::BeforeCancel => with_context(module, |server, program| {
                server.pause();
                program.transmit().succeeds();
                server.kill();
                let code = program.cancel().reply();
                assert_eq!(program.receive(Wait::Forever).reply(), Code::IoError, "the response that was due");
                code
            }),
            Death::DuringCancel => with_context(module, |server, program| {
                server.pause();
                program.transmit().succeeds();
                let code = dies_during(server, program.cancel());
                assert_eq!(program.receive(Wait::Forever).reply(), Code::IoError, "the response that was due");
                code
            }),
            Death::Cancelled => with_context(module, |server, program| {
                program.transmit().succeeds();
                program.cancel().succeeds();
                server.kill();
                program.get_random().reply()
            }),
            Death::BeforeSetLocality => case(module).endures(
                |case| {
                    case.server.kill();
                    case.program.set_locality(0).reply()
                },
                |case| {
                    case.server.restore();
                    let code = case.program.set_locality(0).reply();
                    assert!(
                        code == Code::Success || code == Code::NotImplemented,
                        "SetLocality returns {code}, though the TPM is back"
                    );
                },
            ),
            Death::BeforeFinalize => finalizing(module, |server, _| server.kill()),
            Death::BeforeFinalizeDue => finalizing(module, |server, program| {
                server.pause();
                program.transmit().succeeds();
                server.kill();
            }),
        }
    }
}

/// Observes a TPM that is killed when there is no context yet.
fn without_context(module: Module, fault: impl Fn(&mut dyn Server, &mut Program) -> Reply) -> Outcome {
    let mut server = server::start(module);
    opens_again(module.times(), program::command(module, &server.conf()), |program| {
        let code = fault(&mut *server, program);
        server.restore();
        code
    })
}

/// Observes a TPM that is killed when there is a context.
fn with_context(module: Module, fault: fn(&mut dyn Server, &mut Program) -> Reply) -> Outcome {
    case(module).endures(|case| fault(&mut *case.server, &mut case.program), Case::restore)
}

/// The TPM of the simulated stick keeps its power, and its keys, when the stick is unplugged; a real one does not.
fn case(module: Module) -> Case {
    if module == Module::Stick { Case::without_key(module) } else { Case::open(module) }
}

/// Observes a context that is finalized after its TPM was killed.
fn finalizing(module: Module, fault: fn(&mut dyn Server, &mut Program)) -> Outcome {
    without_context(module, |server, program| {
        program.open();
        fault(server, program);
        program.finalize();
        assert!(server.is_released(), "the server still has something of the context");
        Reply::success()
    })
}

/// Kills the TPM while `step` waits for it.
fn dies_during(server: &mut dyn Server, step: Step<'_>) -> Reply {
    let program = step.begin();
    program.await_blocked();
    server.kill();
    program.reply()
}
