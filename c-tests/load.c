// SPDX-License-Identifier: BSD-2-Clause
/* Load on a TPM through the distribution's libtss2-esys: load NAME:CONF SEED COUNT plain|fork|key. Has "SEED NUMBER"
 * hashed and random bytes generated COUNT times, and prints both. Where the module has a descriptor to poll, no call
 * blocks. "fork": the second half is shared with a child process that goes on with the context and ends in one of
 * several ways. "key": the same with a key, which is loaded first and used by both processes. Changes nothing else in
 * the TPM. Exits with status 1 and prints a response code when something fails. */

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>
#include <unistd.h>

#define NO_SESSIONS ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define NO_PASSWORD ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE

/* Returns a code without the layer that it comes from. */
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

/* Waits until a response may have arrived. With modules without a descriptor, Finish blocks instead. */
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

/* Loads an HMAC key that no other process has. */
static ESYS_TR load_key(ESYS_CONTEXT *esys)
{
    const TPM2B_SENSITIVE_CREATE sensitive = { 0 };
    const TPM2B_PUBLIC template = { .publicArea = {
        .type = TPM2_ALG_KEYEDHASH,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_NODA |
                            TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN,
        .parameters.keyedHashDetail.scheme = { TPM2_ALG_HMAC, { .hmac = { TPM2_ALG_SHA256 } } },
    } };
    const TPM2B_DATA outside = { 0 };
    const TPML_PCR_SELECTION none = { 0 };
    ESYS_TR key = ESYS_TR_NONE;
    check("CreatePrimary", Esys_CreatePrimary(esys, ESYS_TR_RH_NULL, NO_PASSWORD, &sensitive, &template, &outside,
                                              &none, &key, NULL, NULL, NULL, NULL));
    return key;
}

/* Checks that the key is loaded and the same as before. The process aborts when another key answers. */
static void use_key(ESYS_CONTEXT *esys, ESYS_TR key, const char *seed)
{
    static TPM2B_DIGEST before;
    TPM2B_MAX_BUFFER data = { .size = (UINT16)strlen(seed) };
    TPM2B_DIGEST *mac = NULL;
    memcpy(data.buffer, seed, data.size);
    check("HMAC", Esys_HMAC(esys, key, NO_PASSWORD, &data, TPM2_ALG_SHA256, &mac));
    if (before.size != 0 && (mac->size != before.size || memcmp(mac->buffer, before.buffer, mac->size) != 0)) {
        fputs("another key answers\n", stderr);
        abort();
    }
    before = *mac;
    Esys_Free(mac);
}

struct load {
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
    ESYS_TR key;
    const char *seed;
};

static void rounds(const struct load *load, int from, int to)
{
    for (int number = from; number < to; number++) {
        hash(load->esys, load->seed, number);
        random_bytes(load->esys);
        if (load->key != ESYS_TR_NONE)
            use_key(load->esys, load->key, load->seed);
    }
}

static void finalize(struct load *load)
{
    Esys_Finalize(&load->esys);
    Tss2_TctiLdr_Finalize(&load->tcti);
}

enum fate { ENDS, FINALIZES, IS_KILLED, OUTLIVES, FATES };

/* The work of a child process. Its output goes to a pipe. */
static void work(struct load *load, int from, int to, enum fate fate)
{
    const TPM2B_MAX_BUFFER data = { .size = 1 };
    rounds(load, from, to);
    fflush(stdout);
    if (fate == IS_KILLED) {
        check("Hash_Async", Esys_Hash_Async(load->esys, NO_SESSIONS, &data, TPM2_ALG_SHA256, ESYS_TR_RH_NULL));
        raise(SIGKILL);
    }
    if (fate == FINALIZES)
        finalize(load);
    _exit(0);
}

/* Copies a pipe to stdout until its end. */
static void copy(int from)
{
    char bytes[4096];
    ssize_t size;
    while ((size = read(from, bytes, sizeof(bytes))) > 0)
        fwrite(bytes, 1, (size_t)size, stdout);
}

/* Shares the second half with a child process, whose output is printed last. */
static void fork_and_share(struct load *load, int count)
{
    enum fate fate = (enum fate)(strtoull(load->seed, NULL, 10) % FATES);
    int half = count / 2, quarter = half + (count - half) / 2, ends[2], status = 0;
    pid_t child;
    rounds(load, 0, half);
    fflush(stdout);
    if (pipe(ends) != 0 || (child = fork()) < 0)
        check("fork", TSS2_ESYS_RC_GENERAL_FAILURE);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        work(load, quarter, count, fate);
    }
    close(ends[1]);
    rounds(load, half, quarter);
    if (fate == OUTLIVES)
        finalize(load);
    copy(ends[0]);
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status) ? fate != IS_KILLED || WTERMSIG(status) != SIGKILL : WEXITSTATUS(status) != 0)
        exit(1); /* the child has printed the reason */
    if (fate != OUTLIVES && load->key != ESYS_TR_NONE)
        use_key(load->esys, load->key, load->seed);
}

int main(int argc, char **argv)
{
    struct load load = { .key = ESYS_TR_NONE };
    if (argc != 5)
        return fputs("usage: load NAME:CONF SEED COUNT plain|fork|key\n", stderr), 2;
    load.seed = argv[2];
    check("open", Tss2_TctiLdr_Initialize(argv[1], &load.tcti));
    check("Esys_Initialize", Esys_Initialize(&load.esys, load.tcti, NULL));
    check("SetTimeout", Esys_SetTimeout(load.esys, 0));
    if (strcmp(argv[4], "key") == 0)
        load.key = load_key(load.esys);
    if (strcmp(argv[4], "plain") == 0)
        rounds(&load, 0, atoi(argv[3]));
    else
        fork_and_share(&load, atoi(argv[3]));
    finalize(&load);
    return 0;
}
