// SPDX-License-Identifier: BSD-2-Clause
//! Exchanges with a hostile server. These hold in all of them: no call hangs; what the caller gets is what was sent for
//! its command; no command gets the late response to another one; and when the faults are over, everything works.

use crate::message::{actions, command, is_response, response};
use crate::peer::{Reply, Server, wait_for_arrival};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use std::ffi::CString;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};
use tcti_core::Tcti;
use tcti_core::session::{Received, State};
use tcti_core::{Conf, Error, Open, Result, ReturnCode, Session, Transport, Wait};
use tss2_faults::{Action, End as Ending, Framing, Response, Step};

/// Time-outs for connecting and control commands, in milliseconds: `SHORT` if an expected reply never comes, `LONG`
/// otherwise.
const SHORT: u16 = 20;
const LONG: u16 = 10_000;

/// The differences between the targets of this kind.
pub trait Protocol {
    /// The transport that speaks it.
    type Transport: Open;

    /// How it delimits messages on the data channel.
    const FRAMING: Framing;

    /// Returns the keys of the configuration string besides the address; `flag` is the fuzzer's.
    fn conf(flag: bool) -> &'static str;
    /// Does something that needs the control channel.
    fn control(session: &mut Session<Self::Transport>) -> Result<()>;
}

/// One event while a response is due.
#[derive(Arbitrary, Debug)]
pub enum Event {
    /// The server takes a step.
    Server(Step),
    /// The caller receives, with this much room or asking for the size, and with a time-out of 0 or 1 millisecond.
    Receive(Option<u8>, bool),
    /// The caller cancels.
    Cancel,
    /// The caller uses the control channel.
    Control,
}

/// One exchange.
#[derive(Arbitrary, Debug)]
pub struct Exchange {
    size: u16,
    events: Vec<Event>,
    /// Steps of the server after the exchange.
    late: Option<Step>,
}

/// One run.
#[derive(Arbitrary, Debug)]
pub struct Input {
    tcp: bool,
    flag: bool,
    /// To the control commands.
    replies: Vec<Vec<Step>>,
    exchanges: Vec<Exchange>,
}

/// How an exchange ended.
enum End {
    Response(Vec<u8>),
    Error(ReturnCode),
    Cancelled,
}

struct Run<'a, T: Protocol> {
    session: Session<T::Transport>,
    server: &'a mut Server,
    rules: Rules,
}

/// Which calls may fail.
#[derive(Clone, Copy)]
struct Rules {
    /// Milliseconds for connecting and control commands.
    timeout: u16,
    /// Whether the control channel has no fault and enough time: every call that needs it succeeds.
    is_good: bool,
}

impl Rules {
    fn of<T: Protocol>(input: &Input, replies: &[Reply]) -> Rules {
        // Two events take until the time-out: a reply that does not come, and the response to a command that was
        // cancelled.
        let cancels = |event: &Event| T::Transport::CANCEL.is_some() && matches!(event, Event::Cancel);
        let is_cancelled = input.exchanges.iter().any(|exchange| exchange.events.iter().any(cancels));
        let timeout = if is_cancelled || replies.iter().any(Reply::is_silent) { SHORT } else { LONG };
        Rules { timeout, is_good: timeout == LONG && replies.iter().all(Reply::is_success) }
    }

    /// Returns the result; `None` when the control channel had a fault.
    fn may_fail<R>(self, result: Result<R>) -> Option<R> {
        let expect = |error: Error| assert!(!self.is_good && error.code() == ReturnCode::IO_ERROR, "{error:?}");
        result.map_err(expect).ok()
    }

    /// Returns the result, which has to be a success, because no fault is left; `None` when the time-out was over.
    fn insist<R>(self, attempt: impl FnOnce() -> Result<R>) -> Option<R> {
        let begin = Instant::now();
        let is_late =
            |rc| assert!(begin.elapsed() >= Duration::from_millis(self.timeout.into()), "it works again: {rc:?}");
        attempt().map_err(is_late).ok()
    }
}

/// An exchange so far.
struct Course {
    /// The proper response, packed.
    right: Vec<u8>,
    response: Response,
    sent: Vec<u8>,
    /// Whether the response may be lost although it was sent.
    is_disturbed: bool,
    /// The size that the session has reported.
    promised: Option<usize>,
}

impl Course {
    fn is_whole<T: Protocol>(&self) -> bool {
        T::FRAMING.unpack(&self.sent).is_some_and(is_response)
    }
}

/// `SHORT` can be over without a fault, when this machine does not run the server's thread in time. A run that is late
/// this often is late for another reason.
const TRIES: usize = 20;

/// Plays an input with one of two servers: the first listens on Unix sockets, the second on TCP.
pub fn play<T: Protocol>(servers: &mut [Server; 2], input: &Input) {
    let server = &mut servers[usize::from(input.tcp)];
    assert!((0..TRIES).any(|_| play_once::<T>(server, input).is_some()), "it works again in time");
}

/// Returns `None` when a call took longer than its time-out after the last fault.
fn play_once<T: Protocol>(server: &mut Server, input: &Input) -> Option<()> {
    let mut replies: Vec<Reply> = input.replies.iter().take(16).map(|steps| Reply::new(steps)).collect();
    let rules = Rules::of::<T>(input, &replies);
    // Each silence takes until the time-out, and one is as good as many.
    let mut silences = 0;
    replies.retain(|reply| {
        silences += u32::from(reply.is_silent());
        silences <= 1 || !reply.is_silent()
    });
    server.reset(&replies);
    let conf = format!("{},timeout={}{}", server.address(), rules.timeout, T::conf(input.flag));
    let conf = CString::new(conf).expect("no NUL");
    let open = || T::Transport::open(Conf::new(Some(&conf)));
    let transport = match rules.may_fail(open()) {
        Some(transport) => transport,
        None => {
            server.reset(&[]);
            rules.insist(open)?
        }
    };
    let mut run = Run::<T> { session: Session::new(transport), server, rules };
    for (number, exchange) in (0..).zip(input.exchanges.iter().take(6)) {
        run.exchange(number, exchange);
    }
    run.server.set_replies(&[]);
    // Bytes after an earlier reply are noticed here.
    rules.may_fail(T::control(&mut run.session));
    rules.insist(|| T::control(&mut run.session))?;
    let number = u32::MAX;
    rules.insist(|| run.session.transmit(&command(number)))?;
    run.take_command(number);
    run.server.write(&T::FRAMING.pack(&response(number, 33)));
    assert_eq!(run.receive_for(Wait::Millis(5000)), Ok(response(number, 33)), "it works again");
    Some(())
}

impl<T: Protocol> Run<'_, T> {
    /// Reads the command, and no other.
    fn take_command(&mut self, number: u32) {
        let packed = T::FRAMING.pack_command(&command(number));
        assert_eq!(self.server.read(packed.len()), packed);
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
        let right = T::FRAMING.pack(&response(number, exchange.size % 5000));
        let response = Response::new(T::FRAMING, right.clone());
        let mut course = Course { right, response, sent: Vec::new(), is_disturbed: false, promised: None };
        let end = exchange.events.iter().take(16).find_map(|event| self.event(event, &mut course));
        match end.unwrap_or_else(|| self.finish(&mut course)) {
            End::Response(bytes) => {
                assert!(is_response(&bytes) && course.promised.is_none_or(|size| size == bytes.len()));
                assert!(course.sent.starts_with(&T::FRAMING.pack(&bytes)), "this was not sent for this command");
            }
            End::Error(rc) => {
                assert!([ReturnCode::IO_ERROR, ReturnCode::MALFORMED_RESPONSE].contains(&rc), "{rc:?}");
                assert!(course.is_disturbed || !course.is_whole::<T>(), "a response was refused: {rc:?}");
                assert_eq!(course.promised, None, "a response was lost after its size was reported");
            }
            End::Cancelled => {}
        }
        assert_eq!(self.session.state(), State::Transmit);
        self.late(exchange.late.as_ref(), course.right);
    }

    /// Plays an event. Returns the end of the exchange, if it is one.
    fn event(&mut self, event: &Event, course: &mut Course) -> Option<End> {
        match event {
            Event::Server(step) => self.step(step, course),
            Event::Receive(room, waits) => {
                let room = room.map(usize::from);
                match self.session.receive(room, Wait::Millis((*waits).into())) {
                    Ok(Received::Response(bytes)) => return Some(End::Response(bytes.to_vec())),
                    Ok(Received::Size(size) | Received::TooLarge(size)) => {
                        assert!(room.is_none_or(|room| room < size));
                        assert!(course.promised.replace(size).is_none_or(|before| before == size));
                    }
                    Err(error) if error.code() == ReturnCode::TRY_AGAIN => assert_eq!(course.promised, None),
                    Err(error) => return Some(End::Error(error.code())),
                }
            }
            Event::Cancel => match self.session.cancel() {
                Ok(()) => return Some(End::Cancelled),
                Err(error) if T::Transport::CANCEL.is_none() => assert_eq!(error.code(), ReturnCode::NOT_IMPLEMENTED),
                Err(error) => {
                    assert_eq!(error.code(), ReturnCode::IO_ERROR);
                    course.is_disturbed = true;
                }
            },
            Event::Control => {
                let done = T::control(&mut self.session);
                course.is_disturbed |= self.rules.may_fail(done).is_none();
                if self.session.state() == State::Transmit {
                    return Some(End::Cancelled);
                }
            }
        }
        None
    }

    fn step(&mut self, step: &Step, course: &mut Course) {
        for action in actions(&mut course.response, step) {
            match action {
                Action::Send(bytes) => {
                    self.server.write(&bytes);
                    course.sent.extend(bytes);
                }
                Action::Pause(_) => {} // a fuzzer has no time for it
                Action::End(end) => {
                    self.server.hang_up(end);
                    course.is_disturbed |= end == Ending::Reset || !course.is_whole::<T>();
                }
            }
        }
    }

    /// Lets no exchange stay open: sends the rest, or ends the connection.
    fn finish(&mut self, course: &mut Course) -> End {
        self.step(&Step::Rest, course);
        if course.sent != course.right {
            self.server.hang_up(Ending::Close);
        }
        match self.receive_for(Wait::Millis(5000)) {
            Ok(bytes) => End::Response(bytes),
            Err(error) => End::Error(error.code()),
        }
    }

    fn late(&mut self, step: Option<&Step>, right: Vec<u8>) {
        let mut response = Response::new(T::FRAMING, right);
        let (bytes, end) = step.map(|step| response.bytes(std::slice::from_ref(step))).unwrap_or_default();
        self.server.write(&bytes);
        end.into_iter().for_each(|end| self.server.hang_up(end));
        if !bytes.is_empty() || end.is_some() {
            self.connection().into_iter().for_each(wait_for_arrival);
        }
    }

    /// Returns the transport's descriptors of its data channel.
    fn connection(&mut self) -> Vec<RawFd> {
        let list = <T::Transport as Transport>::POLL_HANDLES.expect("a descriptor");
        let mut connection = Vec::new();
        self.session.alongside(|transport| list(transport, &mut |fd| connection.push(fd))).expect("its descriptor");
        connection
    }
}
