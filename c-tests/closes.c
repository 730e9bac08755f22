// SPDX-License-Identifier: BSD-2-Clause
/* closes NAME_CONF DIRECTORY: a daemon that closes every file descriptor above 2 between two commands, and then opens
 * files of its own, which get the same numbers. Nobody else may write to these or close them. Works with TPMs that
 * survive this. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"

enum { ROUNDS = 3, FILES = 64 };

static int fail(const char *what, int number)
{
    printf("%s %d\n", what, number);
    return EXIT_FAILURE;
}

static TSS2_RC exchange(TSS2_TCTI_CONTEXT *tcti)
{
    uint8_t response[4096];
    size_t size = sizeof(response);
    TSS2_RC rc = Tss2_Tcti_Transmit(tcti, sizeof(GET_RANDOM), GET_RANDOM);
    return rc != TSS2_RC_SUCCESS ? rc : Tss2_Tcti_Receive(tcti, &size, response, TSS2_TCTI_TIMEOUT_BLOCK);
}

int main(int argc, char **argv)
{
    TSS2_TCTI_CONTEXT *tcti;
    int files[FILES];
    if (argc != 3 || Tss2_TctiLdr_Initialize(argv[1], &tcti) != TSS2_RC_SUCCESS)
        return fail("cannot open it", 0);
    for (int round = 0; round < ROUNDS; round++) {
        if (exchange(tcti) != TSS2_RC_SUCCESS)
            return fail("round", round);
        for (int number = 3; number < 1024; number++)
            close(number);
        for (int i = 0; i < FILES; i++) {
            char path[4096];
            snprintf(path, sizeof(path), "%s/theirs-%d", argv[2], i);
            files[i] = open(path, O_CREAT | O_RDWR, 0600);
        }
    }
    if (exchange(tcti) != TSS2_RC_SUCCESS)
        return fail("round", ROUNDS);
    Tss2_TctiLdr_Finalize(&tcti);
    for (int i = 0; i < FILES; i++) {
        struct stat status;
        if (fstat(files[i], &status) != 0)
            return fail("closed:", files[i]);
        if (status.st_size != 0)
            return fail("written to:", files[i]);
    }
    return EXIT_SUCCESS;
}
