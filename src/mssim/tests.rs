// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the transport against scripted simulators.

mod platform;

use super::*;
use proptest::prelude::*;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Barrier, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{JoinHandle, spawn};
use tcti_core::Session;
use tcti_core::Tcti;
use tcti_core::session::Received;
use tcti_core::testing::exchange::{Peer, exchanges, follow_the_ideal, server};
use tcti_core::testing::{
    Forked, ForkedChild, GET_RANDOM, OK, Step, assert_closed_descriptors_are_left_alone, listen, malformed, play,
    run_polling, serve,
};

/// Returns the bytes read on each connection.
type Data = JoinHandle<Vec<Vec<u8>>>;
/// Returns the platform commands.
type Platform = JoinHandle<Vec<u32>>;

/// Locked by tests that fork this process, and by tests whose connections are kept only while no other process has a copy.
static FORKS: RwLock<()> = RwLock::new(());

fn forks() -> RwLockReadGuard<'static, ()> {
    FORKS.read().unwrap_or_else(PoisonError::into_inner)
}

fn no_others_fork() -> RwLockWriteGuard<'static, ()> {
    FORKS.write().unwrap_or_else(PoisonError::into_inner)
}

/// Returns [`OK`] in its envelope.
fn enveloped() -> Vec<u8> {
    [&20u32.to_be_bytes()[..], OK, &[0; 4]].concat()
}

/// Bytes of GET_RANDOM in its envelope.
const COMMAND: usize = 9 + GET_RANDOM.len();

fn exchange() -> Vec<Step> {
    vec![Step::Read(COMMAND), Step::Write(enveloped())]
}

/// Serves the platform channel: replies to each code with `reply(code)`, and closes the connection for `None`.
fn answering(listener: TcpListener, connections: usize, reply: fn(u32) -> Option<u32>) -> Platform {
    spawn(move || {
        let mut codes = Vec::new();
        for _ in 0..connections {
            let (mut peer, _) = listener.accept().unwrap();
            let mut code = [0; 4];
            while peer.read_exact(&mut code).is_ok() {
                codes.push(u32::from_be_bytes(code));
                let Some(reply) = reply(u32::from_be_bytes(code)) else { break };
                if peer.write_all(&reply.to_be_bytes()).is_err() {
                    break;
                }
            }
        }
        codes
    })
}

/// Replies to each code with zero; returns the codes once all connections are closed.
fn platform(listener: TcpListener, connections: usize) -> Platform {
    answering(listener, connections, |code| (code != TPM_SESSION_END).then_some(0))
}

/// A time-out in milliseconds that no busy machine reaches.
const PATIENCE: u32 = 20_000;

fn open(port: u16, platform_port: u16) -> Result<Mssim> {
    open_within(PATIENCE, port, platform_port)
}

fn open_within(timeout: u32, port: u16, platform_port: u16) -> Result<Mssim> {
    let conf = format!("host=127.0.0.1,port={port},ctrl_port={platform_port},timeout={timeout}");
    Mssim::open(Conf::new(Some(&CString::new(conf).unwrap())))
}

/// Opens a session with a scripted simulator: one list of steps per connection.
fn session(connections: Vec<Vec<Step>>) -> (Session<Mssim>, Data, Platform) {
    session_within(PATIENCE, connections)
}

fn session_within(timeout: u32, connections: Vec<Vec<Step>>) -> (Session<Mssim>, Data, Platform) {
    let (data, port) = listen();
    let (ctrl, platform_port) = listen();
    let platform = platform(ctrl, connections.len());
    let data = spawn(move || {
        let serve = |steps| play(data.accept().unwrap().0, steps).join().unwrap();
        connections.into_iter().map(serve).collect()
    });
    (Session::new(open_within(timeout, port, platform_port).unwrap()), data, platform)
}

fn run(session: &mut Session<Mssim>) -> Result<Vec<u8>> {
    session.transmit(GET_RANDOM)?;
    match session.receive(Some(4096), Wait::Forever)? {
        Received::Response(bytes) => Ok(bytes.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_is_sent_in_an_envelope_and_finalize_ends_the_session() {
    let (mut session, data, platform) = session(vec![[exchange(), vec![Step::Read(4)]].concat()]);
    assert_eq!(run(&mut session).unwrap(), OK);
    drop(session);
    let envelope = [&[0, 0, 0, 8, 0, 0, 0, 0, 12], GET_RANDOM, &[0, 0, 0, 20]].concat();
    assert_eq!(data.join().unwrap(), [envelope]);
    assert_eq!(platform.join().unwrap(), [1, 11, 20], "power on, NV on, session end");
}

#[test]
fn the_locality_is_sent_with_each_command() {
    let (mut session, data, _platform) = session(vec![exchange()]);
    session.set_locality(1).unwrap();
    assert_eq!(run(&mut session).unwrap(), OK);
    assert_eq!(data.join().unwrap()[0][4], 1);
}

#[test]
fn the_poll_handle_serves_every_connection() {
    let _alone = no_others_fork();
    let half = vec![Step::Read(COMMAND), Step::write(&enveloped()[..9])];
    let (mut session, _data, _platform) = session(vec![exchange(), half.clone(), exchange(), half, exchange()]);
    let handle = session.poll_handle().unwrap();
    for is_whole in [true, false, true, false, true] {
        let expected = if is_whole { Ok(OK.to_vec()) } else { Err(ReturnCode::IO_ERROR.into()) };
        assert_eq!(run_polling(&mut session, handle, 2), expected);
        // The next command would meet a connection that the simulator is about to close.
        while session.transport_mut().link.streams().is_some_and(|(data, _)| data.is_quiet()) {
            std::thread::yield_now();
        }
    }
    assert_eq!(session.poll_handle(), Ok(handle));
}

#[test]
fn an_envelope_may_arrive_one_byte_at_a_time() {
    let steps = enveloped().iter().map(|byte| Step::write(&[*byte])).collect();
    let (mut session, _data, _platform) = session(vec![[vec![Step::Read(COMMAND)], steps].concat()]);
    assert_eq!(run(&mut session).unwrap(), OK);
}

#[test]
fn a_timeout_at_any_offset_loses_no_bytes() {
    let barrier = Arc::new(Barrier::new(2));
    let mut steps = Vec::new();
    for cut in 0..enveloped().len() {
        steps.push(Step::Read(COMMAND));
        steps.push(Step::write(&enveloped()[..cut]));
        steps.push(Step::Await(Arc::clone(&barrier)));
        steps.push(Step::write(&enveloped()[cut..]));
    }
    let (mut session, _data, _platform) = session(vec![steps]);
    for _ in 0..enveloped().len() {
        session.transmit(GET_RANDOM).unwrap();
        assert_eq!(session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
        assert_eq!(session.receive(Some(4096), Wait::Millis(2)), Err(ReturnCode::TRY_AGAIN.into()));
        barrier.wait();
        assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
    }
}

#[test]
fn a_connection_lost_at_any_offset_costs_one_command() {
    for cut in 0..enveloped().len() {
        let broken = vec![Step::Read(COMMAND), Step::write(&enveloped()[..cut])];
        let (mut session, _data, _platform) = session(vec![broken, exchange()]);
        assert_eq!(run(&mut session), Err(ReturnCode::IO_ERROR.into()), "after {cut} bytes");
        assert_eq!(run(&mut session).unwrap(), OK);
    }
}

#[test]
fn a_malformed_envelope_costs_one_command() {
    let mut trailing = enveloped();
    trailing.push(0);
    let mut reported = enveloped();
    *reported.last_mut().unwrap() = 1;
    let mut disagreeing = enveloped();
    disagreeing[9] = 19;
    let inside = |response: Vec<u8>| {
        let size = u32::try_from(response.len()).unwrap();
        [&size.to_be_bytes()[..], &response, &[0; 4]].concat()
    };
    let envelopes = [vec![0xff; 4], vec![0; 8], trailing, reported, disagreeing, vec![0, 0x10, 0, 1]];
    for bytes in malformed().into_iter().map(inside).chain(envelopes) {
        let broken = vec![Step::Read(COMMAND), Step::write(&bytes)];
        let (mut session, _data, _platform) = session(vec![broken, exchange()]);
        assert_eq!(run(&mut session), Err(ReturnCode::MALFORMED_RESPONSE.into()), "{bytes:x?}");
        assert_eq!(run(&mut session).unwrap(), OK);
    }
}

#[test]
fn a_cancelled_response_is_never_taken_for_the_next() {
    let mut cancelled = enveloped();
    cancelled[20] ^= 0xff;
    let steps = [vec![Step::Read(COMMAND), Step::Write(cancelled)], exchange(), vec![Step::Read(4)]].concat();
    let (mut session, data, platform) = session(vec![steps]);
    session.transmit(GET_RANDOM).unwrap();
    session.cancel().unwrap();
    assert_eq!(run(&mut session).unwrap(), OK);
    drop(session);
    data.join().unwrap();
    assert_eq!(platform.join().unwrap(), [1, 11, 9, 10, 20], "cancel on before, off after the response");
}

#[test]
fn a_cancelled_response_that_never_arrives_costs_a_connection() {
    let barrier = Arc::new(Barrier::new(2));
    let silent = vec![Step::Read(COMMAND), Step::Await(Arc::clone(&barrier))];
    let (mut session, _data, platform) = session(vec![silent, exchange()]);
    session.transmit(GET_RANDOM).unwrap();
    session.cancel().unwrap();
    let waiting = spawn(move || barrier.wait().is_leader());
    assert_eq!(run(&mut session).unwrap(), OK);
    waiting.join().unwrap();
    drop(session);
    assert_eq!(platform.join().unwrap(), [1, 11, 9, 1, 11, 10, 20]);
}

#[test]
fn a_forked_child_shares_the_connections_and_its_finalize_leaves_them_open() {
    let _forks = forks();
    let steps = [exchange(), exchange(), exchange(), vec![Step::Read(1)]].concat();
    let (mut session, data, platform) = session(vec![steps]);
    assert_eq!(run(&mut session).unwrap(), OK);
    let mut session = Some(session);
    let child = Forked::asks(|| {
        let mut session = session.take().unwrap(); // finalized by the drop
        session.enter().is_ok() && run(&mut session).unwrap() == OK
    });
    assert_eq!(child.status(), Some(0));
    let mut parent = session.unwrap();
    assert_eq!(run(&mut parent).unwrap(), OK);
    drop(parent);
    assert_eq!(data.join().unwrap()[0].len(), 3 * COMMAND, "no SESSION_END is sent");
    assert_eq!(platform.join().unwrap(), [1, 11]);
}

#[test]
fn bytes_left_by_a_dead_process_never_reach_another() {
    let _forks = forks();
    let left = vec![Step::Read(COMMAND), Step::Read(1)];
    let (mut session, data, platform) = session(vec![left, exchange(), exchange()]);
    let child = Forked::asks(|| session.enter().is_ok() && session.transmit(GET_RANDOM).is_ok());
    assert_eq!(child.status(), Some(0));
    // On new connections, which end with the exchange.
    assert_eq!(run(&mut session).unwrap(), OK);
    assert_eq!(run(&mut session).unwrap(), OK);
    drop(session);
    let data = data.join().unwrap();
    assert_eq!(data[0].len(), COMMAND, "nothing is sent on the interrupted connection");
    // The other process may have cancelled its command.
    assert_eq!(platform.join().unwrap(), [1, 11, 1, 11, 10, 20, 1, 11, 10, 20]);
}

#[test]
fn a_cancellation_by_a_dead_process_never_cancels_a_later_command() {
    let _forks = forks();
    let left = vec![Step::Read(COMMAND), Step::Read(1)];
    let (mut session, data, platform) = session(vec![left, exchange()]);
    let cancels = || session.enter().is_ok() && session.transmit(GET_RANDOM).is_ok() && session.cancel().is_ok();
    assert_eq!(Forked::asks(cancels).status(), Some(0));
    // A turn in which nothing is sent to the simulator.
    session.set_locality(3).unwrap();
    let another = || session.enter().is_ok() && run(&mut session).is_ok();
    assert_eq!(Forked::asks(another).status(), Some(0));
    drop(session);
    data.join().unwrap();
    assert_eq!(platform.join().unwrap(), [1, 11, 9, 1, 11, 10, 20]);
}

#[test]
fn a_cancellation_by_a_dead_process_never_cancels_a_command_on_a_new_connection() {
    let _alone = no_others_fork();
    let cut = vec![Step::Read(COMMAND)];
    let left = vec![Step::Read(COMMAND), Step::Read(1)];
    // The cancelled response never arrives, which takes the whole time-out.
    let (mut session, data, platform) = session_within(2000, vec![cut, left, exchange()]);
    assert_eq!(run(&mut session), Err(ReturnCode::IO_ERROR.into())); // the connections are closed
    let cancels = || session.enter().is_ok() && session.transmit(GET_RANDOM).is_ok() && session.cancel().is_ok();
    assert_eq!(Forked::asks(cancels).status(), Some(0));
    assert_eq!(run(&mut session).unwrap(), OK);
    drop(session);
    data.join().unwrap();
    assert_eq!(platform.join().unwrap(), [1, 11, 1, 11, 10, 9, 1, 11, 10]);
}

#[test]
fn connections_are_shut_down_for_every_process() {
    let _forks = forks();
    let (mut session, data, platform) = session(vec![exchange(), exchange()]);
    assert_eq!(run(&mut session).unwrap(), OK);
    // The simulator closes the data channel; this process still has both.
    while session.transport_mut().link.streams().unwrap().0.is_quiet() {
        std::thread::yield_now();
    }
    let child = Forked::asks(|| session.enter().is_ok() && run(&mut session).is_ok());
    assert_eq!(child.status(), Some(0));
    drop(session);
    data.join().unwrap();
    assert_eq!(platform.join().unwrap(), [1, 11, 1, 11, 10, 20]);
}

/// The simulator serves nobody else while any process holds such a connection.
#[test]
fn connections_for_one_exchange_are_not_inherited() {
    let _forks = forks();
    let left = vec![Step::Read(COMMAND), Step::Read(1)];
    let (mut session, data, platform) = session(vec![Vec::new(), left]);
    session.transport_mut().lifetime = Lifetime::Exchange;
    session.transport_mut().abandon();
    session.transmit(GET_RANDOM).unwrap();
    let is_closed = || session.enter().is_ok() && matches!(session.transport_mut().link, Link::Down);
    assert_eq!(Forked::asks(is_closed).status(), Some(0));
    let sleeper = ForkedChild::idle(); // holds copies of the file descriptors
    drop(session);
    data.join().unwrap();
    platform.join().unwrap();
    sleeper.end();
}

#[test]
fn connections_close_before_the_response_is_taken() {
    let _forks = forks();
    let (mut session, data, platform) = session(vec![exchange(), [exchange(), vec![Step::Read(4)]].concat()]);
    assert_eq!(Forked::asks(|| session.enter().is_ok() && run(&mut session).is_ok()).status(), Some(0));
    // The simulator closes the data channel, at which the next command connects again.
    while session.transport_mut().link.streams().unwrap().0.is_quiet() {
        std::thread::yield_now();
    }
    session.transmit(GET_RANDOM).unwrap();
    assert_eq!(session.receive(None, Wait::Forever), Ok(Received::Size(OK.len())));
    data.join().unwrap();
    assert_eq!(platform.join().unwrap(), [1, 11, 1, 11, 10, 20]);
    assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
}

/// The simulator's end of the data channel.
struct Commands(File);

impl Peer for Commands {
    fn command(&mut self, size: usize) -> Vec<u8> {
        let envelope = self.0.command(9 + size);
        assert_eq!(envelope[..9], [&[0, 0, 0, 8, 0][..], &u32::try_from(size).unwrap().to_be_bytes()].concat());
        envelope[9..].to_vec()
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.send(bytes);
    }

    fn wrap(&self, response: &[u8]) -> Vec<u8> {
        [&u32::try_from(response.len()).unwrap().to_be_bytes()[..], response, &[0; 4]].concat()
    }
}

proptest! {
    #[test]
    fn any_exchange_matches_the_ideal_transport(exchanges in exchanges(6000), tcp: bool) {
        let dir = tempfile::tempdir().unwrap();
        let (accept, conf) = server(tcp, &dir.path().join("sock"));
        let mut channels = Channels::parse(Conf::new(Some(&CString::new(conf).unwrap())), &[], |_, _| None).unwrap();
        let data = channels.connect_data().unwrap();
        let platform = channels.control.connect().unwrap();
        let link = Link::Up { data, platform, exchange: Exchange::None, lifetime: Lifetime::Context };
        let mssim = Mssim {
            channels,
            link,
            locality: DEFAULT_LOCALITY,
            cancelling: false,
            lifetime: Lifetime::Context,
            envelope: RxBuf::new(),
        };
        let (commands, _platform) = (accept(), accept());
        follow_the_ideal(&mut Session::new(mssim), &mut Commands(commands), &exchanges);
    }
}

#[test]
fn files_that_a_program_opens_after_closing_every_descriptor_are_left_alone() {
    let _forks = forks();
    let ((data, port), (ctrl, platform_port)) = (listen(), listen());
    serve(data, COMMAND, &enveloped());
    serve(ctrl, 4, &[0; 4]);
    assert_closed_descriptors_are_left_alone(|| Session::new(open(port, platform_port).unwrap()));
}
