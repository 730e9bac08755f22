// SPDX-License-Identifier: BSD-2-Clause
//! The process that holds the context runs out of a resource, is interrupted, or ends.

use super::case::{Case, opens_again};
use super::clock;
use super::module::Module;
use super::outcome::{After, Outcome};
use super::program::{self, Program, Resource, Step, Wait};
use super::reply::Reply;
use super::server;
use std::fs;

#[derive(Clone, Copy, Debug)]
pub(super) enum Process {
    /// Many signals interrupt commands.
    Interrupts,
    /// A resource is exhausted during Init.
    ExhaustedInInit(Resource),
    /// A resource is exhausted during a command.
    ExhaustedInCommand(Resource),
    /// Memory is exhausted after Transmit, until the response was received.
    MemoryInReceive,
    /// Memory is exhausted when an error is logged.
    MemoryInError,
    /// Memory is exhausted during SetLocality.
    MemoryInLocality,
    /// Memory is exhausted during Finalize.
    MemoryInFinalize,
    /// The system clock is set back and forth during commands.
    Clock,
    /// Contexts are initialized and finalized, one after the other.
    Contexts,
    /// Standard streams are closed, and everything is logged.
    ClosedStreams,
    /// The library is closed before the context is used.
    Dlclose,
    /// The process ends without Finalize, and another one uses the TPM.
    Leaves,
    /// The process is killed while a response is due, and another one uses the TPM.
    Killed,
}

impl Process {
    pub(super) fn observe(self, module: Module) -> Outcome {
        match self {
            Process::Interrupts => {
                let count = 1000;
                Case::open(module)
                    .times(1)
                    .endures(|case| case.program.get_random_interrupted(count).reply(), Case::restore)
            }
            Process::ExhaustedInInit(resource) => {
                let server = server::start(module);
                opens_again(module.times(), program::command(module, &server.conf()), |program| {
                    program.exhaust(resource);
                    let code = program.init().reply();
                    program.replenish(resource);
                    code
                })
            }
            Process::ExhaustedInCommand(resource) => without(resource, module, Program::get_random),
            Process::MemoryInReceive => Case::open(module).endures(
                |case| {
                    case.program.transmit().succeeds();
                    case.program.exhaust(Resource::Memory);
                    case.program.receive(Wait::Forever).reply()
                },
                |case| case.program.replenish(Resource::Memory),
            ),
            Process::MemoryInError => memory_in_error(module),
            Process::MemoryInLocality => without(Resource::Memory, module, |program| program.set_locality(0)),
            Process::MemoryInFinalize => {
                let server = server::start(module);
                opens_again(module.times(), program::command(module, &server.conf()), |program| {
                    program.open();
                    program.exhaust(Resource::Memory);
                    program.finalize();
                    program.replenish(Resource::Memory);
                    Reply::success()
                })
            }
            Process::Clock => {
                let commands = 200;
                Case::open(module).times(1).endures(
                    |case| clock::while_it_is_set(|| case.program.get_random_times(commands).reply()),
                    Case::restore,
                )
            }
            Process::Contexts => contexts(module),
            Process::ClosedStreams => Outcome::of_all(STREAMS.map(|streams| closed_streams(module, streams))),
            Process::Dlclose => Case::open(module).times(1).endures(
                |case| {
                    case.program.dlclose().succeeds();
                    case.program.get_random().reply()
                },
                Case::restore,
            ),
            Process::Leaves => {
                let mut case = Case::open(module);
                assert_eq!(case.program.exit().reply(), Reply::EXITED);
                another_process(case, module)
            }
            Process::Killed => {
                let mut case = Case::open(module);
                case.program.transmit().succeeds();
                case.program.kill();
                another_process(case, module)
            }
        }
    }
}

/// Observes the first command of the next process that uses the TPM.
fn another_process(case: Case, module: Module) -> Outcome {
    let command = program::command(module, &case.server.conf());
    let mut next = Program::start(command);
    let initialized = next.init().reply();
    let code = if initialized.is_success() { next.get_random().reply() } else { initialized };
    next.get_random().succeeds();
    next.end();
    Outcome::new(code, After::Continues)
}

/// Observes a call while a resource is exhausted.
fn without(resource: Resource, module: Module, call: fn(&mut Program) -> Step<'_>) -> Outcome {
    Case::open(module).endures(
        |case| {
            case.program.exhaust(resource);
            call(&mut case.program).reply()
        },
        |case| case.program.replenish(resource),
    )
}

/// The first line of the log is written when there is no memory for it.
fn memory_in_error(module: Module) -> Outcome {
    let server = server::start(module);
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = program::command(module, &server.conf());
    command.env("TSS2_LOG", "all+error").stderr(log.reopen().unwrap());
    let mut lines = 0;
    Case::with(module, server, command).endures(
        |case| {
            case.program.exhaust(Resource::Memory);
            let code = case.program.receive(Wait::Forever).reply();
            let text = fs::read_to_string(log.path()).unwrap();
            assert_eq!(text.matches("receive without a command").count(), lines + 1, "{text}");
            lines += 2; // this line, and that of the receive which checks that the exchange is over
            code
        },
        |case| case.program.replenish(Resource::Memory),
    )
}

/// The bytes by which the memory of a process may grow, because some of its pages are touched for the first time.
const PAGES: u64 = 64 << 10;

/// Observes the memory of a process that has had many contexts. More of them do not make it grow: not by one byte of the
/// heap, not by one descriptor.
fn contexts(module: Module) -> Outcome {
    let server = server::start(module);
    // To start tpm2_send thousands of times takes minutes.
    let conf = if module == Module::Cmd { "exec cat".to_owned() } else { server.conf() };
    let mut program = Program::start(program::command(module, &conf));
    let count = module.contexts();
    // In ten steps, each of which has a time limit.
    let opens = |program: &mut Program, count| (0..10).for_each(|_| program.open_contexts(count / 10).succeeds());
    opens(&mut program, count / 10);
    let (heap, resident, descriptors) = (program.heap(), program.resident(), program.descriptors());
    opens(&mut program, count);
    let (heap_then, resident_then, descriptors_then) = (program.heap(), program.resident(), program.descriptors());
    assert_eq!((heap_then, descriptors_then), (heap, descriptors), "bytes of the heap, descriptors");
    assert!(resident_then <= resident + PAGES, "{resident} bytes of memory, and then {resident_then}");
    program.end();
    Outcome::new(Reply::success(), After::Continues)
}

/// stdin, stdout and stderr, in every combination.
const STREAMS: [&[u32]; 7] = [&[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];

fn closed_streams(module: Module, streams: &[u32]) -> Outcome {
    let server = server::start(module);
    let mut command = program::command(module, &server.conf());
    command.env("TSS2_LOG", "all+trace");
    let mut program = Program::start(command);
    for stream in streams {
        program.close_stream(*stream);
    }
    program.init().succeeds();
    let code = program.get_random().reply();
    for stream in streams {
        assert_eq!(program.close(*stream).reply(), "EBADF", "the module has opened descriptor {stream}");
    }
    program.get_random().succeeds();
    program.end();
    Outcome::new(code, After::Continues)
}
