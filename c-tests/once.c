// SPDX-License-Identifier: BSD-2-Clause
/* A program that asks for the poll handle once, when it has opened the TCTI, and waits for each response with it: in
 * poll, in an epoll set that the handle is added to once, and in a forked process: once NAME:CONF. Prints each check
 * that fails and a summary. */

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"
#include "report.h"

/* A response that arrives in pieces wakes the program once per piece; a simulator writes three, and ssh may divide
 * them. A descriptor that is always readable returns thousands of times while the TPM creates a key. */
#define MOST_WAKE_UPS 6

static TSS2_TCTI_CONTEXT *ctx;
static TSS2_TCTI_POLL_HANDLE handle;

/* Waits until the handle is readable. Returns whether it is. */
typedef int wait_function(int milliseconds);

static int in_poll(int milliseconds)
{
    return poll(&handle, 1, milliseconds) == 1 && handle.revents == POLLIN;
}

static int set;

static int in_epoll(int milliseconds)
{
    struct epoll_event event;
    return epoll_wait(set, &event, 1, milliseconds) == 1 && event.events == EPOLLIN;
}

static void is_the_same_handle(void)
{
    TSS2_TCTI_POLL_HANDLE again = {-1, 0, 0};
    size_t count = 1;
    code("poll handles", Tss2_Tcti_GetPollHandles(ctx, &again, &count), TSS2_RC_SUCCESS);
    that("the same handle", count == 1 && again.fd == handle.fd && again.events == POLLIN);
}

/* Sends a command and receives its response, which `wait` waits for. */
static void exchange(wait_function *wait, const uint8_t *command, size_t length, uint8_t response[4096])
{
    size_t size = 4096;
    unsigned wake_ups = 0;
    TSS2_RC rc = TSS2_TCTI_RC_TRY_AGAIN;
    must("transmit", Tss2_Tcti_Transmit(ctx, length, command));
    while (rc == TSS2_TCTI_RC_TRY_AGAIN && wake_ups < 10 * MOST_WAKE_UPS) {
        that("it becomes readable", wait(60000));
        wake_ups++;
        rc = Tss2_Tcti_Receive(ctx, &size, response, 0);
    }
    if (rc == TSS2_TCTI_RC_TRY_AGAIN)
        rc = Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK);
    code("receive", rc, TSS2_RC_SUCCESS);
    code("the answer of the TPM", response_code(response), TSS2_RC_SUCCESS);
    that("it is readable no more often than bytes arrive", wake_ups <= MOST_WAKE_UPS);
}

static void commands(const char *name, wait_function *wait)
{
    uint8_t response[4096];
    scenario(name);
    for (int i = 0; i < 20; i++) {
        if (i % 10 == 5) {
            exchange(wait, CREATE_RSA, sizeof(CREATE_RSA), response);
            const uint8_t flush[] = WITH_HANDLE(FLUSH_CONTEXT, be32(response + 10));
            exchange(wait, flush, sizeof(flush), response);
        } else {
            exchange(wait, GET_RANDOM, sizeof(GET_RANDOM), response);
        }
        /* libtss2-fapi also waits between two commands, and in a program of several threads poll may be late. */
        that("it is readable between two commands", in_poll(0));
    }
    is_the_same_handle();
}

static void a_response_that_nobody_polls_for(void)
{
    uint8_t response[4096];
    size_t size = sizeof(response);
    scenario("a_response_that_nobody_polls_for");
    must("transmit", Tss2_Tcti_Transmit(ctx, sizeof(GET_RANDOM), GET_RANDOM));
    code("size", Tss2_Tcti_Receive(ctx, &size, NULL, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
    that("it is readable as long as the response waits", in_poll(0) && in_epoll(0) && in_poll(0));
    is_the_same_handle();
    code("receive", Tss2_Tcti_Receive(ctx, &size, response, 0), TSS2_RC_SUCCESS);
}

/* Runs the commands in a forked process, and returns whether all checks passed there. */
static void a_forked_process(void)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        unsigned before = failed;
        is_the_same_handle(); /* the first call separates the child's handle from the parent's */
        commands("a_forked_process_polls", in_poll);
        _exit(failed != before);
    }
    commands("its_parent_polls_at_the_same_time", in_poll);
    that("the child has ended", waitpid(child, &status, 0) == child);
    that("with success", status == 0);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    size_t count = 1;
    begin(0);
    must("open", Tss2_TctiLdr_Initialize(argv[1], &ctx));
    must("poll handles", Tss2_Tcti_GetPollHandles(ctx, &handle, &count));
    that("one, for POLLIN", count == 1 && handle.events == POLLIN && handle.fd > 2);
    struct epoll_event event = {.events = EPOLLIN};
    set = epoll_create1(EPOLL_CLOEXEC);
    that("it can be added to an epoll set", epoll_ctl(set, EPOLL_CTL_ADD, handle.fd, &event) == 0);
    commands("poll", in_poll);
    commands("epoll", in_epoll);
    event.events = EPOLLIN | EPOLLET;
    epoll_ctl(set, EPOLL_CTL_MOD, handle.fd, &event);
    commands("edge_triggered_epoll", in_epoll);
    epoll_ctl(set, EPOLL_CTL_MOD, handle.fd, &event);
    a_response_that_nobody_polls_for();
    a_forked_process();
    commands("poll_after_the_fork", in_poll);
    Tss2_TctiLdr_Finalize(&ctx);
    that("nothing is left open", poll(&handle, 1, 0) == 1 && handle.revents == POLLNVAL);
    return summary();
}
