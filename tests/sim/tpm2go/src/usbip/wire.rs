// SPDX-License-Identifier: BSD-2-Clause
//! The messages: a header of 48 bytes, then the data of a CMD_SUBMIT for an OUT or of a RET_SUBMIT for an IN. Numbers
//! are big-endian.
#![forbid(unsafe_code)]

use core::fmt;

const HEADER: usize = 48;

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

const OUT: u32 = 0;
const IN: u32 = 1;

/// The largest URB that is accepted, in bytes; libusb and the kernel send smaller ones.
const MAX_LENGTH: u32 = 1 << 20;
/// number_of_packets of an URB that is not isochronous: the kernel sends the first, the documentation has the second.
const NO_PACKETS: [u32; 2] = [0, 0xffff_ffff];

/// The bytes are not USB/IP, or not for this device.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "USB/IP: {}", self.0)
    }
}

impl core::error::Error for Malformed {}

/// A request of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Submit(Submit),
    /// CMD_UNLINK `seqnum`: cancel the URB that was submitted as `victim`.
    Unlink {
        seqnum: u32,
        victim: u32,
    },
}

/// An URB.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Submit {
    pub(crate) seqnum: u32,
    /// Address: the number, and 0x80 for IN; 0 for both directions of endpoint 0.
    pub(crate) endpoint: u8,
    pub(crate) is_in: bool,
    /// transfer_flags, the kernel's URB_*.
    pub(crate) flags: u32,
    /// transfer_buffer_length, bytes.
    pub(crate) length: usize,
    pub(crate) setup: [u8; 8],
    /// The data of an OUT.
    pub(crate) data: Vec<u8>,
}

/// Returns a big-endian number of a header.
fn word(header: &[u8; HEADER], at: usize) -> u32 {
    header.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Removes the first request from `input`; `None` until it is complete.
pub(crate) fn take(input: &mut Vec<u8>) -> Result<Option<Request>, Malformed> {
    let Some(header) = input.first_chunk::<HEADER>() else { return Ok(None) };
    let (command, seqnum, direction, endpoint) = (word(header, 0), word(header, 4), word(header, 12), word(header, 16));
    match command {
        CMD_SUBMIT => {}
        CMD_UNLINK => {
            let victim = word(header, 20);
            input.drain(..HEADER);
            return Ok(Some(Request::Unlink { seqnum, victim }));
        }
        _ => return Err(Malformed(format!("command {command:#x}"))),
    }
    let (flags, length, packets) = (word(header, 20), word(header, 24), word(header, 32));
    let number = u8::try_from(endpoint).ok().filter(|number| *number < 16);
    let Some(number) = number.filter(|_| direction == OUT || direction == IN) else {
        return Err(Malformed(format!("endpoint {endpoint:#x}, direction {direction:#x}")));
    };
    if !NO_PACKETS.contains(&packets) {
        return Err(Malformed(format!("{packets} isochronous packets")));
    }
    let length = usize::try_from(length.min(MAX_LENGTH + 1)).unwrap_or(usize::MAX);
    if length > usize::try_from(MAX_LENGTH).unwrap_or(usize::MAX) {
        return Err(Malformed("an URB of more than 1 MiB".to_owned()));
    }
    let is_in = direction == IN;
    let end = if is_in { HEADER } else { HEADER + length };
    let setup = header.last_chunk().copied().unwrap_or_default();
    let Some(data) = input.get(HEADER..end).map(<[u8]>::to_vec) else { return Ok(None) };
    input.drain(..end);
    let endpoint = if is_in && number != 0 { number | 0x80 } else { number };
    Ok(Some(Request::Submit(Submit { seqnum, endpoint, is_in, flags, length, setup, data })))
}

/// Writes RET_SUBMIT. `status` is 0 or a negative errno, `actual` the number of bytes transferred, `data` those of an
/// IN.
pub(crate) fn ret_submit(output: &mut Vec<u8>, seqnum: u32, status: i32, actual: usize, data: &[u8]) {
    let actual = u32::try_from(actual).unwrap_or(u32::MAX);
    put(output, [RET_SUBMIT, seqnum], status, actual);
    output.extend(data);
}

/// Writes RET_UNLINK. `status` is -ECONNRESET when the URB was unlinked, 0 when it had completed before.
pub(crate) fn ret_unlink(output: &mut Vec<u8>, seqnum: u32, status: i32) {
    put(output, [RET_UNLINK, seqnum], status, 0);
}

/// Writes a header. Device, direction and endpoint are 0 in replies.
fn put(output: &mut Vec<u8>, head: [u32; 2], status: i32, actual: u32) {
    let start = output.len();
    output.extend(head.into_iter().chain([0, 0, 0]).flat_map(u32::to_be_bytes));
    output.extend(status.to_be_bytes());
    output.extend(actual.to_be_bytes());
    output.resize(start + HEADER, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(words: [u32; 10]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
        bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        bytes
    }

    #[test]
    fn a_request_is_taken_when_it_is_complete() {
        let mut whole = header([CMD_SUBMIT, 7, 1, OUT, 1, 0, 3, 0, 0, 0]);
        whole.extend(b"abc");
        for end in 0..whole.len() {
            let mut part = whole[..end].to_vec();
            assert_eq!(take(&mut part), Ok(None), "{end} bytes");
            assert_eq!(part.len(), end);
        }
        whole.push(b'x');
        let Ok(Some(Request::Submit(submit))) = take(&mut whole) else { panic!() };
        assert_eq!((submit.seqnum, submit.endpoint, &*submit.data), (7, 1, &b"abc"[..]));
        assert_eq!(submit.setup, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(whole, b"x");
    }

    #[test]
    fn an_in_has_a_length_and_no_data() {
        let mut bytes = header([CMD_SUBMIT, 7, 1, IN, 2, 0, 3, 0, 0xffff_ffff, 0]);
        let Ok(Some(Request::Submit(submit))) = take(&mut bytes) else { panic!() };
        assert_eq!((submit.endpoint, submit.length, submit.data.len(), bytes.len()), (0x82, 3, 0, 0));
    }

    #[test]
    fn malformed_requests_are_rejected() {
        for words in [
            [0, 7, 1, IN, 2, 0, 3, 0, 0, 0],
            [RET_SUBMIT, 7, 1, IN, 2, 0, 3, 0, 0, 0],
            [CMD_SUBMIT, 7, 1, 2, 2, 0, 3, 0, 0, 0],
            [CMD_SUBMIT, 7, 1, IN, 16, 0, 3, 0, 0, 0],
            [CMD_SUBMIT, 7, 1, IN, 0x102, 0, 3, 0, 0, 0],
            [CMD_SUBMIT, 7, 1, OUT, 2, 0, 0xffff_ffff, 0, 0, 0],
            [CMD_SUBMIT, 7, 1, IN, 2, 0, (1 << 20) + 1, 0, 0, 0],
            [CMD_SUBMIT, 7, 1, IN, 2, 0, 3, 0, 1, 0],
        ] {
            assert!(take(&mut header(words)).is_err(), "{words:x?}");
        }
    }
}
