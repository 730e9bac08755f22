// SPDX-License-Identifier: BSD-2-Clause
//! Faults of a connection: the peer sends something other than the response, too little or too much, or too late.

use super::case::{Case, opens_again};
use super::clock;
use super::module::Module;
use super::outcome::Outcome;
use super::peer::{FaultyServer, framing, response};
use super::program::{self, Program, Resource, Wait};
use super::reply::{Code, Reply};
use super::server::Server;
use std::process::Command;
use tss2_faults::{End, Fault, Framing, Step};

#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// The response comes one byte at a time.
    Pieces,
    /// A size field says 0 to 9 bytes.
    SizeBelowHeader,
    /// A size field says more than is sent, and the connection ends.
    SizeTooLarge,
    /// A size field says one byte more than 1 MiB, or 4 GiB.
    SizeAboveLimit,
    /// Bytes follow the response.
    Trailing,
    /// The connection ends, at every offset of the response.
    End,
    /// The rest of the response comes after the caller's time-out, at several offsets.
    Late,
    /// The response stops within its header, and the caller finalizes.
    Silence,
    /// The response comes byte by byte, while the process gets 1,000 signals without SA_RESTART.
    Interrupted,
    /// The response is late, and the system's clock is set forwards and backwards.
    LateByAnotherClock,
    /// The response is larger than the caller's buffer.
    LargerThanBuffer,
    /// The response has the maximum size, 1 MiB.
    Largest,
    /// The same, and malloc fails.
    LargestWithoutMemory,
    /// The peer speaks another protocol.
    NoTpm,
    /// The same, and the caller calls receive a second time.
    NoTpmAgain,
    /// The peer sends bytes before a command.
    Unasked,
    /// While a context is opened, the control channel ends, at every offset of its replies.
    ControlEnds,
}

/// Between the first and the last byte of a response of more than 12.
const SIGNALS: usize = 1000;
/// The maximum size of a response, in bytes.
const LARGEST: usize = 1 << 20;

impl Answer {
    pub(super) fn observe(self, module: Module) -> Outcome {
        let framing = framing(module);
        let each = |faults: Vec<Fault>| Outcome::of_all(faults.into_iter().map(|fault| receive(module, &fault)));
        match self {
            Answer::Pieces => each(vec![Fault::Respond(vec![Step::Pieces(1)])]),
            Answer::SizeBelowHeader => each(sizes(framing, 0..10, &[Step::Rest])),
            Answer::SizeTooLarge => each(sizes(framing, [100], &[Step::Rest, Step::End(End::Close)])),
            Answer::SizeAboveLimit => each(sizes(framing, [0x0010_0001, u32::MAX], &[Step::Rest])),
            Answer::Trailing => each([1, 4, 100].map(|count| Fault::append(vec![0xff; count])).into()),
            Answer::End => {
                let size = u16::try_from(framing.pack(&response(1, 13)).len()).unwrap();
                each((0..size).map(|at| Fault::truncate(at, End::Close)).collect())
            }
            Answer::NoTpm => each(
                ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.2p1\r\n", "\0\0\0\0\0\0\0\0\0\0\0\0"]
                    .map(Fault::replace)
                    .into(),
            ),
            Answer::NoTpmAgain => observe(module, |case| {
                case.server.data.armed().arm(Fault::replace("+OK POP3 ready\r\n"));
                case.program.transmit().succeeds();
                assert_eq!(case.program.receive(Wait::Forever).reply(), Code::MalformedResponse);
                case.program.receive(Wait::Forever).reply()
            }),
            Answer::Late => Outcome::of_all([0, 1, 5, 9, 10, 12].map(|at| late(module, at))),
            Answer::Silence => Outcome::of_all([0, 1, 5, 9].map(|at| silence(module, at))),
            Answer::Interrupted => interrupted(module),
            Answer::LateByAnotherClock => late_by_another_clock(module),
            Answer::LargerThanBuffer => observe(module, |case| {
                case.program.transmit().succeeds();
                let code = case.program.receive_into(10, Wait::Forever).reply();
                case.program.receive(Wait::Forever).succeeds();
                code
            }),
            Answer::Largest => largest(module, false),
            Answer::LargestWithoutMemory => largest(module, true),
            Answer::Unasked => observe(module, |case| {
                case.server.data.send(b"unasked").unwrap();
                case.program.get_random().reply()
            }),
            Answer::ControlEnds => {
                let server = FaultyServer::start(module);
                let replies = if framing == Framing::Enveloped { 2 } else { 1 };
                Outcome::of_all((0..4 * replies).map(|at| {
                    opens_again(module.times(), command(module, &server), |program| {
                        let control = server.control.armed();
                        (0..at / 4).for_each(|_| drop(control.arm(Fault::Respond(vec![Step::Rest]))));
                        control.arm(Fault::truncate(at % 4, End::Close));
                        let code = program.init().reply();
                        assert!(control.disarm(), "the control channel did not end");
                        code
                    })
                }))
            }
        }
    }
}

fn command(module: Module, server: &FaultyServer) -> Command {
    let mut command = program::command(module, &server.conf());
    command.arg("scripted");
    command
}

fn open(module: Module) -> Case<FaultyServer> {
    let server = Box::new(FaultyServer::start(module));
    let command = command(module, &server);
    Case::with(module, server, command)
}

fn observe(module: Module, fault: impl FnMut(&mut Case<FaultyServer>) -> Reply) -> Outcome {
    open(module).endures(fault, Case::restore)
}

/// Receives the response with which a fault happens.
fn receive(module: Module, fault: &Fault) -> Outcome {
    observe(module, |case| {
        case.server.data.armed().arm(fault.clone());
        case.program.transmit_for_one_byte().succeeds();
        case.program.receive(Wait::Forever).reply()
    })
}

/// Writes each size into each size field, and then takes these steps.
fn sizes(framing: Framing, sizes: impl IntoIterator<Item = u32>, then: &[Step]) -> Vec<Fault> {
    let fault = |index, size| Fault::Respond([&[Step::Size(index, size)], then].concat());
    sizes
        .into_iter()
        .flat_map(|size| (0..).zip(framing.size_offsets()).map(move |(index, _)| fault(index, size)))
        .collect()
}

/// Sends a command. The server sends this many bytes of the response; the rest is returned.
fn begin(server: &FaultyServer, program: &mut Program, at: u16) -> Vec<u8> {
    let unsent = server.data.armed().arm(Fault::Respond(vec![Step::Next(at)]));
    program.transmit().succeeds();
    unsent.recv().unwrap()
}

fn late(module: Module, at: u16) -> Outcome {
    observe(module, |case| {
        let rest = begin(&case.server, &mut case.program, at);
        let code = case.program.receive(Wait::For(50)).reply();
        assert_eq!(case.program.receive(Wait::Not).reply(), code);
        case.server.data.send(&rest).unwrap();
        case.program.receive(Wait::Forever).succeeds();
        code
    })
}

fn late_by_another_clock(module: Module) -> Outcome {
    open(module).times(1).endures(
        |case| {
            let rest = begin(&case.server, &mut case.program, 0);
            let code = clock::keeps_time(|| case.program.receive(Wait::For(400)).reply());
            case.server.data.send(&rest).unwrap();
            case.program.receive(Wait::Forever).succeeds();
            code
        },
        Case::restore,
    )
}

fn silence(module: Module, at: u16) -> Outcome {
    let server = FaultyServer::start(module);
    opens_again(module.times(), command(module, &server), |program| {
        program.open();
        begin(&server, program, at);
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
                case.server.data.send(&[byte]).unwrap();
            }
            case.program.reply()
        },
        Case::restore,
    )
}

fn largest(module: Module, is_short_of_memory: bool) -> Outcome {
    let fault = Fault::replace(framing(module).pack(&response(1, LARGEST)));
    open(module).endures(
        |case| {
            case.server.data.armed().arm(fault.clone());
            if is_short_of_memory {
                case.program.exhaust(Resource::Memory);
            }
            case.program.transmit_for_one_byte().succeeds();
            case.program.receive_largest(Wait::Forever).reply()
        },
        |case| case.program.replenish(Resource::Memory),
    )
}
