/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTILDR_H
#define TSS2_TCTILDR_H

/* Made by `cargo xtask headers`; do not edit. */

#include "tss2_tcti.h"

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Opens the module that `nameConf` names, as `name` or `name:conf`; NULL or empty opens the first default.
 *
 * `*context` is a new context, to be released by `Tss2_TctiLdr_Finalize`, or NULL on every failure.
 * `TSS2_TCTI_RC_BAD_VALUE` for a wrong `nameConf` or a NULL `context`, `TSS2_TCTI_RC_NOT_SUPPORTED` when there is no
 * such module, `TSS2_TCTI_RC_IO_ERROR` when no default opens; else the code of the module.
 *
 * `nameConf` is NULL or a C string; `context` is NULL or writable.
 */
TSS2_RC Tss2_TctiLdr_Initialize(const char *nameConf,
                                TSS2_TCTI_CONTEXT **context);

/**
 * As `Tss2_TctiLdr_Initialize`, with name and configuration string apart.
 *
 * `name` and `conf` are NULL or C strings; `context` is NULL or writable.
 */
TSS2_RC Tss2_TctiLdr_Initialize_Ex(const char *name, const char *conf, TSS2_TCTI_CONTEXT **context);

/**
 * Closes the module's context, lets its library go, frees `*context` and makes it NULL.
 *
 * `context` is NULL or points to NULL or to a context of `Tss2_TctiLdr_Initialize` or `_Ex`.
 */
void Tss2_TctiLdr_Finalize(TSS2_TCTI_CONTEXT **context);

/**
 * Gives a copy of what the named module says of itself, `init` being NULL; free it with `Tss2_TctiLdr_FreeInfo`.
 *
 * A NULL `name` asks for the first default whose library loads. `TSS2_TCTI_RC_BAD_REFERENCE` for a NULL `info`,
 * `TSS2_TCTI_RC_NOT_SUPPORTED` when there is no such module; then `*info` is NULL.
 *
 * `name` is NULL or a C string; `info` is NULL or writable.
 */
TSS2_RC Tss2_TctiLdr_GetInfo(const char *name,
                             TSS2_TCTI_INFO **info);

/**
 * Frees `*info` and makes it NULL.
 *
 * `info` is NULL or points to NULL or to what `Tss2_TctiLdr_GetInfo` gave.
 */
void Tss2_TctiLdr_FreeInfo(TSS2_TCTI_INFO **info);

/**
 * As `Tss2_TctiLdr_Initialize`, in memory of the caller; with a NULL `tctiContext`, writes the size of a context in
 * bytes to `size`.
 *
 * `tctiContext` is NULL or points to memory of the size asked for; `size` is NULL or writable; `conf` is NULL or a C
 * string.
 */
TSS2_RC Tss2_Tcti_TctiLdr_Init(TSS2_TCTI_CONTEXT *tctiContext,
                               size_t *size,
                               const char *conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTILDR_H */
