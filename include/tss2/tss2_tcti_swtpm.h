/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_SWTPM_H
#define TSS2_TCTI_SWTPM_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Connects to swtpm. With a NULL `tctiContext`, writes the size of a context in bytes to `size` and does nothing else.
 *
 * # Configuration
 * `conf` is `host=H,port=P` (default localhost, 2321) or `path=SOCKET`. The control channel is at port P + 1 or at
 * SOCKET.ctrl, unless `ctrl_port=` or `ctrl_path=` is set. `timeout=` limits the time for a connection attempt and for a
 * control command, in milliseconds. `keep=true` keeps the connection open between commands. `init=true` initialises swtpm
 * if that was not done yet, and sends TPM2_Startup.
 *
 * # Return value
 * `TSS2_TCTI_RC_BAD_VALUE` if `conf` is invalid, `TSS2_TCTI_RC_IO_ERROR` if swtpm does not respond.
 *
 * # Parameters
 * `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
 * writable; `conf` is NULL or a C string.
 */
TSS2_RC Tss2_Tcti_Swtpm_Init(TSS2_TCTI_CONTEXT *tctiContext,
                             size_t *size,
                             const char *conf);

/**
 * Power-cycles the emulated TPM (CMD_INIT, which deletes the volatile state). The command in progress is lost.
 *
 * # Parameters
 * `tctiContext` is NULL or points to a live context.
 */
TSS2_RC Tss2_Tcti_Swtpm_Reset(TSS2_TCTI_CONTEXT *tctiContext);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_SWTPM_H */
