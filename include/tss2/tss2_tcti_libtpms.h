/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_LIBTPMS_H
#define TSS2_TCTI_LIBTPMS_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Powers on a TPM inside this process. With a NULL `tctiContext`, writes the size of a context in bytes to `size`.
 *
 * `conf` is the path of a state file, made when it is missing; NULL or empty keeps the TPM in memory. One TPM per
 * process: a second context is `TSS2_TCTI_RC_IO_ERROR`, and so is a state file that is damaged or in use. That of another
 * user is `TSS2_TCTI_RC_NOT_PERMITTED`.
 *
 * `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
 * string.
 */
TSS2_RC Tss2_Tcti_Libtpms_Init(TSS2_TCTI_CONTEXT *tctiContext,
                               size_t *size,
                               const char *conf);

/**
 * Power-cycles the TPM: volatile state and a command under way are lost. TPM2_Startup may follow; before any other
 * command it is sent.
 *
 * `tctiContext` is NULL or points to a context.
 */
TSS2_RC Tss2_Tcti_Libtpms_Reset(TSS2_TCTI_CONTEXT *tctiContext);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_LIBTPMS_H */
