// SPDX-License-Identifier: BSD-2-Clause
//! Resynchronises the pipe to a command after a process that shares it was killed during an exchange: [`resync`]. It is
//! then unknown how much of its TPM command was written and how much of the response was read: the process may have died
//! on its way out of the system call that did it, or during this very resynchronisation.
#![forbid(unsafe_code)]

use super::process::Process;
use rustix::rand::{GetRandomFlags, getrandom};
use std::time::Duration;
use tcti_core::{Deadline, turns};

/// Number of TPM2_GetRandom commands that are sent as markers. The sizes of their responses are random, so that the
/// responses to an earlier resynchronisation are not mistaken for these.
const MARKERS: usize = 8;
/// The most bytes that a marker asks for; every TPM returns that many at once.
const MAX_COUNT: u8 = 16;
/// The most bytes that all responses have together.
const CAPACITY: usize = MARKERS * (HEAD + MAX_COUNT as usize);
/// How long the command may be silent after its first bytes: TPM2_GetRandom takes no TPM long.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a response to TPM2_GetRandom before the random ones (TPM 2.0 Library Part 3, section 16.1).
const HEAD: usize = 12;

/// Returns a TPM2_GetRandom command for `count` bytes.
fn command(count: u8) -> [u8; 12] {
    [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, count]
}

/// Returns the first bytes of the response to it.
fn head(count: u8) -> [u8; HEAD] {
    [0x80, 0x01, 0, 0, 0, 12 + count, 0, 0, 0, 0, 0, count]
}

/// Sends the markers, and drops everything up to the end of their responses. Returns `false` if they do not arrive: then
/// the stream cannot be used any more.
pub(super) fn resync(process: &mut Process) -> bool {
    let found = find_responses(process).is_some();
    process.sent = 0;
    found && process.is_quiet()
}

fn find_responses(process: &mut Process) -> Option<()> {
    let mut counts = [0; MARKERS];
    let drawn = getrandom(&mut counts, GetRandomFlags::NONBLOCK).ok()?;
    let counts = counts.map(|byte| 1 + byte % MAX_COUNT);
    let commands = counts.map(command);
    process.write(commands.as_flattened()).ok()?;
    let mut timeout = turns::RESUME_PATIENCE;
    let (mut bytes, mut size) = ([0; CAPACITY], 0);
    while drawn == MARKERS && !bytes.get(..size).is_some_and(|bytes| ends_with(bytes, &counts)) {
        if size == CAPACITY {
            bytes.copy_within(1.., 0);
            size -= 1;
        }
        size += process.read_some(bytes.get_mut(size..)?, &Deadline::within(timeout))?;
        timeout = SILENCE_TIMEOUT;
    }
    (drawn == MARKERS).then_some(())
}

/// Returns whether `bytes` end with the responses to the markers.
fn ends_with(bytes: &[u8], counts: &[u8; MARKERS]) -> bool {
    let size = counts.iter().map(|count| HEAD + usize::from(*count)).sum();
    let Some(mut rest) = bytes.len().checked_sub(size).and_then(|start| bytes.get(start..)) else { return false };
    counts.iter().all(|count| {
        let Some((response, after)) = rest.split_at_checked(HEAD + usize::from(*count)) else { return false };
        rest = after;
        response.starts_with(&head(*count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_responses_count_whatever_precedes_them() {
        let counts = [3, 1, 16, 2, 9, 9, 1, 4];
        let right = counts.map(|count| [&head(count)[..], &vec![7; count.into()]].concat()).concat();
        assert!(ends_with(&right, &counts));
        assert!(ends_with(&[&[0, 8, 1, 2, 3], &right[..]].concat(), &counts), "after part of another response");
        assert!(!ends_with(&right[1..], &counts));
        assert!(!ends_with(&right[..right.len() - 1], &counts));
        assert!(!ends_with(&right, &[3, 1, 16, 2, 9, 9, 4, 1]), "responses to an earlier resynchronisation");
    }
}
