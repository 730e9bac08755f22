// SPDX-License-Identifier: BSD-2-Clause
//! Tests the states of a session, one rule per test.

use super::*;
use crate::Tcti;
use crate::testing::exchange::{Peer, exchanges, follow_the_ideal, pair};
use crate::testing::{Event, GET_RANDOM, OK, Scripted, is_ready};
use crate::{Cancel, GetPollHandles, Inheritance, SetLocality, Sharing};
use proptest::prelude::*;
use std::fs::File;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod sharing;

fn awaiting(script: Vec<Event>) -> Session<Scripted> {
    let mut session = Session::new(Scripted::new(script));
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.state(), State::Awaiting);
    session
}

#[test]
fn a_command_returns_its_response() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    assert_eq!(session.receive(Some(OK.len()), Wait::Forever), Ok(Received::Response(OK)));
    assert_eq!(session.state(), State::Transmit);
    assert_eq!(session.transport.sent, vec![GET_RANDOM.to_vec()]);
}

#[test]
fn transmit_rejects_malformed_commands() {
    let mut session = Session::new(Scripted::new(vec![]));
    for len in 0..GET_RANDOM.len() {
        assert_eq!(session.transmit(&GET_RANDOM[..len]), Err(ReturnCode::BAD_VALUE.into()));
    }
    let mut longer = GET_RANDOM.to_vec();
    longer.push(0);
    assert_eq!(session.transmit(&longer), Err(ReturnCode::BAD_VALUE.into()));
    assert_eq!(session.state(), State::Transmit);
    assert!(session.transport.sent.is_empty(), "no byte was sent");
}

#[test]
fn transmit_while_a_response_is_due_is_a_bad_sequence() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    assert_eq!(session.transmit(GET_RANDOM), Err(ReturnCode::BAD_SEQUENCE.into()));
    session.receive(None, Wait::Forever).unwrap();
    assert_eq!(session.state(), State::Ready);
    assert_eq!(session.transmit(GET_RANDOM), Err(ReturnCode::BAD_SEQUENCE.into()));
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn receive_and_cancel_without_a_command_are_bad_sequences() {
    let mut session = Session::new(Scripted::new(vec![]));
    assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::BAD_SEQUENCE.into()));
    assert_eq!(session.receive(Some(4096), Wait::Forever), Err(ReturnCode::BAD_SEQUENCE.into()));
    assert_eq!(session.cancel(), Err(ReturnCode::BAD_SEQUENCE.into()));
}

#[test]
fn the_size_can_be_queried_repeatedly() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    for _ in 0..3 {
        assert_eq!(session.receive(None, Wait::Forever), Ok(Received::Size(OK.len())));
    }
    assert_eq!(session.receive(Some(OK.len()), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn a_short_buffer_keeps_the_response() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    for capacity in 0..OK.len() {
        assert_eq!(session.receive(Some(capacity), Wait::Forever), Ok(Received::TooLarge(OK.len())));
        assert_eq!(session.state(), State::Ready);
    }
    assert_eq!(session.receive(Some(OK.len()), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn try_again_loses_nothing() {
    for cut in 0..OK.len() {
        let mut session = awaiting(vec![Event::bytes(&OK[..cut]), Event::Pending, Event::bytes(&OK[cut..])]);
        assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
        assert_eq!(session.state(), State::Awaiting);
        assert_eq!(session.receive(Some(4096), Wait::Millis(0)), Ok(Received::Response(OK)));
    }
}

#[test]
fn a_command_can_be_sent_after_a_failed_send() {
    let mut session = Session::new(Scripted::new(vec![Event::bytes(OK)]));
    session.transport.fail_next_send = true;
    assert_eq!(session.transmit(GET_RANDOM), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!((session.state(), session.transport.abandoned), (State::Transmit, 1));
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn every_error_of_the_transport_ends_the_exchange() {
    for rc in
        [ReturnCode::IO_ERROR, ReturnCode::NO_CONNECTION, ReturnCode::GENERAL_FAILURE, ReturnCode::MALFORMED_RESPONSE]
    {
        let mut session = awaiting(vec![Event::bytes(&OK[..4]), Event::Fail(rc), Event::bytes(OK)]);
        assert_eq!(session.receive(None, Wait::Forever), Err(rc.into()));
        assert_eq!((session.state(), session.transport.abandoned), (State::Transmit, 1));
        session.transmit(GET_RANDOM).unwrap();
        assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
    }
}

#[test]
fn a_response_must_have_the_size_in_its_header() {
    let mut longer = OK.to_vec();
    longer.push(0);
    let mut tiny = OK.to_vec();
    tiny[5] = 9;
    for (bytes, complete) in [(&OK[..OK.len() - 1], true), (&longer, false), (&tiny, false), (&OK[..3], true)] {
        let mut script = vec![Event::bytes(bytes)];
        if complete {
            script.push(Event::Complete);
        }
        script.push(Event::bytes(OK));
        let mut session = awaiting(script);
        assert_eq!(session.receive(Some(4096), Wait::Forever), Err(ReturnCode::MALFORMED_RESPONSE.into()));
        assert_eq!((session.state(), session.transport.abandoned), (State::Transmit, 1));
        session.transmit(GET_RANDOM).unwrap();
        assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
    }
}

#[test]
fn cancel_returns_to_transmit() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    session.cancel().unwrap();
    assert_eq!((session.state(), session.transport.cancelled), (State::Transmit, 1));
    assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::BAD_SEQUENCE.into()));
}

#[test]
fn cancelling_after_the_response_has_arrived_drops_it() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    session.receive(None, Wait::Forever).unwrap();
    session.cancel().unwrap();
    assert_eq!(session.state(), State::Transmit);
    assert_eq!(session.transport.cancelled, 0, "the transport has nothing to cancel");
}

#[test]
fn the_locality_can_be_set_only_between_commands() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    assert_eq!(session.set_locality(3), Err(ReturnCode::BAD_SEQUENCE.into()));
    session.receive(Some(4096), Wait::Forever).unwrap();
    session.set_locality(3).unwrap();
    assert_eq!(session.transport.locality, 3);
    assert_eq!(session.set_locality(5), Err(ReturnCode::BAD_VALUE.into()));
    assert_eq!(session.set_locality(31), Err(ReturnCode::BAD_VALUE.into()));
    session.set_locality(32).unwrap();
    assert_eq!(session.transport.locality, 32);
}

#[test]
fn poll_waits_only_while_a_response_is_due() {
    let mut session = Session::new(Scripted::new(vec![Event::bytes(OK)]));
    let handle = session.poll_handle().unwrap();
    let polled = || is_ready(&mut [handle]);
    assert!(polled(), "no response is due");
    session.transmit(GET_RANDOM).unwrap();
    assert!(!polled(), "the response is due");
    session.receive(None, Wait::Forever).unwrap();
    assert!(polled(), "the response has arrived");
    session.receive(Some(4096), Wait::Forever).unwrap();
    assert!(polled());
    assert_eq!(session.poll_handle(), Ok(handle));
}

#[test]
fn the_first_handle_is_that_of_the_state() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    assert!(!is_ready(&mut [session.poll_handle().unwrap()]), "the response is due");
    session.receive(None, Wait::Forever).unwrap();
    let handle = session.poll_handle().unwrap();
    assert!(is_ready(&mut [handle]), "the response has arrived");
    session.transmit(GET_RANDOM).unwrap_err();
    assert!(is_ready(&mut [handle]), "the call was refused");
}

#[test]
fn a_handle_asked_for_once_serves_every_command() {
    let (near, mut far) = pair();
    let mut session = Session::new(near);
    let handle = session.poll_handle().unwrap();
    let polled = || is_ready(&mut [handle]);
    for _ in 0..3 {
        assert!(polled());
        session.transmit(GET_RANDOM).unwrap();
        assert_eq!(far.command(GET_RANDOM.len()), GET_RANDOM);
        assert!(!polled());
        far.send(&OK[..4]);
        assert!(polled(), "bytes have arrived");
        assert_eq!(session.receive(Some(4096), Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
        assert!(!polled(), "and were read");
        far.send(&OK[4..]);
        assert!(polled());
        assert_eq!(session.receive(Some(4096), Wait::Millis(0)), Ok(Received::Response(OK)));
    }
}

#[test]
fn a_handle_is_ready_after_an_error_and_after_a_cancellation() {
    let mut session = Session::new(Scripted::new(vec![Event::Fail(ReturnCode::IO_ERROR)]));
    let handle = session.poll_handle().unwrap();
    session.transmit(GET_RANDOM).unwrap();
    session.receive(None, Wait::Forever).unwrap_err();
    assert!(is_ready(&mut [handle]));
    session.transmit(GET_RANDOM).unwrap();
    assert!(!is_ready(&mut [handle]));
    session.cancel().unwrap();
    assert!(is_ready(&mut [handle]));
    session.transmit(GET_RANDOM).unwrap();
    session.alongside(|_| Ok(())).unwrap();
    assert!(!is_ready(&mut [handle]), "the exchange continues");
    session.preempt(|_| Ok(())).unwrap();
    assert!(is_ready(&mut [handle]));
}

/// A socket that a forked process has a copy of, and that is closed and replaced for each command.
struct Reconnecting {
    near: UnixStream,
    far: Vec<UnixStream>,
    copies: Vec<UnixStream>,
}

impl Reconnecting {
    fn new() -> Reconnecting {
        let (near, far) = UnixStream::pair().unwrap();
        Reconnecting { copies: vec![near.try_clone().unwrap()], near, far: vec![far] }
    }
}

impl Transport for Reconnecting {
    fn send(&mut self, _command: &[u8]) -> Result<()> {
        let Reconnecting { near, far, copies } = Reconnecting::new();
        self.near = near;
        self.far.extend(far);
        self.copies.extend(copies);
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        rx.extend(OK)?;
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {}

    fn after_fork(&mut self, _inheritance: Inheritance) {}

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|transport, watch| {
        watch(transport.near.as_raw_fd());
        Ok(())
    });
}

#[test]
fn a_closed_connection_does_not_stay_in_the_poll_set() {
    let mut session = Session::new(Reconnecting::new());
    let handle = session.poll_handle().unwrap();
    for _ in 0..3 {
        session.transmit(GET_RANDOM).unwrap();
        session.transport.far.iter().rev().skip(1).for_each(|far| far.shutdown(Shutdown::Both).unwrap());
        assert!(!is_ready(&mut [handle]), "earlier connections have ended, and this one has not");
        session.receive(Some(4096), Wait::Forever).unwrap();
    }
}

#[test]
fn a_session_closes_its_poll_handle() {
    let mut session = Session::new(Scripted::new(Vec::new()));
    let handle = session.poll_handle().unwrap();
    // In a process of its own: here another test may open a file under the same number.
    let child = crate::sys::Forked::status_of(|| {
        session.enter().unwrap();
        drop(session);
        is_ready(&mut [handle]) && std::fs::read_link(format!("/proc/self/fd/{}", handle.fd)).is_err()
    });
    assert_eq!(child, Some(0));
}

#[test]
fn a_poll_handle_that_the_host_has_closed_is_replaced_and_its_number_left_alone() {
    let is_null = |number| std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap().ends_with("null");
    let mut session = awaiting(vec![Event::bytes(OK)]);
    let lose = |session: &mut Session<Scripted>| {
        session.poll_handle().unwrap();
        session.polled.as_mut().unwrap().lose(File::open("/dev/null").unwrap())
    };
    let first = lose(&mut session);
    assert!(!is_ready(&mut [session.poll_handle().unwrap()]), "the new handle waits for the response, too");
    let second = lose(&mut session);
    session.receive(Some(4096), Wait::Forever).unwrap();
    let third = lose(&mut session);
    drop(session);
    assert!([first, second, third].into_iter().all(is_null));
}

#[test]
fn a_forked_process_polls_the_same_number_and_leaves_the_set_of_its_parent_alone() {
    let mut parent = Session::new(Scripted::new(vec![Event::bytes(OK)]));
    let handle = parent.poll_handle().unwrap();
    parent.transmit(GET_RANDOM).unwrap();
    let child = crate::sys::Forked::status_of(|| {
        parent.enter().unwrap();
        let idle = is_ready(&mut [handle]);
        parent.transmit(GET_RANDOM).unwrap();
        idle && !is_ready(&mut [handle]) && parent.poll_handle() == Ok(handle)
    });
    assert_eq!(child, Some(0));
    assert!(!is_ready(&mut [handle]), "the parent's response is still due");
    parent.receive(None, Wait::Forever).unwrap();
    assert!(is_ready(&mut [handle]));
}

/// A transport that has lost its connection during the exchange, which receive reports at once.
struct Disconnected;

impl Transport for Disconnected {
    fn send(&mut self, _command: &[u8]) -> Result<()> {
        Ok(())
    }

    fn recv(&mut self, _rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        Err(ReturnCode::IO_ERROR.into())
    }

    fn abandon(&mut self) {}

    fn after_fork(&mut self, _inheritance: Inheritance) {}

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|_, _| Ok(()));
}

#[test]
fn poll_returns_at_once_when_the_connection_is_lost() {
    let mut session = Session::new(Disconnected);
    let handle = session.poll_handle().unwrap();
    session.transmit(GET_RANDOM).unwrap();
    assert!(is_ready(&mut [handle]));
}

#[test]
fn preempting_abandons_the_exchange_in_progress() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    session
        .preempt(|transport| {
            transport.locality = 1;
            Ok(())
        })
        .unwrap();
    assert_eq!((session.state(), session.transport.abandoned), (State::Transmit, 1));
    assert_eq!(session.transport.locality, 1);
}

#[test]
fn preempting_after_the_response_has_arrived_keeps_the_connection() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    assert_eq!(session.receive(None, Wait::Forever), Ok(Received::Size(OK.len())));
    session.preempt(|_| Ok(())).unwrap();
    assert_eq!((session.state(), session.transport.abandoned), (State::Transmit, 0));
}

/// A transport without optional functions.
struct Minimal;

impl Transport for Minimal {
    fn send(&mut self, _command: &[u8]) -> Result<()> {
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        rx.extend(OK)?;
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {}

    fn after_fork(&mut self, _inheritance: Inheritance) {}
}

#[test]
fn missing_functions_are_not_implemented_in_every_state() {
    let mut session = Session::new(Minimal);
    for send in [false, true] {
        if send {
            session.transmit(GET_RANDOM).unwrap();
        }
        assert_eq!(session.cancel(), Err(ReturnCode::NOT_IMPLEMENTED.into()));
        assert_eq!(session.set_locality(1), Err(ReturnCode::NOT_IMPLEMENTED.into()));
        assert_eq!(session.poll_handle().err(), Some(ReturnCode::NOT_IMPLEMENTED.into()));
    }
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

/// Returns the session as a child process inherits it.
fn forked(mut session: Session<Scripted>) -> Session<Scripted> {
    session.owner = Generation::parent();
    session
}

#[test]
fn a_child_process_starts_its_own_exchange() {
    for ready in [false, true] {
        let mut parent = awaiting(vec![Event::bytes(OK), Event::bytes(OK)]);
        if ready {
            parent.receive(None, Wait::Forever).unwrap();
        }
        let mut session = forked(parent);
        session.enter().unwrap();
        assert_eq!(
            session.receive(Some(4096), Wait::Forever),
            Err(ReturnCode::BAD_SEQUENCE.into()),
            "the response is the parent's"
        );
        assert_eq!((session.transport.after_fork, session.transport.abandoned), (1, 0));
        session.enter().unwrap();
        session.transmit(GET_RANDOM).unwrap();
        assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
        assert_eq!(session.transport.after_fork, 1, "only the first call");
    }
}

#[test]
fn dropping_an_inherited_session_calls_after_fork_first() {
    /// Records in shared memory that `after_fork` was called, so that it is known after the drop.
    struct Recorder(Arc<AtomicBool>);

    impl Transport for Recorder {
        fn send(&mut self, _command: &[u8]) -> Result<()> {
            Ok(())
        }

        fn recv(&mut self, _rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
            Ok(Progress::Pending)
        }

        fn abandon(&mut self) {}

        fn after_fork(&mut self, _inheritance: Inheritance) {
            self.0.store(true, Relaxed);
        }
    }

    for owner in [Generation::current(), Generation::parent()] {
        let called = Arc::new(AtomicBool::new(false));
        let mut session = Session::new(Recorder(Arc::clone(&called)));
        session.owner = owner;
        drop(session);
        assert_eq!(called.load(Relaxed), owner == Generation::parent());
    }
}

proptest! {
    #[test]
    fn every_exchange_behaves_like_an_ideal_transport(exchanges in exchanges(6000)) {
        let (near, mut far) = pair();
        follow_the_ideal(&mut Session::new(near), &mut far, &exchanges);
    }
}
