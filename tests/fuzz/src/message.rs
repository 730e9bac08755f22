// SPDX-License-Identifier: BSD-2-Clause
//! Commands and responses that contain a number, so that each response belongs to one command.

use tss2_faults::{Action, Response, Step};

/// Bytes of a command.
pub const COMMAND_SIZE: usize = 14;

/// Returns the command with this number.
pub fn command(number: u32) -> Vec<u8> {
    let mut command = vec![0x80, 0x01, 0, 0, 0, COMMAND_SIZE as u8, 0, 0, 0x01, 0x7b];
    command.extend(number.to_be_bytes());
    command
}

/// Returns the number of a command.
pub fn number(command: &[u8]) -> u32 {
    u32::from_be_bytes(*command.last_chunk().expect("a command of ours"))
}

/// Returns the response to the command with this number, with `size` bytes after the header and the number.
pub fn response(number: u32, size: u16) -> Vec<u8> {
    let mut response = vec![0x80, 0x01];
    response.extend((14 + u32::from(size)).to_be_bytes());
    response.extend([0; 4]);
    response.extend(number.to_be_bytes());
    response.extend((0..size).map(|index| index as u8 ^ number as u8));
    response
}

/// Takes a step, with at most fifteen pieces: the client may not read before they are all sent, and more of them would only
/// slow the fuzzer down.
pub fn actions(response: &mut Response, step: &Step) -> Vec<Action> {
    let least = u16::try_from(response.unsent().len()).unwrap_or(u16::MAX) / 8;
    match step {
        Step::Pieces(size) => response.actions(&Step::Pieces((*size).max(least))),
        step => response.actions(step),
    }
}

/// Returns the size in the header of a response, if the header is whole.
pub fn said(bytes: &[u8]) -> Option<usize> {
    let size = bytes.get(2..6)?.try_into().ok()?;
    (bytes.len() >= 10).then_some(u32::from_be_bytes(size) as usize)
}

/// Whether a response may have this tag, as far as it is there.
pub fn is_tagged(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_none_or(|tag| [[0x80, 0x01], [0x80, 0x02], [0x00, 0xc4]].contains(tag))
}

/// The maximum size of a response, in bytes.
pub const LARGEST: usize = 1 << 20;

/// Whether this is exactly one response.
pub fn is_response(bytes: &[u8]) -> bool {
    is_tagged(bytes) && bytes.len() <= LARGEST && said(bytes) == Some(bytes.len())
}
