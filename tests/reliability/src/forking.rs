// SPDX-License-Identifier: BSD-2-Clause
//! The host program forks, and both processes go on with the context. What is under way at the fork is the parent's.

use super::case::Case;
use super::module::Module;
use super::outcome::{After, Key, Outcome};
use super::program::{self, Program};
use super::server;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tss2_kit::waiting::wait_until;

/// What the two processes do with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Forking {
    /// The child asks for the response that the parent awaits.
    Receives,
    /// The child sends a command of its own while the parent awaits a response, which it collects meanwhile.
    Commands,
    /// The child finalizes while the parent awaits a response.
    Finalizes,
    /// The child sends a command of its own between two of the parent.
    CommandsBetween,
    /// The child sends a command, and finalizes; then the parent sends one.
    CommandsAndFinalizes,
    /// The child is killed while it awaits a response; then the parent sends a command.
    Killed,
    /// The parent finalizes; then the child sends a command.
    ParentFinalizes,
    /// The parent ends without Finalize; then the child sends a command.
    ParentEnds,
    /// The parent is killed while it awaits a response; then the child sends a command.
    ParentKilled,
}

impl Forking {
    pub(super) fn observe(self, module: Module) -> Outcome {
        match self {
            Forking::Receives
            | Forking::Commands
            | Forking::Finalizes
            | Forking::CommandsBetween
            | Forking::CommandsAndFinalizes => {
                Case::open(module).times(1).endures(|case| self.happen(module, &mut case.program), Case::restore)
            }
            Forking::Killed => killed(module),
            Forking::ParentFinalizes | Forking::ParentEnds | Forking::ParentKilled => self.in_the_child(module),
        }
    }

    /// Where the parent goes on. It opened the context.
    fn happen(self, module: Module, program: &mut Program) -> String {
        let awaits = matches!(self, Forking::Receives | Forking::Commands | Forking::Finalizes);
        if awaits {
            program.succeed("transmit");
        }
        let child = fork(program, "fork");
        let (code, is_collected) = match self {
            Forking::Receives => (program.step("receive -1"), false),
            Forking::Commands => {
                program.begin("random");
                program.await_blocked_or_done(child);
                let parent = program.id();
                (collect(program, parent), true)
            }
            Forking::Finalizes => (program.step("finalize"), false),
            _ => (program.step("random"), false),
        };
        if matches!(self, Forking::CommandsAndFinalizes) {
            program.succeed("finalize");
        } else if code == "SUCCESS" && !matches!(self, Forking::Finalizes) {
            program.succeed("mark");
        }
        assert_eq!(program.step("exit"), "exit 0");
        if matches!(self, Forking::Commands | Forking::CommandsBetween) && code == "SUCCESS" {
            let common = program.number("marked");
            assert_eq!(common > 0, shares(module), "{common} files that both have open");
        }
        if awaits && !is_collected {
            program.succeed("receive -1");
        }
        match self {
            Forking::CommandsAndFinalizes => program.step("random"),
            _ => code,
        }
    }

    /// Where the child goes on. The parent opened the context, and is not the first process of the program, which waits for
    /// both.
    fn in_the_child(self, module: Module) -> Outcome {
        let server = server::start(module);
        let mut program = Program::start(program::command(module, &server.conf()));
        let parent = fork(&mut program, "fork-tree");
        program.open();
        program.succeed("load");
        if matches!(self, Forking::ParentKilled) {
            program.succeed("transmit");
        }
        fork(&mut program, "fork");
        match self {
            Forking::ParentFinalizes => {
                signal(parent, Signal::SIGHUP);
                assert_eq!(program.code(), "parent SUCCESS");
            }
            Forking::ParentEnds => end(parent, Signal::SIGTERM),
            _ => end(parent, Signal::SIGKILL),
        }
        let code = program.step("random");
        assert_eq!(program.step("random"), code, "and once more");
        assert!(code != "SUCCESS" || program.key() == Key::Stays, "the key is lost");
        let ended = program.step("exit");
        if matches!(self, Forking::ParentFinalizes) {
            assert_eq!(ended, "exit 0");
            program.open();
            program.succeed("finalize");
            assert_eq!(program.step("exit"), "exit 0");
        }
        program.open();
        assert!(code != "SUCCESS" || program.step("random") == "SUCCESS");
        program.end();
        Outcome::new(code, After::GoesOn)
    }
}

/// Whether the two have files in common: a connection, or the capture.
fn shares(module: Module) -> bool {
    match module {
        Module::SwtpmKept | Module::Mssim | Module::Cmd | Module::Device | Module::Pcap | Module::Libtpms => true,
        Module::Swtpm | Module::SwtpmUnix | Module::Loader | Module::Stick | Module::Terminal => false,
    }
}

/// The child has the steps from here on; its number.
fn fork(program: &mut Program, step: &str) -> u32 {
    let code = program.step(step);
    code.strip_prefix("child ").and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{step}: {code}"))
}

fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(process).unwrap()), signal).unwrap();
}

/// Ends a process that is another one's child.
fn end(process: u32, how: Signal) {
    signal(process, how);
    wait_until("the end of the process", || !std::path::Path::new(&format!("/proc/{process}")).exists());
}

/// The parent collects its response, and the child has its own, in whichever order; the child's code.
fn collect(program: &mut Program, parent: u32) -> String {
    signal(parent, Signal::SIGUSR2);
    let codes = [program.code(), program.code()];
    let (of_parent, of_child): (Vec<String>, Vec<String>) =
        codes.into_iter().partition(|code| code.starts_with("parent "));
    assert_eq!(of_parent, ["parent SUCCESS"]);
    of_child.concat()
}

/// The next command of the parent. It may have less open than before: a connection that was cut off is not kept again, for
/// other processes want to connect, too.
fn killed(module: Module) -> Outcome {
    let Case { mut program, server, .. } = Case::open(module);
    for _ in 0..module.times() {
        let child = fork(&mut program, "fork");
        let sent = program.step("transmit");
        assert_eq!(sent == "SUCCESS", module != Module::Stick, "the child's transmit: {sent}");
        signal(child, Signal::SIGKILL);
        assert_eq!(program.code(), "signal 9");
        program.succeed("random");
    }
    assert_eq!(program.key(), Key::Stays);
    program.end();
    drop(server);
    Outcome::new("SUCCESS", After::GoesOn)
}
