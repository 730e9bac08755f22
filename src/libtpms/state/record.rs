// SPDX-License-Identifier: BSD-2-Clause
//! The encoding of a state. The format of the C module of this name (`c_format`) is: length (32 bits, big-endian), permanent
//! state, length, volatile state. A [`Record`] is a header, that format, and a checksum, which is written last.
#![forbid(unsafe_code)]

use crate::sys::{Blobs, Secret};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// The largest states, in bytes. Those of libtpms 0.9 have some 100 KiB with all NV memory in use, and 9 KiB.
pub(super) const MAX_PERMANENT: usize = 512 << 10;
pub(super) const MAX_VOLATILE: usize = 128 << 10;
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Sizes in bytes.
pub(super) const HEAD_SIZE: usize = 64;
pub(super) const CHECK_SIZE: usize = 8;

const MAGIC: &[u8; 12] = b"tcti-libtpms";

/// Identifies the boot of the machine: the text of /proc/sys/kernel/random/boot_id, or zeroes if it cannot be read.
pub(super) type Boot = [u8; 36];
pub(super) const NO_BOOT: Boot = [0; 36];

/// The header of a record.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// Increases with each record.
    pub(super) number: u64,
    /// The number of the record that is synced to the disk and has the same permanent state; its own number if it is the
    /// first with that state.
    pub(super) durable: u64,
    /// The boot in which it was written.
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
    bytes: Secret,
    /// The offset of the length of the volatile state.
    middle: usize,
    /// The checksum of the permanent state.
    sum: u64,
}

impl Record {
    pub(super) fn new(head: Head, permanent: &[u8], volatile: &[u8]) -> io::Result<Record> {
        Record::make(head, permanent, sum(0, permanent), volatile, Secret::default())
    }

    /// Makes the next record with the same permanent state, and reuses `memory`.
    pub(super) fn next(&self, head: Head, volatile: &[u8], memory: Secret) -> io::Result<Record> {
        Record::make(head, self.permanent(), self.sum, volatile, memory)
    }

    fn make(head: Head, permanent: &[u8], sum: u64, volatile: &[u8], mut bytes: Secret) -> io::Result<Record> {
        bytes.clear();
        bytes.try_reserve(HEAD_SIZE + 4 + permanent.len() + 4 + volatile.len() + CHECK_SIZE)?;
        bytes.extend(head.encode());
        append(&mut bytes, permanent, MAX_PERMANENT)?;
        let middle = bytes.len();
        append(&mut bytes, volatile, MAX_VOLATILE)?;
        let mut record = Record { head, bytes, middle, sum };
        let check = record.check();
        record.bytes.extend(check);
        Ok(record)
    }

    /// Reads a record; `None` if there is none, or it is incomplete.
    pub(super) fn read(file: &File, at: u64) -> io::Result<Option<Record>> {
        match Record::try_read(file, at) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            read => read.map(Some),
        }
    }

    fn try_read(file: &File, at: u64) -> io::Result<Record> {
        let mut bytes = Secret::default();
        read(file, at, HEAD_SIZE, &mut bytes)?;
        let head = Head::decode(&bytes).ok_or(ErrorKind::UnexpectedEof)?;
        read_blob(file, at, MAX_PERMANENT, &mut bytes)?;
        let middle = bytes.len();
        read_blob(file, at, MAX_VOLATILE, &mut bytes)?;
        read(file, at, CHECK_SIZE, &mut bytes)?;
        let sum = sum(0, bytes.get(HEAD_SIZE + 4..middle).unwrap_or_default());
        let record = Record { head, bytes, middle, sum };
        match record.bytes.ends_with(&record.check()) {
            true => Ok(record),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Computes the checksum of all but the volatile state; it is never zero. A killed process leaves a prefix of what it was
    /// writing, and so not the checksum. After a power failure the disk may have anything, but then the volatile state is
    /// lost anyway.
    fn check(&self) -> [u8; CHECK_SIZE] {
        (sum(self.sum, self.bytes.get(..HEAD_SIZE + 4).unwrap_or_default()) | 1).to_be_bytes()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Secret {
        self.bytes
    }

    pub(super) fn permanent(&self) -> &[u8] {
        self.bytes.get(HEAD_SIZE + 4..self.middle).unwrap_or_default()
    }

    pub(super) fn volatile(&self) -> &[u8] {
        self.bytes.get(self.middle + 4..self.bytes.len() - CHECK_SIZE).unwrap_or_default()
    }

    /// Returns the state in the format of the C module, followed by the checksum.
    pub(super) fn c_format(&self) -> &[u8] {
        self.bytes.get(HEAD_SIZE..).unwrap_or_default()
    }

    /// Returns the offset of the length of the volatile state in `c_format`.
    pub(super) fn volatile_offset(&self) -> usize {
        self.middle - HEAD_SIZE
    }
}

/// Reads a file in which only the format of the C module counts. Returns empty blobs for a new TPM: an empty file, or one of
/// zeroes only, as for the C module. After the state, or from offset `records` in a larger file, zeroes may follow, which the
/// C module leaves when its process is killed.
pub(super) fn read_c_format(file: &File, size: u64, records: u64) -> io::Result<Blobs> {
    let all = usize::try_from(size).ok().filter(|_| size <= MAX_FILE).ok_or_else(|| damaged("it is too large"))?;
    let mut bytes = Secret::default();
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

/// Continues a checksum.
fn sum(start: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| match chunk.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    });
    words.fold(start, |sum, word| (sum.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Makes the error for a damaged file.
pub(super) fn damaged(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn append(bytes: &mut Vec<u8>, blob: &[u8], most: usize) -> io::Result<()> {
    let length = u32::try_from(blob.len()).ok().filter(|_| blob.len() <= most).ok_or(ErrorKind::FileTooLarge)?;
    bytes.extend(length.to_be_bytes());
    bytes.extend(blob);
    Ok(())
}

/// Reads a length and that many bytes, after those already read from offset `start`. `UnexpectedEof` if there are fewer, or
/// the length is more than `most`.
fn read_blob(file: &File, start: u64, most: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    read(file, start, 4, bytes)?;
    let length = bytes.last_chunk().map_or(0, |length| u32::from_be_bytes(*length));
    let length = usize::try_from(length).ok().filter(|length| *length <= most).ok_or(ErrorKind::UnexpectedEof)?;
    read(file, start, length, bytes)
}

/// Appends `count` bytes to `bytes`, which hold those already read from offset `start`.
pub(super) fn read(file: &File, start: u64, count: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let already = bytes.len();
    bytes.try_reserve(count)?;
    bytes.resize(already + count, 0);
    file.read_exact_at(bytes.get_mut(already..).unwrap_or_default(), start + already as u64)
}

pub(super) fn copy(bytes: &[u8]) -> io::Result<Secret> {
    let mut copy = Secret::default();
    copy.try_reserve_exact(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}
