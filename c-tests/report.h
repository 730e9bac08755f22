// SPDX-License-Identifier: BSD-2-Clause
/* How C tests report: each check that fails with its name and codes, or in a transcript the code of every call. */

#ifndef REPORT_H
#define REPORT_H

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <tss2/tss2_common.h>

/* The program is killed after this time, if a module never responds. */
#define PATIENCE 240 /* seconds */

static int prints_transcript;
static const char *current = "";
static atomic_uint passed, failed; /* atomic, because one scenario checks in two threads */

static inline const char *name_of(TSS2_RC rc)
{
    static _Thread_local char text[16];
    switch (rc) {
    case TSS2_RC_SUCCESS: return "SUCCESS";
    case TSS2_TCTI_RC_GENERAL_FAILURE: return "GENERAL_FAILURE";
    case TSS2_TCTI_RC_NOT_IMPLEMENTED: return "NOT_IMPLEMENTED";
    case TSS2_TCTI_RC_BAD_CONTEXT: return "BAD_CONTEXT";
    case TSS2_TCTI_RC_ABI_MISMATCH: return "ABI_MISMATCH";
    case TSS2_TCTI_RC_BAD_REFERENCE: return "BAD_REFERENCE";
    case TSS2_TCTI_RC_INSUFFICIENT_BUFFER: return "INSUFFICIENT_BUFFER";
    case TSS2_TCTI_RC_BAD_SEQUENCE: return "BAD_SEQUENCE";
    case TSS2_TCTI_RC_NO_CONNECTION: return "NO_CONNECTION";
    case TSS2_TCTI_RC_TRY_AGAIN: return "TRY_AGAIN";
    case TSS2_TCTI_RC_IO_ERROR: return "IO_ERROR";
    case TSS2_TCTI_RC_BAD_VALUE: return "BAD_VALUE";
    case TSS2_TCTI_RC_NOT_PERMITTED: return "NOT_PERMITTED";
    case TSS2_TCTI_RC_MALFORMED_RESPONSE: return "MALFORMED_RESPONSE";
    case TSS2_TCTI_RC_NOT_SUPPORTED: return "NOT_SUPPORTED";
    case TSS2_TCTI_RC_MEMORY: return "MEMORY";
    }
    snprintf(text, sizeof(text), "0x%x", (unsigned)rc);
    return text;
}

static inline void begin(int transcript)
{
    prints_transcript = transcript;
    alarm(PATIENCE);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

static inline int transcript(void)
{
    return prints_transcript;
}

static inline void scenario(const char *name)
{
    current = name;
}

/* Checks the code of a call. */
static inline void code(const char *name, TSS2_RC got, TSS2_RC want)
{
    if (prints_transcript) {
        printf("%s: %s: %s\n", current, name, name_of(got));
    } else if (got == want) {
        passed++;
    } else {
        failed++;
        printf("FAILED %s: %s: %s, ", current, name, name_of(got));
        printf("wanted %s\n", name_of(want));
    }
}

/* Checks the code of a call in a loop over numbers. */
static inline void code_of(const char *name, long number, TSS2_RC got, TSS2_RC want)
{
    char text[64];
    snprintf(text, sizeof(text), "%s %ld", name, number);
    code(text, got, want);
}

/* Checks a condition. */
static inline void that(const char *name, int holds)
{
    if (prints_transcript)
        return;
    if (holds) {
        passed++;
    } else {
        failed++;
        printf("FAILED %s: %s\n", current, name);
    }
}

/* Exits when a call fails that the test depends on. */
static inline void must(const char *name, TSS2_RC got)
{
    if (got == TSS2_RC_SUCCESS)
        return;
    printf("FAILED %s: %s: %s; giving up\n", current, name, name_of(got));
    exit(1);
}

static inline int summary(void)
{
    if (!prints_transcript)
        printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}

static inline int fcntl_is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

#endif
