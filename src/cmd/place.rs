// SPDX-License-Identifier: BSD-2-Clause
//! The place between two responses, found again with [`find`] after a process that shares the command died in the middle
//! of an exchange. Nobody knows then whether its TPM command was written and its response read, or a part of it: the
//! process may have died on its way out of the system call that did it, and in this very search.
#![forbid(unsafe_code)]

use super::process::Process;
use rustix::rand::{GetRandomFlags, getrandom};
use std::time::Duration;
use tcti_core::{Deadline, turns};

/// Responses that are looked for. Their sizes are drawn by lot, so that those of an earlier search are not taken for them.
const MARKS: usize = 8;
/// Most bytes that each is asked for; every TPM has as many at a time.
const MOST: u8 = 16;
/// Most bytes of all of them.
const ROOM: usize = MARKS * (HEAD + MOST as usize);
/// How long nothing may come once something has: what is asked for here takes no TPM long.
const SILENCE: Duration = Duration::from_secs(2);

/// Bytes of a response to TPM2_GetRandom before the random ones (TPM 2.0 Library Part 3, section 16.1).
const HEAD: usize = 12;

/// TPM2_GetRandom of so many bytes.
fn command(count: u8) -> [u8; 12] {
    [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, count]
}

/// What a response to it begins with.
fn head(count: u8) -> [u8; HEAD] {
    [0x80, 0x01, 0, 0, 0, 12 + count, 0, 0, 0, 0, 0, count]
}

/// Asks for random bytes, and drops what comes until all of them have. `false` when they do not: the place is not known.
pub(super) fn find(process: &mut Process) -> bool {
    let found = search(process).is_some();
    process.sent = 0;
    found && process.is_quiet()
}

fn search(process: &mut Process) -> Option<()> {
    let mut marks = [0; MARKS];
    let drawn = getrandom(&mut marks, GetRandomFlags::NONBLOCK).ok()?;
    let marks = marks.map(|byte| 1 + byte % MOST);
    let commands = marks.map(command);
    process.write(commands.as_flattened()).ok()?;
    let mut patience = turns::RESUME_PATIENCE;
    let (mut came, mut size) = ([0; ROOM], 0);
    while drawn == MARKS && !came.get(..size).is_some_and(|came| ends_with(came, &marks)) {
        if size == ROOM {
            came.copy_within(1.., 0);
            size -= 1;
        }
        size += process.take(came.get_mut(size..)?, &Deadline::within(patience))?;
        patience = SILENCE;
    }
    (drawn == MARKS).then_some(())
}

/// Whether these are the last responses of what came.
fn ends_with(came: &[u8], marks: &[u8; MARKS]) -> bool {
    let size = marks.iter().map(|count| HEAD + usize::from(*count)).sum();
    let Some(mut rest) = came.len().checked_sub(size).and_then(|start| came.get(start..)) else { return false };
    marks.iter().all(|count| {
        let Some((response, after)) = rest.split_at_checked(HEAD + usize::from(*count)) else { return false };
        rest = after;
        response.starts_with(&head(*count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_the_last_ones_whatever_came_before() {
        let marks = [3, 1, 16, 2, 9, 9, 1, 4];
        let right = marks.map(|count| [&head(count)[..], &vec![7; count.into()]].concat()).concat();
        assert!(ends_with(&right, &marks));
        assert!(ends_with(&[&[0, 8, 1, 2, 3], &right[..]].concat(), &marks), "a part of another one");
        assert!(!ends_with(&right[1..], &marks));
        assert!(!ends_with(&right[..right.len() - 1], &marks));
        assert!(!ends_with(&right, &[3, 1, 16, 2, 9, 9, 4, 1]), "those of an earlier search");
    }
}
