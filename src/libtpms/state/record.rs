// SPDX-License-Identifier: BSD-2-Clause
//! A state in bytes. The *form* is that of the C module of this name: BE32 length, permanent state, BE32 length, volatile
//! state. A [`Record`] is a head, the form, and a check, which is written last.
#![forbid(unsafe_code)]

use crate::sys::Blobs;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// Largest states, in bytes. Those of libtpms 0.9 are some 100 KiB with all NV memory in use, and 9 KiB.
pub(super) const PERMANENT: usize = 512 << 10;
pub(super) const VOLATILE: usize = 128 << 10;
/// Largest file that is read, in bytes.
const FILE: u64 = 16 << 20;

/// Sizes in bytes.
pub(super) const HEAD: usize = 64;
pub(super) const CHECK: usize = 8;

const MAGIC: &[u8; 12] = b"tcti-libtpms";

/// Which start of the machine: the text of /proc/sys/kernel/random/boot_id, or zeroes where that is not to be had.
pub(super) type Boot = [u8; 36];
pub(super) const NO_BOOT: Boot = [0; 36];

/// What a record says of itself.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// Later records have higher numbers.
    pub(super) number: u64,
    /// The record that is on the disk and has the same permanent state; this one, if it was the first with that.
    pub(super) durable: u64,
    /// When it was written.
    pub(super) boot: Boot,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        [&MAGIC[..], &self.number.to_be_bytes(), &self.durable.to_be_bytes(), &self.boot].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Head> {
        let (number, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (durable, rest) = rest.split_first_chunk()?;
        let (number, durable) = (u64::from_be_bytes(*number), u64::from_be_bytes(*durable));
        Some(Head { number, durable, boot: *rest.first_chunk()? })
    }
}

/// A stored state.
pub(super) struct Record {
    pub(super) head: Head,
    bytes: Vec<u8>,
    /// Where the volatile half begins.
    middle: usize,
    /// Of the permanent state.
    sum: u64,
}

impl Record {
    pub(super) fn new(head: Head, permanent: &[u8], volatile: &[u8]) -> io::Result<Record> {
        Record::make(head, permanent, sum(0, permanent), volatile, Vec::new())
    }

    /// The next one, with the same permanent state, in memory that was used before.
    pub(super) fn next(&self, head: Head, volatile: &[u8], memory: Vec<u8>) -> io::Result<Record> {
        Record::make(head, self.permanent(), self.sum, volatile, memory)
    }

    fn make(head: Head, permanent: &[u8], sum: u64, volatile: &[u8], mut bytes: Vec<u8>) -> io::Result<Record> {
        bytes.clear();
        bytes.try_reserve(HEAD + 4 + permanent.len() + 4 + volatile.len() + CHECK)?;
        bytes.extend(head.encode());
        append(&mut bytes, permanent, PERMANENT)?;
        let middle = bytes.len();
        append(&mut bytes, volatile, VOLATILE)?;
        let mut record = Record { head, bytes, middle, sum };
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
        read_blob(file, at, PERMANENT, &mut bytes)?;
        let middle = bytes.len();
        read_blob(file, at, VOLATILE, &mut bytes)?;
        read(file, at, CHECK, &mut bytes)?;
        let sum = sum(0, bytes.get(HEAD + 4..middle).unwrap_or_default());
        let record = Record { head, bytes, middle, sum };
        match record.bytes.ends_with(&record.check()) {
            true => Ok(record),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Of all but the volatile state, and never zero. A killed process leaves the beginning of what it was writing, and so
    /// not this; the disk may have anything after a power cut, but then the volatile state does not matter.
    fn check(&self) -> [u8; CHECK] {
        (sum(self.sum, self.bytes.get(..HEAD + 4).unwrap_or_default()) | 1).to_be_bytes()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn permanent(&self) -> &[u8] {
        self.bytes.get(HEAD + 4..self.middle).unwrap_or_default()
    }

    pub(super) fn volatile(&self) -> &[u8] {
        self.bytes.get(self.middle + 4..self.bytes.len() - CHECK).unwrap_or_default()
    }

    /// The form, and the check.
    pub(super) fn form(&self) -> &[u8] {
        self.bytes.get(HEAD..).unwrap_or_default()
    }

    /// Where the volatile half of the form begins.
    pub(super) fn middle(&self) -> usize {
        self.middle - HEAD
    }
}

/// Reads a file in which nothing but the form counts; empty blobs for a new TPM, which is a file of nothing, or of zeroes
/// alone, whatever their number, as for the C module. Behind the form, or from `records` on in a
/// file that is larger than that, may be zeroes, which the C module leaves when its process is killed.
pub(super) fn read_form(file: &File, size: u64, records: u64) -> io::Result<Blobs> {
    let all = usize::try_from(size).ok().filter(|_| size <= FILE).ok_or_else(|| damaged("it is too large"))?;
    let mut bytes = Vec::new();
    for some in [all.min(8), all] {
        bytes.clear();
        read(file, 0, some, &mut bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            break;
        }
        if some == all {
            return Ok(Blobs::default());
        }
    }
    bytes.clear();
    let mut blob = |what| match read_blob(file, 0, all, &mut bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(damaged(what)),
        read => read.map(|()| bytes.len()),
    };
    let middle = blob("the permanent state ends early")?;
    let end = blob("the volatile state ends early")?;
    let permanent = copy(bytes.get(4..middle).unwrap_or_default())?;
    let volatile = copy(bytes.get(middle + 4..end).unwrap_or_default())?;
    let behind = if size > records { records } else { end as u64 };
    bytes.clear();
    read(file, behind, usize::try_from(size - behind).unwrap_or(all), &mut bytes)?;
    match permanent.is_empty() {
        _ if bytes.iter().any(|byte| *byte != 0) => Err(damaged("something follows the state")),
        true if size <= records => Err(damaged("the permanent state is missing")),
        true => Ok(Blobs::default()),
        false => Ok(Blobs { permanent, volatile }),
    }
}

/// Goes on with a sum.
fn sum(start: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| match chunk.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    });
    words.fold(start, |sum, word| (sum.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// An error that says what is wrong with a file.
pub(super) fn damaged(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn append(bytes: &mut Vec<u8>, blob: &[u8], most: usize) -> io::Result<()> {
    let length = u32::try_from(blob.len()).ok().filter(|_| blob.len() <= most).ok_or(ErrorKind::FileTooLarge)?;
    bytes.extend(length.to_be_bytes());
    bytes.extend(blob);
    Ok(())
}

/// Reads a length and as many bytes, from behind those that were read from `start`. `UnexpectedEof` if there are fewer.
fn read_blob(file: &File, start: u64, most: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    read(file, start, 4, bytes)?;
    let length = bytes.last_chunk().map_or(0, |length| u32::from_be_bytes(*length));
    let length = usize::try_from(length).ok().filter(|length| *length <= most).ok_or(ErrorKind::UnexpectedEof)?;
    read(file, start, length, bytes)
}

/// Reads so many bytes, from behind those that were read from `start`.
pub(super) fn read(file: &File, start: u64, count: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let already = bytes.len();
    bytes.try_reserve(count)?;
    bytes.resize(already + count, 0);
    file.read_exact_at(bytes.get_mut(already..).unwrap_or_default(), start + already as u64)
}

pub(super) fn copy(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len())?;
    copy.extend(bytes);
    Ok(copy)
}
