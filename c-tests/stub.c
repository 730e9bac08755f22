// SPDX-License-Identifier: BSD-2-Clause
/* A module that misbehaves. The compiler defines STUB, which selects how. */

#include <string.h>
#include <tss2/tss2_tcti.h>

#define NULL_INFO 1     /* the info function returns NULL */
#define NULL_INIT 2     /* the info has no Init function */
#define REFUSES 3       /* Init fails with NO_CONNECTION */
#define REFUSES_SIZE 4  /* Init fails when asked for the size */
#define TINY 5          /* the size is smaller than the head of a context */
#define VERSION_1 6     /* contexts of version 1, without makeSticky */
#define NO_SLOTS 7      /* contexts without any function */
#define NO_TEXTS 8      /* as VERSION_1, with an info without name and description */
#define NO_VERSION 9    /* Init succeeds and writes nothing */
#define CUT_OFF 10      /* contexts that state version 2 and end where makeSticky would be */
#define MANY_HANDLES 11 /* states 2^40 poll handles, or as many as a size_t holds */
#define MORE_HANDLES 12 /* states more poll handles when it writes them than when it is asked for their number */

#define ANSWERS (STUB == VERSION_1 || STUB == NO_TEXTS || STUB == CUT_OFF || HAS_HANDLES)
#define HAS_HANDLES (STUB == MANY_HANDLES || STUB == MORE_HANDLES)

#if ANSWERS
/* Answers every command with a fixed response to GetRandom. */
static TSS2_RC transmit(TSS2_TCTI_CONTEXT *ctx, size_t size, const uint8_t *command)
{
    (void)ctx, (void)size, (void)command;
    return TSS2_RC_SUCCESS;
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *ctx, size_t *size, uint8_t *response, int32_t timeout)
{
    static const uint8_t answer[] = {0x80, 0x01, 0, 0, 0, 20, 0, 0, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8};
    (void)ctx, (void)timeout;
    if (response != NULL)
        memcpy(response, answer, sizeof(answer));
    *size = sizeof(answer);
    return TSS2_RC_SUCCESS;
}
#endif

#if HAS_HANDLES
static TSS2_RC get_poll_handles(TSS2_TCTI_CONTEXT *ctx, TSS2_TCTI_POLL_HANDLE *handles, size_t *count)
{
    (void)ctx;
    if (handles != NULL)
        handles[0] = (TSS2_TCTI_POLL_HANDLE){.fd = 0, .events = POLLIN};
    if (STUB == MORE_HANDLES)
        *count = handles == NULL ? 1 : 1000;
    else
        *count = sizeof(size_t) == 8 ? (size_t)1 << 20 << 20 : SIZE_MAX;
    return TSS2_RC_SUCCESS;
}
#endif

TSS2_RC Tss2_Tcti_Stub_Init(TSS2_TCTI_CONTEXT *ctx, size_t *size, const char *conf)
{
    (void)conf;
    if (STUB == REFUSES_SIZE)
        return TSS2_TCTI_RC_MEMORY;
    if (ctx == NULL) {
        *size = STUB == TINY ? 8 : sizeof(TSS2_TCTI_CONTEXT_COMMON_V1);
        return TSS2_RC_SUCCESS;
    }
    if (STUB == REFUSES)
        return TSS2_TCTI_RC_NO_CONNECTION;
    if (STUB == NO_VERSION)
        return TSS2_RC_SUCCESS;
    memset(ctx, 0, *size);
    TSS2_TCTI_VERSION(ctx) = STUB == CUT_OFF ? 2 : 1;
#if ANSWERS
    TSS2_TCTI_TRANSMIT(ctx) = transmit;
    TSS2_TCTI_RECEIVE(ctx) = receive;
#endif
#if HAS_HANDLES
    TSS2_TCTI_GET_POLL_HANDLES(ctx) = get_poll_handles;
#endif
    return TSS2_RC_SUCCESS;
}

const TSS2_TCTI_INFO *Tss2_Tcti_Info(void)
{
    static const TSS2_TCTI_INFO info = {
        .version = STUB == VERSION_1 ? 1 : 2,
        .name = STUB == NO_TEXTS ? NULL : "stub",
        .description = STUB == NO_TEXTS ? NULL : "A stub.",
        .config_help = STUB == NO_TEXTS ? NULL : "None.",
        .init = STUB == NULL_INIT ? NULL : Tss2_Tcti_Stub_Init,
    };
    return STUB == NULL_INFO ? NULL : &info;
}
