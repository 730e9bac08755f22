// SPDX-License-Identifier: BSD-2-Clause
/* A program that is linked with the loader: link-tctildr [NAME[:CONF]]... Opens a context for each argument, and keeps
 * all of them open; without an argument it opens the default. Prints eight random bytes of each in hexadecimal. The
 * exit status is the code of the first failure, without its layer. */

#include <stdio.h>
#include <stdlib.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"

#define MAX_CONTEXTS 8

static TSS2_RC print_random(TSS2_TCTI_CONTEXT *ctx)
{
    uint8_t response[64];
    size_t size = sizeof(response);
    TSS2_RC rc = Tss2_Tcti_Transmit(ctx, sizeof(GET_RANDOM), GET_RANDOM);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    rc = Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    if (size != GET_RANDOM_RESPONSE || response_size(response) != size || response_code(response) != 0)
        return TSS2_TCTI_RC_MALFORMED_RESPONSE;
    for (size_t i = 12; i < size; i++)
        printf("%02x", response[i]);
    puts("");
    return TSS2_RC_SUCCESS;
}

int main(int argc, char **argv)
{
    TSS2_TCTI_CONTEXT *contexts[MAX_CONTEXTS] = {NULL};
    TSS2_RC rc = TSS2_RC_SUCCESS;
    int count = argc > 1 ? argc - 1 : 1;
    for (int i = 0; i < count && i < MAX_CONTEXTS && rc == TSS2_RC_SUCCESS; i++) {
        rc = Tss2_TctiLdr_Initialize(argc > 1 ? argv[i + 1] : NULL, &contexts[i]);
        if (rc == TSS2_RC_SUCCESS)
            rc = print_random(contexts[i]);
    }
    for (int i = 0; i < MAX_CONTEXTS; i++)
        Tss2_TctiLdr_Finalize(&contexts[i]);
    return (int)(rc & 0xff);
}
