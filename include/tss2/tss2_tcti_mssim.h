/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_MSSIM_H
#define TSS2_TCTI_MSSIM_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

/**
 * Platform command: switches the TPM on.
 */
#define MS_SIM_POWER_ON 1

/**
 * Platform command: switches the TPM off.
 */
#define MS_SIM_POWER_OFF 2

/**
 * On the command channel: a TPM command follows. Not for `tcti_platform_command`.
 */
#define MS_SIM_TPM_SEND_COMMAND 8

/**
 * Platform command: cancels the command in progress and those that follow.
 */
#define MS_SIM_CANCEL_ON 9

/**
 * Platform command: ends the cancellation.
 */
#define MS_SIM_CANCEL_OFF 10

/**
 * Platform command: makes the NV memory available.
 */
#define MS_SIM_NV_ON 11

/**
 * Platform command: makes the NV memory unavailable.
 */
#define MS_SIM_NV_OFF 12

/**
 * On both channels: ends the session; there is no reply. Not for `tcti_platform_command`.
 */
#define TPM_SESSION_END 20

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Connects to a simulator and switches its power and its NV memory on. With a NULL `tctiContext`, writes the size of a
 * context in bytes to `size`.
 *
 * `conf` is `host=H,port=P` (default localhost, 2321) or `path=SOCKET`; the platform channel is at port P + 1 or at
 * SOCKET.ctrl, unless `ctrl_port=` or `ctrl_path=` says otherwise. `timeout=` bounds the time to connect and for a
 * platform command, in milliseconds. `TSS2_TCTI_RC_BAD_VALUE` for a wrong `conf`, `TSS2_TCTI_RC_IO_ERROR` when the
 * simulator does not answer.
 *
 * `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
 * string.
 */
TSS2_RC Tss2_Tcti_Mssim_Init(TSS2_TCTI_CONTEXT *tctiContext,
                             size_t *size,
                             const char *conf);

/**
 * Sends a command on the platform channel (power, NV, cancel, reset) and waits for its reply; the TPM command under
 * way goes on. `TSS2_TCTI_RC_IO_ERROR` when the simulator refuses it.
 *
 * `tctiContext` is NULL or points to a context.
 */
TSS2_RC tcti_platform_command(TSS2_TCTI_CONTEXT *tctiContext,
                              uint32_t cmd);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_MSSIM_H */
