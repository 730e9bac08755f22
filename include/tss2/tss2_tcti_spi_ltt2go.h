/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_SPI_LTT2GO_H
#define TSS2_TCTI_SPI_LTT2GO_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Opens the TPM on a LetsTrust-TPM2Go. With a NULL `tctiContext`, writes the size of a context in bytes to `size`.
 *
 * `conf` is an extended regular expression (POSIX) that the serial number of the stick matches, in any part; NULL or
 * empty is the first stick that opens. `TSS2_TCTI_RC_BAD_VALUE` when it is none, `TSS2_TCTI_RC_IO_ERROR` when there
 * is no such stick, another program uses it or its TPM does not answer, `TSS2_TCTI_RC_NOT_PERMITTED` when the system
 * denies access.
 *
 * `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
 * string.
 */
TSS2_RC Tss2_Tcti_Spi_Ltt2go_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                  size_t *size,
                                  const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_SPI_LTT2GO_H */
