// SPDX-License-Identifier: BSD-2-Clause
/* Uses the distribution's libtss2-fapi across a fork, on the TPM in the file that TSS2_FAPICONF names: fapi-fork
 * ORDER. Provisions the TPM, creates a key and forks; parent and child sign with this key and get random bytes. ORDER
 * is "child": the child works while the parent waits; "turns": they alternate; "both": they work at the same time;
 * "orphan": the child works after its parent has exited. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <tss2/tss2_fapi.h>
#include "orphan.h"

#define TIME_LIMIT 240 /* seconds */
#define ROUNDS 4
#define KEY "HS/SRK/key"

static void must(const char *what, TSS2_RC rc)
{
    if (rc == TSS2_RC_SUCCESS)
        return;
    printf("%s: %s: 0x%x\n", who, what, (unsigned)rc);
    fflush(stdout);
    _exit(1);
}

/* Gets random bytes, and signs and verifies. */
static void work(FAPI_CONTEXT *fapi, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        uint8_t digest[32] = {(uint8_t)i, (uint8_t)getpid()}, *signature = NULL, *random = NULL;
        size_t size = 0;
        must("Fapi_GetRandom", Fapi_GetRandom(fapi, 16, &random));
        memcpy(digest + 16, random, 16);
        must("Fapi_Sign", Fapi_Sign(fapi, KEY, NULL, digest, sizeof(digest), &signature, &size, NULL, NULL));
        must("Fapi_VerifySignature", Fapi_VerifySignature(fapi, KEY, digest, sizeof(digest), signature, size));
        Fapi_Free(random);
        Fapi_Free(signature);
    }
}

/* Starts a child that works and then finalizes the context. */
static pid_t start(FAPI_CONTEXT *fapi, int rounds)
{
    pid_t child = fork();
    if (child == 0) {
        who = "child";
        work(fapi, rounds);
        Fapi_Finalize(&fapi);
        _exit(0);
    }
    return child;
}

/* As the work of an orphan. */
static void work_and_finalize(void *data)
{
    FAPI_CONTEXT *fapi = data;
    work(fapi, ROUNDS);
    Fapi_Finalize(&fapi);
}

int main(int argc, char **argv)
{
    FAPI_CONTEXT *fapi = NULL;
    const char *order = argc > 1 ? argv[1] : "";
    alarm(TIME_LIMIT);
    setvbuf(stdout, NULL, _IOLBF, 0);
    must("Fapi_Initialize", Fapi_Initialize(&fapi, NULL));
    must("Fapi_Provision", Fapi_Provision(fapi, NULL, NULL, NULL));
    must("Fapi_CreateKey", Fapi_CreateKey(fapi, KEY, "sign,noDa", NULL, ""));
    if (strcmp(order, "child") == 0) {
        wait_for(start(fapi, ROUNDS));
    } else if (strcmp(order, "turns") == 0) {
        for (int i = 0; i < ROUNDS; i++) {
            wait_for(start(fapi, 1));
            work(fapi, 1);
        }
    } else if (strcmp(order, "both") == 0) {
        pid_t child = start(fapi, ROUNDS);
        work(fapi, ROUNDS);
        wait_for(child);
        work(fapi, 1);
    } else if (strcmp(order, "orphan") == 0) {
        work_as_orphan(work_and_finalize, fapi);
    } else {
        return 2;
    }
    Fapi_Finalize(&fapi);
    puts("done");
    return 0;
}
