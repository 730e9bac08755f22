/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_DEVICE_H
#define TSS2_TCTI_DEVICE_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Opens a TPM character device. With a NULL `tctiContext`, writes the size of a context in bytes to `size` and does
 * nothing else.
 *
 * # Configuration
 * `conf` is the path of the device. If it is NULL or empty, the first of /dev/tpmrm0, /dev/tpm0, /dev/tcmrm0 and
 * /dev/tcm0 that opens is used.
 *
 * # Return value
 * `TSS2_TCTI_RC_IO_ERROR` if the device cannot be opened, `TSS2_TCTI_RC_NOT_PERMITTED` if the system denies access.
 *
 * # Parameters
 * `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
 * writable; `conf` is NULL or a C string.
 */
TSS2_RC Tss2_Tcti_Device_Init(TSS2_TCTI_CONTEXT *tctiContext,
                              size_t *size,
                              const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_DEVICE_H */
