// SPDX-License-Identifier: BSD-2-Clause
//! The knowledge of one context about its TPM: it chooses the next command, and checks the content of responses.

use crate::ask::{Answer, Ask, Content};
use crate::loaded::Loaded;
use fastrand::Rng;
use std::collections::HashMap;

/// Response codes that are expected (TPM 2.0 Library Part 2, section 6.6).
const RETRY: u32 = 0x922;
const NV_UNINITIALIZED: u32 = 0x14a;
const NV_DEFINED: u32 = 0x14c;

/// The knowledge about the NV index.
#[derive(Debug, PartialEq, Eq)]
enum Nv {
    /// It may be undefined.
    Absent,
    /// It has content that was written to it, of any number.
    Any,
    /// It has the content of one of these numbers. Writes without a response may or may not have happened.
    OneOf(Vec<u64>),
}

/// Conditions for the commands of a context.
#[derive(Clone, Copy, Debug)]
pub struct May {
    /// Whether no forked process has the context, too.
    pub alone: bool,
    /// Whether objects may stay loaded.
    pub keep: bool,
    /// Data bytes of the largest command that is refused properly.
    pub largest: usize,
}

/// The judgement of a response.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    True,
    /// It is right: the command had to be refused.
    Refused,
    /// It is right, and comes from an object that is never flushed.
    Kept,
    /// An object that is never flushed is lost.
    Lost(String),
    /// It is wrong.
    False,
}

/// The knowledge of one context.
pub struct Knowledge {
    index: u32,
    nv: Nv,
    next_number: u64,
    properties: HashMap<u32, u32>,
    registers: HashMap<u8, Vec<u8>>,
    last_random: Vec<u8>,
}

impl Knowledge {
    /// Begins with a TPM in which nobody else uses this NV index.
    pub fn new(index: u32, rng: &mut Rng) -> Knowledge {
        Knowledge {
            index,
            nv: Nv::Absent,
            next_number: rng.u64(..) >> 8,
            properties: HashMap::new(),
            registers: HashMap::new(),
            last_random: Vec::new(),
        }
    }

    /// Returns the knowledge of a process that is being forked and uses this NV index alone.
    pub fn inherited(&self, index: u32, rng: &mut Rng) -> Knowledge {
        let Knowledge { properties, registers, .. } = self;
        Knowledge { properties: properties.clone(), registers: registers.clone(), ..Knowledge::new(index, rng) }
    }

    /// Notes that the TPM may have lost written data, or may be another one.
    pub fn forget(&mut self) {
        if matches!(self.nv, Nv::OneOf(_)) {
            self.nv = Nv::Any;
        }
        // A TPM with an older state returns the same random bytes again.
        self.last_random.clear();
    }

    /// Draws the next command.
    pub fn next(&mut self, loaded: &mut Loaded, may: &May, rng: &mut Rng) -> Ask {
        if let Some(ask) = loaded.next(may, rng) {
            return ask;
        }
        match rng.u8(..100) {
            0..40 => {
                let size = rng.usize(1..400);
                Ask::Hash(std::iter::repeat_with(|| rng.u8(..)).take(size).collect())
            }
            40..65 => Ask::Random(rng.u16(8..=32)),
            65..80 => Ask::Property(rng.u32(0x100..=0x10b)),
            80..94 => Ask::Pcr(rng.u8(..24)),
            94..99 if self.nv == Nv::Absent => Ask::Define(self.index),
            94..96 => {
                self.next_number += 1;
                Ask::Write(self.index, self.next_number)
            }
            96..99 => Ask::Read(self.index),
            _ => Ask::Create(std::array::from_fn(|_| rng.u8(..))),
        }
    }

    /// Judges a response, and learns from it.
    pub fn learn(&mut self, loaded: &mut Loaded, may: &May, ask: &Ask, answer: &Answer) -> Verdict {
        match answer {
            Answer::Wrong => Verdict::False,
            Answer::Refusal(RETRY) => Verdict::True,
            Answer::Right(_) | Answer::Refusal(_) => loaded
                .learn(may, ask, answer)
                .unwrap_or_else(|| if self.is_true(ask, answer) { Verdict::True } else { Verdict::False }),
        }
    }

    fn is_true(&mut self, ask: &Ask, answer: &Answer) -> bool {
        match (ask, answer) {
            (Ask::Random(_), Answer::Right(Content::Bytes(bytes))) => {
                std::mem::replace(&mut self.last_random, bytes.clone()) != *bytes
            }
            // Nothing here extends a register.
            (Ask::Pcr(index), Answer::Right(Content::Bytes(value))) => {
                self.registers.entry(*index).or_insert_with(|| value.clone()) == value
            }
            (Ask::Property(property), Answer::Right(Content::Value(value))) => {
                self.properties.entry(*property).or_insert(*value) == value
            }
            (Ask::Define(_), Answer::Right(_) | Answer::Refusal(NV_DEFINED)) => {
                self.nv = Nv::Any;
                true
            }
            (Ask::Write(_, number), Answer::Right(_)) => {
                self.nv = Nv::OneOf(vec![*number]);
                true
            }
            (Ask::Read(_), Answer::Right(Content::Number(number))) => {
                let known = std::mem::replace(&mut self.nv, Nv::OneOf(vec![*number]));
                !matches!(known, Nv::OneOf(numbers) if !numbers.contains(number))
            }
            (Ask::Read(_), Answer::Refusal(NV_UNINITIALIZED)) => self.nv == Nv::Any,
            (Ask::Read(_) | Ask::Write(..), Answer::Refusal(code)) if is_handle(*code) => {
                std::mem::replace(&mut self.nv, Nv::Absent) == Nv::Any
            }
            (Ask::Hash(_), Answer::Right(_)) => true,
            _ => false,
        }
    }

    /// Notes that no response came. The command may have been executed.
    pub fn lose(&mut self, loaded: &mut Loaded, ask: &Ask) {
        loaded.lose(ask);
        if let (Ask::Write(_, number), Nv::OneOf(numbers)) = (ask, &mut self.nv) {
            numbers.push(*number);
        }
    }
}

/// Whether this is TPM_RC_HANDLE of any handle or parameter.
pub(crate) fn is_handle(code: u32) -> bool {
    code & 0xbf == 0x8b
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a response is right to this knowledge.
    fn learn(knowledge: &mut Knowledge, ask: &Ask, answer: &Answer) -> bool {
        let may = May { alone: true, keep: false, largest: 4000 };
        knowledge.learn(&mut Loaded::new(), &may, ask, answer) == Verdict::True
    }

    fn knowledge() -> Knowledge {
        Knowledge::new(1, &mut Rng::with_seed(1))
    }

    #[test]
    fn repeated_random_bytes_are_wrong() {
        let mut knowledge = knowledge();
        let answer = Answer::Right(Content::Bytes(vec![7; 16]));
        assert!(learn(&mut knowledge, &Ask::Random(16), &answer));
        assert!(!learn(&mut knowledge, &Ask::Random(16), &answer));
    }

    #[test]
    fn a_read_returns_the_last_write_or_one_without_a_response() {
        let mut knowledge = knowledge();
        let read = |knowledge: &mut Knowledge, number| {
            learn(knowledge, &Ask::Read(1), &Answer::Right(Content::Number(number)))
        };
        assert!(learn(&mut knowledge, &Ask::Write(1, 5), &Answer::Right(Content::Nothing)));
        assert!(read(&mut knowledge, 5));
        knowledge.lose(&mut Loaded::new(), &Ask::Write(1, 6));
        assert!(read(&mut knowledge, 6));
        assert!(!read(&mut knowledge, 5));
    }

    #[test]
    fn an_index_is_missing_only_from_a_tpm_that_may_have_lost_it() {
        let mut knowledge = knowledge();
        let gone = Answer::Refusal(0x28b);
        assert!(learn(&mut knowledge, &Ask::Write(1, 5), &Answer::Right(Content::Nothing)));
        knowledge.forget();
        assert!(learn(&mut knowledge, &Ask::Read(1), &gone));
        assert!(learn(&mut knowledge, &Ask::Write(1, 5), &Answer::Right(Content::Nothing)));
        assert!(!learn(&mut knowledge, &Ask::Read(1), &gone));
    }
}
