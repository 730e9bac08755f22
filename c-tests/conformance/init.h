// SPDX-License-Identifier: BSD-2-Clause
/* Scenarios that do not reach the TPM: Init, and calls with NULL or with the context of another module. */

#ifndef INIT_H
#define INIT_H

#include "context.h"

static void the_module_describes_itself(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    that("magic", TSS2_TCTI_MAGIC(ctx) == module->magic);
    that("version", TSS2_TCTI_VERSION(ctx) == 2);
    that("no slot is empty", head(ctx)->v1.transmit && head(ctx)->v1.receive && head(ctx)->v1.finalize &&
         head(ctx)->v1.cancel && head(ctx)->v1.getPollHandles && head(ctx)->v1.setLocality && head(ctx)->makeSticky);
    closed(ctx);
}

static void init_returns_the_size_first(void)
{
    size_t size = 0;
    code("Init(NULL, &size)", init(NULL, &size, conf), TSS2_RC_SUCCESS);
    struct plain { TSS2_TCTI_CONTEXT_COMMON_V2 head; void *pointers[3]; };
    size_t least = module->child ? module->child + sizeof(void *) + module->more : sizeof(struct plain);
    that("size", size >= least && size < least + sizeof(uint64_t)); /* may be padded */
    size = 0;
    code("Init(NULL, &size, NULL)", init(NULL, &size, NULL), TSS2_RC_SUCCESS);
    code("Init(NULL, NULL)", init(NULL, NULL, conf), TSS2_TCTI_RC_BAD_VALUE);
}

static void init_without_a_size(void)
{
    TSS2_TCTI_CONTEXT *ctx = garbage();
    TSS2_RC rc = init(ctx, NULL, conf);
    code("Init(ctx, NULL)", rc, module->size_optional ? TSS2_RC_SUCCESS : TSS2_TCTI_RC_BAD_VALUE);
    if (rc == TSS2_RC_SUCCESS)
        Tss2_Tcti_Finalize(ctx);
    free(ctx);
}

static void the_inner_context_has_the_same_offset_as_in_c(void)
{
    if (transcript() || module->child == 0)
        return;
    TSS2_TCTI_CONTEXT *ctx = opened(), **child = (TSS2_TCTI_CONTEXT **)((char *)ctx + module->child), *before = *child;
    that("it is there", *child != NULL);
    int known = 0;
    for (size_t i = 0; *child != NULL && i < sizeof(modules) / sizeof(modules[0]); i++)
        known |= TSS2_TCTI_MAGIC(*child) == modules[i].magic;
    that("it belongs to a module", known);
    code("a command", exchange(ctx, sizeof(GET_RANDOM), GET_RANDOM), TSS2_RC_SUCCESS);
    that("it is the same after a command", *child == before);
    Tss2_Tcti_Finalize(ctx);
    that("it is NULL after Finalize", *child == NULL);
    free(ctx);
}

static void init_with_too_little_memory(void)
{
    TSS2_TCTI_CONTEXT *ctx = garbage();
    size_t size = context_size() - 1;
    TSS2_RC rc = init(ctx, &size, conf);
    code("Init", rc, module->too_small ? module->too_small : TSS2_TCTI_RC_BAD_VALUE);
    if (rc == TSS2_RC_SUCCESS)
        Tss2_Tcti_Finalize(ctx);
    free(ctx);
}

static void init_in_uninitialised_memory(void)
{
    size_t size = context_size();
    TSS2_TCTI_CONTEXT *ctx = malloc(size);
    code("Init", init(ctx, &size, conf), TSS2_RC_SUCCESS);
    closed(ctx);
}

static void a_failed_init_leaves_nothing(void)
{
    static const uint8_t zeroes[sizeof(TSS2_TCTI_CONTEXT_COMMON_V2)];
    for (const char *const *bad = module->bad_confs; bad < module->bad_confs + 12 && *bad != NULL; bad++) {
        TSS2_TCTI_CONTEXT *ctx = garbage();
        size_t size = context_size();
        int before = open_descriptors();
        TSS2_RC rc = init(ctx, &size, *bad);
        code(*bad, rc, module->bad_conf_code);
        that("no descriptor is left", open_descriptors() == before);
        if (rc == TSS2_RC_SUCCESS) {
            Tss2_Tcti_Finalize(ctx);
        } else if (!transcript()) {
            that("the head is zero", memcmp(ctx, zeroes, sizeof(zeroes)) == 0);
            Tss2_Tcti_Finalize(ctx);
            code("transmit", SEND(ctx, GET_RANDOM), TSS2_TCTI_RC_ABI_MISMATCH);
            must("Init in the same memory", init(ctx, &size, conf));
            still_works("exchange after a good Init", ctx);
            Tss2_Tcti_Finalize(ctx);
        }
        free(ctx);
    }
}

static void every_call_rejects_null(void)
{
    if (transcript() && module->limited)
        return;
    TSS2_TCTI_CONTEXT *ctx = opened();
    TSS2_TCTI_CONTEXT_COMMON_V2 *f = head(ctx);
    size_t size = 16, count = 1;
    uint32_t handle = 0x80000000;
    TSS2_TCTI_POLL_HANDLE polled;
    code("transmit(NULL)", f->v1.transmit(NULL, sizeof(GET_RANDOM), GET_RANDOM), TSS2_TCTI_RC_BAD_REFERENCE);
    code("transmit(ctx, size, NULL)", f->v1.transmit(ctx, 12, NULL), TSS2_TCTI_RC_BAD_REFERENCE);
    code("receive(NULL)", f->v1.receive(NULL, &size, NULL, 0), TSS2_TCTI_RC_BAD_REFERENCE);
    code("receive(ctx, NULL)", f->v1.receive(ctx, NULL, NULL, 0), TSS2_TCTI_RC_BAD_REFERENCE);
    code("cancel(NULL)", f->v1.cancel(NULL), TSS2_TCTI_RC_BAD_REFERENCE);
    code("setLocality(NULL)", f->v1.setLocality(NULL, 0), TSS2_TCTI_RC_BAD_REFERENCE);
    code("getPollHandles(NULL)", f->v1.getPollHandles(NULL, &polled, &count), TSS2_TCTI_RC_BAD_REFERENCE);
    code("makeSticky(NULL)", f->makeSticky(NULL, &handle, 1), TSS2_TCTI_RC_BAD_REFERENCE);
    if (!transcript()) {
        code("getPollHandles(ctx, handles, NULL)", f->v1.getPollHandles(ctx, &polled, NULL), TSS2_TCTI_RC_BAD_REFERENCE);
        f->v1.finalize(NULL);
    }
    if (!module->mute)
        still_works("exchange", ctx);
    closed(ctx);
}

static void contexts_of_other_modules_are_rejected(void)
{
    if (transcript() && module->limited)
        return;
    TSS2_TCTI_CONTEXT *ctx = opened();
    size_t bytes = context_size(), size = 16, count = 1;
    uint32_t handle = 0x80000000;
    TSS2_TCTI_POLL_HANDLE polled;
    TSS2_TCTI_CONTEXT *copy = malloc(bytes);
    memcpy(copy, ctx, bytes);
    TSS2_TCTI_MAGIC(copy) ^= 1;
    code("transmit", SEND(copy, GET_RANDOM), TSS2_TCTI_RC_BAD_CONTEXT);
    code("receive", Tss2_Tcti_Receive(copy, &size, NULL, 0), TSS2_TCTI_RC_BAD_CONTEXT);
    code("cancel", Tss2_Tcti_Cancel(copy), TSS2_TCTI_RC_BAD_CONTEXT);
    code("setLocality", Tss2_Tcti_SetLocality(copy, 0), TSS2_TCTI_RC_BAD_CONTEXT);
    code("getPollHandles", Tss2_Tcti_GetPollHandles(copy, &polled, &count), TSS2_TCTI_RC_BAD_CONTEXT);
    code("makeSticky", Tss2_Tcti_MakeSticky(copy, &handle, 1), TSS2_TCTI_RC_BAD_CONTEXT);
    if (!transcript())
        Tss2_Tcti_Finalize(copy);
    free(copy);
    if (!module->mute)
        still_works("exchange on the real one", ctx);
    closed(ctx);
}

#endif
