// SPDX-License-Identifier: BSD-2-Clause
/* The distribution's libtss2-fapi across a fork, on the TPM that the file TSS2_FAPICONF names: fapi-fork ORDER. Provisions
 * it, makes a key, and forks; parent and child sign with that key and take random bytes, in this order: "child" while the
 * parent waits, "turns" one after the other, "both" at the same time, "orphan" the child once its parent has ended. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <tss2/tss2_fapi.h>

#define PATIENCE 240 /* seconds */
#define ROUNDS 4
#define KEY "HS/SRK/key"

static const char *who = "parent";

static void must(const char *what, TSS2_RC rc)
{
    if (rc == TSS2_RC_SUCCESS)
        return;
    printf("%s: %s: 0x%x\n", who, what, (unsigned)rc);
    fflush(stdout);
    _exit(1);
}

/* Random bytes, and a signature that has to be right. */
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

static void wait_for(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) > 0 && status == 0)
        return;
    printf("the child ended with 0x%x\n", status);
    exit(1);
}

/* A child that works; it gives the context back at its end, as a program does. */
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

/* What made the context has ended before its child, a daemon, begins. */
static void orphan(FAPI_CONTEXT *fapi)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t parent = fork();
    if (parent == 0) {
        pid_t me = getpid();
        if (fork() > 0)
            _exit(0);
        who = "orphan";
        while (getppid() == me)
            usleep(1000); /* only how often to ask */
        work(fapi, ROUNDS);
        Fapi_Finalize(&fapi);
        _exit(0);
    }
    wait_for(parent);
    wait_for(-1);
}

int main(int argc, char **argv)
{
    FAPI_CONTEXT *fapi = NULL;
    const char *order = argc > 1 ? argv[1] : "";
    alarm(PATIENCE);
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
        orphan(fapi);
    } else {
        return 2;
    }
    Fapi_Finalize(&fapi);
    puts("done");
    return 0;
}
