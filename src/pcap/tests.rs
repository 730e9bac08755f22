// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the transport with a scripted child: what is forwarded, and what the capture contains.

mod exchange;

use super::*;
use crate::capture::tests::read;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use tcti_core::session::{Received, State};
use tcti_core::testing::{GET_RANDOM, OK, is_ready};
use tcti_core::{PollHandle, Session};

/// The result of a receive of the child.
#[derive(Clone)]
enum Answer {
    Response(Vec<u8>),
    TryAgain,
    /// An error, after which the child accepts the next command, as our modules do.
    Fail(ReturnCode),
    /// An error, after which the child still waits for the response, as some C modules do.
    Stuck(ReturnCode),
}

/// The state behind the child.
#[derive(Default)]
struct World {
    answers: VecDeque<Answer>,
    /// How many times a child was opened.
    opened: usize,
    refuses_to_open: bool,
    /// Whether a response is due.
    due: bool,
    sent: Vec<Vec<u8>>,
    localities: Vec<u8>,
    /// An error of transmit, cancel and setLocality.
    refusal: Option<ReturnCode>,
    /// The response size that the child reports, if it is not the true one.
    guess: Option<usize>,
    /// What a caller polls for the response.
    fds: Vec<RawFd>,
}

type Shared = Arc<Mutex<World>>;

struct Scripted(Shared);

impl Scripted {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn next(&self) -> Result<Vec<u8>> {
        let mut world = self.world();
        if !world.due {
            return Err(ReturnCode::BAD_SEQUENCE.into());
        }
        match world.answers.pop_front().expect("an answer is scripted") {
            Answer::Response(bytes) => Ok(bytes),
            Answer::TryAgain => Err(ReturnCode::TRY_AGAIN.into()),
            Answer::Stuck(rc) => Err(rc.into()),
            Answer::Fail(rc) => {
                world.due = false;
                Err(rc.into())
            }
        }
    }
}

impl Tcti for Scripted {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        let mut world = self.world();
        if world.due {
            return Err(ReturnCode::BAD_SEQUENCE.into());
        }
        world.refusal.map_or(Ok(()), Err)?;
        world.sent.push(command.to_vec());
        world.due = true;
        Ok(())
    }

    fn response_size(&mut self, _wait: Wait) -> Result<usize> {
        let response = self.next()?;
        let size = self.world().guess.unwrap_or(response.len());
        self.world().answers.push_front(Answer::Response(response));
        Ok(size)
    }

    fn receive(&mut self, room: &mut [u8], _wait: Wait) -> Result<usize> {
        let response = self.next()?;
        match room.get_mut(..response.len()) {
            Some(room) => {
                room.copy_from_slice(&response);
                self.world().due = false;
                Ok(response.len())
            }
            None => {
                self.world().answers.push_front(Answer::Response(response));
                Err(ReturnCode::INSUFFICIENT_BUFFER.into())
            }
        }
    }

    fn cancel(&mut self) -> Result<()> {
        self.world().refusal.map_or(Ok(()), Err)?;
        self.world().due = false;
        Ok(())
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.world().refusal.map_or(Ok(()), Err)?;
        self.world().localities.push(locality);
        Ok(())
    }

    fn poll_handles(&mut self, each: &mut dyn FnMut(PollHandle)) -> Result<()> {
        self.world().refusal.map_or(Ok(()), Err)?;
        let fds = self.world().fds.clone();
        fds.into_iter().for_each(|fd| each(PollHandle { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 }));
        Ok(())
    }
}

/// A session, its child and its capture file.
struct Bench {
    session: Session<Pcap<Scripted>>,
    world: Shared,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(answers: &[Answer]) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("capture");
        let world = Shared::default();
        world.lock().unwrap().answers = answers.to_vec().into();
        let session = Session::new(open(&world, &file).unwrap());
        Bench { session, world, file, _dir: dir }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        match self.session.receive(Some(1 << 20), Wait::Forever)? {
            Received::Response(bytes) => Ok(bytes.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    fn exchange(&mut self) -> Result<Vec<u8>> {
        self.session.transmit(GET_RANDOM)?;
        self.receive()
    }

    /// Returns the comments of the capture, and "command" or "response" for messages without one.
    fn seen(&self) -> Vec<String> {
        let name = |(message, comment): (Vec<u8>, Option<String>)| match (comment, message == GET_RANDOM) {
            (Some(comment), _) => comment,
            (None, true) => "command".to_owned(),
            (None, false) => "response".to_owned(),
        };
        read(&self.file).into_iter().map(name).collect()
    }
}

fn open(world: &Shared, file: &Path) -> Result<Pcap<Scripted>> {
    let world = Arc::clone(world);
    let open = move || {
        let mut inside = world.lock().unwrap();
        if inside.refuses_to_open {
            return Err(ReturnCode::NO_CONNECTION.into());
        }
        inside.opened += 1;
        inside.due = false;
        Ok(Scripted(Arc::clone(&world)))
    };
    Pcap::new(open, Target::Chosen(file.into()))
}

fn response() -> Answer {
    Answer::Response(OK.to_vec())
}

/// Returns a response of `size` bytes.
fn large(size: usize) -> Vec<u8> {
    let mut bytes = vec![0x80, 0x01];
    bytes.extend(u32::try_from(size).unwrap().to_be_bytes());
    bytes.resize(size, 7);
    bytes
}

#[test]
fn a_command_and_its_response_are_recorded() {
    let mut bench = Bench::new(&[response(), response()]);
    assert_eq!(bench.exchange(), Ok(OK.to_vec()));
    assert_eq!(bench.exchange(), Ok(OK.to_vec()));
    assert_eq!(bench.world().sent, [GET_RANDOM, GET_RANDOM]);
    let (command, response) = ((GET_RANDOM.to_vec(), None), (OK.to_vec(), None));
    assert_eq!(read(&bench.file), [command.clone(), response.clone(), command, response]);
}

#[test]
fn no_capture_is_created_if_the_child_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("capture");
    let world = Shared::default();
    world.lock().unwrap().refuses_to_open = true;
    assert_eq!(open(&world, &file).err(), Some(ReturnCode::NO_CONNECTION.into()));
    assert!(!file.exists());
}

#[test]
fn try_again_loses_no_bytes_and_is_not_recorded() {
    let mut bench = Bench::new(&[Answer::TryAgain, Answer::TryAgain, response()]);
    bench.session.transmit(GET_RANDOM).unwrap();
    for _ in 0..2 {
        assert_eq!(bench.session.receive(None, Wait::Millis(0)), Err(ReturnCode::TRY_AGAIN.into()));
    }
    assert_eq!(bench.receive(), Ok(OK.to_vec()));
    assert_eq!(bench.seen(), ["command", "response"]);
}

#[test]
fn a_child_that_guesses_sizes_works() {
    let mut bench = Bench::new(&[response()]);
    bench.world().guess = Some(4096);
    bench.session.transmit(GET_RANDOM).unwrap();
    assert_eq!(bench.session.receive(None, Wait::Forever), Ok(Received::Size(OK.len())));
    assert_eq!(bench.receive(), Ok(OK.to_vec()));
}

#[test]
fn a_response_larger_than_that_of_any_tpm_is_forwarded() {
    let bytes = large(200_000);
    let mut bench = Bench::new(&[Answer::Response(bytes.clone())]);
    assert_eq!(bench.exchange(), Ok(bytes.clone()));
    let recorded: Vec<u8> = read(&bench.file).into_iter().skip(1).flat_map(|(message, _)| message).collect();
    assert_eq!(recorded, bytes);
}

#[test]
fn return_codes_of_the_child_are_forwarded_and_recorded() {
    let foreign = ReturnCode::from_c(0x0007_000b).unwrap_err().code();
    let mut bench = Bench::new(&[Answer::Fail(foreign), Answer::Fail(ReturnCode::IO_ERROR), response()]);
    assert_eq!(bench.exchange(), Err(foreign.into()));
    assert_eq!(bench.exchange(), Err(ReturnCode::IO_ERROR.into()));
    assert_eq!(bench.exchange(), Ok(OK.to_vec()));
    assert_eq!(bench.world().opened, 1, "a child that recovers is kept");
    assert_eq!(
        bench.seen(),
        [
            "command",
            "receive: error 0x7000b (0x0007000b)",
            "command",
            "receive: error 0xa000a (IO_ERROR)",
            "command",
            "response"
        ]
    );
}

#[test]
fn a_refused_command_is_recorded_too() {
    let mut bench = Bench::new(&[response()]);
    bench.world().refusal = Some(ReturnCode::NO_CONNECTION);
    assert_eq!(bench.exchange(), Err(ReturnCode::NO_CONNECTION.into()));
    bench.world().refusal = None;
    assert_eq!(bench.exchange(), Ok(OK.to_vec()));
    assert_eq!(bench.seen(), ["command", "transmit: error 0xa0008 (NO_CONNECTION)", "command", "response"]);
}

#[test]
fn a_child_that_does_not_recover_is_reopened() {
    let late = Answer::Response(large(12));
    let mut bench = Bench::new(&[Answer::Stuck(ReturnCode::IO_ERROR), late.clone(), response()]);
    bench.session.set_locality(2).unwrap();
    assert_eq!(bench.exchange(), Err(ReturnCode::IO_ERROR.into()));
    bench.world().answers.pop_front(); // the late response is lost with the old child
    assert_eq!(bench.exchange(), Ok(OK.to_vec()));
    assert_eq!(bench.world().opened, 2);
    assert_eq!(bench.world().localities, [2, 2], "the new child is told the locality");
    assert_eq!(bench.world().sent.len(), 2);
    let expected =
        ["locality 2", "command", "receive: error 0xa000a (IO_ERROR)", "command", "the TCTI is reopened", "response"];
    assert_eq!(bench.seen(), expected);
}

#[test]
fn each_command_retries_to_reopen_the_child() {
    let mut bench = Bench::new(&[Answer::Stuck(ReturnCode::IO_ERROR), response()]);
    assert_eq!(bench.exchange(), Err(ReturnCode::IO_ERROR.into()));
    bench.world().refuses_to_open = true;
    for _ in 0..2 {
        assert_eq!(bench.exchange(), Err(ReturnCode::NO_CONNECTION.into()));
        assert_eq!(bench.session.set_locality(1), Err(ReturnCode::NO_CONNECTION.into()));
    }
    bench.world().refuses_to_open = false;
    assert_eq!(bench.exchange(), Ok(OK.to_vec()));
}

#[test]
fn a_malformed_response_is_an_error_and_is_recorded() {
    let mut longer = OK.to_vec();
    longer.push(0);
    let mut bench = Bench::new(&[Answer::Response(longer), Answer::Response(vec![0x80]), response()]);
    assert_eq!(bench.exchange(), Err(ReturnCode::MALFORMED_RESPONSE.into()));
    assert_eq!(bench.exchange(), Err(ReturnCode::MALFORMED_RESPONSE.into()));
    assert_eq!(bench.exchange(), Ok(OK.to_vec()));
    let seen = bench.seen();
    assert_eq!(seen[1], "malformed response: the header says 20 bytes, 21 came");
    assert_eq!(seen[3], "no response: 1 bytes");
}

#[test]
fn an_impossible_size_is_malformed_and_the_child_is_reopened() {
    let mut bench = Bench::new(&[Answer::Response(large(5000))]);
    bench.world().guess = Some(usize::MAX);
    assert_eq!(bench.exchange(), Err(ReturnCode::MALFORMED_RESPONSE.into()));
    bench.world().answers = [response()].into();
    assert_eq!(bench.exchange(), Ok(OK.to_vec()));
    assert_eq!(bench.world().opened, 2);
}

#[test]
fn cancel_is_forwarded_and_recorded() {
    let mut bench = Bench::new(&[response()]);
    bench.session.transmit(GET_RANDOM).unwrap();
    bench.world().refusal = Some(ReturnCode::NOT_IMPLEMENTED);
    assert_eq!(bench.session.cancel(), Err(ReturnCode::NOT_IMPLEMENTED.into()));
    assert_eq!(bench.session.state(), State::Awaiting, "the response is still due");
    bench.world().refusal = None;
    bench.session.cancel().unwrap();
    assert_eq!(bench.exchange(), Ok(OK.to_vec()));
    let expected = ["command", "cancel: error 0xa0002 (NOT_IMPLEMENTED)", "cancel", "command", "response"];
    assert_eq!(bench.seen(), expected);
}

#[test]
fn set_locality_is_forwarded_and_recorded() {
    let mut bench = Bench::new(&[]);
    bench.session.set_locality(3).unwrap();
    bench.world().refusal = Some(ReturnCode::NOT_IMPLEMENTED);
    assert_eq!(bench.session.set_locality(4), Err(ReturnCode::NOT_IMPLEMENTED.into()));
    assert_eq!(bench.world().localities, [3]);
    assert_eq!(bench.seen(), ["locality 3", "locality 4: error 0xa0002 (NOT_IMPLEMENTED)"]);
}

#[test]
fn poll_waits_for_each_descriptor_of_the_child_until_the_response_arrives() {
    let (near, far): (Vec<_>, Vec<_>) = (0..2).map(|_| UnixStream::pair().unwrap()).unzip();
    let fds: Vec<RawFd> = near.iter().map(AsRawFd::as_raw_fd).collect();
    let mut bench = Bench::new(&[response(), response(), response()]);
    let handle = bench.session.poll_handle().unwrap();
    let poll = || is_ready(&mut [handle]);
    for mut peer in &far {
        bench.world().fds.clone_from(&fds);
        bench.session.transmit(GET_RANDOM).unwrap();
        assert!(!poll(), "the sockets can be written to, which is of no interest");
        peer.write_all(&[0]).unwrap();
        assert!(poll());
        bench.session.receive(None, Wait::Forever).unwrap();
        assert!(poll(), "the response has arrived");
        bench.session.receive(Some(4096), Wait::Forever).unwrap();
        for mut near in &near {
            near.set_nonblocking(true).unwrap();
            let _ = near.read(&mut [0]);
        }
    }
    bench.world().fds = vec![-1]; // as a module that has lost its connection
    bench.session.transmit(GET_RANDOM).unwrap();
    assert!(poll(), "receive does not wait");
    assert_eq!(bench.session.poll_handle(), Ok(handle));
}

#[test]
fn a_child_without_poll_handles_is_reported() {
    let mut bench = Bench::new(&[response()]);
    bench.session.transmit(GET_RANDOM).unwrap();
    bench.world().refusal = Some(ReturnCode::NOT_IMPLEMENTED);
    for _ in 0..2 {
        assert_eq!(bench.session.poll_handle(), Err(ReturnCode::NOT_IMPLEMENTED.into()));
    }
}

#[test]
fn a_failed_capture_costs_no_response() {
    let world = Shared::default();
    world.lock().unwrap().answers = vec![response(); 2].into();
    let dir = tempfile::tempdir().unwrap();
    let mut session = Session::new(open(&world, &dir.path().join("capture")).unwrap());
    session
        .alongside(|pcap| {
            pcap.capture.end();
            Ok(())
        })
        .unwrap();
    for _ in 0..2 {
        session.transmit(GET_RANDOM).unwrap();
        assert_eq!(session.receive(Some(4096), Wait::Forever), Ok(Received::Response(OK)));
    }
}
