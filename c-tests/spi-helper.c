// SPDX-License-Identifier: BSD-2-Clause
/* A program that drives an SPI bus for libtss2-tcti-spi-helper. The bus is the simulator libsim_tis.so, whose TPM is any
 * TCTI, such as libtpms:FILE.
 *
 *   spi-helper check TCTI                       runs the checks and prints those that fail
 *   spi-helper serve TCTI [held|whole [FAULTS]] passes raw TPM commands from stdin and responses to stdout, for the TCTI cmd
 *   spi-helper exit TCTI                        calls pthread_exit(3) in a platform function, which ends the process
 *
 * held: with spi_acquire and spi_release; whole: without them. FAULTS are the simulator's, such as burst=8,wait_states=2. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <tss2/tss2_tcti_spi_helper.h>
#include "tis-sim.h"

/* TPM2_GetRandom of 16 bytes; its response has 28 bytes. */
static const uint8_t GET_RANDOM[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16};

static unsigned failed;

#define CHECK(holds) check(holds, #holds, __LINE__)

static void check(int holds, const char *what, int line)
{
    if (!holds) {
        failed++;
        printf("FAILED line %d: %s\n", line, what);
    }
}

/* The state that the platform functions share. */
struct platform {
    struct tis_sim *sim;
    struct timespec timer;
    const char *fails; /* the name of the function that fails */
    int finalized;
    int exits; /* whether spi_transfer ends the thread */
    TSS2_TCTI_CONTEXT *ends; /* a context that spi_transfer finalizes */
};

static TSS2_RC answer(const struct platform *platform, const char *name, int result)
{
    int fails = platform->fails != NULL && strcmp(platform->fails, name) == 0;
    return fails || result != 0 ? TSS2_TCTI_RC_GENERAL_FAILURE : TSS2_RC_SUCCESS;
}

static TSS2_RC sleep_ms(void *user_data, int milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    return answer(user_data, "sleep_ms", nanosleep(&time, NULL));
}

static TSS2_RC start_timeout(void *user_data, int milliseconds)
{
    struct platform *platform = user_data;
    clock_gettime(CLOCK_MONOTONIC, &platform->timer);
    platform->timer.tv_sec += milliseconds / 1000;
    platform->timer.tv_nsec += milliseconds % 1000 * 1000000L;
    if (platform->timer.tv_nsec >= 1000000000L) {
        platform->timer.tv_sec++;
        platform->timer.tv_nsec -= 1000000000L;
    }
    return answer(platform, "start_timeout", 0);
}

static TSS2_RC timeout_expired(void *user_data, bool *result)
{
    const struct platform *platform = user_data;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *result = now.tv_sec != platform->timer.tv_sec ? now.tv_sec > platform->timer.tv_sec
                                                   : now.tv_nsec >= platform->timer.tv_nsec;
    return answer(platform, "timeout_expired", 0);
}

static TSS2_RC spi_acquire(void *user_data)
{
    struct platform *platform = user_data;
    return answer(platform, "spi_acquire", tis_sim_acquire(platform->sim));
}

static TSS2_RC spi_release(void *user_data)
{
    struct platform *platform = user_data;
    return answer(platform, "spi_release", tis_sim_release(platform->sim));
}

static TSS2_RC spi_transfer(void *user_data, const void *data_out, void *data_in, size_t cnt)
{
    struct platform *platform = user_data;
    if (platform->exits)
        pthread_exit(NULL);
    if (platform->ends != NULL)
        Tss2_Tcti_Finalize(platform->ends);
    return answer(platform, "spi_transfer", tis_sim_transfer(platform->sim, data_out, data_in, cnt));
}

static void finalize(void *user_data)
{
    struct platform *platform = user_data;
    platform->finalized++;
}

static TSS2_TCTI_SPI_HELPER_PLATFORM functions(struct platform *platform, int held)
{
    TSS2_TCTI_SPI_HELPER_PLATFORM functions = {
        .user_data = platform,
        .sleep_ms = sleep_ms,
        .start_timeout = start_timeout,
        .timeout_expired = timeout_expired,
        .spi_acquire = held ? spi_acquire : NULL,
        .spi_release = held ? spi_release : NULL,
        .spi_transfer = spi_transfer,
        .finalize = finalize,
    };
    return functions;
}

/* The memory of the context is filled with garbage, as that of malloc may be. */
static TSS2_RC open_context(TSS2_TCTI_SPI_HELPER_PLATFORM functions, TSS2_TCTI_CONTEXT **ctx)
{
    size_t size = 0;
    TSS2_RC rc = Tss2_Tcti_Spi_Helper_Init(NULL, &size, NULL);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    *ctx = malloc(size);
    memset(*ctx, 0xa5, size);
    rc = Tss2_Tcti_Spi_Helper_Init(*ctx, &size, &functions);
    if (rc != TSS2_RC_SUCCESS) {
        free(*ctx);
        *ctx = NULL;
    }
    return rc;
}

static void close_context(TSS2_TCTI_CONTEXT *ctx)
{
    if (ctx == NULL)
        return;
    Tss2_Tcti_Finalize(ctx);
    free(ctx);
}

static TSS2_RC get_random(TSS2_TCTI_CONTEXT *ctx)
{
    uint8_t response[64];
    size_t size = 0;
    TSS2_RC rc = Tss2_Tcti_Transmit(ctx, sizeof(GET_RANDOM), GET_RANDOM);
    if (rc == TSS2_RC_SUCCESS)
        rc = Tss2_Tcti_Receive(ctx, &size, NULL, TSS2_TCTI_TIMEOUT_BLOCK);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    CHECK(size == 28);
    size = sizeof(response);
    rc = Tss2_Tcti_Receive(ctx, &size, response, 0);
    CHECK(size == 28 && response[5] == 28 && memcmp(response + 6, "\0\0\0\0", 4) == 0);
    return rc;
}

static void check_commands(struct tis_sim *sim, int held, const char *faults)
{
    struct platform platform = {.sim = sim};
    TSS2_TCTI_CONTEXT *ctx = NULL;
    CHECK(tis_sim_set(sim, faults) == 0);
    CHECK(open_context(functions(&platform, held), &ctx) == TSS2_RC_SUCCESS);
    if (ctx == NULL)
        return;
    CHECK(tis_sim_has_locality(sim));
    CHECK(get_random(ctx) == TSS2_RC_SUCCESS);
    uint64_t before = tis_sim_transactions(sim);
    CHECK(get_random(ctx) == TSS2_RC_SUCCESS);
    printf("%s, \"%s\": GetRandom in %u transactions\n", held ? "held" : "whole", faults,
           (unsigned)(tis_sim_transactions(sim) - before));
    CHECK(faults[0] != '\0' || tis_sim_transactions(sim) - before == 8);
    CHECK(Tss2_Tcti_Cancel(ctx) == TSS2_TCTI_RC_NOT_IMPLEMENTED);
    CHECK(Tss2_Tcti_SetLocality(ctx, 1) == TSS2_TCTI_RC_NOT_IMPLEMENTED);
    CHECK(platform.finalized == 0);
    Tss2_Tcti_Finalize(ctx);
    CHECK(platform.finalized == 1);
    close_context(ctx); /* a second Finalize does nothing */
    CHECK(platform.finalized == 1);
    CHECK(!tis_sim_has_locality(sim));
    CHECK(tis_sim_offences(sim) == 0);
}

static void check_missing_functions(struct tis_sim *sim)
{
    struct platform platform = {.sim = sim};
    TSS2_TCTI_SPI_HELPER_PLATFORM without[7];
    TSS2_TCTI_CONTEXT *ctx = NULL;
    for (int i = 0; i < 7; i++)
        without[i] = functions(&platform, 1);
    without[0].sleep_ms = NULL;
    without[1].start_timeout = NULL;
    without[2].timeout_expired = NULL;
    without[3].spi_acquire = NULL;
    without[4].spi_release = NULL;
    without[5].spi_transfer = NULL;
    memset(&without[6], 0, sizeof(without[6]));
    for (int i = 0; i < 7; i++)
        CHECK(open_context(without[i], &ctx) == TSS2_TCTI_RC_BAD_VALUE);
    CHECK(platform.finalized == 0);

    uint64_t memory[64];
    size_t size = sizeof(memory);
    CHECK(Tss2_Tcti_Spi_Helper_Init((TSS2_TCTI_CONTEXT *)memory, &size, NULL) == TSS2_TCTI_RC_BAD_VALUE);
    CHECK(Tss2_Tcti_Spi_Helper_Init(NULL, NULL, NULL) == TSS2_TCTI_RC_BAD_VALUE);

    /* finalize alone is optional. */
    TSS2_TCTI_SPI_HELPER_PLATFORM unfinalized = functions(&platform, 1);
    unfinalized.finalize = NULL;
    CHECK(open_context(unfinalized, &ctx) == TSS2_RC_SUCCESS);
    close_context(ctx);
}

static void check_failing_functions(struct tis_sim *sim)
{
    static const char *const names[] = {"sleep_ms",    "start_timeout", "timeout_expired",
                                        "spi_acquire", "spi_release",   "spi_transfer"};
    /* The TPM is slow, so that the module has to wait. */
    CHECK(tis_sim_set(sim, "ready_after=6,data_after=6,claim_after=6") == 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct platform platform = {.sim = sim, .fails = names[i]};
        TSS2_TCTI_CONTEXT *ctx = NULL;
        CHECK(open_context(functions(&platform, 1), &ctx) == TSS2_TCTI_RC_IO_ERROR);
        CHECK(platform.finalized == 0);
        platform.fails = NULL;
        tis_sim_release(sim); /* here spi_acquire selects the TPM even when it fails */
        CHECK(open_context(functions(&platform, 1), &ctx) == TSS2_RC_SUCCESS);
        if (ctx == NULL)
            continue;
        CHECK(get_random(ctx) == TSS2_RC_SUCCESS);
        platform.fails = names[i];
        CHECK(get_random(ctx) == TSS2_TCTI_RC_IO_ERROR);
        platform.fails = NULL;
        tis_sim_release(sim);
        CHECK(get_random(ctx) == TSS2_RC_SUCCESS);
        close_context(ctx);
        CHECK(platform.finalized == 1);
    }
    struct platform platform = {.sim = sim};
    TSS2_TCTI_CONTEXT *ctx = NULL;
    CHECK(tis_sim_set(sim, "dead_after=0") == 0);
    CHECK(open_context(functions(&platform, 1), &ctx) == TSS2_TCTI_RC_IO_ERROR);
    CHECK(platform.finalized == 0);
}

static void check_finalize_inside_a_call(struct tis_sim *sim)
{
    struct platform platform = {.sim = sim};
    TSS2_TCTI_CONTEXT *ctx = NULL;
    uint8_t response[64];
    size_t size = sizeof(response);
    CHECK(tis_sim_set(sim, "") == 0);
    CHECK(open_context(functions(&platform, 1), &ctx) == TSS2_RC_SUCCESS);
    if (ctx == NULL)
        return;
    CHECK(Tss2_Tcti_Transmit(ctx, sizeof(GET_RANDOM), GET_RANDOM) == TSS2_RC_SUCCESS);
    platform.ends = ctx;
    CHECK(Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK) == TSS2_RC_SUCCESS);
    platform.ends = NULL;
    CHECK(size == 28);
    CHECK(platform.finalized == 1);
    CHECK(!tis_sim_has_locality(sim));
    CHECK(get_random(ctx) == TSS2_TCTI_RC_BAD_SEQUENCE);
    close_context(ctx);
    CHECK(platform.finalized == 1);
}

static void *get_random_in_a_thread(void *ctx)
{
    get_random(ctx);
    return NULL;
}

/* Returns only if the process survives. */
static int exit_in_a_function(struct tis_sim *sim)
{
    struct platform platform = {.sim = sim};
    TSS2_TCTI_CONTEXT *ctx = NULL;
    pthread_t thread;
    if (open_context(functions(&platform, 1), &ctx) != TSS2_RC_SUCCESS)
        return 2;
    platform.exits = 1;
    pthread_create(&thread, NULL, get_random_in_a_thread, ctx);
    pthread_join(thread, NULL);
    return 0;
}

static int read_all(uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t count = read(STDIN_FILENO, bytes, size);
        if (count <= 0)
            return 0;
        bytes += count;
        size -= (size_t)count;
    }
    return 1;
}

static int serve(struct tis_sim *sim, int held)
{
    static uint8_t bytes[4096];
    struct platform platform = {.sim = sim};
    TSS2_TCTI_CONTEXT *ctx = NULL;
    int status = open_context(functions(&platform, held), &ctx) != TSS2_RC_SUCCESS;
    while (status == 0 && read_all(bytes, 10)) {
        size_t size = (size_t)bytes[2] << 24 | (size_t)bytes[3] << 16 | (size_t)bytes[4] << 8 | bytes[5];
        status = size < 10 || size > sizeof(bytes) || !read_all(bytes + 10, size - 10) ||
                 Tss2_Tcti_Transmit(ctx, size, bytes) != TSS2_RC_SUCCESS;
        size = sizeof(bytes);
        if (status == 0)
            status = Tss2_Tcti_Receive(ctx, &size, bytes, TSS2_TCTI_TIMEOUT_BLOCK) != TSS2_RC_SUCCESS ||
                     write(STDOUT_FILENO, bytes, size) != (ssize_t)size;
    }
    close_context(ctx);
    return status != 0 || tis_sim_offences(sim) != 0;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: spi-helper check|exit TCTI | serve TCTI [held|whole [FAULTS]]\n");
        return 2;
    }
    struct tis_sim *sim = tis_sim_new(argv[2], argc > 4 ? argv[4] : NULL);
    if (sim == NULL)
        return 2;
    if (strcmp(argv[1], "serve") == 0) {
        int status = serve(sim, argc < 4 || strcmp(argv[3], "held") == 0);
        tis_sim_free(sim);
        return status;
    }
    if (strcmp(argv[1], "exit") == 0)
        return exit_in_a_function(sim);
    check_commands(sim, 0, "");
    check_commands(sim, 1, "");
    check_commands(sim, 0, "burst=1,burst_zero_every=3,ready_after=2,data_after=4,claim_after=2,through_idle=1");
    check_commands(sim, 1, "burst=5,burst_zero_every=3,ready_after=2,data_after=4,claim_after=2,wait_states=3");
    check_missing_functions(sim);
    check_failing_functions(sim);
    check_finalize_inside_a_call(sim);
    tis_sim_free(sim);
    printf("%u checks failed\n", failed);
    return failed != 0;
}
