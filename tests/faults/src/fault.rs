// SPDX-License-Identifier: BSD-2-Clause
//! The fault of one exchange ([`Fault`]), and the steps that the other end of the connection takes instead of
//! sending the response ([`Step`]). [`Response`] turns steps into bytes, pauses and the end of the connection.

use crate::framing::Framing;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

/// The pause between two pieces of a response, so that they arrive as pieces.
const BETWEEN_PIECES: Duration = Duration::from_micros(50);

/// One step of a peer while a response is due.
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends the next bytes of the response, at most this many.
    Next(u16),
    /// Sends the rest of the response.
    Rest,
    /// Sends the rest of the response in pieces of this many bytes; 0 counts as 1.
    Pieces(u16),
    /// Sends the whole response, whatever was sent before.
    Whole,
    /// Sends these bytes.
    Bytes(Vec<u8>),
    /// Writes a number into the size field of the response with this index, see [`Framing::size_offsets`]. It does not
    /// change what was sent.
    Size(u8, u32),
    /// Sends nothing for this many milliseconds.
    Pause(u16),
    /// Ends the connection; no step follows.
    End(End),
}

/// How a connection ends.
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is closed.
    Close,
    /// The peer shuts down its sending direction, and closes the connection later. A terminal is closed.
    HalfClose,
    /// TCP resets it; a Unix socket or terminal is closed.
    Reset,
}

/// The fault of one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A connection is closed as soon as it is accepted.
    Refuse,
    /// The connection is closed when a command arrives; the TPM does not get the command.
    DropCommand,
    /// The TPM gets the command, and the peer takes these steps instead of sending the response.
    Respond(Vec<Step>),
}

impl Fault {
    /// Sends the first `at` bytes of the response and ends the connection.
    pub fn truncate(at: u16, end: End) -> Fault {
        Fault::Respond(vec![Step::Next(at), Step::End(end)])
    }

    /// Sends other bytes instead of the response.
    pub fn replace(bytes: impl Into<Vec<u8>>) -> Fault {
        Fault::Respond(vec![Step::Bytes(bytes.into())])
    }

    /// Sends bytes right behind the response, in the same write.
    pub fn append(bytes: impl Into<Vec<u8>>) -> Fault {
        Fault::Respond(vec![Step::Rest, Step::Bytes(bytes.into())])
    }
}

/// A part of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends these bytes; they may be none.
    Send(Vec<u8>),
    /// Sends nothing for this long.
    Pause(Duration),
    /// Ends the connection.
    End(End),
}

/// A response, and how much of it was sent.
#[derive(Clone, Debug)]
pub struct Response {
    framing: Framing,
    packed: Vec<u8>,
    sent: usize,
}

impl Response {
    /// A response of which nothing was sent; `packed` is as it has to be sent.
    pub fn new(framing: Framing, packed: Vec<u8>) -> Response {
        Response { framing, packed, sent: 0 }
    }

    /// The bytes that were not sent.
    pub fn unsent(&self) -> &[u8] {
        &self.packed[self.sent..]
    }

    /// Takes one step.
    pub fn actions(&mut self, step: &Step) -> Vec<Action> {
        match step {
            Step::Next(count) => vec![Action::Send(self.next(usize::from(*count)))],
            Step::Rest => vec![Action::Send(self.next(usize::MAX))],
            Step::Pieces(count) => {
                let rest = self.next(usize::MAX);
                let pieces = rest.chunks(usize::from(*count).max(1));
                pieces.flat_map(|piece| [Action::Send(piece.to_vec()), Action::Pause(BETWEEN_PIECES)]).collect()
            }
            Step::Whole => vec![Action::Send(self.packed.clone())],
            Step::Bytes(bytes) => vec![Action::Send(bytes.clone())],
            Step::Size(index, size) => {
                let offsets = self.framing.size_offsets();
                if let Some(at) = offsets.get(usize::from(*index) % offsets.len().max(1)) {
                    self.packed[*at..at + 4].copy_from_slice(&size.to_be_bytes());
                }
                Vec::new()
            }
            Step::Pause(millis) => vec![Action::Pause(Duration::from_millis((*millis).into()))],
            Step::End(end) => vec![Action::End(*end)],
        }
    }

    fn next(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.unsent()[..count.min(self.unsent().len())].to_vec();
        self.sent += bytes.len();
        bytes
    }

    /// Takes all steps without pauses. Returns the bytes that they send, and how they end the connection, if they do.
    pub fn bytes(&mut self, steps: &[Step]) -> (Vec<u8>, Option<End>) {
        let mut bytes = Vec::new();
        let end = self.play_with(steps, &mut bytes, |_| {}).unwrap();
        (bytes, end)
    }

    /// Takes all steps on a connection. All bytes between two pauses are one write. Returns how the connection has to
    /// end, if it has to.
    pub fn play(&mut self, steps: &[Step], stream: &mut impl Write) -> io::Result<Option<End>> {
        self.play_with(steps, stream, thread::sleep)
    }

    fn play_with(
        &mut self,
        steps: &[Step],
        stream: &mut impl Write,
        pause: impl Fn(Duration),
    ) -> io::Result<Option<End>> {
        let mut bytes = Vec::new();
        for step in steps {
            for action in self.actions(step) {
                match action {
                    Action::Send(more) => bytes.extend(more),
                    Action::Pause(time) => {
                        stream.write_all(&std::mem::take(&mut bytes))?;
                        pause(time);
                    }
                    Action::End(end) => return stream.write_all(&bytes).map(|()| Some(end)),
                }
            }
        }
        stream.write_all(&bytes).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(framing: Framing) -> Response {
        Response::new(framing, framing.pack(&[0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0]))
    }

    #[test]
    fn a_truncated_response_keeps_its_rest() {
        let Fault::Respond(steps) = Fault::truncate(7, End::Reset) else { unreachable!() };
        let mut response = response(Framing::Raw);
        assert_eq!(response.bytes(&steps), (vec![0x80, 1, 0, 0, 0, 10, 0], Some(End::Reset)));
        assert_eq!(response.unsent(), [0; 3]);
    }

    #[test]
    fn pieces_are_separated_by_pauses() {
        let actions = response(Framing::Raw).actions(&Step::Pieces(4));
        let sizes = actions.iter().map(|action| if let Action::Send(bytes) = action { bytes.len() } else { 0 });
        assert_eq!(sizes.collect::<Vec<_>>(), [4, 0, 4, 0, 2, 0]);
    }

    #[test]
    fn each_framing_has_its_size_fields() {
        let at = |framing, index| {
            let (bytes, _) = response(framing).bytes(&[Step::Size(index, 0xaabb_ccdd), Step::Rest]);
            bytes.windows(4).position(|four| four == [0xaa, 0xbb, 0xcc, 0xdd])
        };
        let indices = [0, 1];
        assert_eq!(indices.map(|index| at(Framing::Raw, index)), [Some(2); 2]);
        assert_eq!(indices.map(|index| at(Framing::Enveloped, index)), [Some(0), Some(6)]);
        assert_eq!(indices.map(|index| at(Framing::Word, index)), [None; 2]);
    }
}
