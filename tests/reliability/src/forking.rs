// SPDX-License-Identifier: BSD-2-Clause
//! The caller forks, and both processes use the context. An exchange that is under way at the fork is the parent's.

use super::case::Case;
use super::module::Module;
use super::outcome::{After, Key, Outcome};
use super::program::{self, Program, Wait};
use super::reply::{Code, Reply};
use super::server;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tss2_kit::waiting::wait_until;

/// How the two processes use the context.
#[derive(Clone, Copy, Debug)]
pub(super) enum Forking {
    /// The child receives while the parent awaits a response.
    Receives,
    /// The child sends a command while the parent awaits a response, which the parent receives meanwhile.
    Commands,
    /// The child finalizes while the parent awaits a response.
    Finalizes,
    /// The child sends a command between two commands of the parent.
    CommandsBetween,
    /// The child sends a command and finalizes, then the parent sends a command.
    CommandsAndFinalizes,
    /// The child is killed while it awaits a response, then the parent sends a command.
    Killed,
    /// The parent finalizes, then the child sends a command.
    ParentFinalizes,
    /// The parent ends without Finalize, then the child sends a command.
    ParentEnds,
    /// The parent is killed while it awaits a response, then the child sends a command.
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

    /// The parent, which opened the context, survives the child.
    fn happen(self, module: Module, program: &mut Program) -> Reply {
        let awaits = matches!(self, Forking::Receives | Forking::Commands | Forking::Finalizes);
        if awaits {
            program.transmit().succeeds();
        }
        let child = program.fork();
        let (code, is_received) = match self {
            Forking::Receives => (program.receive(Wait::Forever).reply(), false),
            Forking::Commands => {
                program.get_random().begin().await_blocked_or_done(child);
                (parent_receives(program), true)
            }
            Forking::Finalizes => {
                program.finalize();
                (Reply::success(), false)
            }
            _ => (program.get_random().reply(), false),
        };
        if matches!(self, Forking::CommandsAndFinalizes) {
            program.finalize();
        } else if code.is_success() && !matches!(self, Forking::Finalizes) {
            program.mark_files().succeeds();
        }
        assert_eq!(program.exit().reply(), Reply::CHILD_EXITED);
        if matches!(self, Forking::Commands | Forking::CommandsBetween) && code.is_success() {
            let common = program.marked_files();
            assert_eq!(common > 0, shares(module), "{common} open files that the two processes share");
        }
        if awaits && !is_received {
            program.receive(Wait::Forever).succeeds();
        }
        match self {
            Forking::CommandsAndFinalizes => program.get_random().reply(),
            _ => code,
        }
    }

    /// The child survives the parent, which opened the context. The parent is itself a child of the program's first process,
    /// which waits for both.
    fn in_the_child(self, module: Module) -> Outcome {
        let server = server::start(module);
        let mut program = Program::start(program::command(module, &server.conf()));
        let parent = program.fork_tree();
        program.open();
        program.load_key().succeeds();
        if matches!(self, Forking::ParentKilled) {
            program.transmit().succeeds();
        }
        program.fork();
        match self {
            Forking::ParentFinalizes => {
                signal(parent, Signal::SIGHUP);
                assert_eq!(program.reply().of_parent(), Some(Reply::success()));
            }
            Forking::ParentEnds => end(parent, Signal::SIGTERM),
            _ => end(parent, Signal::SIGKILL),
        }
        let code = program.get_random().reply();
        assert_eq!(program.get_random().reply(), code, "the second command");
        assert!(!code.is_success() || program.key() == Key::Stays, "the key is lost");
        let ended = program.exit().reply();
        if matches!(self, Forking::ParentFinalizes) {
            assert_eq!(ended, Reply::CHILD_EXITED);
            program.open();
            program.finalize();
            assert_eq!(program.exit().reply(), Reply::CHILD_EXITED);
        }
        program.open();
        assert!(!code.is_success() || program.get_random().reply().is_success());
        program.end();
        Outcome::new(code, After::Continues)
    }
}

/// Whether the two processes share open files: a connection, the capture or the state file.
fn shares(module: Module) -> bool {
    match module {
        Module::SwtpmKept | Module::Mssim | Module::Cmd | Module::Device | Module::Pcap | Module::Libtpms => true,
        Module::Swtpm | Module::SwtpmUnix | Module::Loader | Module::Stick | Module::Terminal => false,
    }
}

fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(process).unwrap()), signal).unwrap();
}

/// Ends a process that another process has forked.
fn end(process: u32, how: Signal) {
    signal(process, how);
    wait_until("the end of the process", || !std::path::Path::new(&format!("/proc/{process}")).exists());
}

/// Lets the parent receive its response while the child's step is under way. The two reply in either order. Returns the
/// child's reply.
fn parent_receives(program: &mut Program) -> Reply {
    signal(program.id(), Signal::SIGUSR2);
    let [first, second] = [program.reply(), program.reply()];
    let (of_parent, of_child) = match first.of_parent() {
        Some(of_parent) => (of_parent, second),
        None => (second.of_parent().expect("a reply of the parent"), first),
    };
    assert_eq!(of_parent, Code::Success, "the parent's response");
    of_child
}

/// The parent sends a command after its child was killed. It may have fewer descriptors than before: a connection that broke
/// is not kept open from then on, because other processes want to connect, too.
fn killed(module: Module) -> Outcome {
    let Case { mut program, server, .. } = Case::open(module);
    for _ in 0..module.times() {
        let child = program.fork();
        let sent = program.transmit().reply();
        assert_eq!(sent.is_success(), module != Module::Stick, "the child's transmit: {sent}");
        signal(child, Signal::SIGKILL);
        assert_eq!(program.reply(), Reply::CHILD_KILLED);
        program.get_random().succeeds();
    }
    assert_eq!(program.key(), Key::Stays);
    program.end();
    drop(server);
    Outcome::new(Reply::success(), After::Continues)
}
