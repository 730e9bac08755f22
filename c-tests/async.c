// SPDX-License-Identifier: BSD-2-Clause
/* Uses the distribution's libtss2-esys without blocking calls: async HOW MILLISECONDS NAME:CONF... Each TPM executes a
 * chain of commands whose responses are checked, all TPMs in one poll loop. Then they create RSA keys until poll has
 * waited for MILLISECONDS in total. Prints what this cost. HOW is `loader`, or `module` to open the modules without
 * the loader. */

#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

/* The program is killed after this time, if a module never responds. */
#define TIME_LIMIT 240 /* seconds */
/* One TPM needs fewer keys than this for the wait. If it creates more, poll returns without waiting. */
#define MAX_KEYS 1000

static void fail(const char *tpm, const char *what, TSS2_RC rc)
{
    printf("%s: %s: 0x%x\n", tpm, what, (unsigned)rc);
    exit(1);
}

/* One TPM and its progress. */
struct tpm {
    const char *name;
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
    size_t step;     /* index in CHAIN */
    unsigned keys;   /* created so far; each one is different */
    int is_busy;     /* a command was sent and its response is due */
    ESYS_TR key;
    TPM2B_PUBLIC public;
    TPM2B_DIGEST random;
};

/* The cost of the exchanges. */
static struct {
    unsigned commands, tries_again;
    double waited;      /* milliseconds in poll */
    double waiting_cpu; /* milliseconds of processor time for waiting, in user space and in the kernel */
    double total_cpu;   /* the same for everything: commands, waiting, responses */
} cost;

/* Returns the time of a clock in milliseconds. */
static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void check(const struct tpm *tpm, const char *what, int holds)
{
    if (!holds)
        fail(tpm->name, what, TSS2_RC_SUCCESS);
}

#define NO_SESSIONS ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define PASSWORD ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE

/* Each command has a function that sends it and one that receives its response. */

static TSS2_RC send_startup(struct tpm *tpm)
{
    return Esys_Startup_Async(tpm->esys, TPM2_SU_CLEAR);
}

static TSS2_RC take_startup(struct tpm *tpm)
{
    TSS2_RC rc = Esys_Startup_Finish(tpm->esys);
    return rc == TPM2_RC_INITIALIZE ? TSS2_RC_SUCCESS : rc; /* it was started up before */
}

static TSS2_RC send_random(struct tpm *tpm)
{
    return Esys_GetRandom_Async(tpm->esys, NO_SESSIONS, 32);
}

static TSS2_RC take_random(struct tpm *tpm)
{
    TPM2B_DIGEST *random = NULL;
    TSS2_RC rc = Esys_GetRandom_Finish(tpm->esys, &random);
    if (rc == TSS2_RC_SUCCESS) {
        check(tpm, "32 random bytes", random->size == 32 && memcmp(random->buffer, tpm->random.buffer, 32) != 0);
        tpm->random = *random;
    }
    Esys_Free(random);
    return rc;
}

static TSS2_RC send_hash(struct tpm *tpm)
{
    static const TPM2B_MAX_BUFFER abc = {.size = 3, .buffer = "abc"};
    return Esys_Hash_Async(tpm->esys, NO_SESSIONS, &abc, TPM2_ALG_SHA256, ESYS_TR_RH_NULL);
}

/* SHA-256 of "abc" (FIPS 180-4, example), and the value of a PCR that was reset to zero and extended with it. */
static const BYTE ABC[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                           0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
static const BYTE EXTENDED[] = {0x58, 0x9f, 0x9f, 0xfe, 0xd4, 0xc4, 0x77, 0x96, 0x6b, 0xfb, 0x8d, 0x41, 0xf3, 0x78, 0x95, 0xb0,
                                0x8c, 0x69, 0x04, 0x7d, 0xf8, 0xf9, 0x11, 0xd6, 0xf3, 0xb5, 0x7f, 0xbe, 0x08, 0xfa, 0xee, 0x8d};

static TSS2_RC take_hash(struct tpm *tpm)
{
    TPM2B_DIGEST *digest = NULL;
    TPMT_TK_HASHCHECK *ticket = NULL;
    TSS2_RC rc = Esys_Hash_Finish(tpm->esys, &digest, &ticket);
    if (rc == TSS2_RC_SUCCESS)
        check(tpm, "the hash of abc", digest->size == sizeof(ABC) && memcmp(digest->buffer, ABC, sizeof(ABC)) == 0);
    Esys_Free(digest);
    Esys_Free(ticket);
    return rc;
}

static TSS2_RC send_pcr_reset(struct tpm *tpm)
{
    return Esys_PCR_Reset_Async(tpm->esys, ESYS_TR_PCR16, PASSWORD);
}

static TSS2_RC take_pcr_reset(struct tpm *tpm)
{
    return Esys_PCR_Reset_Finish(tpm->esys);
}

static TSS2_RC send_pcr_extend(struct tpm *tpm)
{
    TPML_DIGEST_VALUES values = {.count = 1, .digests = {{.hashAlg = TPM2_ALG_SHA256}}};
    memcpy(values.digests[0].digest.sha256, ABC, sizeof(ABC));
    return Esys_PCR_Extend_Async(tpm->esys, ESYS_TR_PCR16, PASSWORD, &values);
}

static TSS2_RC take_pcr_extend(struct tpm *tpm)
{
    return Esys_PCR_Extend_Finish(tpm->esys);
}

static TSS2_RC send_pcr_read(struct tpm *tpm)
{
    static const TPML_PCR_SELECTION pcr16 = {
        .count = 1, .pcrSelections = {{.hash = TPM2_ALG_SHA256, .sizeofSelect = 3, .pcrSelect = {0, 0, 1}}}};
    return Esys_PCR_Read_Async(tpm->esys, NO_SESSIONS, &pcr16);
}

static TSS2_RC take_pcr_read(struct tpm *tpm)
{
    TPML_DIGEST *values = NULL;
    TSS2_RC rc = Esys_PCR_Read_Finish(tpm->esys, NULL, NULL, &values);
    if (rc == TSS2_RC_SUCCESS)
        check(tpm, "the PCR", values->count == 1 && memcmp(values->digests[0].buffer, EXTENDED, sizeof(EXTENDED)) == 0);
    Esys_Free(values);
    return rc;
}

static TSS2_RC send_create(struct tpm *tpm)
{
    TPM2B_PUBLIC template = {.publicArea = {
        .type = TPM2_ALG_RSA,
        .nameAlg = TPM2_ALG_SHA256,
        .objectAttributes = TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                            TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH,
        .parameters.rsaDetail = {.symmetric.algorithm = TPM2_ALG_NULL, .scheme.scheme = TPM2_ALG_NULL, .keyBits = 2048},
        .unique.rsa = {.size = sizeof(tpm->keys)},
    }};
    static const TPM2B_SENSITIVE_CREATE sensitive;
    static const TPM2B_DATA outside;
    static const TPML_PCR_SELECTION pcrs;
    memcpy(template.publicArea.unique.rsa.buffer, &tpm->keys, sizeof(tpm->keys));
    tpm->keys++;
    return Esys_CreatePrimary_Async(tpm->esys, ESYS_TR_RH_OWNER, PASSWORD, &sensitive, &template, &outside, &pcrs);
}

static int same_key(const TPM2B_PUBLIC *one, const TPM2B_PUBLIC *another)
{
    const TPM2B_PUBLIC_KEY_RSA *a = &one->publicArea.unique.rsa, *b = &another->publicArea.unique.rsa;
    return a->size == b->size && memcmp(a->buffer, b->buffer, a->size) == 0;
}

static TSS2_RC take_create(struct tpm *tpm)
{
    TPM2B_PUBLIC *public = NULL;
    TSS2_RC rc = Esys_CreatePrimary_Finish(tpm->esys, &tpm->key, &public, NULL, NULL, NULL);
    if (rc == TSS2_RC_SUCCESS) {
        check(tpm, "a key of 2048 bits", public->publicArea.unique.rsa.size == 256);
        check(tpm, "another key", !same_key(public, &tpm->public));
        tpm->public = *public;
    }
    Esys_Free(public);
    return rc;
}

static TSS2_RC send_read_public(struct tpm *tpm)
{
    return Esys_ReadPublic_Async(tpm->esys, tpm->key, NO_SESSIONS);
}

static TSS2_RC take_read_public(struct tpm *tpm)
{
    TPM2B_PUBLIC *public = NULL;
    TSS2_RC rc = Esys_ReadPublic_Finish(tpm->esys, &public, NULL, NULL);
    if (rc == TSS2_RC_SUCCESS)
        check(tpm, "the same key", same_key(public, &tpm->public));
    Esys_Free(public);
    return rc;
}

static TSS2_RC send_flush(struct tpm *tpm)
{
    return Esys_FlushContext_Async(tpm->esys, tpm->key);
}

static TSS2_RC take_flush(struct tpm *tpm)
{
    return Esys_FlushContext_Finish(tpm->esys);
}

static const struct command {
    const char *name;
    TSS2_RC (*send)(struct tpm *);
    TSS2_RC (*take)(struct tpm *);
} CHAIN[] = {
    {"Startup", send_startup, take_startup},
    {"GetRandom", send_random, take_random},
    {"GetRandom again", send_random, take_random},
    {"Hash", send_hash, take_hash},
    {"PCR_Reset", send_pcr_reset, take_pcr_reset},
    {"PCR_Extend", send_pcr_extend, take_pcr_extend},
    {"PCR_Read", send_pcr_read, take_pcr_read},
    {"CreatePrimary", send_create, take_create},
    {"ReadPublic", send_read_public, take_read_public},
    {"FlushContext", send_flush, take_flush},
};
#define STEPS (sizeof(CHAIN) / sizeof(*CHAIN))

/* The last part of the chain creates a key. It is repeated. */
#define FIRST_OF_A_KEY (STEPS - 3)

static void send_next(struct tpm *tpm)
{
    TSS2_RC rc = CHAIN[tpm->step].send(tpm);
    if (rc != TSS2_RC_SUCCESS)
        fail(tpm->name, CHAIN[tpm->step].name, rc);
    cost.commands++;
    tpm->is_busy = 1;
}

/* Receives the response if it has arrived. Return codes contain the layer that they come from. */
static void take(struct tpm *tpm)
{
    double before = now(CLOCK_PROCESS_CPUTIME_ID);
    TSS2_RC rc = CHAIN[tpm->step].take(tpm);
    if ((rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_TRY_AGAIN) {
        cost.tries_again++;
        cost.waiting_cpu += now(CLOCK_PROCESS_CPUTIME_ID) - before;
        return;
    }
    if (rc != TSS2_RC_SUCCESS)
        fail(tpm->name, CHAIN[tpm->step].name, rc);
    tpm->is_busy = 0;
    tpm->step++;
}

/* Waits for the busy TPMs, and receives the responses that have arrived. */
static void round_of_poll(struct tpm *tpms, size_t count)
{
    struct pollfd polled[count];
    struct tpm *who[count];
    nfds_t waiting = 0;
    double processor = now(CLOCK_PROCESS_CPUTIME_ID);
    for (struct tpm *tpm = tpms; tpm < tpms + count; tpm++) {
        TSS2_TCTI_POLL_HANDLE *handles = NULL;
        size_t found = 0;
        if (!tpm->is_busy)
            continue;
        TSS2_RC rc = Esys_GetPollHandles(tpm->esys, &handles, &found);
        if (rc != TSS2_RC_SUCCESS || found != 1)
            fail(tpm->name, "one handle to poll", rc);
        who[waiting] = tpm;
        polled[waiting++] = *handles;
        Esys_Free(handles);
    }
    double since = now(CLOCK_MONOTONIC);
    if (poll(polled, waiting, -1) <= 0)
        fail(who[0]->name, "poll", TSS2_RC_SUCCESS);
    cost.waited += now(CLOCK_MONOTONIC) - since;
    cost.waiting_cpu += now(CLOCK_PROCESS_CPUTIME_ID) - processor;
    for (nfds_t i = 0; i < waiting; i++) {
        if (polled[i].revents != 0)
            take(who[i]);
    }
}

/* Each TPM finishes the chain, and repeats its last part until poll has waited for `wanted` milliseconds. */
static void run(struct tpm *tpms, size_t count, double wanted)
{
    double processor = now(CLOCK_PROCESS_CPUTIME_ID);
    memset(&cost, 0, sizeof(cost));
    for (;;) {
        size_t busy = 0;
        for (struct tpm *tpm = tpms; tpm < tpms + count; tpm++) {
            if (tpm->step == STEPS && cost.waited < wanted)
                tpm->step = FIRST_OF_A_KEY;
            if (!tpm->is_busy && tpm->step < STEPS)
                send_next(tpm);
            busy += tpm->is_busy;
            check(tpm, "poll does not wait", tpm->keys < MAX_KEYS);
        }
        if (busy == 0)
            break;
        round_of_poll(tpms, count);
    }
    cost.total_cpu = now(CLOCK_PROCESS_CPUTIME_ID) - processor;
}

static TSS2_TCTI_CONTEXT *open_module(const char *name_conf)
{
    char library[256];
    int length = (int)strcspn(name_conf, ":");
    snprintf(library, sizeof(library), "libtss2-tcti-%.*s.so.0", length, name_conf);
    void *loaded = dlopen(library, RTLD_NOW);
    if (loaded == NULL)
        fail(name_conf, dlerror(), TSS2_RC_SUCCESS);
    const TSS2_TCTI_INFO *info = ((TSS2_TCTI_INFO_FUNC)dlsym(loaded, TSS2_TCTI_INFO_SYMBOL))();
    size_t size;
    TSS2_RC rc = info->init(NULL, &size, NULL);
    TSS2_TCTI_CONTEXT *tcti = rc == TSS2_RC_SUCCESS ? malloc(size) : NULL;
    if (tcti != NULL)
        rc = info->init(tcti, &size, name_conf + length + 1);
    if (tcti == NULL || rc != TSS2_RC_SUCCESS)
        fail(name_conf, "open", rc);
    return tcti;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return fputs("usage: async loader|module MILLISECONDS NAME:CONF...\n", stderr), 2;
    alarm(TIME_LIMIT);
    int by_loader = strcmp(argv[1], "loader") == 0;
    size_t count = (size_t)argc - 3;
    struct tpm *tpms = calloc(count, sizeof(*tpms));
    for (size_t i = 0; i < count; i++) {
        struct tpm *tpm = &tpms[i];
        tpm->name = argv[i + 3];
        TSS2_RC rc = TSS2_RC_SUCCESS;
        if (by_loader)
            rc = Tss2_TctiLdr_Initialize(tpm->name, &tpm->tcti);
        else
            tpm->tcti = open_module(tpm->name);
        if (rc == TSS2_RC_SUCCESS)
            rc = Esys_Initialize(&tpm->esys, tpm->tcti, NULL);
        if (rc == TSS2_RC_SUCCESS)
            rc = Esys_SetTimeout(tpm->esys, 0);
        if (rc != TSS2_RC_SUCCESS)
            fail(tpm->name, "open", rc);
    }
    run(tpms, count, 0);
    run(tpms, count, atof(argv[2]));
    printf("waited %.0f waiting_cpu %.3f total_cpu %.3f commands %u tries_again %u\n", cost.waited, cost.waiting_cpu,
           cost.total_cpu, cost.commands, cost.tries_again);
    for (struct tpm *tpm = tpms; tpm < tpms + count; tpm++) {
        Esys_Finalize(&tpm->esys);
        if (by_loader) {
            Tss2_TctiLdr_Finalize(&tpm->tcti);
        } else {
            Tss2_Tcti_Finalize(tpm->tcti);
            free(tpm->tcti);
        }
    }
    free(tpms);
    return 0;
}
