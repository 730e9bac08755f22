/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_SWTPM_H
#define TSS2_TCTI_SWTPM_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Connects to a swtpm. With a NULL `tctiContext`, writes the size of a context in bytes to `size`.
 *
 * `conf` is `host=H,port=P` (default localhost, 2321) or `path=SOCKET`; the control channel is at port P + 1 or at
 * SOCKET.ctrl, unless `ctrl_port=` or `ctrl_path=` says otherwise. `timeout=` bounds the time to connect and for a
 * control command, in milliseconds. `keep=true` keeps the connection open between commands. `init=true` initialises a
 * swtpm that was not, and sends TPM2_Startup. `TSS2_TCTI_RC_BAD_VALUE` for a wrong `conf`, `TSS2_TCTI_RC_IO_ERROR` when
 * the swtpm does not answer.
 *
 * `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
 * string.
 */
TSS2_RC Tss2_Tcti_Swtpm_Init(TSS2_TCTI_CONTEXT *tctiContext,
                             size_t *size,
                             const char *conf);

/**
 * Power-cycles the emulated TPM (CMD_INIT with volatile state deleted); a command under way is lost.
 *
 * `tctiContext` is NULL or points to a context.
 */
TSS2_RC Tss2_Tcti_Swtpm_Reset(TSS2_TCTI_CONTEXT *tctiContext);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_SWTPM_H */
