// SPDX-License-Identifier: BSD-2-Clause
/* The distribution's libtss2-fapi without a call that waits, on the TPM that the file TSS2_FAPICONF names:
 * fapi MILLISECONDS provisions it, makes two keys or more until poll has waited for so long, signs with one, and takes
 * random bytes. It polls as the documentation of Fapi_GetPollHandles says:
 * before each step whatever that gives, without a time-out, and when it gives nothing FAPI goes on by itself. Prints the
 * number of steps, and how long it waited and was at work. */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <tss2/tss2_fapi.h>

/* A poll that waits for nothing ends the program. */
#define PATIENCE 240 /* seconds */

static unsigned steps;
static double waited; /* milliseconds in poll */

/* Milliseconds of a clock. */
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
        return; /* at work on a file, or not at work yet */
    check("Fapi_GetPollHandles", rc == TSS2_RC_SUCCESS && count > 0, rc);
    double since = now(CLOCK_MONOTONIC);
    check("poll", poll(handles, count, -1) > 0, rc);
    waited += now(CLOCK_MONOTONIC) - since;
    Fapi_Free(handles);
}

/* The code keeps the layer that it comes from. */
static int is_try_again(TSS2_RC rc)
{
    return (rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_TRY_AGAIN;
}

/* Starts something and goes on with it until it is done. */
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
        rc = Fapi_Initialize_Finish(&fapi); /* there is nothing to poll before the context is whole */
    } while (is_try_again(rc));
    check("Fapi_Initialize_Finish", rc == TSS2_RC_SUCCESS, rc);
    return fapi;
}

int main(int argc, char **argv)
{
    double wanted = argc > 1 ? atof(argv[1]) : 0;
    alarm(PATIENCE);
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
    printf("steps %u waited %.0f processor %.0f\n", steps, waited, now(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
