// SPDX-License-Identifier: BSD-2-Clause
/* Makes all calls of one TCTI module in all states, as any C program may make them.
 *
 *   conformance [--transcript] LIBRARY INIT_SYMBOL CONF|-
 *
 * Prints each check that fails and a summary. With --transcript it prints the code of each call instead, and leaves out calls
 * that are undefined in other implementations of the module. Each scenario has a context of its own. */

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include "conformance/exchange.h"
#include "conformance/init.h"
#include "conformance/unusual.h"

static void finalizing_twice_and_calling_after_it(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    size_t size = 16, count = 1;
    uint32_t handle = 0x80000000;
    TSS2_TCTI_POLL_HANDLE polled;
    Tss2_Tcti_Finalize(ctx);
    Tss2_Tcti_Finalize(ctx);
    code("transmit", SEND(ctx, GET_RANDOM), TSS2_TCTI_RC_BAD_SEQUENCE);
    code("receive", Tss2_Tcti_Receive(ctx, &size, NULL, 0), TSS2_TCTI_RC_BAD_SEQUENCE);
    code("cancel", Tss2_Tcti_Cancel(ctx), TSS2_TCTI_RC_BAD_SEQUENCE);
    code("setLocality", Tss2_Tcti_SetLocality(ctx, 0), TSS2_TCTI_RC_BAD_SEQUENCE);
    code("getPollHandles", Tss2_Tcti_GetPollHandles(ctx, &polled, &count), TSS2_TCTI_RC_BAD_SEQUENCE);
    code("makeSticky", Tss2_Tcti_MakeSticky(ctx, &handle, 1), TSS2_TCTI_RC_BAD_SEQUENCE);
    Tss2_Tcti_Finalize(ctx);
    free(ctx);
}

static void a_hundred_contexts_leave_no_descriptor(void)
{
    closed(opened()); /* opens what the library opens only once */
    int before = open_descriptors();
    for (int i = 0; i < 100; i++)
        closed(opened());
    that("the number of descriptors is the same as before", open_descriptors() == before);
}

/* --- Two threads that use one context: the second one gets an error. --- */

static atomic_int done;

static void *self_test(void *ctx)
{
    uint8_t response[64];
    size_t size = sizeof(response);
    TSS2_RC rc;
    while ((rc = SEND(ctx, SELF_TEST)) == TSS2_TCTI_RC_BAD_SEQUENCE)
        sched_yield();
    code("transmit", rc, TSS2_RC_SUCCESS);
    while ((rc = Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK)) == TSS2_TCTI_RC_BAD_SEQUENCE)
        sched_yield();
    code("receive", rc, TSS2_RC_SUCCESS);
    atomic_store(&done, 1);
    return NULL;
}

static void a_concurrent_call_returns_bad_sequence(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    long rejected = 0, other = 0;
    for (int round = 0; round < 100 && rejected == 0; round++) {
        pthread_t thread;
        uint32_t handle = 0x80000000;
        atomic_store(&done, 0);
        pthread_create(&thread, NULL, self_test, ctx);
        while (!atomic_load(&done)) {
            TSS2_RC rc = Tss2_Tcti_MakeSticky(ctx, &handle, 1); /* returns BAD_SEQUENCE in no state of a context */
            rejected += rc == TSS2_TCTI_RC_BAD_SEQUENCE;
            other += rc != TSS2_TCTI_RC_BAD_SEQUENCE && rc != TSS2_TCTI_RC_NOT_IMPLEMENTED;
            sched_yield();
        }
        pthread_join(thread, NULL);
    }
    that("the code is BAD_SEQUENCE", rejected > 0);
    that("no other code is returned", other == 0);
    still_works("exchange", ctx);
    closed(ctx);
}

/* --- A thread that is cancelled during a call: the call returns normally, then the thread ends. --- */

static atomic_int calls, cancelled;

static void *exchange_while_cancelled(void *ctx)
{
    uint8_t response[64];
    size_t size = sizeof(response);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    while (!atomic_load(&cancelled))
        sched_yield();
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    if (Tss2_Tcti_Transmit(ctx, 10, NULL) == TSS2_TCTI_RC_BAD_REFERENCE) /* which is logged */
        atomic_fetch_add(&calls, 1);
    if (SEND(ctx, GET_RANDOM) == TSS2_RC_SUCCESS)
        atomic_fetch_add(&calls, 1);
    if (Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK) == TSS2_RC_SUCCESS)
        atomic_fetch_add(&calls, 1);
    pthread_testcancel();
    return NULL;
}

static void a_thread_that_is_cancelled_finishes_its_call(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    pthread_t thread;
    void *result = NULL;
    pthread_create(&thread, NULL, exchange_while_cancelled, ctx);
    pthread_cancel(thread);
    atomic_store(&cancelled, 1);
    pthread_join(thread, &result);
    that("each call returned", atomic_load(&calls) == 3);
    that("the thread was cancelled", result == PTHREAD_CANCELED);
    still_works("exchange", ctx);
    closed(ctx);
}

/* --- A module without a TPM --- */

static void no_call_is_implemented(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    uint8_t response[16];
    size_t size = sizeof(response), count = 1;
    uint32_t handle = 0x80000000;
    TSS2_TCTI_POLL_HANDLE polled;
    TSS2_RC want = TSS2_TCTI_RC_NOT_IMPLEMENTED;
    code("transmit", SEND(ctx, GET_RANDOM), want);
    code("transmit of nothing", Tss2_Tcti_Transmit(ctx, 0, response), want);
    code("receive", Tss2_Tcti_Receive(ctx, &size, response, 0), want);
    code("receive the size", Tss2_Tcti_Receive(ctx, &size, NULL, 0), want);
    code("cancel", Tss2_Tcti_Cancel(ctx), want);
    code("setLocality", Tss2_Tcti_SetLocality(ctx, 0), want);
    code("getPollHandles", Tss2_Tcti_GetPollHandles(ctx, &polled, &count), want);
    code("makeSticky", Tss2_Tcti_MakeSticky(ctx, &handle, 1), want);
    closed(ctx);
}

static void a_context_is_never_finalized(void)
{
    static TSS2_TCTI_CONTEXT *forgotten;
    forgotten = opened();
    if (!module->mute)
        still_works("exchange", forgotten);
}

/* --- The list --- */

enum when { ALWAYS, OURS = 1, TPM = 2 }; /* OURS: only on our modules; TPM: only on modules with a TPM */

#define SCENARIO(name, when) {#name, name, when}
static const struct {
    const char *name;
    void (*run)(void);
    int when;
} scenarios[] = {
    SCENARIO(the_module_describes_itself, ALWAYS),
    SCENARIO(init_returns_the_size_first, ALWAYS),
    SCENARIO(init_without_a_size, ALWAYS),
    SCENARIO(the_inner_context_has_the_same_offset_as_in_c, ALWAYS),
    SCENARIO(init_with_too_little_memory, ALWAYS),
    SCENARIO(init_in_uninitialised_memory, OURS),
    SCENARIO(a_failed_init_leaves_nothing, ALWAYS),
    SCENARIO(unusual_configurations, TPM),
    SCENARIO(every_call_rejects_null, ALWAYS),
    SCENARIO(contexts_of_other_modules_are_rejected, ALWAYS),
    SCENARIO(before_a_command, TPM),
    SCENARIO(while_a_response_is_due, TPM),
    SCENARIO(cancel_while_a_response_is_due, TPM),
    SCENARIO(closing_while_a_response_is_due, OURS | TPM),
    SCENARIO(a_command_with_a_wrong_size_is_rejected, TPM),
    SCENARIO(a_command_may_be_a_header_alone, TPM),
    SCENARIO(the_size_can_be_requested_repeatedly, TPM),
    SCENARIO(a_short_buffer_keeps_the_response, TPM),
    SCENARIO(one_receive_into_a_fixed_buffer, TPM),
    SCENARIO(time_outs, TPM),
    SCENARIO(invalid_time_outs, TPM),
    SCENARIO(poll_handles, TPM),
    SCENARIO(finalizing_twice_and_calling_after_it, OURS),
    SCENARIO(a_hundred_contexts_leave_no_descriptor, ALWAYS),
    SCENARIO(a_concurrent_call_returns_bad_sequence, OURS | TPM),
    SCENARIO(a_thread_that_is_cancelled_finishes_its_call, OURS | TPM),
    SCENARIO(no_call_is_implemented, ALWAYS),
    SCENARIO(a_context_is_never_finalized, ALWAYS), /* last, because the context stays */
};

int main(int argc, char **argv)
{
    int first = argc > 1 && strcmp(argv[1], "--transcript") == 0 ? 2 : 1;
    if (argc != first + 3) {
        fputs("usage: conformance [--transcript] LIBRARY INIT_SYMBOL CONF|-\n", stderr);
        return 2;
    }
    begin(first == 2);
    void *library = dlopen(argv[first], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    conf = strcmp(argv[first + 2], "-") == 0 ? NULL : argv[first + 2];
    *(void **)&init = dlsym(library, argv[first + 1]);
    TSS2_TCTI_INFO_FUNC info_of;
    *(void **)&info_of = dlsym(library, TSS2_TCTI_INFO_SYMBOL);
    const TSS2_TCTI_INFO *info = info_of ? info_of() : NULL;
    if (init == NULL || info == NULL || info->name == NULL) {
        fprintf(stderr, "%s is not a TCTI with %s\n", argv[first], argv[first + 1]);
        return 2;
    }
    for (size_t i = 0; i < sizeof(modules) / sizeof(*modules); i++)
        if (strcmp(modules[i].name, info->name) == 0)
            module = &modules[i];
    if (module == NULL) {
        fprintf(stderr, "no row for %s in conformance/context.h\n", info->name);
        return 2;
    }
    scenario("info");
    that("version", info->version == 2);
    that("description", info->description != NULL && *info->description != '\0');
    that("config_help", info->config_help != NULL && *info->config_help != '\0');
    that("init", info->init == init);
    that("the info is the same each time", info_of() == info);

    if (!module->mute) {
        TSS2_TCTI_CONTEXT *ctx = opened();
        TSS2_RC started = exchange(ctx, sizeof(STARTUP), STARTUP);
        must("Startup", started == TPM_RC_INITIALIZE ? TSS2_RC_SUCCESS : started);
        closed(ctx);
    }
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++) {
        int when = scenarios[i].when;
        if ((when & TPM && module->mute) || (when & OURS && transcript()) ||
            (scenarios[i].run == no_call_is_implemented && !module->mute))
            continue;
        scenario(scenarios[i].name);
        scenarios[i].run();
    }
    return summary();
}
