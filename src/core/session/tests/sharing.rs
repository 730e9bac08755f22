// SPDX-License-Identifier: BSD-2-Clause
//! Tests sessions whose connection is shared with other processes.

use super::*;
use crate::Tcti;

/// A transport that forked processes share. Records how it is resumed and closed.
struct Connection {
    script: Scripted,
    resumed: Arc<Mutex<Vec<LastExchange>>>,
    inherited: Option<Inheritance>,
    closed: Arc<Mutex<Option<Sharing>>>,
}

impl Connection {
    fn session(script: Vec<Event>) -> (Session<Connection>, Arc<Mutex<Option<Sharing>>>) {
        let closed = Arc::new(Mutex::new(None));
        let script = Scripted::new(script);
        (
            Session::new(Connection { script, resumed: Arc::default(), inherited: None, closed: Arc::clone(&closed) }),
            closed,
        )
    }
}

impl Transport for Connection {
    fn send(&mut self, command: &[u8]) -> Result<()> {
        self.script.send(command)
    }

    fn recv(&mut self, rx: &mut RxBuf, wait: Wait) -> Result<Progress> {
        self.script.recv(rx, wait)
    }

    fn abandon(&mut self) {
        self.script.abandon();
    }

    fn after_fork(&mut self, inheritance: Inheritance) {
        self.inherited = Some(inheritance);
        self.script.after_fork(inheritance);
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn resume(&mut self, last: LastExchange) -> Result<()> {
        self.resumed.lock().unwrap().push(last);
        Ok(())
    }

    fn close(&mut self, sharing: Sharing) {
        *self.closed.lock().unwrap() = Some(sharing);
    }

    const CANCEL: Option<Cancel<Self>> = Some(|_| Ok(()));
    const SET_LOCALITY: Option<SetLocality<Self>> = Some(|_, _| Ok(()));
}

fn exchange(session: &mut Session<Connection>) {
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn an_exchange_is_a_turn_that_ends_when_the_response_has_arrived() {
    let (mut session, _) = Connection::session(vec![Event::Pending, Event::bytes(OK), Event::bytes(OK)]);
    let other_process = session.other_process().unwrap();
    let mut other = Connection::session(vec![Event::bytes(OK)]).0;
    other.act_as(&other_process);
    session.set_turn_timeout(Duration::ZERO);
    let turn = other_process.begin();
    assert_eq!(session.transmit(GET_RANDOM), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!((session.state(), session.transport.script.abandoned), (State::Transmit, 0), "nothing was sent");
    assert_eq!(session.set_locality(1), Err(ReturnCode::IO_ERROR.into()), "the connection is not used");
    drop(turn);
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(*session.transport.resumed.lock().unwrap(), [LastExchange::Theirs]);
    assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
    assert_eq!(session.receive(None, Wait::Millis(0)), Ok(Received::Size(OK.len())));
    exchange(&mut other); // before the first session takes its response
    assert_eq!(session.receive(Some(4096), Wait::Millis(0)), Ok(Received::Response(OK)));
}

#[test]
fn the_next_exchange_learns_of_every_interruption() {
    let interrupted_by = |end: fn(&mut Session<Connection>)| {
        let (mut session, _) =
            Connection::session(vec![Event::Pending, Event::Fail(ReturnCode::IO_ERROR), Event::bytes(OK)]);
        session.transmit(GET_RANDOM).unwrap();
        assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
        end(&mut session);
        session.transport.script = Scripted::new(vec![Event::bytes(OK); 2]);
        exchange(&mut session);
        exchange(&mut session);
        assert_eq!(*session.transport.resumed.lock().unwrap(), [LastExchange::Interrupted], "only once");
    };
    interrupted_by(|session| assert_eq!(session.receive(None, Wait::Forever), Err(ReturnCode::IO_ERROR.into())));
    interrupted_by(|session| session.cancel().unwrap());
    interrupted_by(|session| {
        session.abandon();
    });
}

#[test]
fn a_process_that_died_during_its_exchange_has_interrupted_it() {
    let (mut session, _) = Connection::session(vec![Event::bytes(OK)]);
    session.other_process().unwrap().begin().die();
    exchange(&mut session);
    assert_eq!(*session.transport.resumed.lock().unwrap(), [LastExchange::Interrupted]);
}

#[test]
fn close_is_called_only_by_a_user_of_an_idle_connection() {
    let (session, closed) = Connection::session(vec![]);
    drop(session);
    assert_eq!(*closed.lock().unwrap(), Some(Sharing::Exclusive));

    let (session, closed) = Connection::session(vec![]);
    let other_process = session.other_process().unwrap();
    let turn = other_process.begin();
    drop(session);
    assert_eq!(*closed.lock().unwrap(), None, "the other process is using the connection");
    drop(turn);

    let (session, closed) = Connection::session(vec![]);
    let other_process = session.other_process().unwrap();
    drop(other_process.begin());
    drop(session);
    assert_eq!(*closed.lock().unwrap(), Some(Sharing::Shared));

    let (mut session, closed) = Connection::session(vec![]);
    session.owner = Generation::parent();
    drop(session);
    assert_eq!(*closed.lock().unwrap(), None, "the child never used the connection");
}

#[test]
fn a_child_that_cannot_take_turns_does_not_use_the_connection_of_its_parent() {
    let (mut session, closed) = Connection::session(vec![Event::bytes(OK); 2]);
    session.turns = Turns::new(false); // as when the system denies what turns need
    session.owner = Generation::parent();
    session.enter().unwrap();
    assert_eq!(session.transport.inherited, Some(Inheritance::Copies));
    exchange(&mut session);
    drop(session);
    assert_eq!(*closed.lock().unwrap(), Some(Sharing::Exclusive), "the connection of the child");
}

#[test]
fn the_last_call_resumes_after_another_process() {
    let (session, closed) = Connection::session(vec![]);
    let resumed = Arc::clone(&session.transport.resumed);
    drop(session.other_process().unwrap().begin());
    drop(session);
    assert_eq!(*resumed.lock().unwrap(), [LastExchange::Theirs]);
    assert_eq!(*closed.lock().unwrap(), Some(Sharing::Shared));
}
