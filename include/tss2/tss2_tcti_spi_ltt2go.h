/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_SPI_LTT2GO_H
#define TSS2_TCTI_SPI_LTT2GO_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Opens the TPM on a LetsTrust-TPM2Go. With a NULL `tctiContext`, writes the size of a context in bytes to `size` and does
 * nothing else.
 *
 * # Configuration
 * `conf` is an extended regular expression that matches any part of the serial number of the stick. If it is NULL or
 * empty, the first stick that opens is used.
 *
 * # Return value
 * `TSS2_TCTI_RC_BAD_VALUE` if `conf` is not a regular expression, `TSS2_TCTI_RC_IO_ERROR` if no stick matches, another
 * program uses it or its TPM does not respond, `TSS2_TCTI_RC_NOT_PERMITTED` if the system denies access.
 *
 * # Parameters
 * `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
 * writable; `conf` is NULL or a C string.
 */
TSS2_RC Tss2_Tcti_Spi_Ltt2go_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                  size_t *size,
                                  const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_SPI_LTT2GO_H */
