// SPDX-License-Identifier: BSD-2-Clause
//! The process that holds the context goes wrong, or does what a library has to bear.

use super::case::{Case, opens_anew};
use super::clock;
use super::module::Module;
use super::outcome::{After, Outcome};
use super::program::{self, Program};
use super::server;
use std::fs;

#[derive(Clone, Copy, Debug)]
pub(super) enum Process {
    /// 1,000 signals without SA_RESTART.
    Interrupts,
    /// No descriptor can be opened when a context is opened.
    DescriptorsAtInit,
    /// No descriptor can be opened in a command.
    Descriptors,
    /// malloc gives nothing when a context is opened.
    MemoryAtInit,
    /// Nor in a command.
    Memory,
    /// Nor from a command on until its response is there.
    MemoryInReceive,
    /// Nor when an error is logged.
    MemoryInError,
    /// Nor when the locality is set.
    MemoryInLocality,
    /// Nor in Finalize.
    MemoryInFinalize,
    /// The clock of the system is set to and fro in commands.
    Clock,
    /// Contexts are opened and finalized, one after the other.
    Contexts,
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
                Case::open(module).times(1).endures(|case| case.program.step("storm 1000"), Case::restore)
            }
            Process::DescriptorsAtInit => at_init(module, "limit-files 3", "limit-files -1"),
            Process::Descriptors => in_call(module, "limit-files 3", "random", "limit-files -1"),
            Process::MemoryAtInit => at_init(module, "exhaust", "release"),
            Process::Memory => in_call(module, "exhaust", "random", "release"),
            Process::MemoryInReceive => Case::open(module).endures(
                |case| {
                    case.program.succeed("transmit");
                    case.program.succeed("exhaust");
                    case.program.step("receive -1")
                },
                |case| case.program.succeed("release"),
            ),
            Process::MemoryInError => memory_in_error(module),
            Process::MemoryInLocality => in_call(module, "exhaust", "locality 0", "release"),
            Process::MemoryInFinalize => {
                let server = server::start(module);
                opens_anew(module.times(), program::command(module, &server.conf()), |program| {
                    program.open();
                    program.succeed("exhaust");
                    program.finalize();
                    program.succeed("release");
                    "SUCCESS".to_owned()
                })
            }
            Process::Clock => Case::open(module)
                .times(1)
                .endures(|case| clock::while_it_jumps(|| case.program.step("commands 200")), Case::restore),
            Process::Contexts => contexts(module),
            Process::ClosedStreams => Outcome::of_all(STREAMS.map(|streams| closed_streams(module, streams))),
            Process::Dlclose => Case::open(module).times(1).endures(
                |case| {
                    case.program.succeed("dlclose");
                    case.program.step("random")
                },
                Case::restore,
            ),
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

/// `wrong` is a step after which something is wrong, `right` one after which it is right again.
fn in_call(module: Module, wrong: &str, call: &str, right: &str) -> Outcome {
    Case::open(module).endures(
        |case| {
            case.program.succeed(wrong);
            case.program.step(call)
        },
        |case| case.program.succeed(right),
    )
}

/// The same when a context is opened.
fn at_init(module: Module, wrong: &str, right: &str) -> Outcome {
    let server = server::start(module);
    opens_anew(module.times(), program::command(module, &server.conf()), |program| {
        program.succeed(wrong);
        let code = program.step("open");
        program.succeed(right);
        code
    })
}

/// The first record of the log is one that there is no memory for.
fn memory_in_error(module: Module) -> Outcome {
    let server = server::start(module);
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = program::command(module, &server.conf());
    command.env("TSS2_LOG", "all+error").stderr(log.reopen().unwrap());
    let mut records = 0;
    Case::with(module, server, command).endures(
        |case| {
            case.program.succeed("exhaust");
            let code = case.program.step("receive -1");
            // One of this call, then one of that which finds the exchange over.
            let text = fs::read_to_string(log.path()).unwrap();
            assert_eq!(text.matches("receive without a command").count(), records + 1, "{text}");
            records += 2;
            code
        },
        |case| case.program.succeed("release"),
    )
}

/// Pages of a process that may be touched for the first time, in bytes.
const PAGES: u64 = 64 << 10;

/// What a process keeps of its first contexts does not grow with more of them: not by a byte of the heap, not by a
/// descriptor.
fn contexts(module: Module) -> Outcome {
    let server = server::start(module);
    // Thousands of tpm2_send take minutes.
    let conf = if module == Module::Cmd { "exec cat".to_owned() } else { server.conf() };
    let mut program = Program::start(program::command(module, &conf));
    let count = module.contexts();
    // Each step has a time of its own.
    let opens =
        |program: &mut Program, count| (0..10).for_each(|_| program.succeed(&format!("contexts {}", count / 10)));
    opens(&mut program, count / 10);
    let holds = |program: &mut Program| ["heap", "resident", "descriptors"].map(|what| program.number(what));
    let [heap, resident, descriptors] = holds(&mut program);
    opens(&mut program, count);
    let [heap_then, resident_then, descriptors_then] = holds(&mut program);
    assert_eq!((heap_then, descriptors_then), (heap, descriptors), "bytes of the heap, descriptors");
    assert!(resident_then <= resident + PAGES, "{resident} bytes of memory, and then {resident_then}");
    program.end();
    Outcome::new("SUCCESS", After::GoesOn)
}

/// stdin, stdout and stderr, in every combination.
const STREAMS: [&[u32]; 7] = [&[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];

fn closed_streams(module: Module, streams: &[u32]) -> Outcome {
    let server = server::start(module);
    let mut command = program::command(module, &server.conf());
    command.env("TSS2_LOG", "all+trace");
    let mut program = Program::start(command);
    for stream in streams {
        program.close(*stream);
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
