/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_NULL_H
#define TSS2_TCTI_NULL_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Creates a context without a TPM: every call with it returns `TSS2_TCTI_RC_NOT_IMPLEMENTED`. With a NULL `tctiContext`,
 * writes the size of a context in bytes to `size` and does nothing else. `conf` is ignored.
 *
 * # Parameters
 * `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
 * writable; `conf` is NULL or a C string.
 */
TSS2_RC Tss2_Tcti_Null_Init(TSS2_TCTI_CONTEXT *tctiContext,
                            size_t *size,
                            const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_NULL_H */
