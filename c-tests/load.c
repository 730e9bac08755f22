// SPDX-License-Identifier: BSD-2-Clause
/* The distribution's libtss2-esys beside other load on one TPM: load NAME:CONF SEED COUNT. So many times it has "SEED
 * NUMBER" hashed and random bytes made, and prints both; where there is a descriptor to poll, no call of it waits. It
 * changes nothing in the TPM, and ends with status 1 and a response code when something fails. */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

#define NO_SESSIONS ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE

/* Without the layer that it comes from. */
static TSS2_RC base(TSS2_RC rc)
{
    return rc & ~TSS2_RC_LAYER_MASK;
}

static void check(const char *what, TSS2_RC rc)
{
    if (rc == TSS2_RC_SUCCESS)
        return;
    printf("%s: 0x%x\n", what, (unsigned)rc);
    exit(1);
}

/* Until there may be an answer. Modules without a descriptor answer in Finish, which waits then. */
static void wait_for_answer(ESYS_CONTEXT *esys)
{
    TSS2_TCTI_POLL_HANDLE *handles = NULL;
    size_t count = 0;
    TSS2_RC rc = Esys_GetPollHandles(esys, &handles, &count);
    if (base(rc) == TSS2_BASE_RC_NOT_IMPLEMENTED)
        return check("SetTimeout", Esys_SetTimeout(esys, TSS2_TCTI_TIMEOUT_BLOCK));
    check("GetPollHandles", rc);
    if (poll(handles, count, -1) <= 0)
        check("poll", TSS2_ESYS_RC_GENERAL_FAILURE);
    Esys_Free(handles);
}

static void print(const char *what, const TPM2B_DIGEST *bytes)
{
    printf("%s ", what);
    for (UINT16 i = 0; i < bytes->size; i++)
        printf("%02x", bytes->buffer[i]);
    putchar('\n');
}

static void hash(ESYS_CONTEXT *esys, const char *seed, int number)
{
    TPM2B_MAX_BUFFER data;
    TPM2B_DIGEST *digest = NULL;
    TPMT_TK_HASHCHECK *ticket = NULL;
    TSS2_RC rc;
    data.size = (UINT16)snprintf((char *)data.buffer, sizeof(data.buffer), "%s %d", seed, number);
    check("Hash_Async", Esys_Hash_Async(esys, NO_SESSIONS, &data, TPM2_ALG_SHA256, ESYS_TR_RH_NULL));
    do {
        wait_for_answer(esys);
        rc = Esys_Hash_Finish(esys, &digest, &ticket);
    } while (base(rc) == TSS2_BASE_RC_TRY_AGAIN);
    check("Hash_Finish", rc);
    print("hash", digest);
    Esys_Free(digest);
    Esys_Free(ticket);
}

static void random_bytes(ESYS_CONTEXT *esys)
{
    TPM2B_DIGEST *bytes = NULL;
    TSS2_RC rc;
    check("GetRandom_Async", Esys_GetRandom_Async(esys, NO_SESSIONS, 32));
    do {
        wait_for_answer(esys);
        rc = Esys_GetRandom_Finish(esys, &bytes);
    } while (base(rc) == TSS2_BASE_RC_TRY_AGAIN);
    check("GetRandom_Finish", rc);
    print("random", bytes);
    Esys_Free(bytes);
}

int main(int argc, char **argv)
{
    TSS2_TCTI_CONTEXT *tcti = NULL;
    ESYS_CONTEXT *esys = NULL;
    if (argc != 4)
        return fputs("usage: load NAME:CONF SEED COUNT\n", stderr), 2;
    check("open", Tss2_TctiLdr_Initialize(argv[1], &tcti));
    check("Esys_Initialize", Esys_Initialize(&esys, tcti, NULL));
    check("SetTimeout", Esys_SetTimeout(esys, 0));
    for (int number = 0; number < atoi(argv[3]); number++) {
        hash(esys, argv[2], number);
        random_bytes(esys);
    }
    Esys_Finalize(&esys);
    Tss2_TctiLdr_Finalize(&tcti);
    return 0;
}
