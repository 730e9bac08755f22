// SPDX-License-Identifier: BSD-2-Clause
//! The form in which the C module of this name keeps a state, and ours, too: BE32 length, permanent state, BE32 length,
//! volatile state.
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

/// Appends a length and as many bytes.
pub(super) fn append(bytes: &mut Vec<u8>, blob: &[u8], most: usize) -> io::Result<()> {
    let length = u32::try_from(blob.len()).ok().filter(|_| blob.len() <= most).ok_or(ErrorKind::FileTooLarge)?;
    bytes.extend(length.to_be_bytes());
    bytes.extend(blob);
    Ok(())
}

/// One after the other.
pub(super) fn join(parts: &[&[u8]]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(parts.iter().map(|part| part.len()).sum())?;
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    Ok(bytes)
}

/// Reads a length and as many bytes, from behind those that were read from `start`. `UnexpectedEof` if there are fewer.
pub(super) fn read_blob(file: &File, start: u64, most: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
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

/// Reads a file in which nothing but the form counts; empty blobs for a new TPM. Behind the form, or from `ours` on in a
/// file that is larger, may be zeroes, which the C module leaves when its process is killed.
pub(super) fn read_alone(file: &File, size: u64, ours: u64) -> io::Result<Blobs> {
    if size == 0 {
        return Ok(Blobs::default());
    }
    let all = usize::try_from(size).ok().filter(|_| size <= FILE).ok_or_else(|| damaged("it is too large"))?;
    let mut bytes = Vec::new();
    let mut blob = |what| {
        let start = bytes.len() + 4;
        read_blob(file, 0, all, &mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => damaged(what),
            _ => error,
        })?;
        join(&[bytes.get(start..).unwrap_or_default()])
    };
    let permanent: Vec<u8> = blob("the permanent state ends early")?;
    let volatile = blob("the volatile state ends early")?;
    let behind = if size > ours { ours } else { bytes.len() as u64 };
    let mut rest = Vec::new();
    read(file, behind, usize::try_from(size - behind).unwrap_or(all), &mut rest)?;
    match permanent.is_empty() {
        _ if rest.iter().any(|byte| *byte != 0) => Err(damaged("something follows the state")),
        true if size <= ours => Err(damaged("the permanent state is missing")),
        true => Ok(Blobs::default()),
        false => Ok(Blobs { permanent, volatile }),
    }
}

/// An error that says what is wrong with a file.
pub(super) fn damaged(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
