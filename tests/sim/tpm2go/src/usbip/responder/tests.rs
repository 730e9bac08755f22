// SPDX-License-Identifier: BSD-2-Clause
//! The responder from the point of view of the kernel, over a socket and with a simulated clock.

use super::super::link::Link;
use super::*;
use crate::faults::Faults;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

const READ_DID_VID: [u8; 8] = [0x83, 0xd4, 0x0f, 0x00, 0, 0, 0, 0];
const ANNOUNCE_8: [u8; 8] = [0xc0, 0xca, 3, 0, 8, 0, 0, 0];
const OUT: u32 = 0;
const IN: u32 = 1;
const NO_SETUP: [u8; 8] = [0; 8];
const MS: Duration = Duration::from_millis(1);

fn stick(faults: &str) -> Stick {
    Stick::new("S1", |_: u8, _: &[u8]| Vec::new(), Faults::parse(faults).unwrap())
}

fn submit(seqnum: u32, direction: u32, endpoint: u32, length: u32, setup: [u8; 8], data: &[u8]) -> Vec<u8> {
    let words = [1, seqnum, 0x10002, direction, endpoint, 0, length, 0, 0, 0];
    [words.into_iter().flat_map(u32::to_be_bytes).collect(), setup.to_vec(), data.to_vec()].concat()
}

fn announce(seqnum: u32) -> Vec<u8> {
    submit(seqnum, OUT, 0, 0, ANNOUNCE_8, &[])
}

fn out(seqnum: u32) -> Vec<u8> {
    submit(seqnum, OUT, 1, 8, NO_SETUP, &READ_DID_VID)
}

fn input(seqnum: u32) -> Vec<u8> {
    submit(seqnum, IN, 2, 8, NO_SETUP, &[])
}

fn unlink(seqnum: u32, victim: u32) -> Vec<u8> {
    let words = [2, seqnum, 0x10002, 0, 0, victim, 0, 0, 0, 0, 0, 0];
    words.into_iter().flat_map(u32::to_be_bytes).collect()
}

/// An answer: command, seqnum, status, data.
type Answer = (u32, u32, i32, Vec<u8>);

/// Parses the replies in the bytes that the responder has sent.
fn answers(mut bytes: &[u8], ins: &[u32]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let word = |at: usize| u32::from_be_bytes(*bytes[at..].first_chunk().unwrap());
        let (command, seqnum) = (word(0), word(4));
        let len = if command == 3 && ins.contains(&seqnum) { word(24) as usize } else { 0 };
        answers.push((
            command,
            seqnum,
            i32::from_be_bytes(*bytes[20..].first_chunk().unwrap()),
            bytes[48..48 + len].to_vec(),
        ));
        bytes = &bytes[48 + len..];
    }
    answers
}

fn seqnums(responder: &mut Responder, ins: &[u32]) -> Vec<(u32, i32)> {
    let bytes = core::mem::take(responder.output());
    answers(&bytes, ins).into_iter().map(|(_, seqnum, status, _)| (seqnum, status)).collect()
}

#[test]
fn a_register_is_read_over_the_socket() {
    let (ours, mut kernel) = UnixStream::pair().unwrap();
    let (mut link, mut stick) = (Link::new(ours).unwrap(), stick(""));
    let requests = [announce(1), out(2), input(3)].concat();
    // The pieces end at arbitrary positions.
    for piece in requests.chunks(7) {
        kernel.write_all(piece).unwrap();
        link.serve(&mut stick).unwrap();
    }
    let mut bytes = vec![0; 3 * 48 + 8];
    kernel.read_exact(&mut bytes).unwrap();
    let answers = answers(&bytes, &[3]);
    assert_eq!(answers[..2], [(3, 1, 0, vec![]), (3, 2, 0, vec![])]);
    assert_eq!((answers[2].1, answers[2].2, &answers[2].3[4..]), (3, 0, &[0x14, 0x10, 0x01, 0x00][..]));
    drop(kernel);
    assert_eq!(link.serve(&mut stick).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn malformed_input_ends_the_link() {
    let (ours, mut kernel) = UnixStream::pair().unwrap();
    let (mut link, mut stick) = (Link::new(ours).unwrap(), stick(""));
    kernel.write_all(&[0xff; 48]).unwrap();
    assert_eq!(link.serve(&mut stick).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn an_in_waits_for_data() {
    let (mut responder, mut stick, now) = (Responder::default(), stick(""), Instant::now());
    responder.receive(&[input(1), announce(2)].concat(), now, Duration::ZERO).unwrap();
    responder.work(&mut stick, now);
    assert_eq!(seqnums(&mut responder, &[1]), [(2, 0)]);
    assert_eq!(responder.deadline(), None);
    responder.receive(&out(3), now, Duration::ZERO).unwrap();
    responder.work(&mut stick, now);
    assert_eq!(seqnums(&mut responder, &[1]), [(3, 0), (1, 0)]);
}

#[test]
fn an_urb_is_unlinked_or_has_completed() {
    let (mut responder, mut stick, now) = (Responder::default(), stick(""), Instant::now());
    responder.receive(&[input(1), announce(2)].concat(), now, Duration::ZERO).unwrap();
    responder.work(&mut stick, now);
    responder.receive(&[unlink(3, 1), unlink(4, 2), unlink(5, 1)].concat(), now, Duration::ZERO).unwrap();
    let bytes = core::mem::take(responder.output());
    let expected = [(3, 2, 0, vec![]), (4, 3, ECONNRESET, vec![]), (4, 4, 0, vec![]), (4, 5, 0, vec![])];
    assert_eq!(answers(&bytes, &[1]), expected);
}

#[test]
fn transfers_submitted_together_overlap() {
    let (mut responder, mut stick, start) = (Responder::default(), stick(""), Instant::now());
    responder.receive(&[announce(1), input(3), out(2)].concat(), start, MS).unwrap();
    responder.work(&mut stick, start);
    assert_eq!(responder.deadline(), Some(start + MS));
    assert!(responder.output().is_empty());
    responder.work(&mut stick, start + MS);
    assert_eq!(seqnums(&mut responder, &[3]), [(1, 0), (2, 0), (3, 0)]);
    assert_eq!(responder.deadline(), None);
}

#[test]
fn an_in_does_not_complete_before_its_out() {
    let (mut responder, mut stick, start) = (Responder::default(), stick(""), Instant::now());
    responder.receive(&[announce(1), input(3)].concat(), start, MS).unwrap();
    responder.receive(&out(2), start + MS / 2, MS).unwrap();
    responder.work(&mut stick, start + MS);
    assert_eq!(seqnums(&mut responder, &[3]), [(1, 0)]);
    assert_eq!(responder.deadline(), Some(start + MS / 2 + MS));
    responder.work(&mut stick, start + 2 * MS);
    assert_eq!(seqnums(&mut responder, &[3]), [(2, 0), (3, 0)]);
}

#[test]
fn stalls_overflows_and_short_replies_have_an_errno() {
    let status = |faults: &str, flags: u8| {
        let (mut responder, mut stick, now) = (Responder::default(), stick(faults), Instant::now());
        let mut input = input(3);
        input[23] = flags;
        responder.receive(&[announce(1), out(2), input].concat(), now, Duration::ZERO).unwrap();
        responder.work(&mut stick, now);
        seqnums(&mut responder, &[3])[2].1
    };
    assert_eq!(status("stall_in=0", 0), EPIPE);
    assert_eq!(status("long_in=0", 0), EOVERFLOW);
    assert_eq!(status("short_in=0", 0), 0);
    assert_eq!(status("short_in=0", 1), EREMOTEIO);
}

#[test]
fn a_transfer_without_reply_waits_for_its_unlink() {
    let (mut responder, mut stick, now) = (Responder::default(), stick("nak_in=0"), Instant::now());
    responder.receive(&[announce(1), out(2), input(3), input(4)].concat(), now, Duration::ZERO).unwrap();
    responder.work(&mut stick, now);
    assert_eq!(seqnums(&mut responder, &[]), [(1, 0), (2, 0)]);
    responder.receive(&unlink(5, 3), now, Duration::ZERO).unwrap();
    responder.work(&mut stick, now);
    // The data is still available for the next one.
    assert_eq!(seqnums(&mut responder, &[4]), [(5, ECONNRESET), (4, 0)]);
}

#[test]
fn an_unplugged_stick_completes_nothing() {
    let (mut responder, mut stick, now) = (Responder::default(), stick("unplug=1"), Instant::now());
    responder.receive(&[announce(1), out(2), input(3)].concat(), now, Duration::ZERO).unwrap();
    responder.work(&mut stick, now);
    assert_eq!(seqnums(&mut responder, &[]), [(1, 0)]);
    assert!(!stick.is_plugged());
}
