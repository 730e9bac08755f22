// SPDX-License-Identifier: BSD-2-Clause
/* Properties of each module for conformance.c, and contexts to test with. */

#ifndef CONTEXT_H
#define CONTEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tcti.h>
#include "../commands.h"
#include "../report.h"
#include "../structures.h"

/* The properties of one of our modules. */
struct module {
    const char *name;
    uint64_t magic;
    const char *bad_confs[12]; /* Init rejects these */
    TSS2_RC bad_conf_code;
    TSS2_RC too_small;         /* the code of Init for too little memory, if it is not BAD_VALUE */
    int size_optional;         /* Init(ctx, NULL, conf) succeeds */
    int mute;                  /* every call returns NOT_IMPLEMENTED */
    int locality;
    int handles;
    int cancels;
    size_t child;              /* the offset of the inner context in its contexts, in bytes; 0: it has none */
    size_t more;               /* the size of what follows, in bytes */
    int limited;               /* transcripts leave out what the module in C does not check: contexts and sizes */
    int started;               /* the module in C has a new TPM in each context, which it does not start up */
    int keeps_response;        /* the test device keeps a response that was not received */
};

#define A_HUNDRED "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

#define BAD_ADDRESSES                                                                                                  \
    {"nonsense", "unknown=1", "port", "port=", "port=0", "port=65536", "port=65535", "port=1x", "port=-1", "host=",    \
     "path=", "path=/" A_HUNDRED "/socket"}

static const struct module modules[] = {
    {"tcti-device", 0x89205e72e319e5bb, {"/dev/no-such-tpm", "/", "/nonexistent/directory/tpm"}, TSS2_TCTI_RC_IO_ERROR,
     .size_optional = 1, .handles = 1, .keeps_response = 1},
    {"tcti-swtpm", 0x496e66696e656f6e, BAD_ADDRESSES, TSS2_TCTI_RC_BAD_VALUE, .locality = 1, .handles = 1},
    {"tcti-socket", 0xf05b04cd9f02728d, BAD_ADDRESSES, TSS2_TCTI_RC_BAD_VALUE, .locality = 1, .handles = 1,
     .cancels = 1},
    {"tcti-cmd", 0xf05b04cd9f02728d, {""}, TSS2_TCTI_RC_BAD_VALUE, .handles = 1, .limited = 1},
    {"tcti-libtpms", 0x49e299a554504d32, {"/nonexistent/tpm", "/", "/dev/null"}, TSS2_TCTI_RC_IO_ERROR, .locality = 1,
     .started = 1},
    {"tcti-spi-ltt2go", 0x4d5c6e8bd4811477, {"(", "[", "a{2,1}"}, TSS2_TCTI_RC_BAD_VALUE,
     .too_small = TSS2_TCTI_RC_INSUFFICIENT_BUFFER},
    {"tcti-null", 0x9af45c5d7d9d0d3f, {NULL}, 0, .size_optional = 1, .mute = 1},
    /* In front of mssim. */
    {"tcti-pcap", 0x9cf45c5d7d9d0d3f, {"no-such-tcti", "no-such-tcti:conf"}, TSS2_TCTI_RC_NOT_SUPPORTED, .locality = 1,
     .size_optional = 1, .handles = 1, .cancels = 1, .child = offsetof(struct pcap_context, child)},
    /* In front of swtpm. */
    {"tctildr", 0xbc44a31ca74b4aaf, {"no-such-tcti", "no-such-tcti:conf"}, TSS2_TCTI_RC_NOT_SUPPORTED, .locality = 1,
     .size_optional = 1, .handles = 1, .child = offsetof(struct tctildr_context, tcti),
     .more = sizeof(void *)},
};

static const struct module *module;
static TSS2_TCTI_INIT_FUNC init;
static const char *conf;

/* Returns the code of a call that only some modules implement. */
static TSS2_RC if_implemented(int implemented, TSS2_RC rc)
{
    return implemented ? rc : TSS2_TCTI_RC_NOT_IMPLEMENTED;
}

static TSS2_TCTI_CONTEXT_COMMON_V2 *head(TSS2_TCTI_CONTEXT *ctx)
{
    return (TSS2_TCTI_CONTEXT_COMMON_V2 *)ctx;
}

static size_t context_size(void)
{
    size_t size = 0;
    must("the size of a context", init(NULL, &size, conf));
    return size;
}

/* Returns memory for a context filled with garbage, as malloc may return it; for a transcript zeroes, as the C loader
 * allocates it. */
static TSS2_TCTI_CONTEXT *garbage(void)
{
    void *memory = malloc(context_size());
    memset(memory, transcript() ? 0 : 0xa5, context_size());
    return memory;
}

#define SEND(ctx, command) Tss2_Tcti_Transmit(ctx, sizeof(command), command)

/* Exchanges one command. Returns the code of the first call that fails, or of the TPM. */
static TSS2_RC exchange(TSS2_TCTI_CONTEXT *ctx, size_t length, const uint8_t *command)
{
    uint8_t response[4096];
    size_t size = sizeof(response);
    TSS2_RC rc = Tss2_Tcti_Transmit(ctx, length, command);
    if (rc == TSS2_RC_SUCCESS)
        rc = Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK);
    return rc == TSS2_RC_SUCCESS ? response_code(response) : rc;
}

static TSS2_TCTI_CONTEXT *opened(void)
{
    TSS2_TCTI_CONTEXT *ctx = garbage();
    size_t size = context_size();
    must("Init", init(ctx, &size, conf));
    if (transcript() && module->started)
        must("Startup", exchange(ctx, sizeof(STARTUP), STARTUP));
    return ctx;
}

static void closed(TSS2_TCTI_CONTEXT *ctx)
{
    Tss2_Tcti_Finalize(ctx);
    free(ctx);
}

/* Checks that the context works after what was done before. */
static void still_works(const char *after, TSS2_TCTI_CONTEXT *ctx)
{
    code(after, exchange(ctx, sizeof(GET_RANDOM), GET_RANDOM), TSS2_RC_SUCCESS);
}

/* Returns a context whose response is due. */
static TSS2_TCTI_CONTEXT *awaiting(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    must("transmit", SEND(ctx, GET_RANDOM));
    return ctx;
}

static int open_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl_is_open(fd);
    return count;
}

#endif
