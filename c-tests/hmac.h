// SPDX-License-Identifier: BSD-2-Clause
/* A key that is loaded in the TPM, and commands that show whether it still is: each asks for the HMAC of a different
 * number, so that neither another key nor the response to another command is mistaken for the right one. */

#ifndef HMAC_H
#define HMAC_H

#include <string.h>
#include <tss2/tss2_tcti.h>
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

/* The TPM has begun to test the algorithm; the command has to be sent again. */
#define TPM_RC_RETRY 0x922

static uint32_t key;
static uint8_t right[NUMBERS][DIGEST]; /* the HMAC of each number */
static uint8_t response[4096];

/* Writes a command with an object that has no password (0: without a handle), a text, and `more` bytes after it.
 * Returns its size. */
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

static inline TSS2_RC transmit_hmac(TSS2_TCTI_CONTEXT *ctx, unsigned number)
{
    uint8_t command[128];
    char text[16];
    snprintf(text, sizeof(text), "number %u", number);
    return Tss2_Tcti_Transmit(ctx, with_text(command, HMAC, key, text, "\0\x10", 2), command);
}

static inline TSS2_RC receive_response(TSS2_TCTI_CONTEXT *ctx, int32_t timeout)
{
    size_t size = sizeof(response);
    memset(response, 0, sizeof(response)); /* removes the response before */
    return Tss2_Tcti_Receive(ctx, &size, response, timeout);
}

/* Exchanges one command. Returns the code of the call that fails, or of the TPM. */
static inline TSS2_RC exchange(TSS2_TCTI_CONTEXT *ctx, size_t size, const uint8_t *command)
{
    TSS2_RC rc;
    do {
        rc = Tss2_Tcti_Transmit(ctx, size, command);
        if (rc == TSS2_RC_SUCCESS)
            rc = receive_response(ctx, TSS2_TCTI_TIMEOUT_BLOCK);
    } while (rc == TSS2_RC_SUCCESS && response_code(response) == TPM_RC_RETRY);
    return rc == TSS2_RC_SUCCESS ? response_code(response) : rc;
}

/* Receives the HMAC of a number. */
static inline void receive_hmac(TSS2_TCTI_CONTEXT *ctx, unsigned number)
{
    TSS2_RC rc = receive_response(ctx, TSS2_TCTI_TIMEOUT_BLOCK);
    code("receive", rc, TSS2_RC_SUCCESS);
    if (rc != TSS2_RC_SUCCESS)
        return;
    code("the key is loaded", response_code(response), TSS2_RC_SUCCESS);
    that("the response belongs to the command", memcmp(response + 16, right[number], DIGEST) == 0);
}

/* Sends `count` commands and checks their responses. Stops at the first failure. */
static inline void exchange_hmacs(TSS2_TCTI_CONTEXT *ctx, unsigned count)
{
    static unsigned last;
    while (count-- > 0 && failed == 0) {
        unsigned number = ((unsigned)getpid() * 7 + last++) % NUMBERS;
        TSS2_RC rc = transmit_hmac(ctx, number);
        code("transmit", rc, TSS2_RC_SUCCESS);
        if (rc == TSS2_RC_SUCCESS)
            receive_hmac(ctx, number);
    }
}

/* Checks whether the key is loaded. Returns the code of the call that fails, or of the TPM. Sends the command again
 * while the TPM tests the algorithm. */
static inline TSS2_RC hmac(TSS2_TCTI_CONTEXT *ctx, unsigned number)
{
    TSS2_RC rc;
    do {
        rc = transmit_hmac(ctx, number);
        if (rc == TSS2_RC_SUCCESS)
            rc = receive_response(ctx, TSS2_TCTI_TIMEOUT_BLOCK);
    } while (rc == TSS2_RC_SUCCESS && response_code(response) == TPM_RC_RETRY);
    return rc == TSS2_RC_SUCCESS ? response_code(response) : rc;
}

/* Loads the key, and stores the HMAC of each number. */
static inline TSS2_RC load(TSS2_TCTI_CONTEXT *ctx)
{
    TSS2_RC rc = exchange(ctx, sizeof(CREATE_KEY), CREATE_KEY);
    key = be32(response + 10);
    for (unsigned number = 0; rc == TSS2_RC_SUCCESS && number < NUMBERS; number++) {
        rc = hmac(ctx, number);
        memcpy(right[number], response + 16, DIGEST);
    }
    return rc;
}

static inline void flush(TSS2_TCTI_CONTEXT *ctx)
{
    const uint8_t command[] = WITH_HANDLE(FLUSH_CONTEXT, key);
    code("the key can be flushed", exchange(ctx, sizeof(command), command), TSS2_RC_SUCCESS);
}

#endif
