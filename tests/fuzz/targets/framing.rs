// SPDX-License-Identifier: BSD-2-Clause
//! Responses in arbitrary pieces, with arbitrary sizes: the session returns exactly the response that the peer sent, or
//! an error, and the next command works.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use tcti_core::Tcti;
use tcti_core::session::{Received, State};
use tcti_core::{Error, Inheritance, Progress, Result, ReturnCode, RxBuf, Session, Transport, Wait};
use tss2_faults::{Action, Framing, Response, Step};
use tss2_fuzz::message::{LARGEST, actions, command, is_tagged, response, said};

#[derive(Arbitrary, Debug)]
struct Exchange {
    size: u16,
    steps: Vec<Step>,
    /// The room of the caller, or `None` to ask for the size.
    rooms: Vec<Option<u16>>,
}

/// The most bytes that one read returns.
const READ: usize = 4096;

/// Reads as `Stream` does: each chunk with one or more reads.
struct Peer {
    chunks: VecDeque<Option<Vec<u8>>>,
    abandoned: u32,
}

impl Transport for Peer {
    fn send(&mut self, _command: &[u8]) -> Result<()> {
        Ok(())
    }

    fn recv(&mut self, rx: &mut RxBuf, _wait: Wait) -> Result<Progress> {
        while rx.missing()? > 0 {
            let Some(Some(mut chunk)) = self.chunks.pop_front() else { return Err(ReturnCode::IO_ERROR.into()) };
            if chunk.is_empty() {
                return Ok(Progress::Pending);
            }
            rx.read_with(|room| {
                let count = room.len().min(READ).min(chunk.len());
                room[..count].copy_from_slice(&chunk[..count]);
                let rest = chunk.split_off(count);
                if !rest.is_empty() {
                    self.chunks.push_front(Some(rest));
                }
                Ok::<_, Error>(count)
            })??;
        }
        Ok(Progress::Complete)
    }

    fn abandon(&mut self) {
        self.abandoned += 1;
        self.chunks.clear();
    }

    fn after_fork(&mut self, _inheritance: Inheritance) {}
}

/// Returns the bytes of each action; a pause has none, and `None` is the end of the connection.
fn play(exchange: &Exchange, number: u32) -> VecDeque<Option<Vec<u8>>> {
    let mut response = Response::new(Framing::Raw, response(number, size(exchange)));
    let actions = exchange.steps.iter().flat_map(|step| actions(&mut response, step));
    let chunk = |action| match action {
        Action::Send(bytes) => Some(bytes),
        Action::Pause(_) => Some(Vec::new()),
        Action::End(_) => None,
    };
    actions.map(chunk).collect()
}

/// Returns the size of the response: often small, which is fast, and sometimes large.
fn size(exchange: &Exchange) -> u16 {
    if exchange.size > 65000 { exchange.size } else { exchange.size % 512 }
}

/// Returns the expected result: the bytes up to the size in the header, if a read ends exactly there.
fn model(play: &VecDeque<Option<Vec<u8>>>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for chunk in play {
        for read in chunk.as_ref().ok_or(ReturnCode::IO_ERROR)?.chunks(READ) {
            bytes.extend(read);
            let size = said(&bytes);
            if !is_tagged(&bytes) || size.is_some_and(|size| !(10..=LARGEST).contains(&size) || bytes.len() > size) {
                return Err(ReturnCode::MALFORMED_RESPONSE.into());
            }
            if size == Some(bytes.len()) {
                return Ok(bytes);
            }
        }
    }
    Err(ReturnCode::IO_ERROR.into())
}

fn collect(session: &mut Session<Peer>, rooms: &[Option<u16>]) -> Result<Vec<u8>> {
    let mut rooms = rooms.iter().copied();
    loop {
        // After these, with room for every response.
        let room = rooms.next().map_or(Some(usize::MAX), |room| room.map(usize::from));
        match session.receive(room, Wait::Millis(0)) {
            Ok(Received::Response(bytes)) => {
                assert!(room.is_some_and(|room| room >= bytes.len()));
                return Ok(bytes.to_vec());
            }
            Ok(Received::Size(_)) => assert_eq!(room, None),
            Ok(Received::TooLarge(size)) => assert!(room.is_some_and(|room| room < size)),
            Err(error) if error.code() == ReturnCode::TRY_AGAIN => {}
            Err(error) => return Err(error),
        }
    }
}

fuzz_target!(|exchanges: Vec<Exchange>| {
    tss2_fuzz::listen_to_log();
    let mut session = Session::new(Peer { chunks: VecDeque::new(), abandoned: 0 });
    for (number, exchange) in (0..).zip(exchanges.iter().take(8)) {
        let play = play(exchange, number);
        let wanted = model(&play);
        set(&mut session, play);
        session.transmit(&command(number)).expect("a command can be sent after any exchange");
        assert_eq!(collect(&mut session, &exchange.rooms), wanted);
        assert_eq!(session.state(), State::Transmit);
        let number = u32::MAX - number;
        set(&mut session, [Some(response(number, 7))].into());
        session.transmit(&command(number)).expect("the next command can be sent");
        assert_eq!(collect(&mut session, &[]), Ok(response(number, 7)));
    }
});

fn set(session: &mut Session<Peer>, chunks: VecDeque<Option<Vec<u8>>>) {
    let _: Result<()> = session.alongside(|peer| {
        peer.chunks = chunks;
        Ok(())
    });
}
