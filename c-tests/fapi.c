// SPDX-License-Identifier: BSD-2-Clause
/* Uses the distribution's libtss2-fapi without blocking calls, on the TPM in the file that TSS2_FAPICONF names: fapi
 * MILLISECONDS. Provisions the TPM, creates at least two keys and more until poll has waited for MILLISECONDS, signs
 * with one, and gets random bytes. It polls as the documentation of Fapi_GetPollHandles describes: before each step it
 * polls the handles without a time-out; without handles it calls FAPI again at once. Prints the number of steps, the
 * time in poll and the processor time. */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <tss2/tss2_fapi.h>

/* The program is killed after this time, if poll never returns. */
#define TIME_LIMIT 240 /* seconds */

static unsigned steps;
static double waited; /* milliseconds in poll */

/* Returns the time of a clock in milliseconds. */
static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void check(const char *what, int holds, TSS2_RC rc)
{
    if (holds)
        return;
    printf("%s: 0x%x\n", what, (unsigned)rc);
    exit(1);
}

static void wait_for(FAPI_CONTEXT *fapi)
{
    FAPI_POLL_HANDLE *handles = NULL;
    size_t count = 0;
    TSS2_RC rc = Fapi_GetPollHandles(fapi, &handles, &count);
    if (rc == TSS2_FAPI_RC_NO_HANDLE || rc == TSS2_FAPI_RC_BAD_SEQUENCE)
        return; /* FAPI accesses a file, or has not started */
    check("Fapi_GetPollHandles", rc == TSS2_RC_SUCCESS && count > 0, rc);
    double since = now(CLOCK_MONOTONIC);
    check("poll", poll(handles, count, -1) > 0, rc);
    waited += now(CLOCK_MONOTONIC) - since;
    Fapi_Free(handles);
}

/* Return codes contain the layer that they come from. */
static int is_try_again(TSS2_RC rc)
{
    return (rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_TRY_AGAIN;
}

/* Starts an operation and continues it until it is done. */
#define DO(name, start, finish)                          \
    do {                                                 \
        TSS2_RC done = (start);                          \
        check(name, done == TSS2_RC_SUCCESS, done);      \
        do {                                             \
            wait_for(fapi);                              \
            done = (finish);                             \
            steps++;                                     \
        } while (is_try_again(done));                    \
        check(name, done == TSS2_RC_SUCCESS, done);      \
    } while (0)

static FAPI_CONTEXT *initialize(void)
{
    FAPI_CONTEXT *fapi = NULL;
    TSS2_RC rc = Fapi_Initialize_Async(&fapi, NULL);
    check("Fapi_Initialize_Async", rc == TSS2_RC_SUCCESS, rc);
    do {
        rc = Fapi_Initialize_Finish(&fapi); /* before the context is complete there is no handle to poll */
    } while (is_try_again(rc));
    check("Fapi_Initialize_Finish", rc == TSS2_RC_SUCCESS, rc);
    return fapi;
}

int main(int argc, char **argv)
{
    double wanted = argc > 1 ? atof(argv[1]) : 0;
    alarm(TIME_LIMIT);
    FAPI_CONTEXT *fapi = initialize();
    DO("Provision", Fapi_Provision_Async(fapi, NULL, NULL, NULL), Fapi_Provision_Finish(fapi));
    for (int key = 0; key < 2 || waited < wanted; key++) {
        char path[32];
        snprintf(path, sizeof(path), "HS/SRK/key%d", key);
        DO("CreateKey", Fapi_CreateKey_Async(fapi, path, "sign,noDa", NULL, ""), Fapi_CreateKey_Finish(fapi));
    }

    uint8_t digest[32] = {1}, *signature = NULL;
    char *public = NULL;
    size_t size = 0;
    DO("Sign", Fapi_Sign_Async(fapi, "HS/SRK/key0", NULL, digest, sizeof(digest)),
       Fapi_Sign_Finish(fapi, &signature, &size, &public, NULL));
    DO("VerifySignature", Fapi_VerifySignature_Async(fapi, "HS/SRK/key0", digest, sizeof(digest), signature, size),
       Fapi_VerifySignature_Finish(fapi));
    Fapi_Free(signature);
    Fapi_Free(public);

    uint8_t *random[2];
    for (int i = 0; i < 2; i++)
        DO("GetRandom", Fapi_GetRandom_Async(fapi, 1000), Fapi_GetRandom_Finish(fapi, &random[i]));
    check("random bytes", memcmp(random[0], random[1], 1000) != 0, TSS2_RC_SUCCESS);
    Fapi_Free(random[0]);
    Fapi_Free(random[1]);
    Fapi_Finalize(&fapi);
    printf("steps %u waited %.0f cpu %.0f\n", steps, waited, now(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
