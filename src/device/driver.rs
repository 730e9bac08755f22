// SPDX-License-Identifier: BSD-2-Clause
//! Explains errors of the kernel's driver: [`refusal`] for those of write(2), [`failure`] for those of read(2).
#![forbid(unsafe_code)]

use nix::errno::Errno;

/// Explains why the driver refuses a command (Linux `tpm_common_write`, `tpm_dev_transmit`).
pub(crate) fn refusal(error: Errno) -> String {
    let hint = match error {
        Errno::E2BIG => ": the driver takes at most 4096 bytes",
        Errno::EINVAL => ": the driver does not take this for a TPM command",
        Errno::EBUSY => ": the driver still works on an earlier command",
        other => common(other),
    };
    format!("{}{hint}", error.desc())
}

/// Explains why the driver returns no response (Linux `tpm2_prepare_space`, `tpm2_commit_space`).
pub(crate) fn failure(error: Errno) -> String {
    let hint = match error {
        Errno::EINVAL | Errno::ENOENT => {
            ": the command names an object or a session that this connection to the resource manager does not have"
        }
        Errno::ENOMEM => {
            ": the resource manager has room for three objects and three sessions per connection. Those already loaded \
             stay: flush one before loading another (tpm2_flushcontext)"
        }
        Errno::EFAULT => {
            ": the driver could not use the answer of the TPM. After a refused command this is the resource manager: it \
             ended the sessions of this connection then, and cannot restore them"
        }
        other => common(other),
    };
    format!("{}{hint}", error.desc())
}

fn common(error: Errno) -> &'static str {
    match error {
        Errno::EPIPE | Errno::ENODEV => ": the TPM was removed",
        Errno::EIO => ": the driver cannot reach the TPM",
        Errno::ETIME | Errno::ETIMEDOUT => ": the TPM does not answer the driver",
        _ => "",
    }
}
