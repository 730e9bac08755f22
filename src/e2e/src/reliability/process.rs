// SPDX-License-Identifier: BSD-2-Clause
//! The process that holds the context goes wrong, or does what a library has to bear.

use super::case::Case;
use super::case::opens_anew;
use super::clock;
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
    /// Not a byte of memory more can be had when a context is opened.
    MemoryAtInit,
    /// Nor in a command.
    Memory,
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
                let mut case = Case::open(module);
                let code = case.program.step("storm 1000");
                case.ends(code)
            }
            Process::DescriptorsAtInit => limited_at_init(module, "nofile 3"),
            Process::MemoryAtInit => limited_at_init(module, "as 0"),
            Process::Memory => {
                let mut case = Case::open(module);
                case.program.succeed("limit as 0");
                let code = case.program.step("random");
                case.ends_with(code, |case| case.program.succeed("limit as -1"))
            }
            Process::Clock => {
                let mut case = Case::open(module);
                let code = clock::while_it_jumps(|| case.program.step("commands 200"));
                case.ends(code)
            }
            Process::Contexts => contexts(module),
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

/// What is limited, and to how much.
fn limited_at_init(module: Module, limit: &str) -> Outcome {
    let server = server::start(module);
    let mut program = Program::start(program::command(module, &server.conf()));
    program.succeed(&format!("limit {limit}"));
    let code = program.step("open");
    let resource = limit.split(' ').next().unwrap();
    program.succeed(&format!("limit {resource} -1"));
    opens_anew(program, code)
}

/// Pages of a process that may be touched for the first time, in bytes.
const PAGES: u64 = 64 << 10;

/// What a process keeps of its first contexts does not grow with more of them: not by a byte of the heap, not by a
/// descriptor.
fn contexts(module: Module) -> Outcome {
    let server = server::start(module);
    // Thousands of tpm2_send take minutes.
    let conf = if module == Module::Cmd { "exec cat".to_owned() } else { server.conf() };
    let mut command = program::command(module, &conf);
    command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"); // what is kept there counts as used
    let mut program = Program::start(command);
    let count = module.contexts();
    program.succeed(&format!("contexts {}", count / 10));
    let holds = |program: &mut Program| ["heap", "resident", "descriptors"].map(|what| program.number(what));
    let [heap, resident, descriptors] = holds(&mut program);
    let code = program.step(&format!("contexts {count}"));
    let [heap_then, resident_then, descriptors_then] = holds(&mut program);
    assert_eq!((heap_then, descriptors_then), (heap, descriptors), "bytes of the heap, descriptors");
    assert!(resident_then <= resident + PAGES, "{resident} bytes of memory, and then {resident_then}");
    program.end();
    Outcome::new(code, After::GoesOn)
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
