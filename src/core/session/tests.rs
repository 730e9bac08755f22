// SPDX-License-Identifier: BSD-2-Clause
//! The state table, one sentence a test.

use super::*;
use crate::testing::exchange::{exchanges, follow_the_ideal, pair};
use crate::testing::{Event, GET_RANDOM, OK, POLLED, Scripted};
use crate::{Cancel, GetPollHandles, Inheritance, SetLocality, Sharing};
use proptest::prelude::*;
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
fn a_command_and_its_response() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    assert_eq!(session.receive(Some(OK.len()), Wait::Forever), Ok(Received::Response(OK)));
    assert_eq!(session.state(), State::Transmit);
    assert_eq!(session.transport.sent, vec![GET_RANDOM.to_vec()]);
}

#[test]
fn transmit_refuses_what_is_no_command() {
    let mut session = Session::new(Scripted::new(vec![]));
    for len in 0..GET_RANDOM.len() {
        assert_eq!(session.transmit(&GET_RANDOM[..len]), Err(ReturnCode::BAD_VALUE.into()));
    }
    let mut longer = GET_RANDOM.to_vec();
    longer.push(0);
    assert_eq!(session.transmit(&longer), Err(ReturnCode::BAD_VALUE.into()));
    assert_eq!(session.state(), State::Transmit);
    assert!(session.transport.sent.is_empty(), "no byte left");
}

#[test]
fn transmit_while_a_response_is_due_is_out_of_sequence() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    assert_eq!(session.transmit(GET_RANDOM), Err(ReturnCode::BAD_SEQUENCE.into()));
    session.receive(None, Wait::Forever).unwrap();
    assert_eq!(session.state(), State::Ready);
    assert_eq!(session.transmit(GET_RANDOM), Err(ReturnCode::BAD_SEQUENCE.into()));
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn receive_and_cancel_without_a_command_are_out_of_sequence() {
    let mut session = Session::new(Scripted::new(vec![]));
    assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::BAD_SEQUENCE.into()));
    assert_eq!(session.receive(Some(4096), Wait::Forever), Err(ReturnCode::BAD_SEQUENCE.into()));
    assert_eq!(session.cancel(), Err(ReturnCode::BAD_SEQUENCE.into()));
}

#[test]
fn the_size_can_be_asked_for_again_and_again() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    for _ in 0..3 {
        assert_eq!(session.receive(None, Wait::Forever), Ok(Received::Size(OK.len())));
    }
    assert_eq!(session.transport.collected, 0);
    assert_eq!(session.receive(Some(OK.len()), Wait::Forever), Ok(Received::Response(OK)));
    assert_eq!(session.transport.collected, 1);
}

#[test]
fn a_short_buffer_keeps_the_response() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    for room in 0..OK.len() {
        assert_eq!(session.receive(Some(room), Wait::Forever), Ok(Received::TooLarge(OK.len())));
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
fn a_failed_send_leaves_the_session_ready_for_the_next() {
    let mut session = Session::new(Scripted::new(vec![Event::bytes(OK)]));
    session.transport.refuse_send = true;
    assert_eq!(session.transmit(GET_RANDOM), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!((session.state(), session.transport.abandoned), (State::Transmit, 1));
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn any_error_of_the_transport_ends_the_exchange() {
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
fn a_response_must_be_as_long_as_it_says() {
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
fn cancel_leads_back_to_transmit() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    session.cancel().unwrap();
    assert_eq!((session.state(), session.transport.cancelled), (State::Transmit, 1));
    assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::BAD_SEQUENCE.into()));
}

#[test]
fn cancelling_a_response_that_is_here_drops_it() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    session.receive(None, Wait::Forever).unwrap();
    session.cancel().unwrap();
    assert_eq!((session.state(), session.transport.collected), (State::Transmit, 1));
    assert_eq!(session.transport.cancelled, 0, "the transport has nothing to cancel");
}

#[test]
fn locality_is_set_between_commands_only() {
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
fn poll_waits_only_for_a_response_that_is_due() {
    let mut session = Session::new(Scripted::new(vec![Event::bytes(OK)]));
    let at_once = session.ready.handle().unwrap();
    assert_eq!(session.poll_handles(), Ok(vec![at_once]), "nothing to wait for");
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.poll_handles(), Ok(vec![PollHandle { fd: POLLED, events: POLLIN, revents: 0 }]));
    session.receive(None, Wait::Forever).unwrap();
    assert_eq!(session.poll_handles(), Ok(vec![at_once]), "already here");
    session.receive(Some(4096), Wait::Forever).unwrap();
    assert_eq!(session.poll_handles(), Ok(vec![at_once]));
}

/// A transport that lost its connection with the command on it: receive says so at once.
struct Lost;

impl Transport for Lost {
    fn send(&mut self, _command: &[u8]) -> Result<()> {
        Ok(())
    }

    fn recv(&mut self, _rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        Err(ReturnCode::IO_ERROR.into())
    }

    fn abandon(&mut self) {}

    fn after_fork(&mut self, _inheritance: Inheritance) {}

    const POLL_HANDLES: Option<GetPollHandles<Self>> = Some(|_| Ok(Vec::new()));
}

#[test]
fn poll_does_not_wait_for_a_response_that_will_not_come() {
    let mut session = Session::new(Lost);
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.poll_handles(), Ok(vec![session.ready.handle().unwrap()]));
}

#[test]
fn preempting_gives_up_what_is_under_way() {
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
fn preempting_ends_no_connection_for_a_response_that_is_here() {
    let mut session = awaiting(vec![Event::bytes(OK)]);
    assert_eq!(session.receive(None, Wait::Forever), Ok(Received::Size(OK.len())));
    session.preempt(|_| Ok(())).unwrap();
    assert_eq!((session.state(), session.transport.abandoned, session.transport.collected), (State::Transmit, 0, 1));
}

/// A transport with nothing optional.
struct Plain;

impl Transport for Plain {
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
fn what_a_transport_lacks_is_not_implemented_in_every_state() {
    let mut session = Session::new(Plain);
    for send in [false, true] {
        if send {
            session.transmit(GET_RANDOM).unwrap();
        }
        assert_eq!(session.cancel(), Err(ReturnCode::NOT_IMPLEMENTED.into()));
        assert_eq!(session.set_locality(1), Err(ReturnCode::NOT_IMPLEMENTED.into()));
        assert_eq!(session.poll_handles().err(), Some(ReturnCode::NOT_IMPLEMENTED.into()));
    }
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

/// As a child process finds a session of its parent.
fn forked(mut session: Session<Scripted>) -> Session<Scripted> {
    session.owner = Generation::parent();
    session
}

#[test]
fn a_child_process_sends_commands_of_its_own() {
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
        assert_eq!(session.transport.after_fork, 1, "once");
    }
}

#[test]
fn the_end_of_an_inherited_session_is_told_to_the_transport() {
    /// Notes that it was inherited, and is looked at when it is gone.
    struct Noted(Arc<AtomicBool>);

    impl Transport for Noted {
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
        let noted = Arc::new(AtomicBool::new(false));
        let mut session = Session::new(Noted(Arc::clone(&noted)));
        session.owner = owner;
        drop(session);
        assert_eq!(noted.load(Relaxed), owner == Generation::parent());
    }
}

proptest! {
    #[test]
    fn any_exchange_is_as_an_ideal_transport_has_it(exchanges in exchanges(6000)) {
        let (near, mut far) = pair();
        follow_the_ideal(&mut Session::new(near), &mut far, &exchanges);
    }
}
