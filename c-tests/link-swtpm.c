// SPDX-License-Identifier: BSD-2-Clause
/* A program that is linked with the module for swtpm and opens it without the loader: link-swtpm CONF. Prints eight
 * random bytes in hexadecimal. */

#include <stdio.h>
#include <stdlib.h>
#include <tss2/tss2_tcti_swtpm.h>
#include "commands.h"

static int failed(const char *what, TSS2_RC rc)
{
    fprintf(stderr, "%s: 0x%x\n", what, (unsigned)rc);
    return 1;
}

int main(int argc, char **argv)
{
    uint8_t response[64];
    size_t size;
    TSS2_RC rc = Tss2_Tcti_Swtpm_Init(NULL, &size, NULL);
    if (rc != TSS2_RC_SUCCESS)
        return failed("size", rc);
    TSS2_TCTI_CONTEXT *ctx = malloc(size);
    rc = Tss2_Tcti_Swtpm_Init(ctx, &size, argc > 1 ? argv[1] : NULL);
    if (rc != TSS2_RC_SUCCESS)
        return failed("init", rc);
    /* A reset power-cycles the TPM, which needs Startup afterwards. */
    rc = Tss2_Tcti_Swtpm_Reset(ctx);
    if (rc != TSS2_RC_SUCCESS)
        return failed("reset", rc);
    static const struct {
        const uint8_t *command;
        size_t size;
    } commands[] = {{STARTUP, sizeof(STARTUP)}, {GET_RANDOM, sizeof(GET_RANDOM)}};
    for (int i = 0; i < 2; i++) {
        rc = Tss2_Tcti_Transmit(ctx, commands[i].size, commands[i].command);
        if (rc != TSS2_RC_SUCCESS)
            return failed("transmit", rc);
        size = sizeof(response);
        rc = Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK);
        if (rc != TSS2_RC_SUCCESS)
            return failed("receive", rc);
        if (response_code(response) != 0)
            return failed("response", response_code(response));
    }
    if (size != GET_RANDOM_RESPONSE || response_size(response) != size)
        return failed("size of the response", size);
    for (size_t i = 12; i < size; i++)
        printf("%02x", response[i]);
    puts("");
    Tss2_Tcti_Finalize(ctx);
    free(ctx);
    return 0;
}
