/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_PCAP_H
#define TSS2_TCTI_PCAP_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Opens another TCTI, and records its commands and responses in the pcapng file that the environment variable
 * `TCTI_PCAP_FILE` names (default tpm2_log.pcap). With a NULL `tctiContext`, writes the size of a context in bytes to
 * `size` and does nothing else.
 *
 * # Configuration
 * `conf` is `NAME:CONF` of the other TCTI. If it is NULL or empty, the default of the loader is opened.
 *
 * # Return value
 * The code of the other TCTI; `TSS2_TCTI_RC_IO_ERROR` or `TSS2_TCTI_RC_NOT_PERMITTED` if the file cannot be written.
 *
 * # Parameters
 * `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
 * writable; `conf` is NULL or a C string.
 */
TSS2_RC Tss2_Tcti_Pcap_Init(TSS2_TCTI_CONTEXT *tctiContext,
                            size_t *size,
                            const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_PCAP_H */
