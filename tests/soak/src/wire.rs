// SPDX-License-Identifier: BSD-2-Clause
//! The faults of a connection that the soak draws. None of them makes a response that is whole and has the right size
//! but differs from the TPM's. Each lets the response or the end of the connection arrive within a fraction of a
//! second.

use crate::target::{BROKEN, SPOILT};
use fastrand::Rng;
use tcti_core::ReturnCode;
use tss2_faults::{End, Fault, Framing, Step};

/// Milliseconds of silence between a malformed response and the end of its connection.
const LINGER: u16 = 20;

/// A fault of one exchange.
pub(crate) struct Drawn {
    pub(crate) fault: Fault,
    /// Its name in reports.
    pub(crate) name: &'static str,
    /// The return codes that calls may have.
    pub(crate) codes: &'static [ReturnCode],
}

/// Draws one. On a control channel, whose replies are one word, nothing is malformed.
pub(crate) fn draw(framing: Framing, rng: &mut Rng) -> Drawn {
    let pause = Step::Pause(rng.u16(1..60));
    let ends = [Step::Pause(LINGER), Step::End(End::Close)];
    let lot = match framing {
        Framing::Word => [0, 1, 6, 9, 10, 10][rng.usize(..6)],
        Framing::Raw | Framing::Enveloped => rng.u8(..20),
    };
    let (name, codes, fault): (_, &[ReturnCode], _) = match lot {
        0 => ("a refused connection", BROKEN, Fault::Refuse),
        1..3 => ("a dropped command", BROKEN, Fault::DropCommand),
        3..6 => ("a response in pieces", &[], Fault::Respond(vec![Step::Pieces(rng.u16(1..20))])),
        6..9 => ("a late response", &[], Fault::Respond(vec![pause, Step::Rest])),
        9 => ("a lost response", BROKEN, Fault::Respond(vec![pause, Step::End(End::Close)])),
        10..14 => {
            let size = if framing == Framing::Word { 4 } else { 64 };
            let end = [End::Close, End::Reset, End::HalfClose][rng.usize(..3)];
            ("a truncated response", BROKEN, Fault::truncate(rng.u16(..size), end))
        }
        14 => {
            let steps = [&[Step::Bytes(garbage(rng, 20)), Step::Rest][..], &ends].concat();
            ("bytes before a response", SPOILT, Fault::Respond(steps))
        }
        15 => ("bytes after a response", SPOILT, Fault::append(garbage(rng, 40))),
        16 => ("a response sent twice", SPOILT, Fault::Respond(vec![Step::Rest, Step::Whole])),
        _ => {
            let steps = [&[Step::Size(0, size(framing, rng)), Step::Rest][..], &ends].concat();
            ("a wrong size field", SPOILT, Fault::Respond(steps))
        }
    };
    Drawn { fault, name, codes }
}

/// Draws bytes that no response begins with.
fn garbage(rng: &mut Rng, most: usize) -> Vec<u8> {
    (0..rng.usize(1..most)).map(|_| rng.u8(0x90..)).collect()
}

fn size(framing: Framing, rng: &mut Rng) -> u32 {
    match (framing, rng.u8(..4)) {
        // In a header, a size below that of the response would make it another one, which is whole.
        (_, 0) => rng.u32(..10),
        (Framing::Enveloped, 1) => rng.u32(10..2000),
        (_, 1) => rng.u32(2000..1 << 20),
        (_, 2) => (1 << 20) + 1,
        _ => u32::MAX,
    }
}
