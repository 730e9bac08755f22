// SPDX-License-Identifier: BSD-2-Clause
/* Uses the distribution's libtss2-esys on a context of our loader: esys NAME:CONF. Makes blocking calls, one that does
 * not block, and one that polls if the module has handles. */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

#define CHECK(call)                                                     \
    do {                                                                \
        TSS2_RC checked = (call);                                       \
        if (checked != TSS2_RC_SUCCESS) {                               \
            fprintf(stderr, "%s: 0x%x\n", #call, (unsigned)checked);    \
            exit(1);                                                    \
        }                                                               \
    } while (0)

static void blocking(ESYS_CONTEXT *esys)
{
    TPM2B_DIGEST *random, *random2, *digest;
    TPM2B_MAX_BUFFER data = {.size = 3, .buffer = "abc"};
    TPMT_TK_HASHCHECK *ticket;
    static const BYTE expected[] = {0xba, 0x78, 0x16, 0xbf};
    CHECK(Esys_SelfTest(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_YES));
    CHECK(Esys_GetRandom(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, 32, &random));
    CHECK(Esys_GetRandom(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, 32, &random2));
    if (random->size != 32 || memcmp(random->buffer, random2->buffer, 32) == 0) {
        fputs("the random bytes are wrong\n", stderr);
        exit(1);
    }
    CHECK(Esys_Hash(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &data, TPM2_ALG_SHA256, ESYS_TR_RH_NULL, &digest,
                    &ticket));
    if (digest->size != 32 || memcmp(digest->buffer, expected, sizeof(expected)) != 0) {
        fputs("this is not the hash of \"abc\"\n", stderr);
        exit(1);
    }
    Esys_Free(random);
    Esys_Free(random2);
    Esys_Free(digest);
    Esys_Free(ticket);
}

/* A session that encrypts: several kilobytes of commands and responses that depend on each other. */
static void session(ESYS_CONTEXT *esys)
{
    TPMT_SYM_DEF aes = {.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
    ESYS_TR handle;
    TPM2B_DIGEST *random;
    CHECK(Esys_StartAuthSession(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL,
                                TPM2_SE_HMAC, &aes, TPM2_ALG_SHA256, &handle));
    CHECK(Esys_TRSess_SetAttributes(esys, handle, TPMA_SESSION_ENCRYPT | TPMA_SESSION_CONTINUESESSION, 0xff));
    for (int i = 0; i < 50; i++) {
        CHECK(Esys_GetRandom(esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, 48, &random));
        Esys_Free(random);
    }
    CHECK(Esys_FlushContext(esys, handle));
}

/* Return codes contain the layer that they come from. */
static int is(TSS2_RC rc, TSS2_RC base)
{
    return (rc & ~TSS2_RC_LAYER_MASK) == base;
}

static TSS2_RC finish(ESYS_CONTEXT *esys)
{
    TPM2B_DIGEST *random = NULL;
    TSS2_RC rc = Esys_GetRandom_Finish(esys, &random);
    if (rc == TSS2_RC_SUCCESS && random->size != 16)
        exit(1);
    Esys_Free(random);
    return rc;
}

static void asynchronous(ESYS_CONTEXT *esys)
{
    TSS2_RC rc;
    CHECK(Esys_SetTimeout(esys, 0));
    CHECK(Esys_GetRandom_Async(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, 16));
    while (is(rc = finish(esys), TSS2_BASE_RC_TRY_AGAIN))
        ;
    CHECK(rc);
}

static int polled(ESYS_CONTEXT *esys)
{
    TSS2_TCTI_POLL_HANDLE *handles = NULL;
    size_t count = 0;
    CHECK(Esys_GetRandom_Async(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, 16));
    TSS2_RC rc = Esys_GetPollHandles(esys, &handles, &count);
    if (is(rc, TSS2_BASE_RC_NOT_IMPLEMENTED)) {
        CHECK(Esys_SetTimeout(esys, TSS2_TCTI_TIMEOUT_BLOCK));
        CHECK(finish(esys));
        return 0;
    }
    CHECK(rc);
    if (count != 1 || poll(handles, count, 60000) != 1) {
        fputs("poll does not return when the response is there\n", stderr);
        exit(1);
    }
    while (is(rc = finish(esys), TSS2_BASE_RC_TRY_AGAIN))
        ;
    CHECK(rc);
    Esys_Free(handles);
    return 1;
}

int main(int argc, char **argv)
{
    TSS2_TCTI_CONTEXT *tcti = NULL;
    ESYS_CONTEXT *esys = NULL;
    CHECK(Tss2_TctiLdr_Initialize(argc > 1 ? argv[1] : NULL, &tcti));
    CHECK(Esys_Initialize(&esys, tcti, NULL));
    TSS2_RC rc = Esys_Startup(esys, TPM2_SU_CLEAR);
    if (rc != TPM2_RC_INITIALIZE)
        CHECK(rc);
    blocking(esys);
    session(esys);
    asynchronous(esys);
    puts(polled(esys) ? "polled" : "not polled");
    Esys_Finalize(&esys);
    Tss2_TctiLdr_Finalize(&tcti);
    return 0;
}
