// SPDX-License-Identifier: BSD-2-Clause
//! The constants of the C header: commands on the platform and command channels (`TpmTcpProtocol.h` of the TPM 2.0
//! reference code).
#![forbid(unsafe_code)]

/// Platform command: switches the TPM on.
pub const MS_SIM_POWER_ON: u32 = 1;
/// Platform command: switches the TPM off.
pub const MS_SIM_POWER_OFF: u32 = 2;
/// On the command channel: a TPM command follows. Not for `tcti_platform_command`.
pub const MS_SIM_TPM_SEND_COMMAND: u32 = 8;
/// Platform command: cancels the command in progress and those that follow.
pub const MS_SIM_CANCEL_ON: u32 = 9;
/// Platform command: ends the cancellation.
pub const MS_SIM_CANCEL_OFF: u32 = 10;
/// Platform command: makes the NV memory available.
pub const MS_SIM_NV_ON: u32 = 11;
/// Platform command: makes the NV memory unavailable.
pub const MS_SIM_NV_OFF: u32 = 12;
/// On both channels: ends the session; there is no reply. Not for `tcti_platform_command`.
pub const TPM_SESSION_END: u32 = 20;
