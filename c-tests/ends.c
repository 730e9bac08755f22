// SPDX-License-Identifier: BSD-2-Clause
/* Finalizes a context while another thread is inside receive: ends COMMAND FILE. COMMAND is a program for the TCTI cmd that
 * responds when FILE exists, which it removes. Finalize must wait for that call, because the caller frees the memory next; the child of a fork, which lacks the
 * other thread, must not wait. Once with a context of the module, once with one of the loader; then a thread is cancelled
 * asynchronously inside receive, which completes first. */

#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <tss2/tss2_tcti_cmd.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"
#include "report.h"

static TSS2_TCTI_CONTEXT *context;
static uint8_t bytes[64];
static size_t size;
static TSS2_RC received;
static atomic_int inside;
static atomic_int asynchronous;
static const char *response_is_due;

static void *receive(void *unused)
{
    if (asynchronous)
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    inside = (int)syscall(SYS_gettid);
    received = Tss2_Tcti_Receive(context, &size, bytes, TSS2_TCTI_TIMEOUT_BLOCK);
    pthread_testcancel();
    return unused;
}

/* Returns whether a thread sleeps. */
static int sleeps(int thread)
{
    char path[64], text[512] = "", *state;
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fread(text, 1, sizeof(text) - 1, file) == 0)
        text[0] = '\0';
    fclose(file);
    state = strrchr(text, ')');
    return state != NULL && state[2] == 'S';
}

/* Sends a command and starts a thread that receives; returns when it waits for the response. */
static pthread_t begin_receive(void)
{
    pthread_t thread;
    must("transmit", Tss2_Tcti_Transmit(context, sizeof(GET_RANDOM), GET_RANDOM));
    memset(bytes, 0, sizeof(bytes));
    size = sizeof(bytes);
    inside = 0;
    received = TSS2_TCTI_RC_GENERAL_FAILURE;
    pthread_create(&thread, NULL, receive, NULL);
    while (inside == 0 || !sleeps(inside))
        sched_yield();
    return thread;
}

/* Has the response sent when the main thread sleeps. */
static void *respond(void *unused)
{
    while (!sleeps((int)getpid()))
        sched_yield();
    fclose(fopen(response_is_due, "w"));
    return unused;
}

static pthread_t begin_response(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, respond, NULL);
    return thread;
}

static void the_response_has_arrived(void)
{
    code("receive", received, TSS2_RC_SUCCESS);
    that("the response", size == 20 && bytes[19] == 8);
}

static void open_module(const char *command)
{
    size_t room = 0;
    must("the size", Tss2_Tcti_Cmd_Init(NULL, &room, command));
    context = malloc(room);
    must("Init", Tss2_Tcti_Cmd_Init(context, &room, command));
}

static void end_module(void)
{
    Tss2_Tcti_Finalize(context);
    free(context);
    context = NULL;
}

static void open_loader(const char *command)
{
    must("Initialize", Tss2_TctiLdr_Initialize_Ex("cmd", command, &context));
}

static void end_loader(void)
{
    Tss2_TctiLdr_Finalize(&context);
    that("the context is gone", context == NULL);
}

static void ends(const char *name, const char *command, void (*open)(const char *), void (*end)(void))
{
    scenario(name);
    open(command);
    pthread_t thread = begin_receive();
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        end();
        _exit(failed != 0);
    }
    int status = -1;
    that("Finalize in a child process", waitpid(child, &status, 0) == child && status == 0);
    that("the call continues", received == TSS2_TCTI_RC_GENERAL_FAILURE);
    pthread_t response = begin_response();
    end();
    pthread_join(thread, NULL);
    pthread_join(response, NULL);
    the_response_has_arrived();

    open(command);
    asynchronous = 1;
    thread = begin_receive();
    asynchronous = 0;
    pthread_cancel(thread);
    void *result;
    response = begin_response();
    pthread_join(thread, &result);
    pthread_join(response, NULL);
    that("the thread was cancelled", result == PTHREAD_CANCELED);
    the_response_has_arrived(); /* first */
    thread = begin_receive(); /* the context can still be used */
    response = begin_response();
    pthread_join(thread, NULL);
    pthread_join(response, NULL);
    the_response_has_arrived();
    end();
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    response_is_due = argv[2];
    begin(0);
    ends("the module", argv[1], open_module, end_module);
    ends("the loader", argv[1], open_loader, end_loader);
    return summary();
}
