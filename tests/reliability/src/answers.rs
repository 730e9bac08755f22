// SPDX-License-Identifier: BSD-2-Clause
//! A peer that sends something else than an answer, or less, or more.

use super::case::{Case, opens_again};
use super::clock;
use super::module::Module;
use super::outcome::Outcome;
use super::peer::{Change, Peer, Script, Then, Wire, answer};
use super::program::{self, Program, Resource, Wait};
use super::reply::Code;
use super::server::Server;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// One byte at a time.
    Pieces,
    /// Its header says 0 to 9 bytes.
    SizeBelowHeader,
    /// Its header says more than is sent, and the connection ends.
    SizeTooLarge,
    /// 1 MiB and a byte, as its header says; 4 GiB.
    SizeAboveLimit,
    /// Something behind it.
    Trailing,
    /// The connection ends at every offset.
    End,
    /// Half of it, and the rest after a time-out, at several offsets.
    Late,
    /// Half of its header, nothing more, and the caller gives up.
    Silence,
    /// The same byte by byte, between 1,000 signals without SA_RESTART.
    Interrupted,
    /// No answer, and the system's clock is set to and fro.
    LateByAnotherClock,
    /// Larger than the caller's buffer.
    LargerThanBuffer,
    /// The largest there is, 1 MiB.
    Largest,
    /// The same, and malloc gives nothing.
    LargestWithoutMemory,
    /// What is no TPM at all.
    NoTpm,
    /// The same, and the caller asks once more.
    NoTpmAgain,
    /// Something that nobody asked for, before a command.
    Unasked,
    /// When a context is opened, the control channel ends at every offset of its replies.
    ControlEnds,
}

/// Between the first byte of an answer, which has more than 12, and its last.
const SIGNALS: usize = 1000;
/// The largest response, in bytes.
const LARGEST: usize = 1 << 20;

impl Answer {
    pub(super) fn observe(self, module: Module) -> Outcome {
        let wire = Wire::of(module);
        let variants = |changes: Vec<Change>, then: Then| {
            Outcome::of_all(changes.into_iter().map(|pieces| {
                let script = Script { pieces, then: then.clone() };
                open(module).endures(
                    |case| {
                        case.server.script(script.clone());
                        case.program.transmit_for_one_byte().succeeds();
                        case.program.receive(Wait::Forever).reply()
                    },
                    Case::restore,
                )
            }))
        };
        match self {
            Answer::Pieces => {
                variants(vec![Arc::new(|all| all.iter().map(|&byte| vec![byte]).collect())], Then::Serves)
            }
            Answer::SizeBelowHeader => variants((0..10).flat_map(|size| says(wire, size)).collect(), Then::Serves),
            Answer::SizeTooLarge => variants(says(wire, 100), Then::Closes),
            Answer::SizeAboveLimit => {
                variants([0x0010_0001, u32::MAX].into_iter().flat_map(|size| says(wire, size)).collect(), Then::Serves)
            }
            Answer::Trailing => variants([1, 4, 100].into_iter().map(trailing).collect(), Then::Serves),
            Answer::End => {
                let whole = wire.answer(1).len();
                let ends = |at: usize| -> Change {
                    Arc::new(move |all| {
                        assert_eq!(all.len(), whole);
                        vec![all[..at].to_vec()]
                    })
                };
                variants((0..whole).map(ends).collect(), Then::Closes)
            }
            Answer::NoTpm => variants(
                ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.2p1\r\n", "\0\0\0\0\0\0\0\0\0\0\0\0"]
                    .map(says_text)
                    .into(),
                Then::Serves,
            ),
            Answer::NoTpmAgain => {
                let script = Script { pieces: says_text("+OK POP3 ready\r\n"), then: Then::Serves };
                open(module).endures(
                    |case| {
                        case.server.script(script.clone());
                        case.program.transmit().succeeds();
                        assert_eq!(case.program.receive(Wait::Forever).reply(), Code::MalformedResponse);
                        case.program.receive(Wait::Forever).reply()
                    },
                    Case::restore,
                )
            }
            Answer::Late => Outcome::of_all([0, 1, 5, 9, 10, 12].map(|at| late(module, at))),
            Answer::Silence => Outcome::of_all([0, 1, 5, 9].map(|at| silence(module, at))),
            Answer::Interrupted => interrupted(module),
            Answer::LateByAnotherClock => late_by_another_clock(module),
            Answer::LargerThanBuffer => open(module).endures(
                |case| {
                    case.program.transmit().succeeds();
                    let code = case.program.receive_into(10, Wait::Forever).reply();
                    case.program.receive(Wait::Forever).succeeds();
                    code
                },
                Case::restore,
            ),
            Answer::Largest => largest(module, false),
            Answer::LargestWithoutMemory => largest(module, true),
            Answer::Unasked => open(module).endures(
                |case| {
                    case.server.say(b"unasked");
                    case.program.get_random().reply()
                },
                Case::restore,
            ),
            Answer::ControlEnds => {
                let peer = Peer::start(module);
                let replies = if wire == Wire::Envelope { 2 } else { 1 };
                Outcome::of_all((0..4 * replies).map(|at| {
                    opens_again(module.times(), command(module, &peer), |program| {
                        peer.control_ends_after(Some(at));
                        let code = program.init().reply();
                        peer.control_ends_after(None);
                        code
                    })
                }))
            }
        }
    }
}

fn command(module: Module, peer: &Peer) -> Command {
    let mut command = program::command(module, &peer.conf());
    command.arg("scripted");
    command
}

fn open(module: Module) -> Case<Peer> {
    let peer = Box::new(Peer::start(module));
    let command = command(module, &peer);
    Case::with(module, peer, command)
}

/// The header, and in another variant the envelope, says another size.
fn says(wire: Wire, size: u32) -> Vec<Change> {
    let offsets = match wire {
        Wire::Raw => vec![2],
        Wire::Envelope => vec![0, wire.before() + 2],
    };
    let change = |at: usize| -> Change {
        Arc::new(move |all| {
            let mut bytes = all.to_vec();
            bytes[at..at + 4].copy_from_slice(&size.to_be_bytes());
            vec![bytes]
        })
    };
    offsets.into_iter().map(change).collect()
}

fn says_text(text: &'static str) -> Change {
    Arc::new(|_| vec![text.into()])
}

fn trailing(count: usize) -> Change {
    Arc::new(move |all| vec![[all, &vec![0xff; count]].concat()])
}

/// Of the answer to the next command so many bytes are sent; when they are, the rest comes out of here.
fn withhold(server: &Peer, at: usize) -> Receiver<Vec<u8>> {
    let (sender, rest) = channel();
    let pieces: Change = Arc::new(move |all| vec![all[..at].to_vec(), all[at..].to_vec()]);
    server.script(Script { pieces, then: Then::Withholds(sender) });
    rest
}

/// Sends a command, to which so much of the answer is sent, and gives the rest.
fn begin(peer: &Peer, program: &mut Program, at: usize) -> Vec<u8> {
    let rest = withhold(peer, at);
    program.transmit().succeeds();
    rest.recv().unwrap()
}

fn late(module: Module, at: usize) -> Outcome {
    open(module).endures(
        |case| {
            let rest = begin(&case.server, &mut case.program, at);
            let code = case.program.receive(Wait::For(50)).reply();
            assert_eq!(case.program.receive(Wait::Not).reply(), code);
            case.server.say(&rest);
            case.program.receive(Wait::Forever).succeeds();
            code
        },
        Case::restore,
    )
}

fn late_by_another_clock(module: Module) -> Outcome {
    open(module).times(1).endures(
        |case| {
            let rest = begin(&case.server, &mut case.program, 0);
            let code = clock::keeps_time(|| case.program.receive(Wait::For(400)).reply());
            case.server.say(&rest);
            case.program.receive(Wait::Forever).succeeds();
            code
        },
        Case::restore,
    )
}

fn silence(module: Module, at: usize) -> Outcome {
    let peer = Peer::start(module);
    opens_again(module.times(), command(module, &peer), |program| {
        program.open();
        begin(&peer, program, at);
        let code = program.receive(Wait::For(50)).reply();
        program.finalize();
        code
    })
}

fn interrupted(module: Module) -> Outcome {
    open(module).times(1).endures(
        |case| {
            case.program.catch_interrupts().succeeds();
            let rest = begin(&case.server, &mut case.program, 0);
            case.program.receive(Wait::Forever).begin();
            case.program.await_blocked();
            for byte in rest {
                for _ in 0..SIGNALS.div_ceil(12) {
                    case.program.interrupt();
                }
                case.server.say(&[byte]);
            }
            case.program.reply()
        },
        Case::restore,
    )
}

fn largest(module: Module, is_short_of_memory: bool) -> Outcome {
    let wire = Wire::of(module);
    let pieces: Change = Arc::new(move |_| vec![wire.pack(&answer(1, LARGEST))]);
    open(module).endures(
        |case| {
            case.server.script(Script { pieces: Arc::clone(&pieces), then: Then::Serves });
            if is_short_of_memory {
                case.program.exhaust(Resource::Memory);
            }
            case.program.transmit_for_one_byte().succeeds();
            case.program.receive_largest(Wait::Forever).reply()
        },
        |case| case.program.replenish(Resource::Memory),
    )
}
