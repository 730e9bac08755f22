// SPDX-License-Identifier: BSD-2-Clause
/* The module for the kernel's devices on the real driver: device /dev/tpm0|/dev/tpmrm0. Prints each check that fails
 * and a summary. */

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"
#include "report.h"

static const char *device;
static int is_shared; /* through the kernel's resource manager */

#define SEND(ctx, command) Tss2_Tcti_Transmit(ctx, sizeof(command), command)

static TSS2_TCTI_CONTEXT *opened(void)
{
    TSS2_TCTI_CONTEXT *ctx = NULL;
    char name_conf[64];
    snprintf(name_conf, sizeof(name_conf), "device:%s", device);
    must("open", Tss2_TctiLdr_Initialize(name_conf, &ctx));
    return ctx;
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *ctx, uint8_t response[4096], int32_t timeout)
{
    size_t size = 4096;
    return Tss2_Tcti_Receive(ctx, &size, response, timeout);
}

/* Exchanges one command. Returns the code of the call that fails, or of the TPM. */
static TSS2_RC exchange(TSS2_TCTI_CONTEXT *ctx, size_t length, const uint8_t *command)
{
    uint8_t response[4096];
    TSS2_RC rc = Tss2_Tcti_Transmit(ctx, length, command);
    if (rc == TSS2_RC_SUCCESS)
        rc = receive(ctx, response, TSS2_TCTI_TIMEOUT_BLOCK);
    return rc == TSS2_RC_SUCCESS ? response_code(response) : rc;
}

static void flush(TSS2_TCTI_CONTEXT *ctx, uint32_t handle)
{
    const uint8_t command[] = WITH_HANDLE(FLUSH_CONTEXT, handle);
    code("flush", exchange(ctx, sizeof(command), command), TSS2_RC_SUCCESS);
}

static void still_works(TSS2_TCTI_CONTEXT *ctx)
{
    code("the next command", exchange(ctx, sizeof(GET_RANDOM), GET_RANDOM), TSS2_RC_SUCCESS);
}

/* Whether poll reports that the module's handle is readable. */
static int is_readable(TSS2_TCTI_CONTEXT *ctx, int milliseconds)
{
    TSS2_TCTI_POLL_HANDLE handle = {-1, 0, 0};
    size_t count = 1;
    code("poll handles", Tss2_Tcti_GetPollHandles(ctx, &handle, &count), TSS2_RC_SUCCESS);
    that("one handle, for POLLIN", count == 1 && handle.events == POLLIN);
    return poll(&handle, 1, milliseconds) == 1 && handle.revents == POLLIN;
}

/* The TPM runs outside of the virtual machine, and may have created a key before a program that lost the processor
 * asks for it. Keys are created until the program asks in time. */
#define TRIES 20

static void a_program_polls_and_then_receives_without_waiting(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    uint8_t response[4096];
    int early = 0;
    for (int i = 0; i < TRIES && !early; i++) {
        must("transmit", SEND(ctx, CREATE_RSA));
        int told = is_readable(ctx, 0);
        TSS2_RC rc = receive(ctx, response, 0);
        that("when poll returns, the response is there", !told || rc == TSS2_RC_SUCCESS);
        if (rc == TSS2_TCTI_RC_TRY_AGAIN) {
            early = 1;
            that("poll returns when it is there", is_readable(ctx, 60000));
            rc = receive(ctx, response, 0);
        }
        code("receive after poll", rc, TSS2_RC_SUCCESS);
        code("the key", response_code(response), TSS2_RC_SUCCESS);
        flush(ctx, be32(response + 10));
    }
    that("poll and receive return before the response is there", early);
    Tss2_TctiLdr_Finalize(&ctx);
}

static void a_slow_command_outlasts_short_time_outs(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    uint8_t response[4096];
    int early = 0;
    for (int i = 0; i < TRIES && !early; i++) {
        size_t size = 0;
        must("transmit", SEND(ctx, CREATE_RSA));
        TSS2_RC rc = receive(ctx, response, 0);
        if (rc == TSS2_TCTI_RC_TRY_AGAIN)
            rc = receive(ctx, response, 1);
        if (rc == TSS2_TCTI_RC_TRY_AGAIN) {
            rc = Tss2_Tcti_Receive(ctx, &size, NULL, 0);
            early = rc == TSS2_TCTI_RC_TRY_AGAIN;
            that("the size, or TRY_AGAIN", early || rc == TSS2_RC_SUCCESS);
            rc = receive(ctx, response, TSS2_TCTI_TIMEOUT_BLOCK);
        }
        code("receive", rc, TSS2_RC_SUCCESS);
        code("the key", response_code(response), TSS2_RC_SUCCESS);
        flush(ctx, be32(response + 10));
    }
    that("TRY_AGAIN from receive without waiting, within 1 ms, and for the size", early);
    still_works(ctx);
    Tss2_TctiLdr_Finalize(&ctx);
}

/* The driver holds a response until it is read, for 120 seconds. */
static void a_response_is_read_late_and_in_pieces(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    uint8_t response[4096];
    size_t exact = 0, size = 0;
    must("transmit", SEND(ctx, GET_CAPABILITY));
    that("poll returns when it is there", is_readable(ctx, 60000));
    if (is_shared) {
        TSS2_TCTI_CONTEXT *other = opened();
        still_works(other);
        Tss2_TctiLdr_Finalize(&other);
    }
    code("size", Tss2_Tcti_Receive(ctx, &exact, NULL, 0), TSS2_RC_SUCCESS);
    size = exact - 1;
    code("too short", Tss2_Tcti_Receive(ctx, &size, response, 0), TSS2_TCTI_RC_INSUFFICIENT_BUFFER);
    that("the size is returned", size == exact);
    that("poll returns at once", is_readable(ctx, 0));
    size = exact;
    code("receive", Tss2_Tcti_Receive(ctx, &size, response, 0), TSS2_RC_SUCCESS);
    that("the whole response", size == exact && exact > 100 && response_size(response) == exact && response_code(response) == 0);
    still_works(ctx);
    Tss2_TctiLdr_Finalize(&ctx);
}

static void a_context_is_closed_while_a_response_is_due(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    must("transmit", SEND(ctx, CREATE_RSA));
    Tss2_TctiLdr_Finalize(&ctx);
    ctx = opened();
    still_works(ctx);
    if (!is_shared) /* without the resource manager the key stays loaded */
        flush(ctx, 0x80000000);
    Tss2_TctiLdr_Finalize(&ctx);
}

/* Command 0 does not exist. The resource manager answers it, in its own layer. */
static void an_unknown_command_is_answered(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    static const uint8_t nothing[] = {0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0};
    code("command 0", exchange(ctx, sizeof(nothing), nothing), is_shared ? 0xb0143 : 0x143);
    still_works(ctx);
    Tss2_TctiLdr_Finalize(&ctx);
}

static void a_command_too_large_for_the_driver_is_refused(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    static uint8_t large[4097] = {0x80, 0x01, 0, 0, 0x10, 0x01, 0, 0, 0x01, 0x7b};
    code("4097 bytes", Tss2_Tcti_Transmit(ctx, sizeof(large), large), TSS2_TCTI_RC_IO_ERROR);
    still_works(ctx);
    Tss2_TctiLdr_Finalize(&ctx);
}

static void a_command_whose_size_is_wrong_is_refused(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    code("a size too small", Tss2_Tcti_Transmit(ctx, 11, GET_RANDOM), TSS2_TCTI_RC_BAD_VALUE);
    code("no header", Tss2_Tcti_Transmit(ctx, 9, GET_RANDOM), TSS2_TCTI_RC_BAD_VALUE);
    still_works(ctx);
    Tss2_TctiLdr_Finalize(&ctx);
}

/* The resource manager knows the objects of each connection; for other handles the driver returns an error of the
 * system. */
static void an_unknown_handle_is_refused(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    const uint8_t command[] = WITH_HANDLE(READ_PUBLIC, 0x80000002u);
    code("ReadPublic", exchange(ctx, sizeof(command), command), is_shared ? TSS2_TCTI_RC_IO_ERROR : 0x910);
    still_works(ctx);
    Tss2_TctiLdr_Finalize(&ctx);
}

/* Returns the descriptor of the module. A process that inherited it can also read and write it, and may be killed at
 * any time. */
static int open_file(void)
{
    char path[32], target[64];
    for (int fd = 3; fd < 64; fd++) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof(target) - 1);
        if (length > 0 && strncmp(target, device, (size_t)length) == 0 && device[length] == 0)
            return fd;
    }
    printf("FAILED %s: the module has no open file\n", current);
    exit(1);
}

/* Sends a command as this process would, and leaves its response. */
#define SEND_AND_LEAVE(fd, command) that("the driver accepts the command", write(fd, command, sizeof(command)) == sizeof(command))

static void wait_for_response(int fd)
{
    struct pollfd due = {fd, POLLIN, 0};
    that("the response is there", poll(&due, 1, 60000) == 1 && due.revents == POLLIN);
}

/* Checks that the response belongs to the command, by its size. */
static void answers_the_right_command(TSS2_TCTI_CONTEXT *ctx)
{
    uint8_t response[4096];
    must("transmit", SEND(ctx, GET_RANDOM));
    must("receive", receive(ctx, response, TSS2_TCTI_TIMEOUT_BLOCK));
    that("the right answer", response_size(response) == GET_RANDOM_RESPONSE && response_code(response) == 0);
}

static void a_response_that_nobody_read_is_dropped(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    int fd = open_file();
    SEND_AND_LEAVE(fd, GET_CAPABILITY);
    wait_for_response(fd);
    answers_the_right_command(ctx);
    SEND_AND_LEAVE(fd, GET_CAPABILITY);
    wait_for_response(fd);
    uint8_t some[5];
    that("part of it is read", read(fd, some, sizeof(some)) == sizeof(some));
    answers_the_right_command(ctx);
    that("it is the same file", open_file() == fd);
    Tss2_TctiLdr_Finalize(&ctx);
}

static void a_command_in_progress_completes_first(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    for (int i = 0; i < 3; i++) {
        SEND_AND_LEAVE(open_file(), CREATE_RSA);
        answers_the_right_command(ctx);
        flush(ctx, is_shared ? 0x80ffffff : 0x80000000);
    }
    Tss2_TctiLdr_Finalize(&ctx);
}

/* The driver wakes up pollers for a response that the other process has read. The time-outs of the next command hold
 * nevertheless. */
static void a_wake_up_of_an_earlier_command_is_ignored(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    uint8_t response[4096];
    int fd = open_file(), early = 0;
    for (int i = 0; i < TRIES && !early; i++) {
        SEND_AND_LEAVE(fd, GET_RANDOM);
        wait_for_response(fd);
        that("it is read", read(fd, response, sizeof(response)) == GET_RANDOM_RESPONSE);
        must("transmit", SEND(ctx, CREATE_RSA));
        int told = is_readable(ctx, 0);
        TSS2_RC rc = receive(ctx, response, 0);
        early = rc == TSS2_TCTI_RC_TRY_AGAIN;
        that("when poll returns, the response is there", !told || !early);
        if (early)
            rc = receive(ctx, response, TSS2_TCTI_TIMEOUT_BLOCK);
        code("receive", rc, TSS2_RC_SUCCESS);
        code("the key", response_code(response), TSS2_RC_SUCCESS);
        flush(ctx, be32(response + 10));
    }
    that("TRY_AGAIN from receive without waiting", early);
    Tss2_TctiLdr_Finalize(&ctx);
}

/* As after 120 seconds, when the driver drops the response. */
static void a_response_that_is_gone_is_not_waited_for(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    uint8_t response[4096];
    int fd = open_file();
    must("transmit", SEND(ctx, GET_RANDOM));
    wait_for_response(fd);
    that("it is read", read(fd, response, sizeof(response)) == GET_RANDOM_RESPONSE);
    code("receive", receive(ctx, response, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_TCTI_RC_NO_CONNECTION);
    answers_the_right_command(ctx);
    Tss2_TctiLdr_Finalize(&ctx);
}

#define SCENARIO(name) {#name, name}
static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
    SCENARIO(a_program_polls_and_then_receives_without_waiting),
    SCENARIO(a_slow_command_outlasts_short_time_outs),
    SCENARIO(a_response_is_read_late_and_in_pieces),
    SCENARIO(a_context_is_closed_while_a_response_is_due),
    SCENARIO(an_unknown_command_is_answered),
    SCENARIO(a_command_too_large_for_the_driver_is_refused),
    SCENARIO(a_command_whose_size_is_wrong_is_refused),
    SCENARIO(an_unknown_handle_is_refused),
    SCENARIO(a_response_that_nobody_read_is_dropped),
    SCENARIO(a_command_in_progress_completes_first),
    SCENARIO(a_wake_up_of_an_earlier_command_is_ignored),
    SCENARIO(a_response_that_is_gone_is_not_waited_for),
};

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    device = argv[1];
    is_shared = strstr(device, "rm") != NULL;
    begin(0);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++) {
        scenario(scenarios[i].name);
        scenarios[i].run();
    }
    return summary();
}
