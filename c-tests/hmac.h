// SPDX-License-Identifier: BSD-2-Clause
/* A key that is loaded in the TPM, and commands that show whether it is still there: each asks for the HMAC of another
 * number, so that neither another key nor the answer to another command passes for the right one. */

#ifndef HMAC_H
#define HMAC_H

#include <string.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"
#include "report.h"

#define NUMBERS 32
#define DIGEST 32u

/* CreatePrimary of a HMAC key in the owner hierarchy. */
static const uint8_t CREATE_KEY[] = {0x80, 0x02, 0, 0, 0, 57, 0, 0, 0x01, 0x31, 0x40, 0, 0, 0x01, 0, 0, 0, 9, 0x40, 0, 0,
                                     0x09, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 16, 0, 0x08, 0, 0x0b, 0, 0x04, 0, 0x72, 0,
                                     0, 0, 0x05, 0, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0};
_Static_assert(sizeof(CREATE_KEY) == 57, "the size in the header");
#define HMAC 0x155

/* The TPM has begun to test the algorithm; the command is to be sent again. */
#define TPM_RC_RETRY 0x922

static uint32_t key;
static uint8_t right[NUMBERS][DIGEST]; /* the HMAC of each number */
static uint8_t response[4096];

/* A command with an object that has no password, or with no handle at all (0), a text, and what follows it. */
static inline size_t with_text(uint8_t *command, uint16_t code, uint32_t handle, const char *text, const char *more, size_t size)
{
    static const uint8_t no_password[] = {0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0};
    const uint8_t head[] = WITH_HANDLE(0, handle);
    size_t length = strlen(text), at = 10;
    memcpy(command, head, sizeof(head));
    if (handle != 0) {
        command[1] = 2; /* TPM_ST_SESSIONS */
        memcpy(command + sizeof(head), no_password, sizeof(no_password));
        at = sizeof(head) + sizeof(no_password);
    }
    command[8] = (uint8_t)(code >> 8);
    command[9] = (uint8_t)code;
    command[at++] = 0;
    command[at++] = (uint8_t)length;
    memcpy(command + at, text, length);
    memcpy(command + at + length, more, size);
    at += length + size;
    command[5] = (uint8_t)at;
    return at;
}

static inline TSS2_RC transmit(TSS2_TCTI_CONTEXT *ctx, unsigned number)
{
    uint8_t command[128];
    char text[16];
    snprintf(text, sizeof(text), "number %u", number);
    return Tss2_Tcti_Transmit(ctx, with_text(command, HMAC, key, text, "\0\x10", 2), command);
}

static inline TSS2_RC receive(TSS2_TCTI_CONTEXT *ctx, int32_t timeout)
{
    size_t size = sizeof(response);
    memset(response, 0, sizeof(response)); /* what was there before */
    return Tss2_Tcti_Receive(ctx, &size, response, timeout);
}

/* The code of the call that fails, or of the TPM. */
static inline TSS2_RC exchange(TSS2_TCTI_CONTEXT *ctx, size_t size, const uint8_t *command)
{
    TSS2_RC rc;
    do {
        rc = Tss2_Tcti_Transmit(ctx, size, command);
        if (rc == TSS2_RC_SUCCESS)
            rc = receive(ctx, TSS2_TCTI_TIMEOUT_BLOCK);
    } while (rc == TSS2_RC_SUCCESS && response_code(response) == TPM_RC_RETRY);
    return rc == TSS2_RC_SUCCESS ? response_code(response) : rc;
}

/* Receives the HMAC of a number. */
static inline void collects(TSS2_TCTI_CONTEXT *ctx, unsigned number)
{
    TSS2_RC rc = receive(ctx, TSS2_TCTI_TIMEOUT_BLOCK);
    code("receive", rc, TSS2_RC_SUCCESS);
    if (rc != TSS2_RC_SUCCESS)
        return;
    code("the key is there", response_code(response), TSS2_RC_SUCCESS);
    that("the answer is that to its own command", memcmp(response + 16, right[number], DIGEST) == 0);
}

/* Commands, each with its own answer, until one fails. */
static inline void goes_on(TSS2_TCTI_CONTEXT *ctx, unsigned count)
{
    static unsigned last;
    while (count-- > 0 && failed == 0) {
        unsigned number = ((unsigned)getpid() * 7 + last++) % NUMBERS;
        TSS2_RC rc = transmit(ctx, number);
        code("transmit", rc, TSS2_RC_SUCCESS);
        if (rc == TSS2_RC_SUCCESS)
            collects(ctx, number);
    }
}

static inline TSS2_TCTI_CONTEXT *opened(const char *name_conf)
{
    TSS2_TCTI_CONTEXT *ctx = NULL;
    must("open", Tss2_TctiLdr_Initialize(name_conf, &ctx));
    return ctx;
}

/* Learns what is right. The TPM may have to test the algorithm first. */
static inline void learn(TSS2_TCTI_CONTEXT *ctx)
{
    for (unsigned number = 0; number < NUMBERS; number++) {
        do {
            must("transmit", transmit(ctx, number));
            must("receive", receive(ctx, TSS2_TCTI_TIMEOUT_BLOCK));
        } while (response_code(response) == TPM_RC_RETRY);
        must("the HMAC", response_code(response));
        memcpy(right[number], response + 16, DIGEST);
    }
}

/* A context with the key loaded. */
static inline TSS2_TCTI_CONTEXT *loaded(const char *name_conf)
{
    TSS2_TCTI_CONTEXT *ctx = opened(name_conf);
    must("load", exchange(ctx, sizeof(CREATE_KEY), CREATE_KEY));
    key = be32(response + 10);
    learn(ctx);
    return ctx;
}

static inline void flush(TSS2_TCTI_CONTEXT *ctx)
{
    const uint8_t command[] = WITH_HANDLE(FLUSH_CONTEXT, key);
    code("the key can be flushed", exchange(ctx, sizeof(command), command), TSS2_RC_SUCCESS);
}

#endif
