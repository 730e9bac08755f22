// SPDX-License-Identifier: BSD-2-Clause
//! A session whose connection other processes have, too.

use super::*;

/// Shared by fork; notes how it is resumed and closed.
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

    fn resume(&mut self, before: LastExchange) -> Result<()> {
        self.resumed.lock().unwrap().push(before);
        Ok(())
    }

    fn close(&mut self, company: Sharing) {
        *self.closed.lock().unwrap() = Some(company);
    }

    const CANCEL: Option<Cancel<Self>> = Some(|_| Ok(()));
    const SET_LOCALITY: Option<SetLocality<Self>> = Some(|_, _| Ok(()));
}

fn whole(session: &mut Session<Connection>) {
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

#[test]
fn an_exchange_is_a_turn_which_ends_when_the_response_is_here() {
    let (mut session, _) = Connection::session(vec![Event::Pending, Event::bytes(OK), Event::bytes(OK)]);
    let elsewhere = session.elsewhere().unwrap();
    let mut other = Connection::session(vec![Event::bytes(OK)]).0;
    other.be(&elsewhere);
    session.set_patience(Duration::ZERO);
    let its = elsewhere.begin();
    assert_eq!(session.transmit(GET_RANDOM), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!((session.state(), session.transport.script.abandoned), (State::Transmit, 0), "nothing was sent");
    assert_eq!(session.set_locality(1), Err(ReturnCode::IO_ERROR.into()), "nor is the connection used");
    drop(its);
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(*session.transport.resumed.lock().unwrap(), [LastExchange::Theirs]);
    assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
    assert_eq!(session.receive(None, Wait::Millis(0)), Ok(Received::Size(OK.len())));
    whole(&mut other); // while the first has not collected its own
    assert_eq!(session.receive(Some(4096), Wait::Millis(0)), Ok(Received::Response(OK)));
}

#[test]
fn whatever_breaks_an_exchange_off_is_told_to_the_next() {
    let broken = |end: fn(&mut Session<Connection>)| {
        let (mut session, _) =
            Connection::session(vec![Event::Pending, Event::Fail(ReturnCode::IO_ERROR), Event::bytes(OK)]);
        session.transmit(GET_RANDOM).unwrap();
        assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
        end(&mut session);
        session.transport.script = Scripted::new(vec![Event::bytes(OK); 2]);
        whole(&mut session);
        whole(&mut session);
        assert_eq!(*session.transport.resumed.lock().unwrap(), [LastExchange::Interrupted], "once");
    };
    broken(|session| assert_eq!(session.receive(None, Wait::Forever), Err(ReturnCode::IO_ERROR.into())));
    broken(|session| session.cancel().unwrap());
    broken(|session| {
        session.abandon();
    });
}

#[test]
fn a_process_that_died_in_its_exchange_left_something() {
    let (mut session, _) = Connection::session(vec![Event::bytes(OK)]);
    session.elsewhere().unwrap().begin().die();
    whole(&mut session);
    assert_eq!(*session.transport.resumed.lock().unwrap(), [LastExchange::Interrupted]);
}

#[test]
fn the_transport_is_closed_by_who_used_it_and_not_while_another_process_does() {
    let (session, closed) = Connection::session(vec![]);
    drop(session);
    assert_eq!(*closed.lock().unwrap(), Some(Sharing::Exclusive));

    let (session, closed) = Connection::session(vec![]);
    let elsewhere = session.elsewhere().unwrap();
    let its = elsewhere.begin();
    drop(session);
    assert_eq!(*closed.lock().unwrap(), None, "it is at work");
    drop(its);

    let (session, closed) = Connection::session(vec![]);
    let elsewhere = session.elsewhere().unwrap();
    drop(elsewhere.begin());
    drop(session);
    assert_eq!(*closed.lock().unwrap(), Some(Sharing::Shared));

    let (mut session, closed) = Connection::session(vec![]);
    session.owner = Generation::parent();
    drop(session);
    assert_eq!(*closed.lock().unwrap(), None, "a child that never used it");
}

#[test]
fn without_turns_a_child_does_not_use_the_connection_of_its_parent() {
    let (mut session, closed) = Connection::session(vec![Event::bytes(OK); 2]);
    session.turns = Turns::new(false); // the system denied what they take
    session.owner = Generation::parent();
    session.enter().unwrap();
    assert_eq!(session.transport.inherited, Some(Inheritance::Copies));
    whole(&mut session);
    drop(session);
    assert_eq!(*closed.lock().unwrap(), Some(Sharing::Exclusive), "of its own");
}

#[test]
fn what_another_process_did_is_known_at_the_end() {
    let (session, closed) = Connection::session(vec![]);
    let resumed = Arc::clone(&session.transport.resumed);
    drop(session.elsewhere().unwrap().begin());
    drop(session);
    assert_eq!(*resumed.lock().unwrap(), [LastExchange::Theirs]);
    assert_eq!(*closed.lock().unwrap(), Some(Sharing::Shared));
}
