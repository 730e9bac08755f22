// SPDX-License-Identifier: BSD-2-Clause
//! What the kernel's driver means by an error, for people.
#![forbid(unsafe_code)]

use nix::errno::Errno;

/// Why it takes no command (Linux `tpm_common_write`, `tpm_dev_transmit`).
pub(crate) fn refusal(error: Errno) -> String {
    let hint = match error {
        Errno::E2BIG => ": the driver takes at most 4096 bytes",
        Errno::EINVAL => ": the driver does not take this for a TPM command",
        Errno::EBUSY => ": the driver still works on an earlier command",
        other => of_both(other),
    };
    format!("{}{hint}", error.desc())
}

/// Why there is no response to a command that it took (Linux `tpm2_prepare_space`, `tpm2_commit_space`).
pub(crate) fn failure(error: Errno) -> String {
    let hint = match error {
        Errno::EINVAL | Errno::ENOENT => {
            ": the command names an object or a session that this connection to the resource manager does not have"
        }
        Errno::ENOMEM => {
            ": the resource manager has room for three objects and three sessions for each connection. Those that are \
             loaded stay: flush one before the next (tpm2_flushcontext)"
        }
        Errno::EFAULT => {
            ": the driver has no use for an answer of the TPM, as when the resource manager has ended the sessions of this \
             connection, which it does when it refuses a command, and cannot load them"
        }
        other => of_both(other),
    };
    format!("{}{hint}", error.desc())
}

fn of_both(error: Errno) -> &'static str {
    match error {
        Errno::EPIPE | Errno::ENODEV => ": the TPM was removed",
        Errno::EIO => ": the driver does not reach the TPM",
        Errno::ETIME | Errno::ETIMEDOUT => ": the TPM does not answer the driver",
        _ => "",
    }
}
