// SPDX-License-Identifier: BSD-2-Clause
//! The place between two responses, found again with [`find`] after a process that shares the command died in the middle
//! of an exchange. Nobody knows then whether its TPM command was written and its response read: the process may have died
//! on its way out of the system call that did it.
#![forbid(unsafe_code)]

use super::process::Process;
use tcti_core::header::HEADER_SIZE;
use tcti_core::{Deadline, RxBuf, turns};

/// A command that no TPM has: 0 is none of TPM_CC (TPM 2.0 Library Part 2, section 6.5.2). Longer than a header, since
/// tpm2_send of tpm2-tools 5.7 does not read a command that is nothing else.
const UNKNOWN: &[u8] = &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0];
/// The end of the response code to that (section 6.6.3). Before it is the layer that answers, which may be a resource
/// manager.
const TPM_RC_COMMAND_CODE: &[u8] = &[0x01, 0x43];

/// TPM2_GetRandom of 8 bytes (Part 3, section 16.1), which is answered otherwise, whatever state the TPM is in.
const KNOWN: &[u8] = &[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8];

/// Sends a command that is unknown, and drops what comes until it is answered. A response that was on its way and says
/// the same is no matter: then that to the unknown command comes before that to a known one, which is sent next. `false`
/// when the answers are others, or do not come: the place is not known.
pub(super) fn find(process: &mut Process) -> bool {
    let deadline = Deadline::within(turns::RESUME_PATIENCE);
    let found = [(UNKNOWN, true), (KNOWN, false)]
        .into_iter()
        .all(|(command, is_unknown)| process.write(command).is_ok() && reach(process, is_unknown, &deadline).is_some());
    process.sent = 0;
    found && process.is_quiet()
}

/// Drops responses to the one that is meant. An older one may come first.
fn reach(process: &Process, is_unknown: bool, deadline: &Deadline) -> Option<()> {
    (answer(process, deadline)? == is_unknown || answer(process, deadline)? == is_unknown).then_some(())
}

/// Drops a response, and says whether it is that to an unknown command.
fn answer(process: &Process, deadline: &Deadline) -> Option<bool> {
    let (mut header, mut rx) = ([0; HEADER_SIZE], RxBuf::new());
    process.fill(&mut header, deadline)?;
    rx.extend(&header).ok()?;
    let mut left = rx.missing().ok()?;
    while left > 0 {
        let mut piece = [0; 256];
        let piece = piece.get_mut(..left.min(256))?;
        process.fill(piece, deadline)?;
        left -= piece.len();
    }
    Some(header.ends_with(TPM_RC_COMMAND_CODE))
}
