// SPDX-License-Identifier: BSD-2-Clause
//! A state as it is stored: a head, the form of the C module or only its volatile half, and a check that is written last.
#![forbid(unsafe_code)]

use super::form::{PERMANENT, VOLATILE, append, join, read, read_blob};
use std::fs::File;
use std::io::{self, ErrorKind};

/// Size of a head: magic number, numbers of the record and of its base, boot.
pub(super) const HEAD: usize = 64;
const MAGIC: &[u8; 12] = b"tcti-libtpms";
/// Size of a check.
pub(super) const CHECK: usize = 8;

/// Which start of the machine: the text of /proc/sys/kernel/random/boot_id, or zeroes.
pub(super) type Boot = [u8; 36];
/// Of a system that does not say.
pub(super) const NO_BOOT: Boot = [0; 36];

/// What a record says of itself.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// Later records have higher numbers.
    pub(super) number: u64,
    /// The record whose permanent state the volatile state belongs to. A base names itself, and has both halves.
    pub(super) base: u64,
    /// When it was written.
    pub(super) boot: Boot,
}

impl Head {
    pub(super) fn is_base(&self) -> bool {
        self.number == self.base
    }

    fn encode(&self) -> Vec<u8> {
        [&MAGIC[..], &self.number.to_be_bytes(), &self.base.to_be_bytes(), &self.boot].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Head> {
        let (number, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (base, rest) = rest.split_first_chunk()?;
        let boot = *rest.first_chunk()?;
        Some(Head { number: u64::from_be_bytes(*number), base: u64::from_be_bytes(*base), boot })
    }
}

/// A stored state.
pub(super) struct Record {
    pub(super) head: Head,
    bytes: Vec<u8>,
    /// Where the volatile half begins.
    middle: usize,
}

impl Record {
    pub(super) fn new(head: Head, permanent: &[u8], volatile: &[u8]) -> io::Result<Record> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(HEAD + 4 + permanent.len() + 4 + volatile.len() + CHECK)?;
        bytes.extend(head.encode());
        if head.is_base() {
            append(&mut bytes, permanent, PERMANENT)?;
        }
        let middle = bytes.len();
        append(&mut bytes, volatile, VOLATILE)?;
        let mut record = Record { head, bytes, middle };
        record.bytes.extend(record.check());
        Ok(record)
    }

    /// `None` for what is no record, or was not written to its end.
    pub(super) fn read(file: &File, at: u64) -> io::Result<Option<Record>> {
        match Record::try_read(file, at) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            read => read.map(Some),
        }
    }

    fn try_read(file: &File, at: u64) -> io::Result<Record> {
        let mut bytes = Vec::new();
        read(file, at, HEAD, &mut bytes)?;
        let head = Head::decode(&bytes).ok_or(ErrorKind::UnexpectedEof)?;
        if head.is_base() {
            read_blob(file, at, PERMANENT, &mut bytes)?;
        }
        let middle = bytes.len();
        read_blob(file, at, VOLATILE, &mut bytes)?;
        read(file, at, CHECK, &mut bytes)?;
        let record = Record { head, bytes, middle };
        match record.bytes.ends_with(&record.check()) {
            true => Ok(record),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    pub(super) fn copy(&self) -> io::Result<Record> {
        Ok(Record { bytes: join(&[&self.bytes])?, ..*self })
    }

    /// Of all but the volatile state, and never zero. It comes last, so a record that a killed process did not write to its
    /// end lacks it. What a power cut does to a volatile state does not matter.
    fn check(&self) -> [u8; CHECK] {
        let words =
            self.bytes.get(..self.middle).unwrap_or_default().chunks(8).map(|chunk| match chunk.first_chunk() {
                Some(word) => u64::from_le_bytes(*word),
                None => chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
            });
        let sum = words.fold(0_u64, |sum, word| (sum.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (sum | 1).to_be_bytes()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn permanent(&self) -> &[u8] {
        self.bytes.get(HEAD + 4..self.middle).unwrap_or_default()
    }

    pub(super) fn volatile(&self) -> &[u8] {
        self.bytes.get(self.middle + 4..self.bytes.len() - CHECK).unwrap_or_default()
    }

    /// The form, or its volatile half, and the check.
    pub(super) fn form(&self) -> &[u8] {
        self.bytes.get(HEAD..).unwrap_or_default()
    }

    /// The permanent half of the form.
    pub(super) fn first(&self) -> &[u8] {
        self.bytes.get(HEAD..self.middle).unwrap_or_default()
    }

    /// Its volatile half, and the check.
    pub(super) fn second(&self) -> &[u8] {
        self.bytes.get(self.middle..).unwrap_or_default()
    }
}
