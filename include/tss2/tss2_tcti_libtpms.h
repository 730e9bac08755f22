/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_LIBTPMS_H
#define TSS2_TCTI_LIBTPMS_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Powers on a TPM inside this process, which can have only one at a time. With a NULL `tctiContext`, writes the size of
 * a context in bytes to `size` and does nothing else.
 *
 * # Configuration
 * `conf` is the path of the state file, which is created if it does not exist. If it is NULL or empty, the state is only
 * in memory.
 *
 * # Return value
 * `TSS2_TCTI_RC_IO_ERROR` if this process already has a TPM, or if the state file is damaged or in use.
 * `TSS2_TCTI_RC_NOT_PERMITTED` if the state file belongs to another user.
 *
 * # Parameters
 * `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
 * writable; `conf` is NULL or a C string.
 */
TSS2_RC Tss2_Tcti_Libtpms_Init(TSS2_TCTI_CONTEXT *tctiContext,
                               size_t *size,
                               const char *conf);

/**
 * Power-cycles the TPM: its volatile state and the command in progress are lost. The next command may be TPM2_Startup;
 * before any other command the module sends TPM2_Startup itself.
 *
 * # Parameters
 * `tctiContext` is NULL or points to a live context.
 */
TSS2_RC Tss2_Tcti_Libtpms_Reset(TSS2_TCTI_CONTEXT *tctiContext);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_LIBTPMS_H */
