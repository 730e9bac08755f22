/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_CMD_H
#define TSS2_TCTI_CMD_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Starts a shell command that reads TPM commands from its standard input and writes responses to its standard output.
 * With a NULL `tctiContext`, writes the size of a context in bytes to `size` and does nothing else.
 *
 * # Configuration
 * `conf` is run by `/bin/sh -c`. The command inherits the standard error of the caller.
 *
 * # Return value
 * `TSS2_TCTI_RC_BAD_VALUE` if `conf` is NULL or empty.
 *
 * # Parameters
 * `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
 * writable; `conf` is NULL or a C string.
 */
TSS2_RC Tss2_Tcti_Cmd_Init(TSS2_TCTI_CONTEXT *tctiContext,
                           size_t *size,
                           const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_CMD_H */
