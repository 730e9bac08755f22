/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_SPIDEV_H
#define TSS2_TCTI_SPIDEV_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Opens the TPM behind a spidev device. With a NULL `tctiContext`, writes the size of a context in bytes to `size`.
 *
 * `conf` is the path of the device; NULL or empty is /dev/spidev0.1. `TSS2_TCTI_RC_IO_ERROR` when it does not open,
 * is no spidev device or no TPM answers, `TSS2_TCTI_RC_NOT_PERMITTED` when the system denies access.
 *
 * `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
 * string.
 */
TSS2_RC Tss2_Tcti_Spidev_Init(TSS2_TCTI_CONTEXT *tctiContext,
                              size_t *size,
                              const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_SPIDEV_H */
