// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the transport against scripted peers.

use super::*;
use proptest::prelude::*;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Barrier};
use std::thread::{JoinHandle, spawn};
use tcti_core::Session;
use tcti_core::Tcti;
use tcti_core::session::Received;
use tcti_core::testing::exchange::{Accept, Peer, exchanges, follow_the_ideal, server};
use tcti_core::testing::{
    Forked, GET_RANDOM, OK, Step, assert_closed_descriptors_are_left_alone, listen, malformed, play, run_polling, serve,
};

fn open(conf: &str) -> Result<Swtpm> {
    Swtpm::open(Conf::new(Some(&CString::new(conf).unwrap())))
}

/// Serves control connections: each entry is a reply in pieces. Returns the requests.
fn control(listener: TcpListener, replies: Vec<Vec<Vec<u8>>>) -> JoinHandle<Vec<Vec<u8>>> {
    spawn(move || {
        let serve = |pieces: Vec<Vec<u8>>| {
            let (mut peer, _) = listener.accept().unwrap();
            let mut asked = vec![0; 8];
            let count = peer.read(&mut asked).unwrap();
            asked.truncate(count);
            peer.set_nodelay(true).unwrap();
            pieces.iter().for_each(|piece| peer.write_all(piece).unwrap());
            asked
        };
        replies.into_iter().map(serve).collect()
    })
}

fn success() -> Vec<Vec<u8>> {
    vec![vec![0; 4]]
}

/// Opens a session with a scripted swtpm: one list of steps per data connection, the first of which Init makes.
fn session(
    extra: &str,
    replies: Vec<Vec<Vec<u8>>>,
    connections: Vec<Vec<Step>>,
) -> (Session<Swtpm>, JoinHandle<Vec<Vec<u8>>>, JoinHandle<()>) {
    let (data, port) = listen();
    let (ctrl, ctrl_port) = listen();
    let control = control(ctrl, replies);
    let data = spawn(move || {
        for steps in connections {
            let (peer, _) = data.accept().unwrap();
            play(peer, steps).join().unwrap();
        }
    });
    let swtpm = open(&format!("host=127.0.0.1,port={port},ctrl_port={ctrl_port}{extra}")).unwrap();
    (Session::new(swtpm), control, data)
}

fn exchange() -> Vec<Step> {
    vec![Step::command(GET_RANDOM), Step::write(OK)]
}

#[test]
fn init_sets_locality_0_and_each_command_has_its_own_connection() {
    let (mut session, control, data) = session("", vec![success()], vec![vec![], exchange(), exchange()]);
    for _ in 0..2 {
        session.transmit(GET_RANDOM).unwrap();
        assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
        session
            .alongside(|swtpm| {
                assert!(swtpm.data.is_none(), "no connection between commands");
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(control.join().unwrap(), [[0, 0, 0, 5, 0]]);
    data.join().unwrap();
}

#[test]
fn keep_uses_one_connection_for_all_commands() {
    let (mut session, control, data) = session(",keep=true", vec![success()], vec![[exchange(), exchange()].concat()]);
    for _ in 0..2 {
        session.transmit(GET_RANDOM).unwrap();
        assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
    }
    control.join().unwrap();
    data.join().unwrap();
}

fn run(session: &mut Session<Swtpm>) -> bool {
    session.enter().unwrap();
    session.transmit(GET_RANDOM).unwrap();
    session.receive(Some(4096), Wait::Forever) == Ok(Received::Response(OK))
}

/// Waits until the server has closed the connection, if one is kept.
fn wait_for_end(session: &mut Session<Swtpm>) {
    while session.transport_mut().data.as_ref().is_some_and(Stream::is_quiet) {
        std::thread::yield_now();
    }
}

#[test]
fn a_forked_child_shares_the_kept_connection() {
    let steps = vec![[exchange(), exchange(), exchange(), vec![Step::Read(1)]].concat()];
    let (mut session, _control, data) = session(",keep=true", vec![success()], steps);
    assert!(run(&mut session));
    let mut session = Some(session);
    let child = Forked::asks(|| {
        let mut session = session.take().unwrap(); // finalized by the drop
        run(&mut session)
    });
    assert_eq!(child.status(), Some(0));
    assert!(run(session.as_mut().unwrap()));
    drop(session);
    data.join().unwrap();
}

#[test]
fn after_a_fork_new_connections_end_with_the_exchange() {
    // The server closes the shared connection; then it serves the processes one after the other.
    let connections = vec![[exchange(), vec![]].concat(), exchange(), exchange(), exchange()];
    let (mut session, _control, data) = session(",keep=true", vec![success()], connections);
    assert!(run(&mut session));
    wait_for_end(&mut session);
    let (mut wait, mut go) = std::os::unix::net::UnixStream::pair().unwrap();
    let child = Forked::asks(|| {
        wait.read_exact(&mut [0]).unwrap();
        session.enter().unwrap();
        session.transmit(GET_RANDOM).unwrap();
        let response = session.receive(None, Wait::Millis(5000)); // the response is never taken
        response == Ok(Received::Size(OK.len()))
    });
    assert!(run(&mut session), "on a new connection");
    go.write_all(&[0]).unwrap();
    assert_eq!(child.status(), Some(0));
    assert!(run(&mut session));
    data.join().unwrap();
}

#[test]
fn a_child_that_dies_in_an_exchange_leaves_no_bytes_for_its_parent() {
    for (keep, connections) in [
        (",keep=true", vec![vec![Step::command(GET_RANDOM), Step::Read(1)], exchange(), exchange()]),
        ("", vec![vec![], vec![Step::command(GET_RANDOM), Step::Read(1)], exchange(), exchange()]),
    ] {
        let (mut session, _control, data) = session(keep, vec![success()], connections);
        let child = Forked::asks(|| session.enter().is_ok() && session.transmit(GET_RANDOM).is_ok());
        assert_eq!(child.status(), Some(0));
        assert!(run(&mut session));
        wait_for_end(&mut session);
        assert!(run(&mut session), "on a new connection");
        data.join().unwrap();
    }
}

#[test]
fn a_late_second_response_is_never_taken_for_the_next() {
    let barrier = Arc::new(Barrier::new(2));
    let late = vec![Step::Await(Arc::clone(&barrier)), Step::write(OK), Step::Await(Arc::clone(&barrier))];
    let mut other = OK.to_vec();
    other[12] ^= 0xff;
    let answer = vec![Step::command(GET_RANDOM), Step::write(&other)];
    let connections = vec![[exchange(), late].concat(), answer];
    let (mut session, _control, data) = session(",keep=true", vec![success()], connections);
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
    barrier.wait();
    barrier.wait();
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(&other)));
    data.join().unwrap();
}

#[test]
fn a_control_reply_may_arrive_in_pieces() {
    let pieces = vec![vec![0], vec![0, 0], vec![0]];
    let (mut session, control, _data) = session("", vec![success(), pieces.clone(), pieces], vec![vec![]]);
    session.set_locality(3).unwrap();
    session.preempt(Swtpm::reset).unwrap();
    let asked = control.join().unwrap();
    assert_eq!(asked[1..], [vec![0, 0, 0, 5, 3], vec![0, 0, 0, 2, 0, 0, 0, 1]]);
}

#[test]
fn a_control_error_or_a_closed_control_connection_is_an_io_error() {
    let replies = vec![success(), vec![vec![0, 0, 0, 9]], vec![]];
    let (mut session, control, _data) = session("", replies, vec![vec![]]);
    assert_eq!(session.set_locality(3), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!(session.set_locality(3), Err(ReturnCode::IO_ERROR.into()));
    control.join().unwrap();
}

#[test]
fn a_silent_control_channel_times_out() {
    let (_data, port) = listen();
    let (_ctrl, ctrl_port) = listen();
    let opened = open(&format!("host=127.0.0.1,port={port},ctrl_port={ctrl_port},timeout=20"));
    assert_eq!(opened.err(), Some(ReturnCode::IO_ERROR.into()));
}

#[test]
fn a_connection_lost_at_any_offset_costs_one_command() {
    for cut in 0..OK.len() {
        for keep in ["", ",keep=true"] {
            let broken = vec![Step::command(GET_RANDOM), Step::write(&OK[..cut])];
            let connections = match keep {
                "" => vec![vec![], broken, exchange()],
                _ => vec![broken, exchange()],
            };
            let (mut session, _control, data) = session(keep, vec![success()], connections);
            session.transmit(GET_RANDOM).unwrap();
            assert_eq!(session.receive(Some(4096), Wait::Forever), Err(ReturnCode::IO_ERROR.into()));
            session.transmit(GET_RANDOM).unwrap();
            assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
            data.join().unwrap();
        }
    }
}

#[test]
fn a_malformed_response_costs_one_command() {
    for keep in ["", ",keep=true"] {
        for bytes in malformed() {
            let broken = vec![Step::command(GET_RANDOM), Step::write(&bytes)];
            let connections = match keep {
                "" => vec![vec![], broken, exchange()],
                _ => vec![broken, exchange()],
            };
            let (mut session, _control, data) = session(keep, vec![success()], connections);
            session.transmit(GET_RANDOM).unwrap();
            assert_eq!(
                session.receive(Some(4096), Wait::Forever),
                Err(ReturnCode::MALFORMED_RESPONSE.into()),
                "{bytes:x?}"
            );
            session.transmit(GET_RANDOM).unwrap();
            assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
            data.join().unwrap();
        }
    }
}

#[test]
fn the_poll_handle_serves_every_connection() {
    let half = || vec![Step::command(GET_RANDOM), Step::write(&OK[..5])];
    for keep in ["", ",keep=true"] {
        let first = if keep.is_empty() { vec![vec![]] } else { vec![] };
        let connections = [first, vec![exchange(), half(), exchange(), half(), exchange()]].concat();
        let (mut session, _control, data) = session(keep, vec![success()], connections);
        let handle = session.poll_handle().unwrap();
        for is_whole in [true, false, true, false, true] {
            let expected = if is_whole { Ok(OK.to_vec()) } else { Err(ReturnCode::IO_ERROR.into()) };
            assert_eq!(run_polling(&mut session, handle, 2), expected);
            // The next command would meet a kept connection that the peer is about to close.
            while session.transport_mut().data.as_ref().is_some_and(Stream::is_quiet) {
                std::thread::yield_now();
            }
        }
        assert_eq!(session.poll_handle(), Ok(handle));
        data.join().unwrap();
    }
}

#[test]
fn a_timeout_at_any_offset_loses_no_bytes() {
    let barrier = Arc::new(Barrier::new(2));
    let steps = (0..OK.len()).flat_map(|cut| {
        [Step::command(GET_RANDOM), Step::write(&OK[..cut]), Step::Await(Arc::clone(&barrier)), Step::write(&OK[cut..])]
    });
    let (mut session, _control, data) = session(",keep=true", vec![success()], vec![steps.collect()]);
    for _ in 0..OK.len() {
        session.transmit(GET_RANDOM).unwrap();
        assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
        assert_eq!(session.receive(Some(4096), Wait::Millis(2)), Err(ReturnCode::TRY_AGAIN.into()));
        barrier.wait();
        assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
    }
    data.join().unwrap();
}

#[test]
fn an_incomplete_header_times_out_and_can_be_abandoned() {
    let barrier = Arc::new(Barrier::new(2));
    let silent = vec![Step::command(GET_RANDOM), Step::write(&OK[..5]), Step::Await(Arc::clone(&barrier))];
    let (mut session, _control, _data) = session("", vec![success()], vec![vec![], silent, exchange()]);
    session.transmit(GET_RANDOM).unwrap();
    for _ in 0..3 {
        assert_eq!(session.receive(Some(4096), Wait::Millis(5)), Err(ReturnCode::TRY_AGAIN.into()));
    }
    drop(session);
    barrier.wait();
}

#[test]
fn a_swtpm_that_does_not_listen_is_an_io_error() {
    let (listener, port) = listen();
    drop(listener);
    assert_eq!(open(&format!("host=127.0.0.1,port={port}")).err(), Some(ReturnCode::IO_ERROR.into()));
    assert_eq!(open("path=/nonexistent/socket").err(), Some(ReturnCode::IO_ERROR.into()));
}

#[test]
fn an_invalid_configuration_string_is_a_bad_value() {
    for bad in ["keep=yes", "keep=", "port=x", "foo=1", "localhost"] {
        assert_eq!(open(bad).err(), Some(ReturnCode::BAD_VALUE.into()), "{bad}");
    }
}

/// A swtpm that receives its commands over one connection until that ends, or each over its own.
struct Server {
    accept: Accept,
    keep: bool,
    connection: Option<File>,
}

impl Peer for Server {
    fn command(&mut self, size: usize) -> Vec<u8> {
        let mut first = [0];
        let kept = self.connection.take().filter(|_| self.keep);
        if let Some(mut connection) = kept.filter(|mut connection| matches!(connection.read(&mut first), Ok(1))) {
            let rest = connection.command(size - 1);
            self.connection = Some(connection);
            return [&first, &rest[..]].concat();
        }
        self.connection.insert((self.accept)()).command(size)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.connection.as_mut().unwrap().send(bytes);
    }
}

proptest! {
    #[test]
    fn any_exchange_matches_the_ideal_transport(exchanges in exchanges(6000), tcp: bool, keep: bool) {
        let dir = tempfile::tempdir().unwrap();
        let (accept, conf) = server(tcp, &dir.path().join("sock"));
        let channels = Channels::parse(Conf::new(Some(&CString::new(conf).unwrap())), &[], |_, _| None).unwrap();
        let lifetime = if keep { Lifetime::Context } else { Lifetime::Exchange };
        let mut session = Session::new(Swtpm { channels, lifetime, data: None, is_explained: false });
        follow_the_ideal(&mut session, &mut Server { accept, keep, connection: None }, &exchanges);
    }
}

#[test]
fn files_that_a_program_opens_after_closing_every_descriptor_are_left_alone() {
    let ((data, port), (ctrl, ctrl_port)) = (listen(), listen());
    serve(data, GET_RANDOM.len(), OK);
    serve(ctrl, 5, &[0; 4]);
    for keep in [true, false] {
        assert_closed_descriptors_are_left_alone(|| {
            Session::new(open(&format!("host=127.0.0.1,port={port},ctrl_port={ctrl_port},keep={keep}")).unwrap())
        });
    }
}
