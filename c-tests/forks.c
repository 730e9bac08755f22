// SPDX-License-Identifier: BSD-2-Clause
/* Loads a key and forks, in one order after another: forks shared|separate NAME:CONF [-ORDER...]. Parent and child go
 * on with the inherited context, in which the key has to be loaded. shared: the processes share a connection, and one
 * command is in progress at a time. separate: each process has a connection of its own, and the TPM keeps the key for
 * all. -ORDER leaves out an order. Prints the number of passed checks for each order, and the checks that fail. */

#include <grp.h>
#include <tss2/tss2_tctildr.h>
#include "hmac.h"
#include "processes.h"

#define COMMANDS 40u /* sent by a process to show that its context works */
#define WORKERS 8
#define KILLED 300

/* HashSequenceStart with SHA-256. */
static const uint8_t START_SEQUENCE[] = {0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x86, 0, 0, 0, 0x0b};
#define SEQUENCE_UPDATE 0x15c
#define SEQUENCE_COMPLETE 0x13e
#define HASH 0x17d

static const char *name_conf;
static int is_shared;

static TSS2_TCTI_CONTEXT *opened(void)
{
    TSS2_TCTI_CONTEXT *ctx = NULL;
    must("open", Tss2_TctiLdr_Initialize(name_conf, &ctx));
    return ctx;
}

/* Returns a context with the key loaded. */
static TSS2_TCTI_CONTEXT *loaded(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    must("load", load(ctx));
    return ctx;
}

/* The last process of an order: it sends commands, flushes the key and finalizes the context. */
static _Noreturn void finish(TSS2_TCTI_CONTEXT *ctx)
{
    exchange_hmacs(ctx, COMMANDS);
    flush(ctx);
    Tss2_TctiLdr_Finalize(&ctx);
    leave();
}

static void the_parent_is_idle(void)
{
    TSS2_TCTI_CONTEXT *ctx = loaded();
    pid_t child = forked();
    if (child == 0) {
        exchange_hmacs(ctx, COMMANDS);
        leave();
    }
    succeeds(child);
    finish(ctx);
}

static void update(TSS2_TCTI_CONTEXT *ctx, uint32_t sequence, const char *text)
{
    uint8_t command[128];
    size_t size = with_text(command, SEQUENCE_UPDATE, sequence, text, "", 0);
    code("update", exchange(ctx, size, command), TSS2_RC_SUCCESS);
}

/* Both processes add to the same hash sequence. */
static void parent_and_child_in_turn(void)
{
    static const char null_hierarchy[] = {0x40, 0, 0, 0x07}, with_sha256[] = {0, 0x0b, 0x40, 0, 0, 0x07};
    TSS2_TCTI_CONTEXT *ctx = loaded();
    uint8_t command[128], digest[DIGEST];
    int line;
    must("start", exchange(ctx, sizeof(START_SEQUENCE), START_SEQUENCE));
    uint32_t sequence = be32(response + 10);
    pid_t child = forked_with(&line);
    if (child == 0) {
        while (is_told(line)) {
            update(ctx, sequence, "child ");
            exchange_hmacs(ctx, 1);
            tell(line);
        }
        leave();
    }
    for (int i = 0; i < 4; i++) {
        update(ctx, sequence, "parent ");
        exchange_hmacs(ctx, 1);
        tell(line);
        that("the child has its turn", is_told(line));
    }
    close(line);
    succeeds(child);
    size_t size = with_text(command, SEQUENCE_COMPLETE, sequence, "", null_hierarchy, sizeof(null_hierarchy));
    code("complete", exchange(ctx, size, command), TSS2_RC_SUCCESS);
    memcpy(digest, response + 16, DIGEST);
    size = with_text(command, HASH, 0, "parent child parent child parent child parent child ", with_sha256, sizeof(with_sha256));
    code("hash", exchange(ctx, size, command), TSS2_RC_SUCCESS);
    that("the hash has the data of both", memcmp(digest, response + 12, DIGEST) == 0);
    finish(ctx);
}

/* The parent calls `ends` and exits; then the child goes on. */
static _Noreturn void without_its_parent(TSS2_TCTI_CONTEXT *ctx, void (*ends)(TSS2_TCTI_CONTEXT **))
{
    int line;
    if (forked_with(&line) == 0) {
        that("the parent has exited", !is_told(line));
        finish(ctx);
    }
    ends(&ctx);
    leave();
}

static void does_nothing(TSS2_TCTI_CONTEXT **ctx)
{
    (void)ctx;
}

static void sends_commands(TSS2_TCTI_CONTEXT **ctx)
{
    exchange_hmacs(*ctx, COMMANDS);
}

static void leaves_a_response_due(TSS2_TCTI_CONTEXT **ctx)
{
    code("transmit", transmit_hmac(*ctx, 0), TSS2_RC_SUCCESS);
}

static void finalizes_while_a_response_is_due(TSS2_TCTI_CONTEXT **ctx)
{
    code("transmit", transmit_hmac(*ctx, 0), TSS2_RC_SUCCESS);
    Tss2_TctiLdr_Finalize(ctx);
}

/* The parent keeps running. Afterwards a grandchild goes on alone. */
static void the_parent_finalizes(void)
{
    TSS2_TCTI_CONTEXT *ctx = loaded();
    int line;
    pid_t child = forked_with(&line);
    if (child == 0) {
        that("the parent has finalized", is_told(line));
        exchange_hmacs(ctx, COMMANDS);
        without_its_parent(ctx, does_nothing);
    }
    Tss2_TctiLdr_Finalize(&ctx);
    tell(line);
    succeeds(child);
    leave();
}

static void the_child_finalizes(void)
{
    TSS2_TCTI_CONTEXT *ctx = loaded();
    for (unsigned count = 0; count <= COMMANDS; count += COMMANDS / 2) {
        pid_t child = forked();
        if (child == 0) {
            exchange_hmacs(ctx, count); /* the first child sends nothing */
            Tss2_TctiLdr_Finalize(&ctx);
            leave();
        }
        succeeds(child);
        exchange_hmacs(ctx, COMMANDS);
    }
    finish(ctx);
}

/* The child finalizes at once. The parent still receives its response. */
static void the_child_finalizes_while_the_parent_awaits_a_response(void)
{
    TSS2_TCTI_CONTEXT *ctx = loaded();
    must("transmit", transmit_hmac(ctx, 5));
    pid_t child = forked();
    if (child == 0) {
        Tss2_TctiLdr_Finalize(&ctx);
        leave();
    }
    succeeds(child);
    receive_hmac(ctx, 5);
    finish(ctx);
}

static void the_parent_awaits_a_response(void)
{
    TSS2_TCTI_CONTEXT *ctx = loaded();
    int line;
    must("transmit", transmit_hmac(ctx, 1));
    atomic_store(&together->has_sent, 0);
    pid_t child = forked_with(&line);
    if (child == 0) {
        code("the child does not get the parent's response", receive_response(ctx, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_TCTI_RC_BAD_SEQUENCE);
        tell(line);
        code("transmit", transmit_hmac(ctx, 2), TSS2_RC_SUCCESS);
        atomic_store(&together->has_sent, 1);
        receive_hmac(ctx, 2);
        leave();
    }
    that("the child runs", is_told(line));
    blocks(child, &together->has_sent);
    that("the child waits for its turn", !is_shared || !atomic_load(&together->has_sent));
    receive_hmac(ctx, 1);
    succeeds(child);
    finish(ctx);
}

/* The response has arrived and was not received yet: the parent's turn is over. */
static void the_parent_has_a_response(void)
{
    TSS2_TCTI_CONTEXT *ctx = loaded();
    size_t size = 0;
    must("transmit", transmit_hmac(ctx, 3));
    must("size", Tss2_Tcti_Receive(ctx, &size, NULL, TSS2_TCTI_TIMEOUT_BLOCK));
    pid_t child = forked();
    if (child == 0) {
        code("the child does not get the parent's response", receive_response(ctx, 0), TSS2_TCTI_RC_BAD_SEQUENCE);
        /* Without sharing, a server may serve no other connection before the parent's is closed. */
        exchange_hmacs(ctx, is_shared ? COMMANDS : 0);
        leave();
    }
    succeeds(child);
    receive_hmac(ctx, 3);
    finish(ctx);
}

static void eight_workers_at_once(void)
{
    TSS2_TCTI_CONTEXT *ctx = loaded();
    pid_t workers[WORKERS];
    int ends[2], line;
    char byte;
    if (pipe(ends) != 0)
        must("pipe", TSS2_TCTI_RC_IO_ERROR);
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = forked_with(&line);
        if (workers[i] == 0) {
            close(ends[1]);
            that("the start", read(ends[0], &byte, 1) == 0);
            exchange_hmacs(ctx, 4 * COMMANDS);
            if (i % 2 == 0)
                Tss2_TctiLdr_Finalize(&ctx);
            leave();
        }
    }
    close(ends[1]);
    exchange_hmacs(ctx, COMMANDS);
    for (int i = 0; i < WORKERS; i++)
        succeeds(workers[i]);
    finish(ctx);
}

/* They are killed at any moment of an exchange, while the parent and another worker send commands. */
static void workers_are_killed(void)
{
    TSS2_TCTI_CONTEXT *ctx = loaded();
    struct timespec since, then;
    atomic_store(&together->is_over, 0);
    clock_gettime(CLOCK_MONOTONIC, &since);
    exchange_hmacs(ctx, COMMANDS);
    clock_gettime(CLOCK_MONOTONIC, &then);
    long command = ((then.tv_sec - since.tv_sec) * 1000000000 + then.tv_nsec - since.tv_nsec) / COMMANDS;
    pid_t other = forked();
    if (other == 0) {
        while (!atomic_load(&together->is_over) && failed == 0)
            exchange_hmacs(ctx, 1);
        leave();
    }
    for (int i = 0; i < KILLED && failed == 0; i++) {
        int line;
        pid_t worker = forked_with(&line);
        if (worker == 0) {
            if (i % 2 == 0)
                exchange_hmacs(ctx, 1);
            tell(line);
            while (failed == 0)
                exchange_hmacs(ctx, 1);
            leave();
        }
        that("the worker runs", is_told(line));
        pause_for((long)(drand48() * 5 * (double)command)); /* the kill comes at a random moment */
        is_killed(worker);
        close(line);
        exchange_hmacs(ctx, 1);
    }
    atomic_store(&together->is_over, 1);
    succeeds(other);
    finish(ctx);
}

/* The child could not open the TPM by itself. */
static void the_child_becomes_nobody(void)
{
    enum { NOBODY = 65534 };
    TSS2_TCTI_CONTEXT *ctx = loaded();
    pid_t child = forked();
    if (child == 0) {
        int became = setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0;
        that("it has lost its rights", became);
        exchange_hmacs(ctx, COMMANDS);
        leave();
    }
    succeeds(child);
    finish(ctx);
}

static void it_becomes_a_daemon(void)
{
    TSS2_TCTI_CONTEXT *ctx = loaded();
    if (forked() != 0)
        leave();
    setsid();
    if (forked() != 0)
        leave();
    FILE *report = fdopen(dup(STDOUT_FILENO), "w");
    that("its directory is /", chdir("/") == 0);
    for (int stream = 0; stream < 3; stream++)
        close(stream);
    that("its streams are /dev/null", open("/dev/null", O_RDWR) == 0 && dup(0) == 1 && dup(0) == 2);
    if (report != NULL)
        stdout = report;
    finish(ctx);
}

#define ORDER(name) {#name, name, NULL}
static const struct {
    const char *name;
    void (*run)(void);
    void (*end_of_parent)(TSS2_TCTI_CONTEXT **); /* for orders that consist of this alone */
} orders[] = {
    ORDER(the_parent_is_idle),
    ORDER(parent_and_child_in_turn),
    {"the_parent_exits", NULL, does_nothing},
    {"the_parent_sends_commands_and_exits", NULL, sends_commands},
    {"the_parent_exits_while_a_response_is_due", NULL, leaves_a_response_due},
    {"the_parent_finalizes_and_exits", NULL, Tss2_TctiLdr_Finalize},
    {"the_parent_finalizes_while_a_response_is_due", NULL, finalizes_while_a_response_is_due},
    ORDER(the_parent_finalizes),
    ORDER(the_child_finalizes),
    ORDER(the_child_finalizes_while_the_parent_awaits_a_response),
    ORDER(the_parent_awaits_a_response),
    ORDER(the_parent_has_a_response),
    ORDER(eight_workers_at_once),
    ORDER(workers_are_killed),
    ORDER(the_child_becomes_nobody),
    ORDER(it_becomes_a_daemon),
};

/* Flushes the objects that a failed order has left in the TPM. */
static void tidy(void)
{
    TSS2_TCTI_CONTEXT *ctx = opened();
    for (uint32_t handle = 0x80000000; handle < 0x80000003; handle++) {
        const uint8_t command[] = WITH_HANDLE(FLUSH_CONTEXT, handle);
        exchange(ctx, sizeof(command), command);
    }
    Tss2_TctiLdr_Finalize(&ctx);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    is_shared = strcmp(argv[1], "shared") == 0;
    name_conf = argv[2];
    begin(0);
    alarm(0);
    come_together();
    for (size_t i = 0; i < sizeof(orders) / sizeof(*orders); i++) {
        int is_left_out = 0;
        for (int j = 3; j < argc; j++)
            is_left_out |= strcmp(argv[j] + 1, orders[i].name) == 0;
        if (is_left_out)
            continue;
        unsigned before = atomic_load(&together->passed), failed_before = atomic_load(&together->failed) + failed;
        scenario(orders[i].name);
        if (forked() == 0) {
            if (orders[i].run == NULL)
                without_its_parent(loaded(), orders[i].end_of_parent);
            orders[i].run();
            leave();
        }
        all_succeed();
        if (atomic_load(&together->failed) + failed != failed_before)
            tidy();
        else
            printf("%s: %u\n", orders[i].name, atomic_load(&together->passed) - before);
    }
    count();
    passed = atomic_load(&together->passed);
    failed = atomic_load(&together->failed);
    return summary();
}
