/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_NULL_H
#define TSS2_TCTI_NULL_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes a context that reaches no TPM: every call on it is `TSS2_TCTI_RC_NOT_IMPLEMENTED`. With a NULL `tctiContext`,
 * writes the size of a context in bytes to `size`. `conf` does not count.
 *
 * `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
 * string.
 */
TSS2_RC Tss2_Tcti_Null_Init(TSS2_TCTI_CONTEXT *tctiContext,
                            size_t *size,
                            const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_NULL_H */
