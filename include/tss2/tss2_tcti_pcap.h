/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_PCAP_H
#define TSS2_TCTI_PCAP_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Opens another TCTI and records what goes through it, in the pcapng file that the environment variable
 * `TCTI_PCAP_FILE` names (default tpm2_log.pcap). With a NULL `tctiContext`, writes the size of a context in bytes to
 * `size`.
 *
 * `conf` is `NAME:CONF` of the other TCTI; without one it is the loader's default. Its return codes pass through.
 * `TSS2_TCTI_RC_IO_ERROR` or `TSS2_TCTI_RC_NOT_PERMITTED` when the file cannot be written.
 *
 * `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
 * string.
 */
TSS2_RC Tss2_Tcti_Pcap_Init(TSS2_TCTI_CONTEXT *tctiContext,
                            size_t *size,
                            const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_PCAP_H */
