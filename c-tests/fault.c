// SPDX-License-Identifier: BSD-2-Clause
/* Drives one module step by step, in a process to which faults can happen: fault LIBRARY CONF [scripted]. Reads a step per
 * line from stdin and replies at once with a line on stdout: a response code or a number. tests/reliability/src/program.rs
 * writes the steps. Both streams are moved to high descriptors first, so that stdin and stdout can be closed; the bytes that
 * a module prints on stdout are counted.
 *
 * Each GetRandom asks for another number of bytes, so the response to another command is WRONG_RESPONSE. So is the response of
 * a scripted peer when one of its bytes is wrong or misplaced. */

#include <dirent.h>
#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <tss2/tss2_tcti.h>
#include "commands.h"
#include "hmac.h"
#include "memory.h"
#include "report.h"

/* The descriptors that steps are read from and replies are written to. */
#define STEPS 100
#define REPLIES 101

/* Sizes in bytes: of a response without its random bytes, of a caller's usual buffer, of the largest response. */
#define SMALL 12u
#define USUAL 4096
#define LARGEST (1u << 20)

static const char *conf;
static void *library;
static const TSS2_TCTI_INFO *info;
static TSS2_TCTI_CONTEXT *ctx;
static uint8_t wanted; /* random bytes that the command under way asks for, 1 to 16 */
static int is_scripted;
static volatile sig_atomic_t interrupts;

/* Initializes the context in static memory, which is not cleared and does not depend on malloc. */
static TSS2_RC init(void)
{
    static _Alignas(max_align_t) uint8_t memory[1 << 16];
    size_t size = 0;
    TSS2_RC rc = info->init(NULL, &size, conf);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    if (size > sizeof(memory))
        abort();
    ctx = (TSS2_TCTI_CONTEXT *)memory;
    rc = info->init(ctx, &size, conf);
    if (rc != TSS2_RC_SUCCESS)
        ctx = NULL;
    return rc;
}

static void finalize(void)
{
    if (ctx == NULL)
        return;
    Tss2_Tcti_Finalize(ctx);
    ctx = NULL;
}

static TSS2_RC transmit_again(void)
{
    uint8_t command[sizeof(GET_RANDOM)];
    memcpy(command, GET_RANDOM, sizeof(command));
    command[sizeof(command) - 1] = wanted;
    return Tss2_Tcti_Transmit(ctx, sizeof(command), command);
}

static TSS2_RC transmit(uint8_t count)
{
    wanted = count != 0 ? count : wanted % 16 + 1;
    return transmit_again();
}

static TSS2_RC transmit_largest(void)
{
    static const uint8_t command[LARGEST] = {0x80, 0x01, 0, LARGEST >> 16, 0, 0, 0, 0, 0x01, 0x7b};
    return Tss2_Tcti_Transmit(ctx, sizeof(command), command);
}

/* Returns the byte that the scripted peer sends at this offset of its response. It differs at other offsets and in other
 * responses. */
static uint8_t scripted(size_t offset)
{
    return ((uint32_t)wanted << 20 | (uint32_t)offset) * 2654435761u >> 24;
}

static const char *receive(int timeout, size_t room, size_t due)
{
    static uint8_t response[2 * LARGEST];
    size_t size = room;
    memset(response, 0, due); /* no byte of an earlier response stays */
    TSS2_RC rc = Tss2_Tcti_Receive(ctx, &size, response, timeout);
    if (rc != TSS2_RC_SUCCESS)
        return name_of(rc);
    if (size != response_size(response) || response_code(response) != 0)
        return "NOT_A_RESPONSE";
    if (size != due || response[10] != 0 || response[11] != wanted)
        return "WRONG_RESPONSE";
    for (size_t offset = SMALL; is_scripted && offset < size; offset++)
        if (response[offset] != scripted(offset))
            return "WRONG_RESPONSE";
    return "SUCCESS";
}

static const char *size_of_response(int timeout)
{
    size_t size = 0;
    return name_of(Tss2_Tcti_Receive(ctx, &size, NULL, timeout));
}

static const char *get_random(void)
{
    TSS2_RC rc = transmit(0);
    return rc == TSS2_RC_SUCCESS ? receive(TSS2_TCTI_TIMEOUT_BLOCK, USUAL, SMALL + wanted) : name_of(rc);
}

static const char *get_random_times(long count)
{
    const char *result = "SUCCESS";
    while (count-- > 0 && strcmp(result, "SUCCESS") == 0)
        result = get_random();
    return result;
}

static const char *contexts(long count)
{
    TSS2_RC rc = TSS2_RC_SUCCESS;
    while (count-- > 0 && rc == TSS2_RC_SUCCESS) {
        rc = init();
        finalize();
    }
    return name_of(rc);
}

static long descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL && readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 3; /* the directory itself, "." and ".." */
}

/* Sets the owner of all files that the library has open. A process that has the same file open sees the owner, too. */
static void mark(pid_t owner)
{
    for (int fd = 3; fd < 1024; fd++)
        if (fd != STEPS && fd != REPLIES)
            fcntl(fd, F_SETOWN, owner);
}

/* Counts the open files with this owner. */
static long marked(pid_t owner)
{
    long count = 0;
    for (int fd = 3; fd < 1024; fd++)
        count += fcntl(fd, F_GETOWN) == owner;
    return count;
}

static void interrupted(int signal)
{
    (void)signal;
    interrupts++;
}

/* Replies without stdio, which may allocate memory. */
static void reply(const char *text)
{
    struct iovec line[] = {{(void *)text, strlen(text)}, {"\n", 1}};
    (void)!writev(REPLIES, line, 2);
}

static void reply_interrupted(int signal)
{
    (void)signal;
    reply("interrupted");
}

/* SIGUSR1 interrupts system calls from now on, and is confirmed with a reply. */
static const char *catch(void)
{
    struct sigaction action = {.sa_handler = reply_interrupted}; /* without SA_RESTART */
    return sigaction(SIGUSR1, &action, NULL) == 0 ? "SUCCESS" : "REFUSED";
}

/* Takes a step that counts something. Returns 0 when `word` is no such step. */
static int is_number(const char *word, long *number)
{
    if (strcmp(word, "descriptors") == 0)
        *number = descriptors();
    else if (strcmp(word, "heap") == 0)
        *number = heap();
    else if (strcmp(word, "resident") == 0)
        *number = resident();
    else if (strcmp(word, "marked-files") == 0)
        *number = marked(getpid());
    else if (strcmp(word, "printed") == 0)
        *number = lseek(1, 0, SEEK_END);
    else
        return 0;
    if (*number < 0)
        *number = 0; /* stdout may be closed */
    return 1;
}

/* Sends commands, which signals interrupt at irregular intervals, until `count` signals were handled. */
static const char *get_random_interrupted(int count)
{
    struct sigaction action = {.sa_handler = interrupted}; /* without SA_RESTART */
    const char *result = "SUCCESS";
    sigaction(SIGVTALRM, &action, NULL);
    sigevent_t event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGVTALRM};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        return "NO_TIMER";
    for (unsigned round = 1; interrupts < count && strcmp(result, "SUCCESS") == 0; round++) {
        struct itimerspec times = {.it_interval = {0, 50000 + round * 7919 % 100000}, .it_value = {0, 10000}};
        timer_settime(timer, 0, &times, NULL);
        result = get_random();
    }
    timer_delete(timer);
    return result;
}

/* Handles the signals with which the test drives a parent while its child takes the steps. */
static void handle(int signal)
{
    static char text[32] = "parent SUCCESS";
    switch (signal) {
    case SIGUSR2:
        snprintf(text, sizeof(text), "parent %s", receive(TSS2_TCTI_TIMEOUT_BLOCK, USUAL, SMALL + wanted));
        reply(text);
        break;
    case SIGHUP:
        finalize();
        reply("parent SUCCESS");
        break;
    case SIGTERM:
        _exit(0);
    }
}

/* Forks. The child takes the steps from here on, and asks for other numbers of random bytes than the parent. The parent waits
 * until the child has ended; with `whole_tree` also until the children of the child have ended, which may outlive it. The
 * parent must not have other children then. */
static const char *fork_here(int whole_tree)
{
    static char text[24];
    int status = 0, other;
    sigset_t signals, before;
    sigemptyset(&signals);
    for (size_t i = 0; i < 4; i++)
        sigaddset(&signals, (const int[]){SIGCHLD, SIGUSR2, SIGHUP, SIGTERM}[i]);
    sigprocmask(SIG_BLOCK, &signals, &before);
    prctl(PR_SET_CHILD_SUBREAPER, whole_tree);
    pid_t child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        alarm(PATIENCE); /* nothing else ends a child that hangs after its parent has ended */
        wanted = (wanted + 7) % 16 + 1;
        snprintf(text, sizeof(text), "child %d", (int)getpid());
        return text;
    }
    while (waitpid(child, &status, WNOHANG) == 0)
        handle(sigwaitinfo(&signals, NULL));
    while (whole_tree && waitpid(-1, &other, 0) > 0)
        continue;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (WIFEXITED(status))
        snprintf(text, sizeof(text), "exit %d", WEXITSTATUS(status));
    else
        snprintf(text, sizeof(text), "signal %d", WTERMSIG(status));
    return text;
}

/* Reads a line, without its end. Returns 0 when there are no more. Reads nothing ahead, because a child shares the input. */
static int next(char *line, size_t room)
{
    size_t length = 0;
    while (length + 1 < room && read(STEPS, line + length, 1) == 1 && line[length] != '\n')
        length++;
    int ended = line[length] != '\n';
    line[length] = 0;
    return !ended;
}

int main(int argc, char **argv)
{
    char line[64], word[24];
    long a, b;
    if (argc < 3)
        return 2;
    is_scripted = argc > 3;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* when the test fails */
    for (int fd = 3; fd < 1024; fd++)
        close(fd); /* inherited from the program that started the tests */
    dup3(0, STEPS, O_CLOEXEC);
    dup3(1, REPLIES, O_CLOEXEC);
    int silent = memfd_create("stdout", 0);
    dup2(silent, 1);
    close(silent);
    if (strcmp(argv[2], "-") != 0)
        conf = argv[2];
    library = dlopen(argv[1], RTLD_NOW);
    const TSS2_TCTI_INFO *(*get_info)(void) = (const TSS2_TCTI_INFO *(*)(void))(uintptr_t)dlsym(library, "Tss2_Tcti_Info");
    info = get_info();
    while (memset(line, 0, sizeof(line)), next(line, sizeof(line))) {
        a = b = 0;
        int got = sscanf(line, "%23s %ld %ld", word, &a, &b);
        const char *result = "NO_SUCH_STEP";
        char text[24];
        if (got < 1)
            break;
        if (is_number(word, &a)) {
            snprintf(text, sizeof(text), "%ld", a);
            result = text;
        } else if (strcmp(word, "init") == 0) {
            result = name_of(init());
        } else if (strcmp(word, "finalize") == 0) {
            finalize();
            result = "SUCCESS";
        } else if (strcmp(word, "transmit") == 0) {
            result = name_of(transmit((uint8_t)a));
        } else if (strcmp(word, "transmit-largest") == 0) {
            result = name_of(transmit_largest());
        } else if (strcmp(word, "transmit-again") == 0) {
            result = name_of(transmit_again());
        } else if (strcmp(word, "receive") == 0) {
            result = receive((int)a, got > 2 ? (size_t)b : USUAL, SMALL + wanted);
        } else if (strcmp(word, "receive-largest") == 0) {
            result = receive((int)a, 2 * LARGEST, LARGEST);
        } else if (strcmp(word, "receive-size") == 0) {
            result = size_of_response((int)a);
        } else if (strcmp(word, "get-random") == 0) {
            result = get_random();
        } else if (strcmp(word, "load-key") == 0) {
            result = name_of(load(ctx));
        } else if (strcmp(word, "use-key") == 0) {
            TSS2_RC rc = hmac(ctx, 7);
            result = rc == TSS2_RC_SUCCESS && memcmp(response + 16, right[7], DIGEST) != 0 ? "WRONG_KEY" : name_of(rc);
        } else if (strcmp(word, "get-random-times") == 0) {
            result = get_random_times(a);
        } else if (strcmp(word, "contexts") == 0) {
            result = contexts(a);
        } else if (strcmp(word, "locality") == 0) {
            result = name_of(Tss2_Tcti_SetLocality(ctx, (uint8_t)a));
        } else if (strcmp(word, "cancel") == 0) {
            result = name_of(Tss2_Tcti_Cancel(ctx));
        } else if (strcmp(word, "mark-files") == 0) {
            mark(getppid());
            result = "SUCCESS";
        } else if (strcmp(word, "catch-interrupts") == 0) {
            result = catch();
        } else if (strcmp(word, "get-random-interrupted") == 0) {
            result = get_random_interrupted((int)a);
        } else if (strcmp(word, "close") == 0) {
            result = close((int)a) == 0 ? "SUCCESS" : "EBADF";
        } else if (strcmp(word, "limit-files") == 0) {
            result = limit(RLIMIT_NOFILE, a) == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "limit-size") == 0) {
            result = limit(RLIMIT_FSIZE, a) == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "exhaust-memory") == 0) {
            result = exhaust() == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "release-memory") == 0) {
            result = release() == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "fork") == 0 || strcmp(word, "fork-tree") == 0) {
            result = fork_here(word[4] != 0);
        } else if (strcmp(word, "dlclose") == 0) {
            result = dlclose(library) == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "exit") == 0) {
            _exit(0);
        }
        reply(result);
    }
    finalize();
    return 0;
}
