/* SPDX-License-Identifier: BSD-2-Clause */
/* Creates a key in each of several TPMs at the same time and waits only in poll: poll NAME:CONF... Prints the name of
 * each TPM when its key is done.
 *
 *     cc -o poll poll.c $(pkg-config --cflags --libs tss2-tctildr tss2-esys)
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

struct tpm {
    const char *name;
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;            /* NULL when the key is done */
    TSS2_TCTI_POLL_HANDLE *handle; /* the same for the life of the context */
};

static void succeed(const struct tpm *tpm, const char *what, TSS2_RC rc)
{
    if (rc == TSS2_RC_SUCCESS)
        return;
    fprintf(stderr, "%s: %s: 0x%x\n", tpm->name, what, (unsigned)rc);
    exit(1);
}

/* Sends the command that derives an RSA key from the owner seed, and returns at once. */
static void start(struct tpm *tpm)
{
    const TPM2B_PUBLIC template = {.publicArea = {
        .type = TPM2_ALG_RSA,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                            TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH,
        .parameters.rsaDetail = {.symmetric.algorithm = TPM2_ALG_NULL, .scheme.scheme = TPM2_ALG_NULL, .keyBits = 2048},
    }};
    const TPM2B_SENSITIVE_CREATE sensitive = {0};
    const TPM2B_DATA outside = {0};
    const TPML_PCR_SELECTION pcrs = {0};
    size_t found; /* the modules that can be polled have one handle each */
    succeed(tpm, "open", Tss2_TctiLdr_Initialize(tpm->name, &tpm->tcti));
    succeed(tpm, "ESAPI", Esys_Initialize(&tpm->esys, tpm->tcti, NULL));
    succeed(tpm, "no time-out", Esys_SetTimeout(tpm->esys, 0));
    succeed(tpm, "a handle", Esys_GetPollHandles(tpm->esys, &tpm->handle, &found));
    succeed(tpm, "create a key", Esys_CreatePrimary_Async(tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                                          ESYS_TR_NONE, &sensitive, &template, &outside, &pcrs));
}

/* Receives the key if it is done. */
static void finish(struct tpm *tpm)
{
    ESYS_TR key;
    TSS2_RC rc = Esys_CreatePrimary_Finish(tpm->esys, &key, NULL, NULL, NULL, NULL);
    /* The upper bits name the layer that returned the code. */
    if ((rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_TRY_AGAIN)
        return;
    succeed(tpm, "the key", rc);
    succeed(tpm, "flush the key", Esys_FlushContext(tpm->esys, key));
    puts(tpm->name);
    Esys_Free(tpm->handle);
    Esys_Finalize(&tpm->esys);
    Tss2_TctiLdr_Finalize(&tpm->tcti);
}

int main(int argc, char **argv)
{
    struct tpm tpms[64] = {0};
    struct pollfd handles[64];
    int count = argc - 1, left = count;
    if (count < 1 || count > 64)
        return fputs("usage: poll NAME:CONF...\n", stderr), 2;
    for (int i = 0; i < count; i++) {
        tpms[i].name = argv[i + 1];
        start(&tpms[i]);
    }
    while (left > 0) {
        for (int i = 0; i < count; i++) {
            if (tpms[i].esys == NULL)
                handles[i].fd = -1; /* poll skips it */
            else
                handles[i] = *tpms[i].handle;
        }
        poll(handles, count, -1);
        for (int i = 0; i < count; i++) {
            if (handles[i].fd < 0 || handles[i].revents == 0)
                continue;
            finish(&tpms[i]);
            left -= tpms[i].esys == NULL;
        }
    }
    return 0;
}
