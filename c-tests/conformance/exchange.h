// SPDX-License-Identifier: BSD-2-Clause
/* Scenarios of commands and responses: states, sizes, buffers, time-outs and poll handles. */

#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <limits.h>
#include <poll.h>
#include <sched.h>
#include "context.h"

static void before_a_command(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    uint8_t response[16];
    size_t size = sizeof(response);
    uint32_t handle = 0x80000000;
    code("receive the size", Tss2_Tcti_Receive(ctx, &size, NULL, 0), TSS2_TCTI_RC_BAD_SEQUENCE);
    code("receive", Tss2_Tcti_Receive(ctx, &size, response, 0), TSS2_TCTI_RC_BAD_SEQUENCE);
    code("cancel", Tss2_Tcti_Cancel(ctx), if_implemented(module->cancels, TSS2_TCTI_RC_BAD_SEQUENCE));
    code("makeSticky", Tss2_Tcti_MakeSticky(ctx, &handle, 1), TSS2_TCTI_RC_NOT_IMPLEMENTED);
    code("setLocality 0", Tss2_Tcti_SetLocality(ctx, 0), if_implemented(module->locality, TSS2_RC_SUCCESS));
    still_works("exchange", ctx);
    closed(ctx);
}

static void while_a_response_is_due(void)
{
    TSS2_TCTI_CONTEXT *ctx = awaiting();
    uint8_t response[64];
    size_t size = sizeof(response);
    uint32_t handle = 0x80000000;
    code("transmit", SEND(ctx, GET_RANDOM), TSS2_TCTI_RC_BAD_SEQUENCE);
    code("setLocality 0", Tss2_Tcti_SetLocality(ctx, 0), if_implemented(module->locality, TSS2_TCTI_RC_BAD_SEQUENCE));
    code("makeSticky", Tss2_Tcti_MakeSticky(ctx, &handle, 1), TSS2_TCTI_RC_NOT_IMPLEMENTED);
    code("receive", Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
    that("the response is to the first command", size == GET_RANDOM_RESPONSE && response_code(response) == 0);
    still_works("exchange after it", ctx);
    closed(ctx);
}

static void cancel_while_a_response_is_due(void)
{
    if (transcript() && module->cancels)
        return; /* after Cancel the state of the simulator depends on the module */
    TSS2_TCTI_CONTEXT *ctx = awaiting();
    uint8_t response[64];
    size_t size = sizeof(response);
    TSS2_RC rc = Tss2_Tcti_Cancel(ctx);
    code("cancel", rc, if_implemented(module->cancels, TSS2_RC_SUCCESS));
    if (rc == TSS2_RC_SUCCESS)
        code("receive", Tss2_Tcti_Receive(ctx, &size, response, 0), TSS2_TCTI_RC_BAD_SEQUENCE);
    else
        code("receive", Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
    still_works("exchange", ctx);
    closed(ctx);
}

static void closing_while_a_response_is_due(void)
{
    if (module->keeps_response)
        return;
    closed(awaiting());
    TSS2_TCTI_CONTEXT *ctx = opened();
    still_works("exchange on the next context", ctx);
    closed(ctx);
}

static void a_command_with_a_wrong_size_is_rejected(void)
{
    static const size_t sizes[] = {0, 1, 9, 10, 11, 13};
    if (transcript() && (module->keeps_response || module->limited))
        return; /* some modules leave this check to the TPM */
    uint8_t command[16] = {0};
    memcpy(command, GET_RANDOM, sizeof(GET_RANDOM));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        TSS2_TCTI_CONTEXT *ctx = opened();
        TSS2_RC rc = Tss2_Tcti_Transmit(ctx, sizes[i], command);
        code_of("transmit of", (long)sizes[i], rc, TSS2_TCTI_RC_BAD_VALUE);
        if (rc != TSS2_RC_SUCCESS)
            must("exchange", exchange(ctx, sizeof(GET_RANDOM), GET_RANDOM));
        closed(ctx);
    }
}

static void a_command_may_be_a_header_alone(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    code("exchange", exchange(ctx, sizeof(GET_TEST_RESULT), GET_TEST_RESULT), TSS2_RC_SUCCESS);
    closed(ctx);
}

static void the_size_can_be_requested_repeatedly(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    for (int round = 0; round < 2; round++) {
        must("transmit", SEND(ctx, GET_CAPABILITY));
        size_t first = 0, second = 0;
        code("receive the size", Tss2_Tcti_Receive(ctx, &first, NULL, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
        code("receive it again", Tss2_Tcti_Receive(ctx, &second, NULL, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
        that("the same size", first == second && first > 100);
        uint8_t *response = malloc(first);
        code("receive", Tss2_Tcti_Receive(ctx, &second, response, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
        that("the response has this size", second == first && response_size(response) == first);
        free(response);
    }
    code("receive once more", Tss2_Tcti_Receive(ctx, &(size_t){0}, NULL, 0), TSS2_TCTI_RC_BAD_SEQUENCE);
    closed(ctx);
}

static void a_short_buffer_keeps_the_response(void)
{
    if (transcript() && (module->keeps_response || module->limited))
        return; /* the rest of the response would be read as the next one */
    TSS2_TCTI_CONTEXT *ctx = awaiting();
    uint8_t response[GET_RANDOM_RESPONSE];
    for (size_t room = 0; room < sizeof(response); room++) {
        uint8_t *buffer = malloc(room ? room : 1);
        size_t size = room;
        TSS2_RC rc = Tss2_Tcti_Receive(ctx, &size, buffer, TSS2_TCTI_TIMEOUT_BLOCK);
        code_of("receive into", room, rc, TSS2_TCTI_RC_INSUFFICIENT_BUFFER);
        that("the size is returned", size == sizeof(response));
        free(buffer);
    }
    size_t size = sizeof(response);
    code("receive", Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
    that("the response", size == sizeof(response) && response_code(response) == 0 && response[11] == 8);
    still_works("exchange", ctx);
    closed(ctx);
}

static void one_receive_into_a_fixed_buffer(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    for (int i = 0; i < 3; i++) {
        uint8_t response[4096];
        size_t size = sizeof(response);
        must("transmit", SEND(ctx, GET_CAPABILITY));
        code("receive", Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
        that("the whole response", size > 100 && response_size(response) == size);
    }
    closed(ctx);
}

/* Receives with this time-out until the code is not TRY_AGAIN. */
static TSS2_RC receive_retrying(TSS2_TCTI_CONTEXT *ctx, size_t *size, uint8_t *response, int32_t timeout)
{
    TSS2_RC rc;
    while ((rc = Tss2_Tcti_Receive(ctx, size, response, timeout)) == TSS2_TCTI_RC_TRY_AGAIN)
        sched_yield();
    return rc;
}

static void time_outs(void)
{
    static const int32_t timeouts[] = {0, 50, INT_MAX, TSS2_TCTI_TIMEOUT_BLOCK};
    TSS2_TCTI_CONTEXT *ctx = opened();
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(*timeouts); i++) {
        uint8_t response[64];
        size_t size = 0;
        must("transmit", SEND(ctx, GET_RANDOM));
        code_of("receive the size within", timeouts[i], receive_retrying(ctx, &size, NULL, timeouts[i]), TSS2_RC_SUCCESS);
        size = sizeof(response);
        code_of("receive within", timeouts[i], receive_retrying(ctx, &size, response, timeouts[i]), TSS2_RC_SUCCESS);
        that("the response", size == GET_RANDOM_RESPONSE && response_code(response) == 0);
    }
    closed(ctx);
}

static void invalid_time_outs(void)
{
    static const int32_t timeouts[] = {-2, INT_MIN};
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(*timeouts); i++) {
        TSS2_TCTI_CONTEXT *ctx = awaiting();
        uint8_t response[64];
        size_t size = sizeof(response);
        code_of("receive within", timeouts[i], Tss2_Tcti_Receive(ctx, &size, NULL, timeouts[i]), TSS2_TCTI_RC_BAD_VALUE);
        size = sizeof(response);
        code("receive", Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
        closed(ctx);
    }
}

static void poll_handles(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    TSS2_TCTI_POLL_HANDLE handles[4] = {{-1, 0, 0}};
    TSS2_RC success = if_implemented(module->handles, TSS2_RC_SUCCESS);
    size_t count = 99;
    code("count", Tss2_Tcti_GetPollHandles(ctx, NULL, &count), success);
    if (module->handles) {
        that("there is one handle", count == 1);
        count = 0;
        code("no room", Tss2_Tcti_GetPollHandles(ctx, handles, &count), TSS2_TCTI_RC_INSUFFICIENT_BUFFER);
    }
    count = 4;
    code("handles", Tss2_Tcti_GetPollHandles(ctx, handles, &count), success);
    if (!module->handles) {
        closed(ctx);
        return;
    }
    if (!transcript())
        that("poll returns at once while no response is due", count == 1 && poll(handles, 1, 0) == 1);

    uint8_t response[64];
    size_t size = sizeof(response);
    must("transmit", SEND(ctx, GET_RANDOM));
    count = 4;
    code("handles while a response is due", Tss2_Tcti_GetPollHandles(ctx, handles, &count), success);
    that("POLLIN", count == 1 && handles[0].events == POLLIN && handles[0].fd >= 0);
    if (handles[0].fd >= 0)
        that("poll returns when the response arrives", poll(handles, 1, 60000) == 1 && handles[0].revents & POLLIN);
    code("receive the size", receive_retrying(ctx, &size, NULL, 0), TSS2_RC_SUCCESS);
    count = 4;
    code("handles while the response waits", Tss2_Tcti_GetPollHandles(ctx, handles, &count), success);
    if (!transcript())
        that("poll returns at once", poll(handles, 1, 0) == 1);
    size = sizeof(response);
    code("receive", Tss2_Tcti_Receive(ctx, &size, response, 0), TSS2_RC_SUCCESS);
    code("handles after it", Tss2_Tcti_GetPollHandles(ctx, handles, &count), success);
    if (!transcript())
        that("poll returns at once again", poll(handles, 1, 0) == 1);
    closed(ctx);
}

#endif
