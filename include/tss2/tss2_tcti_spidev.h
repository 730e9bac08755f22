/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_SPIDEV_H
#define TSS2_TCTI_SPIDEV_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Opens the TPM behind a spidev device. With a NULL `tctiContext`, writes the size of a context in bytes to `size` and does
 * nothing else.
 *
 * # Configuration
 * `conf` is the path of the device. If it is NULL or empty, /dev/spidev0.1 is used.
 *
 * # Return value
 * `TSS2_TCTI_RC_IO_ERROR` if the device does not open or is not a spidev device, or if no TPM responds.
 * `TSS2_TCTI_RC_NOT_PERMITTED` if the system denies access.
 *
 * # Parameters
 * `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
 * writable; `conf` is NULL or a C string.
 */
TSS2_RC Tss2_Tcti_Spidev_Init(TSS2_TCTI_CONTEXT *tctiContext,
                              size_t *size,
                              const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_SPIDEV_H */
