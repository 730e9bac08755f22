// SPDX-License-Identifier: BSD-2-Clause
/* Makes every call on a context of the loader and prints the code of each: child NAME_CONF. */

#include <inttypes.h>
#include <stdio.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"

#define PRINT(name, call) printf("%s 0x%" PRIx32 "\n", name, (uint32_t)(call))

int main(int argc, char **argv)
{
    TSS2_TCTI_CONTEXT *context;
    TSS2_TCTI_POLL_HANDLE handles[4];
    size_t count = 4, room;
    uint8_t response[64];
    uint32_t object = 0x80000000;
    if (argc != 2 || Tss2_TctiLdr_Initialize(argv[1], &context) != TSS2_RC_SUCCESS)
        return 2;
    PRINT("setLocality", Tss2_Tcti_SetLocality(context, 0));
    PRINT("makeSticky", Tss2_Tcti_MakeSticky(context, &object, 1));
    PRINT("transmit", Tss2_Tcti_Transmit(context, sizeof(GET_RANDOM), GET_RANDOM));
    PRINT("getPollHandles", Tss2_Tcti_GetPollHandles(context, handles, &count));
    PRINT("cancel", Tss2_Tcti_Cancel(context));
    room = sizeof(response);
    PRINT("receive", Tss2_Tcti_Receive(context, &room, response, 0));
    Tss2_TctiLdr_Finalize(&context);
    return 0;
}
