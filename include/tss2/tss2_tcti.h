/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TCTI interface (TCG "TSS 2.0 TPM Command Transmission Interface (TCTI) API" v1.0). If libtss2-dev is installed,
 * use its header of the same name; the two are compatible. This file is maintained by hand, because cbindgen cannot
 * generate macros.
 */
#ifndef TSS2_TCTI_H
#define TSS2_TCTI_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "tss2_common.h"

#ifndef TSS2_API_VERSION_1_2_1_108
#error "tss2_common.h and tss2_tcti.h are from different versions"
#endif

/* The headers of the other layers in libtss2-dev expect these types from this header. */
#if defined(__has_include)
#if __has_include("tss2_tpm2_types.h")
#include "tss2_tpm2_types.h"
#define TSS2_TCTI_HAS_TPM2_TYPES
#endif
#endif
#ifndef TSS2_TCTI_HAS_TPM2_TYPES
typedef UINT32 TPM2_HANDLE;
#endif

/* A handle for poll(2). */
typedef struct pollfd TSS2_TCTI_POLL_HANDLE;

/* Time-outs of Tss2_Tcti_Receive, in milliseconds. */
#define TSS2_TCTI_TIMEOUT_BLOCK -1
#define TSS2_TCTI_TIMEOUT_NONE 0

typedef struct TSS2_TCTI_OPAQUE_CONTEXT_BLOB TSS2_TCTI_CONTEXT;

typedef TSS2_RC (*TSS2_TCTI_TRANSMIT_FCN)(TSS2_TCTI_CONTEXT *tctiContext, size_t size, uint8_t const *command);
typedef TSS2_RC (*TSS2_TCTI_RECEIVE_FCN)(TSS2_TCTI_CONTEXT *tctiContext, size_t *size, uint8_t *response,
                                         int32_t timeout);
typedef void (*TSS2_TCTI_FINALIZE_FCN)(TSS2_TCTI_CONTEXT *tctiContext);
typedef TSS2_RC (*TSS2_TCTI_CANCEL_FCN)(TSS2_TCTI_CONTEXT *tctiContext);
typedef TSS2_RC (*TSS2_TCTI_GET_POLL_HANDLES_FCN)(TSS2_TCTI_CONTEXT *tctiContext, TSS2_TCTI_POLL_HANDLE *handles,
                                                  size_t *num_handles);
typedef TSS2_RC (*TSS2_TCTI_SET_LOCALITY_FCN)(TSS2_TCTI_CONTEXT *tctiContext, uint8_t locality);
typedef TSS2_RC (*TSS2_TCTI_MAKE_STICKY_FCN)(TSS2_TCTI_CONTEXT *tctiContext, TPM2_HANDLE *handle, uint8_t sticky);
typedef TSS2_RC (*TSS2_TCTI_INIT_FUNC)(TSS2_TCTI_CONTEXT *tctiContext, size_t *size, const char *config);

/* The beginning of every context. */
typedef struct TSS2_TCTI_CONTEXT_COMMON_V1 TSS2_TCTI_CONTEXT_COMMON_V1;
struct TSS2_TCTI_CONTEXT_COMMON_V1 {
    uint64_t magic;
    uint32_t version;
    TSS2_TCTI_TRANSMIT_FCN transmit;
    TSS2_TCTI_RECEIVE_FCN receive;
    TSS2_TCTI_FINALIZE_FCN finalize;
    TSS2_TCTI_CANCEL_FCN cancel;
    TSS2_TCTI_GET_POLL_HANDLES_FCN getPollHandles;
    TSS2_TCTI_SET_LOCALITY_FCN setLocality;
};

typedef struct TSS2_TCTI_CONTEXT_COMMON_V2 TSS2_TCTI_CONTEXT_COMMON_V2;
struct TSS2_TCTI_CONTEXT_COMMON_V2 {
    TSS2_TCTI_CONTEXT_COMMON_V1 v1;
    TSS2_TCTI_MAKE_STICKY_FCN makeSticky;
};

typedef TSS2_TCTI_CONTEXT_COMMON_V2 TSS2_TCTI_CONTEXT_COMMON_CURRENT;

/* The description of a module. A loader calls the function of this name to get it. */
#define TSS2_TCTI_INFO_SYMBOL "Tss2_Tcti_Info"

typedef struct TSS2_TCTI_INFO TSS2_TCTI_INFO;
struct TSS2_TCTI_INFO {
    uint32_t version;
    const char *name;
    const char *description;
    const char *config_help;
    TSS2_TCTI_INIT_FUNC init;
};

typedef const TSS2_TCTI_INFO *(*TSS2_TCTI_INFO_FUNC)(void);

/* Access to the fields of a context. */
#define TSS2_TCTI_V1(ctx) ((TSS2_TCTI_CONTEXT_COMMON_V1 *) (ctx))
#define TSS2_TCTI_V2(ctx) ((TSS2_TCTI_CONTEXT_COMMON_V2 *) (ctx))
#define TSS2_TCTI_MAGIC(ctx) TSS2_TCTI_V1(ctx)->magic
#define TSS2_TCTI_VERSION(ctx) TSS2_TCTI_V1(ctx)->version
#define TSS2_TCTI_TRANSMIT(ctx) TSS2_TCTI_V1(ctx)->transmit
#define TSS2_TCTI_RECEIVE(ctx) TSS2_TCTI_V1(ctx)->receive
#define TSS2_TCTI_FINALIZE(ctx) TSS2_TCTI_V1(ctx)->finalize
#define TSS2_TCTI_CANCEL(ctx) TSS2_TCTI_V1(ctx)->cancel
#define TSS2_TCTI_GET_POLL_HANDLES(ctx) TSS2_TCTI_V1(ctx)->getPollHandles
#define TSS2_TCTI_SET_LOCALITY(ctx) TSS2_TCTI_V1(ctx)->setLocality
#define TSS2_TCTI_MAKE_STICKY(ctx) TSS2_TCTI_V2(ctx)->makeSticky

/*
 * The calls. They return BAD_REFERENCE for a NULL context, ABI_MISMATCH for a context of a version that is too old, and
 * NOT_IMPLEMENTED for a function that the module does not have.
 */
#define TSS2_TCTI_CALL(ctx, least, FIELD, args)                                                                   \
    ((ctx) == NULL                       ? TSS2_TCTI_RC_BAD_REFERENCE                                             \
     : TSS2_TCTI_VERSION(ctx) < (least)  ? TSS2_TCTI_RC_ABI_MISMATCH                                              \
     : TSS2_TCTI_##FIELD(ctx) == NULL    ? TSS2_TCTI_RC_NOT_IMPLEMENTED                                           \
                                         : TSS2_TCTI_##FIELD(ctx) args)
#define Tss2_Tcti_Transmit(ctx, size, command) TSS2_TCTI_CALL(ctx, 1, TRANSMIT, (ctx, size, command))
#define Tss2_Tcti_Receive(ctx, size, response, timeout)                                                           \
    TSS2_TCTI_CALL(ctx, 1, RECEIVE, (ctx, size, response, timeout))
#define Tss2_Tcti_Cancel(ctx) TSS2_TCTI_CALL(ctx, 1, CANCEL, (ctx))
#define Tss2_Tcti_GetPollHandles(ctx, handles, num_handles)                                                       \
    TSS2_TCTI_CALL(ctx, 1, GET_POLL_HANDLES, (ctx, handles, num_handles))
#define Tss2_Tcti_SetLocality(ctx, locality) TSS2_TCTI_CALL(ctx, 1, SET_LOCALITY, (ctx, locality))
#define Tss2_Tcti_MakeSticky(ctx, handle, sticky) TSS2_TCTI_CALL(ctx, 2, MAKE_STICKY, (ctx, handle, sticky))
#define Tss2_Tcti_Finalize(ctx)                                                                                   \
    do {                                                                                                          \
        if ((ctx) != NULL && TSS2_TCTI_VERSION(ctx) >= 1 && TSS2_TCTI_FINALIZE(ctx) != NULL) {                    \
            TSS2_TCTI_FINALIZE(ctx)(ctx);                                                                         \
        }                                                                                                         \
    } while (0)

#endif /* TSS2_TCTI_H */
