/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTILDR_H
#define TSS2_TCTILDR_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Opens a TCTI module and stores a new context in `*context`, which `Tss2_TctiLdr_Finalize` releases. After a failure
 * `*context` is NULL.
 *
 * # Configuration
 * `nameConf` is the name of the module, or `name:conf`. If it is NULL or empty, the first default that opens is used.
 *
 * # Return value
 * `TSS2_TCTI_RC_BAD_VALUE` if `nameConf` is invalid or `context` is NULL, `TSS2_TCTI_RC_NOT_SUPPORTED` if the module does
 * not exist, `TSS2_TCTI_RC_IO_ERROR` if no default opens; otherwise the code of the module.
 *
 * # Parameters
 * `nameConf` is NULL or a C string; `context` is NULL or writable.
 */
TSS2_RC Tss2_TctiLdr_Initialize(const char *nameConf,
                                TSS2_TCTI_CONTEXT **context);

/**
 * Opens a TCTI module like `Tss2_TctiLdr_Initialize`, with the name and the configuration string as separate arguments.
 *
 * # Parameters
 * `name` and `conf` are NULL or C strings; `context` is NULL or writable.
 */
TSS2_RC Tss2_TctiLdr_Initialize_Ex(const char *name,
                                   const char *conf,
                                   TSS2_TCTI_CONTEXT **context);

/**
 * Finalizes the context of the module, unloads its library, frees `*context` and sets it to NULL.
 *
 * # Parameters
 * `context` is NULL or points to NULL or to a context of `Tss2_TctiLdr_Initialize` or `_Ex`.
 */
void Tss2_TctiLdr_Finalize(TSS2_TCTI_CONTEXT **context);

/**
 * Stores a copy of the description of a module in `*info`, with a NULL `init`. Free it with `Tss2_TctiLdr_FreeInfo`.
 *
 * # Configuration
 * `name` is the name of the module. If it is NULL, the first default whose library loads is described.
 *
 * # Return value
 * `TSS2_TCTI_RC_BAD_REFERENCE` if `info` is NULL, `TSS2_TCTI_RC_NOT_SUPPORTED` if the module does not exist; `*info` is
 * then NULL.
 *
 * # Parameters
 * `name` is NULL or a C string; `info` is NULL or writable.
 */
TSS2_RC Tss2_TctiLdr_GetInfo(const char *name,
                             TSS2_TCTI_INFO **info);

/**
 * Frees `*info` and sets it to NULL.
 *
 * # Parameters
 * `info` is NULL or points to NULL or to a description from `Tss2_TctiLdr_GetInfo`.
 */
void Tss2_TctiLdr_FreeInfo(TSS2_TCTI_INFO **info);

/**
 * Opens a TCTI module like `Tss2_TctiLdr_Initialize`, and creates the context in the memory of the caller. With a NULL
 * `tctiContext`, writes the size of a context in bytes to `size` and does nothing else.
 *
 * # Parameters
 * `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
 * writable; `conf` is NULL or a C string.
 */
TSS2_RC Tss2_Tcti_TctiLdr_Init(TSS2_TCTI_CONTEXT *tctiContext,
                               size_t *size,
                               const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTILDR_H */
