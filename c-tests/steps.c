// SPDX-License-Identifier: BSD-2-Clause
/* One context that is driven step by step: steps [NAME:CONF], by default the loader's default. Reads one step per line
 * from stdin and prints its code at once, so that a test can change the TPM in between. The steps are "transmit",
 * "receive", "random" (both), "locality", "create" (a key), "read" (its public area), "session" (start one) and
 * "refused" (a handle that does not exist). */

#include <stdio.h>
#include <string.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"
#include "report.h"

static uint8_t response[4096];

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *ctx)
{
    return Tss2_Tcti_Transmit(ctx, sizeof(GET_RANDOM), GET_RANDOM);
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *ctx)
{
    size_t size = sizeof(response);
    TSS2_RC rc = Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK);
    return rc == TSS2_RC_SUCCESS ? response_code(response) : rc;
}

static TSS2_RC exchange(TSS2_TCTI_CONTEXT *ctx, size_t length, const uint8_t *command)
{
    TSS2_RC rc = Tss2_Tcti_Transmit(ctx, length, command);
    return rc == TSS2_RC_SUCCESS ? receive(ctx) : rc;
}

static TSS2_RC read_public(TSS2_TCTI_CONTEXT *ctx, uint32_t handle)
{
    const uint8_t command[] = WITH_HANDLE(READ_PUBLIC, handle);
    return exchange(ctx, sizeof(command), command);
}

int main(int argc, char **argv)
{
    TSS2_TCTI_CONTEXT *ctx = NULL;
    uint32_t key = 0;
    char word[32];
    begin(1);
    TSS2_RC rc = Tss2_TctiLdr_Initialize(argc > 1 ? argv[1] : NULL, &ctx);
    puts(name_of(rc));
    while (rc == TSS2_RC_SUCCESS && scanf("%31s", word) == 1) {
        TSS2_RC answer = TSS2_TCTI_RC_BAD_VALUE;
        if (strcmp(word, "transmit") == 0)
            answer = transmit(ctx);
        else if (strcmp(word, "receive") == 0)
            answer = receive(ctx);
        else if (strcmp(word, "locality") == 0)
            answer = Tss2_Tcti_SetLocality(ctx, 0);
        else if (strcmp(word, "random") == 0 && (answer = transmit(ctx)) == TSS2_RC_SUCCESS)
            answer = receive(ctx);
        else if (strcmp(word, "create") == 0 && (answer = exchange(ctx, sizeof(CREATE_ECC), CREATE_ECC)) == 0)
            key = be32(response + 10);
        else if (strcmp(word, "read") == 0)
            answer = read_public(ctx, key);
        else if (strcmp(word, "session") == 0)
            answer = exchange(ctx, sizeof(START_SESSION), START_SESSION);
        else if (strcmp(word, "refused") == 0)
            answer = read_public(ctx, 0x80000007u);
        puts(name_of(answer));
    }
    Tss2_TctiLdr_Finalize(&ctx);
    return rc != TSS2_RC_SUCCESS;
}
