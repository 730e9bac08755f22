// SPDX-License-Identifier: BSD-2-Clause
/* shortage LIBRARY INIT CONF: nine contexts while malloc(3) fails, again and again. Each call succeeds, or returns the code of
 * an error that it would also return otherwise, and Init returns MEMORY. Afterwards everything works, new contexts too:
 * nothing that a call needs without memory stays in use. Prints the first call that differs. */

#include <dlfcn.h>
#include <stdalign.h>
#include <string.h>
#include <tss2/tss2_tcti.h>
#include "commands.h"
#include "memory.h"

enum { CONTEXTS = 9, ROUNDS = 100, SIZE = 1024 };

static alignas(max_align_t) uint8_t memory[CONTEXTS + 1][SIZE];
static TSS2_TCTI_INIT_FUNC init;
static const char *conf;

static TSS2_TCTI_CONTEXT *context(int number)
{
    return (TSS2_TCTI_CONTEXT *)memory[number];
}

/* Writes without stdio, which may allocate. */
static void expect(const char *call, int round, TSS2_RC rc, TSS2_RC expected)
{
    if (rc == expected)
        return;
    release();
    printf("%s in round %d: 0x%x instead of 0x%x\n", call, round, (unsigned)rc, (unsigned)expected);
    exit(1);
}

static TSS2_RC open_context(int number)
{
    size_t size = SIZE;
    return init(context(number), &size, conf);
}

/* Makes every call of a context once, in order and out of order. */
static void use(int round, TSS2_TCTI_CONTEXT *tcti)
{
    uint8_t response[4096];
    TSS2_TCTI_POLL_HANDLE handles[8];
    size_t size = 0, number = sizeof(handles) / sizeof(*handles);
    expect("receive without a command", round, Tss2_Tcti_Receive(tcti, &size, response, 0), TSS2_TCTI_RC_BAD_SEQUENCE);
    expect("a malformed transmit", round, Tss2_Tcti_Transmit(tcti, 3, GET_RANDOM), TSS2_TCTI_RC_BAD_VALUE);
    expect("transmit", round, Tss2_Tcti_Transmit(tcti, sizeof(GET_RANDOM), GET_RANDOM), TSS2_RC_SUCCESS);
    expect("a second transmit", round, Tss2_Tcti_Transmit(tcti, sizeof(GET_RANDOM), GET_RANDOM),
           TSS2_TCTI_RC_BAD_SEQUENCE);
    expect("getPollHandles", round, Tss2_Tcti_GetPollHandles(tcti, handles, &number), TSS2_RC_SUCCESS);
    expect("the size", round, Tss2_Tcti_Receive(tcti, &size, NULL, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
    expect("receive", round, Tss2_Tcti_Receive(tcti, &size, response, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
    expect("setLocality", round, Tss2_Tcti_SetLocality(tcti, 0), TSS2_RC_SUCCESS);
}

int main(int argc, char **argv)
{
    void *library = argc == 4 ? dlopen(argv[1], RTLD_NOW) : NULL;
    init = library == NULL ? NULL : (TSS2_TCTI_INIT_FUNC)dlsym(library, argv[2]);
    if (init == NULL)
        return 2;
    conf = argv[3];
    for (int number = 0; number < CONTEXTS; number++)
        expect("Init", 0, open_context(number), TSS2_RC_SUCCESS);
    for (int round = 1; round <= ROUNDS; round++) {
        exhaust();
        for (int number = 0; number < CONTEXTS; number++)
            use(round, context(number));
        expect("Init without memory", round, open_context(CONTEXTS), TSS2_TCTI_RC_MEMORY);
        release();
        expect("Init", round, open_context(CONTEXTS), TSS2_RC_SUCCESS);
        use(round, context(CONTEXTS));
        Tss2_Tcti_Finalize(context(CONTEXTS));
    }
    return 0;
}
