// SPDX-License-Identifier: BSD-2-Clause
/* many NAME_CONF COUNT: sends COUNT commands as fast as possible, and stops at the first that fails. */

#include <stdio.h>
#include <stdlib.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"

int main(int argc, char **argv)
{
    TSS2_TCTI_CONTEXT *tcti;
    uint8_t response[4096];
    long count = argc == 3 ? atol(argv[2]) : 0;
    TSS2_RC rc = Tss2_TctiLdr_Initialize(argv[1], &tcti);
    for (long i = 0; rc == TSS2_RC_SUCCESS && i < count; i++) {
        size_t size = sizeof(response);
        rc = Tss2_Tcti_Transmit(tcti, sizeof(GET_RANDOM), GET_RANDOM);
        if (rc == TSS2_RC_SUCCESS)
            rc = Tss2_Tcti_Receive(tcti, &size, response, TSS2_TCTI_TIMEOUT_BLOCK);
        if (rc == TSS2_RC_SUCCESS && (size != GET_RANDOM_RESPONSE || response_code(response) != 0))
            rc = TSS2_TCTI_RC_MALFORMED_RESPONSE;
        if (rc != TSS2_RC_SUCCESS)
            printf("command %ld: 0x%x\n", i, (unsigned)rc);
    }
    Tss2_TctiLdr_Finalize(&tcti);
    return rc == TSS2_RC_SUCCESS ? 0 : 1;
}
