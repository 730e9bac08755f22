/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_CMD_H
#define TSS2_TCTI_CMD_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Starts a command that carries TPM commands on its standard input and responses on its standard output. With a NULL
 * `tctiContext`, writes the size of a context in bytes to `size`.
 *
 * `conf` is run by `/bin/sh -c`; without one it is `TSS2_TCTI_RC_BAD_VALUE`. The command's standard error is the
 * caller's.
 *
 * `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
 * string.
 */
TSS2_RC Tss2_Tcti_Cmd_Init(TSS2_TCTI_CONTEXT *tctiContext,
                           size_t *size,
                           const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_CMD_H */
