// SPDX-License-Identifier: BSD-2-Clause
//! A peer that sends something else than an answer, or less, or more.

use super::case::Case;
use super::clock;
use super::module::Module;
use super::outcome::Outcome;
use super::peer::{Change, Peer, Script, Wire};
use super::program;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

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
    /// The same, and the process may have no more memory.
    LargestWithoutMemory,
    /// What is no TPM at all.
    NoTpm,
    /// The same, and the caller asks once more.
    NoTpmAgain,
    /// Something that nobody asked for, before a command.
    Unasked,
}

/// How long Finalize may take, on a busy machine.
const FINALIZE: Duration = Duration::from_secs(5);
/// Between the first byte of an answer, which has more than 12, and its last.
const SIGNALS: usize = 1000;
/// The largest response, in bytes.
const LARGEST: usize = 1 << 20;
/// Memory that is left, in bytes: not enough for that.
const LEFT: usize = 256 << 10;

impl Answer {
    pub(super) fn observe(self, module: Module) -> Outcome {
        let wire = Wire::of(module);
        let variants = |changes: Vec<Change>, closes| {
            Outcome::of_all(changes.into_iter().map(|pieces| {
                let mut case = open(module);
                case.server.script(Script { pieces, closes });
                case.program.succeed("transmit");
                let code = case.program.step("receive -1");
                case.ends(code)
            }))
        };
        match self {
            Answer::Pieces => {
                variants(vec![Box::new(|bytes| bytes.iter().map(|&byte| vec![byte]).collect::<Vec<_>>())], false)
            }
            Answer::SizeBelowHeader => variants((0..10).flat_map(|size| says(wire, size)).collect(), false),
            Answer::SizeTooLarge => variants(says(wire, 100), true),
            Answer::SizeAboveLimit => {
                variants([0x0010_0001, u32::MAX].into_iter().flat_map(|size| says(wire, size)).collect(), false)
            }
            Answer::Trailing => variants([1, 4, 100].into_iter().map(trailing).collect(), false),
            // At least 13 bytes are sent, for one random byte at least is asked for.
            Answer::End => {
                variants((0..13).map(|at| -> Change { Box::new(move |all| vec![all[..at].to_vec()]) }).collect(), true)
            }
            Answer::NoTpm => variants(
                ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.2p1\r\n", "\0\0\0\0\0\0\0\0\0\0\0\0"]
                    .map(|text| -> Change { Box::new(move |_| vec![text.into()]) })
                    .into(),
                false,
            ),
            Answer::NoTpmAgain => {
                let mut case = open(module);
                case.server
                    .script(Script { pieces: Box::new(|_| vec![b"+OK POP3 ready\r\n".to_vec()]), closes: false });
                case.program.succeed("transmit");
                assert_eq!(case.program.step("receive -1"), "MALFORMED_RESPONSE");
                let code = case.program.step("receive -1");
                case.ends(code)
            }
            Answer::Late => Outcome::of_all([0, 1, 5, 9, 10, 12].map(|at| late(module, at))),
            Answer::Silence => Outcome::of_all([0, 1, 5, 9].map(|at| silence(module, at))),
            Answer::Interrupted => interrupted(module),
            Answer::LateByAnotherClock => late_by_another_clock(module),
            Answer::LargerThanBuffer => {
                let mut case = open(module);
                case.program.succeed("transmit");
                let code = case.program.step("receive -1 10");
                case.program.succeed("receive -1");
                case.ends(code)
            }
            Answer::Largest => largest(module, false),
            Answer::LargestWithoutMemory => largest(module, true),
            Answer::Unasked => {
                let mut case = open(module);
                case.server.say(b"unasked");
                let code = case.program.step("random");
                case.ends(code)
            }
        }
    }
}

fn open(module: Module) -> Case<Peer> {
    let peer = Box::new(Peer::start(module));
    let command = program::command(module, &super::server::Server::conf(&*peer));
    Case::with(peer, command)
}

/// The header, and in another variant the envelope, says another size.
fn says(wire: Wire, size: u32) -> Vec<Change> {
    let offsets = match wire {
        Wire::Raw => vec![2],
        Wire::Envelope => vec![0, wire.before() + 2],
    };
    let change = |at: usize| -> Change {
        Box::new(move |all| {
            let mut bytes = all.to_vec();
            bytes[at..at + 4].copy_from_slice(&size.to_be_bytes());
            vec![bytes]
        })
    };
    offsets.into_iter().map(change).collect()
}

fn trailing(count: usize) -> Change {
    Box::new(move |all| vec![[all, &vec![0xff; count]].concat()])
}

/// Of the answer to the next command so many bytes are sent; the rest comes out of here.
fn withhold(server: &Peer, at: usize) -> Receiver<Vec<u8>> {
    let (sender, rest) = channel();
    let pieces: Change = Box::new(move |all| {
        sender.send(all[at..].to_vec()).unwrap();
        vec![all[..at].to_vec()]
    });
    server.script(Script { pieces, closes: false });
    rest
}

fn late(module: Module, at: usize) -> Outcome {
    let mut case = open(module);
    let rest = withhold(&case.server, at);
    case.program.succeed("transmit");
    let code = case.program.step("receive 50");
    assert_eq!(case.program.step("receive 0"), code);
    case.server.say(&rest.recv().unwrap());
    case.program.succeed("receive -1");
    case.ends(code)
}

fn late_by_another_clock(module: Module) -> Outcome {
    let mut case = open(module);
    let rest = withhold(&case.server, 0);
    case.program.succeed("transmit");
    let code = clock::keeps_time(|| case.program.step("receive 400"));
    case.server.say(&rest.recv().unwrap());
    case.program.succeed("receive -1");
    case.ends(code)
}

fn silence(module: Module, at: usize) -> Outcome {
    let mut case = open(module);
    let _rest = withhold(&case.server, at);
    case.program.succeed("transmit");
    let code = case.program.step("receive 50");
    let since = Instant::now();
    case.program.succeed("finalize");
    assert!(since.elapsed() < FINALIZE, "Finalize waits {:?} for a peer that says nothing", since.elapsed());
    case.gives_up(code)
}

fn interrupted(module: Module) -> Outcome {
    let mut case = open(module);
    let rest = withhold(&case.server, 0);
    case.program.succeed("catch");
    case.program.succeed("transmit");
    let rest = rest.recv().unwrap();
    case.program.begin("receive -1");
    case.program.await_blocked();
    for byte in rest {
        for _ in 0..SIGNALS.div_ceil(12) {
            case.program.interrupt();
        }
        case.server.say(&[byte]);
    }
    let code = case.program.code();
    case.ends(code)
}

fn largest(module: Module, is_short_of_memory: bool) -> Outcome {
    let wire = Wire::of(module);
    let mut case = open(module);
    let pieces: Change = Box::new(move |all| {
        let mut response = all[wire.before()..][..12].to_vec();
        response.resize(LARGEST, 0xa5);
        response[2..6].copy_from_slice(&u32::try_from(LARGEST).unwrap().to_be_bytes());
        vec![wire.pack(&response)]
    });
    case.server.script(Script { pieces, closes: false });
    if is_short_of_memory {
        case.program.succeed(&format!("limit as {LEFT}"));
    }
    case.program.succeed("transmit");
    let code = case.program.step(&format!("receive -1 {}", 2 * LARGEST));
    case.ends_with(code, |case| case.program.succeed("limit as -1"))
}
