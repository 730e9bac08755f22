// SPDX-License-Identifier: BSD-2-Clause
/* The module for devices on a driver without poll: unpolled PATH MILLISECONDS. MILLISECONDS is the minimum time that
 * the TPM takes for each command. Prints each check that fails and a summary. */

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"
#include "report.h"

static const char *path;
static long latency;
static TSS2_TCTI_CONTEXT *ctx;
static uint8_t response[4096];

static long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void open_it(void)
{
    char name_conf[64];
    snprintf(name_conf, sizeof(name_conf), "device:%s", path);
    must("open", Tss2_TctiLdr_Initialize(name_conf, &ctx));
}

static void transmit(void)
{
    must("transmit", Tss2_Tcti_Transmit(ctx, sizeof(GET_RANDOM), GET_RANDOM));
}

static void receive(int32_t timeout)
{
    size_t size = sizeof(response);
    code_of("receive", timeout, Tss2_Tcti_Receive(ctx, &size, response, timeout), TSS2_RC_SUCCESS);
    that("the right answer", size == GET_RANDOM_RESPONSE && response_code(response) == 0);
}

/* Without poll nothing can be waited for but the response itself, so each receive blocks, whatever its time-out. */
static void a_receive_waits_for_the_response(void)
{
    const int32_t timeouts[] = {TSS2_TCTI_TIMEOUT_BLOCK, 0, 1, 60000};
    scenario("a_receive_waits_for_the_response");
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(*timeouts); i++) {
        long since = now();
        transmit();
        receive(timeouts[i]);
        that("it took at least the time of the TPM", now() - since >= latency);
    }
}

static void the_size_comes_first(void)
{
    size_t exact = 0, size = GET_RANDOM_RESPONSE - 1;
    scenario("the_size_comes_first");
    transmit();
    code("size", Tss2_Tcti_Receive(ctx, &exact, NULL, 0), TSS2_RC_SUCCESS);
    that("it is exact", exact == GET_RANDOM_RESPONSE);
    code("too short", Tss2_Tcti_Receive(ctx, &size, response, 0), TSS2_TCTI_RC_INSUFFICIENT_BUFFER);
    receive(0);
}

/* A program that polls does not hang. */
static void poll_returns_at_once(void)
{
    TSS2_TCTI_POLL_HANDLE handle = {-1, 0, 0};
    size_t count = 1;
    scenario("poll_returns_at_once");
    transmit();
    code("poll handles", Tss2_Tcti_GetPollHandles(ctx, &handle, &count), TSS2_RC_SUCCESS);
    that("one, for POLLIN", count == 1 && handle.events == POLLIN);
    that("poll", poll(&handle, 1, 60000) == 1 && handle.revents == POLLIN);
    receive(0);
}

static void a_context_is_closed_while_a_response_is_due(void)
{
    scenario("a_context_is_closed_while_a_response_is_due");
    transmit();
    Tss2_TctiLdr_Finalize(&ctx);
    open_it();
    transmit();
    receive(TSS2_TCTI_TIMEOUT_BLOCK);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    path = argv[1];
    latency = strtol(argv[2], NULL, 10);
    begin(0);
    open_it();
    a_receive_waits_for_the_response();
    the_size_comes_first();
    poll_returns_at_once();
    a_context_is_closed_while_a_response_is_due();
    Tss2_TctiLdr_Finalize(&ctx);
    return summary();
}
