// SPDX-License-Identifier: BSD-2-Clause
//! Exchanges with a hostile simulator, and what holds in all of them: no call hangs, what is delivered is what was sent
//! for this command, a late answer meets no other one, and afterwards all is well.

use crate::message::{command, response};
use crate::peer::{Peer, Reply, arrived};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use std::ffi::CString;
use std::time::{Duration, Instant};
use tcti_core::session::{Received, State};
use tcti_core::{Conf, Open, Rc, Result, Session, Wait};

/// Bounds connecting and control commands, in milliseconds: when something is waited for that does not come, and else.
const SHORT: u16 = 20;
const LONG: u16 = 10_000;

/// What the targets of this kind differ in.
pub trait Simulator: Open {
    /// Keys besides the address; `flag` is the fuzzer's.
    fn conf(flag: bool) -> &'static str;
    /// What arrives at the simulator for a command.
    fn frame(command: Vec<u8>) -> Vec<u8>;
    /// What it sends for a response.
    fn envelope(response: &[u8]) -> Vec<u8>;
    /// Something on the control channel.
    fn control(session: &mut Session<Self>) -> Result<()>;
}

/// What happens while a response is due.
#[derive(Arbitrary, Debug)]
pub enum Act {
    /// So many more bytes of the right response.
    Right(u16),
    /// Its rest.
    Rest,
    /// Other bytes.
    Bytes(Vec<u8>),
    /// The caller asks, for so many milliseconds, with so much room.
    Receive(Option<u8>, bool),
    /// The simulator closes.
    HangUp,
    /// The caller cancels.
    Cancel,
    /// The caller uses the control channel.
    Control,
}

/// What happens behind an exchange, unasked.
#[derive(Arbitrary, Debug)]
pub enum Late {
    /// Nothing.
    Nothing,
    /// The response comes again.
    Again,
    /// Other bytes.
    Bytes(Vec<u8>),
    /// The simulator closes.
    HangUp,
}

/// One exchange.
#[derive(Arbitrary, Debug)]
pub struct Exchange {
    size: u16,
    acts: Vec<Act>,
    late: Late,
}

/// All of it.
#[derive(Arbitrary, Debug)]
pub struct Input {
    tcp: bool,
    flag: bool,
    replies: Vec<Reply>,
    exchanges: Vec<Exchange>,
}

/// How an exchange ended.
enum End {
    Response(Vec<u8>),
    Error(Rc),
    Cancelled,
}

struct Run<'a, T: Simulator> {
    session: Session<T>,
    peer: &'a mut Peer,
}

impl Input {
    /// A reply that does not come is waited for, and so is the response to a command that was cancelled.
    fn timeout(&self) -> u16 {
        let is_cancelled =
            self.exchanges.iter().any(|exchange| exchange.acts.iter().any(|act| matches!(act, Act::Cancel)));
        let is_silent = self.replies.iter().any(|reply| matches!(reply, Reply::Silence));
        if is_cancelled || is_silent { SHORT } else { LONG }
    }
}

fn open<T: Simulator>(peer: &Peer, input: &Input) -> Result<T> {
    let conf = format!("{},timeout={}{}", peer.address(), input.timeout(), T::conf(input.flag));
    T::open(Conf::new(Some(&CString::new(conf).expect("no NUL"))))
}

/// Has to succeed, since nothing goes wrong any more. Only `SHORT` can be over all the same, when this machine lets the
/// simulator's thread wait: what has failed for longer than the time-out is tried again. libFuzzer ends what never succeeds.
fn insist<R>(timeout: u16, mut attempt: impl FnMut() -> Result<R>) -> R {
    loop {
        let begin = Instant::now();
        match attempt() {
            Ok(done) => return done,
            Err(rc) => assert!(begin.elapsed() >= Duration::from_millis(timeout.into()), "it works again: {rc:?}"),
        }
    }
}

/// Plays an input on one of two peers: the first has a Unix socket, the second TCP.
pub fn play<T: Simulator>(peers: &mut [Peer; 2], input: &Input) {
    let peer = &mut peers[usize::from(input.tcp)];
    // A silence takes the time-out, and some are as good as many.
    let mut silences = 0;
    let replies = input.replies.iter().take(16).filter(|reply| {
        silences += u32::from(matches!(reply, Reply::Silence));
        silences <= 1 || !matches!(reply, Reply::Silence)
    });
    peer.reset(&replies.cloned().collect::<Vec<_>>());
    let transport = open::<T>(peer, input).unwrap_or_else(|rc| {
        assert_eq!(rc, Rc::IO_ERROR);
        peer.reset(&[]);
        insist(input.timeout(), || open::<T>(peer, input))
    });
    let mut run = Run { session: Session::new(transport), peer };
    for (number, exchange) in (0..).zip(input.exchanges.iter().take(6)) {
        run.exchange(number, exchange);
    }
    run.peer.set_replies(&[]);
    // What came behind an earlier reply is noticed here.
    let _ = T::control(&mut run.session);
    insist(input.timeout(), || T::control(&mut run.session));
    let number = u32::MAX;
    insist(input.timeout(), || run.session.transmit(&command(number)));
    run.take_command(number);
    run.peer.write(&T::envelope(&response(number, 33)));
    assert_eq!(run.receive_for(Wait::Millis(5000)), Ok(response(number, 33)), "it works again");
}

impl<T: Simulator> Run<'_, T> {
    /// The command arrives, and no other.
    fn take_command(&mut self, number: u32) {
        let frame = T::frame(command(number));
        assert_eq!(self.peer.read(frame.len()), frame);
    }

    fn receive_for(&mut self, wait: Wait) -> Result<Vec<u8>> {
        match self.session.receive(Some(usize::MAX), wait)? {
            Received::Response(bytes) => Ok(bytes.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    fn exchange(&mut self, number: u32, exchange: &Exchange) {
        if let Err(rc) = self.session.transmit(&command(number)) {
            return assert_eq!(rc, Rc::IO_ERROR);
        }
        self.take_command(number);
        let right = T::envelope(&response(number, exchange.size % 5000));
        let mut sent = Vec::new();
        let mut is_disturbed = false;
        let end = exchange.acts.iter().take(16).find_map(|act| self.act(act, &right, &mut sent, &mut is_disturbed));
        let end = end.unwrap_or_else(|| self.finish(&right, &mut sent));
        match end {
            End::Response(bytes) => assert!(sent.starts_with(&T::envelope(&bytes)), "what was sent for this command"),
            End::Error(rc) => {
                assert!([Rc::IO_ERROR, Rc::MALFORMED_RESPONSE].contains(&rc), "{rc:?}");
                assert!(is_disturbed || sent != right, "a response was refused: {rc:?}");
            }
            End::Cancelled => {}
        }
        assert_eq!(self.session.state(), State::Transmit);
        self.late(&exchange.late, &right);
    }

    /// What a call that has an answer ends the exchange with.
    fn act(&mut self, act: &Act, right: &[u8], sent: &mut Vec<u8>, is_disturbed: &mut bool) -> Option<End> {
        match act {
            Act::Right(count) => self.send_right(right, sent, usize::from(*count)),
            Act::Rest => self.send_right(right, sent, usize::MAX),
            Act::Bytes(bytes) => {
                self.peer.write(bytes);
                sent.extend(bytes);
            }
            Act::HangUp => {
                self.peer.hang_up();
                *is_disturbed = true;
            }
            Act::Receive(room, waits) => {
                let wait = Wait::Millis((*waits).into());
                return match self.session.receive(room.map(usize::from), wait) {
                    Ok(Received::Response(bytes)) => Some(End::Response(bytes.to_vec())),
                    Ok(Received::Size(_) | Received::TooLarge(_)) | Err(Rc::TRY_AGAIN) => None,
                    Err(rc) => Some(End::Error(rc)),
                };
            }
            Act::Cancel => match self.session.cancel() {
                Ok(()) => return Some(End::Cancelled),
                Err(rc) => {
                    *is_disturbed = true;
                    assert!([Rc::NOT_IMPLEMENTED, Rc::IO_ERROR].contains(&rc), "{rc:?}");
                }
            },
            Act::Control => {
                *is_disturbed = true;
                if let Err(rc) = T::control(&mut self.session) {
                    assert_eq!(rc, Rc::IO_ERROR);
                }
                if self.session.state() == State::Transmit {
                    return Some(End::Cancelled);
                }
            }
        }
        None
    }

    /// Sends what comes next of the right response, when nothing else was sent before.
    fn send_right(&mut self, right: &[u8], sent: &mut Vec<u8>, count: usize) {
        if right.starts_with(sent) {
            let rest = &right[sent.len()..];
            let bytes = &rest[..count.min(rest.len())];
            self.peer.write(bytes);
            sent.extend(bytes);
        }
    }

    /// No exchange stays open: the rest comes, or the end.
    fn finish(&mut self, right: &[u8], sent: &mut Vec<u8>) -> End {
        self.send_right(right, sent, usize::MAX);
        if sent != right {
            self.peer.hang_up();
        }
        match self.receive_for(Wait::Millis(5000)) {
            Ok(bytes) => End::Response(bytes),
            Err(rc) => End::Error(rc),
        }
    }

    fn late(&mut self, late: &Late, right: &[u8]) {
        let fd = self.session.poll_handles().ok().and_then(|handles| handles.first().map(|handle| handle.fd));
        match late {
            Late::Nothing => return,
            Late::Again => self.peer.write(right),
            Late::Bytes(bytes) if bytes.is_empty() => return,
            Late::Bytes(bytes) => self.peer.write(bytes),
            Late::HangUp => self.peer.hang_up(),
        }
        arrived(fd.unwrap_or(-1));
    }
}
