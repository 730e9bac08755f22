// SPDX-License-Identifier: BSD-2-Clause
/* Makes the calls of programs that check whether a TPM exists: probe WHAT NAME...
 *
 *   probe open         opens the first TPM that the loader finds, and closes it
 *   probe info NAME... gets the infos of these TCTIs; without a name that of the default
 *   probe size         gets the size of a context of the loader
 *
 * Prints the code of each call. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tctildr.h>

static void print(TSS2_RC rc)
{
    printf("0x%" PRIx32 "\n", rc);
}

static void info(const char *name)
{
    TSS2_TCTI_INFO *of = NULL;
    print(Tss2_TctiLdr_GetInfo(name, &of));
    Tss2_TctiLdr_FreeInfo(&of);
}

int main(int argc, char **argv)
{
    TSS2_TCTI_CONTEXT *context = NULL;
    size_t size = 0;
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "open") == 0) {
        print(Tss2_TctiLdr_Initialize(NULL, &context));
        Tss2_TctiLdr_Finalize(&context);
    } else if (strcmp(what, "size") == 0) {
        print(Tss2_Tcti_TctiLdr_Init(NULL, &size, NULL));
    } else if (strcmp(what, "info") == 0) {
        if (argc == 2)
            info(NULL);
        for (int i = 2; i < argc; i++)
            info(argv[i]);
    } else {
        fputs("usage: probe open|info|size [NAME...]\n", stderr);
        return 2;
    }
    return 0;
}
