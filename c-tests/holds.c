// SPDX-License-Identifier: BSD-2-Clause
/* holds NAME_CONF: creates two keys, prints "loaded", waits for the end of stdin, uses both keys and prints "used". */

#include <stdio.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"
#include "report.h"

#define KEYS 2

static size_t exchange(TSS2_TCTI_CONTEXT *ctx, size_t length, const uint8_t *command, uint8_t *response, size_t room)
{
    must("transmit", Tss2_Tcti_Transmit(ctx, length, command));
    must("receive", Tss2_Tcti_Receive(ctx, &room, response, TSS2_TCTI_TIMEOUT_BLOCK));
    must("the TPM", response_code(response));
    return room;
}

int main(int argc, char **argv)
{
    TSS2_TCTI_CONTEXT *ctx = NULL;
    uint8_t response[4096];
    uint32_t keys[KEYS];
    if (argc != 2)
        return 2;
    begin(0);
    must("open", Tss2_TctiLdr_Initialize(argv[1], &ctx));
    for (int i = 0; i < KEYS; i++) {
        exchange(ctx, sizeof(CREATE_ECC), CREATE_ECC, response, sizeof(response));
        keys[i] = be32(response + 10);
    }
    puts("loaded");
    while (getchar() != EOF)
        ;
    for (int i = 0; i < KEYS; i++) {
        const uint8_t command[] = WITH_HANDLE(READ_PUBLIC, keys[i]);
        that("the public part", exchange(ctx, sizeof(command), command, response, sizeof(response)) > 100);
    }
    Tss2_TctiLdr_Finalize(&ctx);
    puts("used");
    return summary();
}
