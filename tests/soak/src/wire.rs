// SPDX-License-Identifier: BSD-2-Clause
//! What goes wrong on a connection. None of it makes an answer that is whole, has the right size and says something
//! else. After each the answer or the end of the connection comes within a fraction of a second.

use crate::place::{BROKEN, SPOILT};
use crate::proxy::Framing;
use fastrand::Rng;
use std::time::Duration;
use tcti_core::Rc;

/// What happens to one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// A connection is closed as soon as it is there.
    Refused,
    /// The command is read, and the connection closed.
    Unheard,
    /// The answer comes in pieces of so many bytes.
    Pieces(usize),
    /// The answer comes later, or the end instead of it.
    Withheld(Duration, Then),
    /// So many bytes of the answer come, and the end.
    Cut(usize, End),
    /// These bytes come before the answer, and the end behind it.
    Junk(Vec<u8>),
    /// These bytes come with the answer, behind it.
    Trailing(Vec<u8>),
    /// The answer comes twice, in one write.
    Twice,
    /// This stands where the size of the answer is; the end comes behind it.
    Size(u32),
}

/// After a while of silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Answer,
    End,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Close,
    /// One direction, the other one later.
    Half,
    Reset,
}

impl Wire {
    /// One for the channel of the commands.
    pub(crate) fn draw(framing: Framing, rng: &mut Rng) -> Wire {
        let millis = |rng: &mut Rng, most| Duration::from_millis(rng.u64(1..most));
        let end = |rng: &mut Rng| [End::Close, End::Half, End::Reset][rng.usize(..3)];
        match rng.u8(..20) {
            0 => Wire::Refused,
            1..3 => Wire::Unheard,
            3..6 => Wire::Pieces(rng.usize(1..20)),
            6..9 => Wire::Withheld(millis(rng, 60), Then::Answer),
            9 => Wire::Withheld(millis(rng, 60), Then::End),
            10..14 => Wire::Cut(rng.usize(..64), end(rng)),
            // No byte that a response begins with.
            14 => Wire::Junk((0..rng.usize(1..20)).map(|_| rng.u8(0x90..)).collect()),
            15 => Wire::Trailing((0..rng.usize(1..40)).map(|_| rng.u8(0x90..)).collect()),
            16 => Wire::Twice,
            _ => Wire::Size(match (framing, rng.u8(..4)) {
                // Less than there is would be another answer, cut by its own header.
                (_, 0) => rng.u32(..10),
                (Framing::Enveloped, 1) => rng.u32(10..2000),
                (_, 1) => rng.u32(2000..1 << 20),
                (_, 2) => (1 << 20) + 1,
                _ => u32::MAX,
            }),
        }
    }

    /// One for the second channel, whose replies are four bytes.
    pub(crate) fn draw_control(rng: &mut Rng) -> Wire {
        match rng.u8(..6) {
            0 => Wire::Refused,
            1 => Wire::Unheard,
            2 => Wire::Cut(rng.usize(..4), End::Close),
            3 => Wire::Cut(rng.usize(..4), End::Reset),
            4 => Wire::Withheld(Duration::from_millis(rng.u64(1..60)), Then::Answer),
            _ => Wire::Withheld(Duration::from_millis(rng.u64(1..60)), Then::End),
        }
    }

    /// What calls may answer.
    pub(crate) fn codes(&self) -> &'static [Rc] {
        match self {
            Wire::Pieces(_) | Wire::Withheld(_, Then::Answer) => &[],
            Wire::Refused | Wire::Unheard | Wire::Withheld(_, Then::End) | Wire::Cut(..) => BROKEN,
            Wire::Junk(_) | Wire::Trailing(_) | Wire::Twice | Wire::Size(_) => SPOILT,
        }
    }

    /// Its name in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Wire::Refused => "a connection refused",
            Wire::Unheard => "a command unheard",
            Wire::Pieces(_) => "an answer in pieces",
            Wire::Withheld(_, Then::Answer) => "a late answer",
            Wire::Withheld(_, Then::End) => "no answer",
            Wire::Cut(..) => "an answer cut",
            Wire::Junk(_) => "junk before an answer",
            Wire::Trailing(_) => "junk behind an answer",
            Wire::Twice => "an answer twice",
            Wire::Size(_) => "a false size",
        }
    }
}
