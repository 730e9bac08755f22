// SPDX-License-Identifier: BSD-2-Clause
//! Exchanges with a hostile simulator, and what holds in all of them: no call hangs, what is delivered is what was sent
//! for this command, a late answer meets no other one, and afterwards all is well.

use crate::message::{command, is_response, response};
use crate::peer::{Peer, Reply, arrived};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use std::ffi::CString;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};
use tcti_core::session::{Received, State};
use tcti_core::{Conf, Open, Rc, Result, Session, Transport, Wait};

/// Bounds connecting and control commands, in milliseconds: when something is waited for that does not come, and else.
const SHORT: u16 = 20;
const LONG: u16 = 10_000;

/// What the targets of this kind differ in.
pub trait Simulator {
    /// The transport that speaks it.
    type Transport: Open;

    /// Keys besides the address; `flag` is the fuzzer's.
    fn conf(flag: bool) -> &'static str;
    /// What arrives at the simulator for a command.
    fn frame(command: Vec<u8>) -> Vec<u8>;
    /// What it sends for a response.
    fn envelope(response: &[u8]) -> Vec<u8>;
    /// What is inside when this is whole and right; empty when it is not.
    fn inside(envelope: &[u8]) -> &[u8];
    /// Something on the control channel.
    fn control(session: &mut Session<Self::Transport>) -> Result<()>;
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
    session: Session<T::Transport>,
    peer: &'a mut Peer,
    rules: Rules,
}

/// What may go wrong.
#[derive(Clone, Copy)]
struct Rules {
    /// Milliseconds for connecting and control commands.
    timeout: u16,
    /// Whether the control channel is right and has its time: all that needs it succeeds.
    is_good: bool,
}

impl Rules {
    fn of<T: Simulator>(input: &Input) -> Rules {
        // A reply that does not come is waited for, and so is the response to a command that was cancelled.
        let cancels = |act: &Act| T::Transport::CANCEL.is_some() && matches!(act, Act::Cancel);
        let is_cancelled = input.exchanges.iter().any(|exchange| exchange.acts.iter().any(cancels));
        let is_silent = input.replies.iter().any(|reply| matches!(reply, Reply::Silence));
        let is_right = input.replies.iter().all(|reply| matches!(reply, Reply::Success));
        let timeout = if is_cancelled || is_silent { SHORT } else { LONG };
        Rules { timeout, is_good: is_right && timeout == LONG }
    }

    /// What was done, or nothing when the control channel was wrong.
    fn may_fail<R>(self, result: Result<R>) -> Option<R> {
        result.map_err(|rc| assert!(!self.is_good && rc == Rc::IO_ERROR, "{rc:?}")).ok()
    }

    /// Has to succeed, since nothing goes wrong any more; nothing when it failed for longer than the time-out.
    fn insist<R>(self, attempt: impl FnOnce() -> Result<R>) -> Option<R> {
        let begin = Instant::now();
        let is_late =
            |rc| assert!(begin.elapsed() >= Duration::from_millis(self.timeout.into()), "it works again: {rc:?}");
        attempt().map_err(is_late).ok()
    }
}

/// An exchange so far.
struct Course {
    right: Vec<u8>,
    sent: Vec<u8>,
    /// Whether something else than what was sent may cost the response.
    is_disturbed: bool,
    /// The size that the session has said.
    promised: Option<usize>,
}

impl Course {
    fn is_whole<T: Simulator>(&self) -> bool {
        is_response(T::inside(&self.sent))
    }
}

/// `SHORT` can be over without a fault, when this machine lets the simulator's thread wait. What is too late each time is
/// so by itself.
const TRIES: usize = 20;

/// Plays an input on one of two peers: the first has a Unix socket, the second TCP.
pub fn play<T: Simulator>(peers: &mut [Peer; 2], input: &Input) {
    let peer = &mut peers[usize::from(input.tcp)];
    assert!((0..TRIES).any(|_| play_once::<T>(peer, input).is_some()), "it works again in time");
}

/// Nothing when it came to its end too late.
fn play_once<T: Simulator>(peer: &mut Peer, input: &Input) -> Option<()> {
    let rules = Rules::of::<T>(input);
    // A silence takes the time-out, and some are as good as many.
    let mut silences = 0;
    let replies = input.replies.iter().take(16).filter(|reply| {
        silences += u32::from(matches!(reply, Reply::Silence));
        silences <= 1 || !matches!(reply, Reply::Silence)
    });
    peer.reset(&replies.cloned().collect::<Vec<_>>());
    let conf = format!("{},timeout={}{}", peer.address(), rules.timeout, T::conf(input.flag));
    let conf = CString::new(conf).expect("no NUL");
    let open = || T::Transport::open(Conf::new(Some(&conf)));
    let transport = match rules.may_fail(open()) {
        Some(transport) => transport,
        None => {
            peer.reset(&[]);
            rules.insist(open)?
        }
    };
    let mut run = Run::<T> { session: Session::new(transport), peer, rules };
    for (number, exchange) in (0..).zip(input.exchanges.iter().take(6)) {
        run.exchange(number, exchange);
    }
    run.peer.set_replies(&[]);
    // What came behind an earlier reply is noticed here.
    rules.may_fail(T::control(&mut run.session));
    rules.insist(|| T::control(&mut run.session))?;
    let number = u32::MAX;
    rules.insist(|| run.session.transmit(&command(number)))?;
    run.take_command(number);
    run.peer.write(&T::envelope(&response(number, 33)));
    assert_eq!(run.receive_for(Wait::Millis(5000)), Ok(response(number, 33)), "it works again");
    Some(())
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
        let sent = self.session.transmit(&command(number));
        if self.rules.may_fail(sent).is_none() {
            return;
        }
        self.take_command(number);
        let right = T::envelope(&response(number, exchange.size % 5000));
        let mut course = Course { right, sent: Vec::new(), is_disturbed: false, promised: None };
        let end = exchange.acts.iter().take(16).find_map(|act| self.act(act, &mut course));
        match end.unwrap_or_else(|| self.finish(&mut course)) {
            End::Response(bytes) => {
                assert!(is_response(&bytes) && course.promised.is_none_or(|size| size == bytes.len()));
                assert!(course.sent.starts_with(&T::envelope(&bytes)), "what was sent for this command");
            }
            End::Error(rc) => {
                assert!([Rc::IO_ERROR, Rc::MALFORMED_RESPONSE].contains(&rc), "{rc:?}");
                assert!(course.is_disturbed || !course.is_whole::<T>(), "a response was refused: {rc:?}");
                assert_eq!(course.promised, None, "a response that was here is lost");
            }
            End::Cancelled => {}
        }
        assert_eq!(self.session.state(), State::Transmit);
        self.late(&exchange.late, &course.right);
    }

    /// What a call that has an answer ends the exchange with.
    fn act(&mut self, act: &Act, course: &mut Course) -> Option<End> {
        match act {
            Act::Right(count) => self.send_right(course, usize::from(*count)),
            Act::Rest => self.send_right(course, usize::MAX),
            Act::Bytes(bytes) => {
                self.peer.write(bytes);
                course.sent.extend(bytes);
            }
            Act::HangUp => {
                self.peer.hang_up();
                course.is_disturbed |= !course.is_whole::<T>();
            }
            Act::Receive(room, waits) => {
                let room = room.map(usize::from);
                match self.session.receive(room, Wait::Millis((*waits).into())) {
                    Ok(Received::Response(bytes)) => return Some(End::Response(bytes.to_vec())),
                    Ok(Received::Size(size) | Received::TooLarge(size)) => {
                        assert!(room.is_none_or(|room| room < size));
                        assert!(course.promised.replace(size).is_none_or(|before| before == size));
                    }
                    Err(Rc::TRY_AGAIN) => assert_eq!(course.promised, None),
                    Err(rc) => return Some(End::Error(rc)),
                }
            }
            Act::Cancel => match self.session.cancel() {
                Ok(()) => return Some(End::Cancelled),
                Err(Rc::NOT_IMPLEMENTED) => assert!(T::Transport::CANCEL.is_none()),
                Err(rc) => {
                    assert_eq!(rc, Rc::IO_ERROR);
                    course.is_disturbed = true;
                }
            },
            Act::Control => {
                let done = T::control(&mut self.session);
                course.is_disturbed |= self.rules.may_fail(done).is_none();
                if self.session.state() == State::Transmit {
                    return Some(End::Cancelled);
                }
            }
        }
        None
    }

    /// Sends what comes next of the right response, when nothing else was sent before.
    fn send_right(&mut self, course: &mut Course, count: usize) {
        if let Some(rest) = course.right.strip_prefix(&*course.sent) {
            let bytes = &rest[..count.min(rest.len())];
            self.peer.write(bytes);
            course.sent.extend(bytes);
        }
    }

    /// No exchange stays open: the rest comes, or the end.
    fn finish(&mut self, course: &mut Course) -> End {
        self.send_right(course, usize::MAX);
        if course.sent != course.right {
            self.peer.hang_up();
        }
        match self.receive_for(Wait::Millis(5000)) {
            Ok(bytes) => End::Response(bytes),
            Err(rc) => End::Error(rc),
        }
    }

    fn late(&mut self, late: &Late, right: &[u8]) {
        match late {
            Late::Nothing => return,
            Late::Again => self.peer.write(right),
            Late::Bytes(bytes) if bytes.is_empty() => return,
            Late::Bytes(bytes) => self.peer.write(bytes),
            Late::HangUp => self.peer.hang_up(),
        }
        self.connection().into_iter().for_each(arrived);
    }

    /// What the transport holds of its data channel. Between two commands the session lends something else to poll.
    fn connection(&mut self) -> Vec<RawFd> {
        let lend = <T::Transport as Transport>::POLL_HANDLES.expect("a descriptor");
        self.session.alongside(|transport| lend(transport)).expect("its descriptor")
    }
}
