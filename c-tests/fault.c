// SPDX-License-Identifier: BSD-2-Clause
/* One module, driven step by step, in a process to which something can happen: fault LIBRARY CONF [scripted]. Reads a
 * step per line from stdin and prints its code, or a number, at once. Both streams are put out of the way first, so that
 * they can be closed; what a module would print on stdout is counted.
 *
 * Each GetRandom asks for another number of bytes: an answer to another command is WRONG_ANSWER. So is one of a scripted
 * peer whose bytes are not each in its place. */

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

/* Where the steps come from and the codes go to. */
#define STEPS 100
#define CODES 101

/* Bytes of a response without its random bytes, of a caller's buffer, and of the largest response that a module takes. */
#define SMALL 12u
#define USUAL 4096
#define LARGEST (1u << 20)

static const char *conf;
static void *library;
static const TSS2_TCTI_INFO *info;
static TSS2_TCTI_CONTEXT *ctx;
static uint8_t wanted; /* bytes of the command under way, 1 to 16 */
static int is_scripted;
static volatile sig_atomic_t interrupts;

/* In memory that is there whatever malloc says; what was in it stays. */
static TSS2_RC open_it(void)
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

/* What tests/reliability/src/peer.rs sends there: what is from another place, or from another answer, is something else. */
static uint8_t scripted(size_t offset)
{
    return ((uint32_t)wanted << 20 | (uint32_t)offset) * 2654435761u >> 24;
}

static const char *receive(int timeout, size_t room, size_t due)
{
    static uint8_t response[2 * LARGEST];
    size_t size = room;
    memset(response, 0, due); /* what was there before */
    TSS2_RC rc = Tss2_Tcti_Receive(ctx, &size, response, timeout);
    if (rc != TSS2_RC_SUCCESS)
        return name_of(rc);
    if (size != response_size(response) || response_code(response) != 0)
        return "NOT_AN_ANSWER";
    if (size != due || response[10] != 0 || response[11] != wanted)
        return "WRONG_ANSWER";
    for (size_t offset = SMALL; is_scripted && offset < size; offset++)
        if (response[offset] != scripted(offset))
            return "WRONG_ANSWER";
    return "SUCCESS";
}

static const char *size_of_response(int timeout)
{
    size_t size = 0;
    return name_of(Tss2_Tcti_Receive(ctx, &size, NULL, timeout));
}

static const char *command(void)
{
    TSS2_RC rc = transmit(0);
    return rc == TSS2_RC_SUCCESS ? receive(TSS2_TCTI_TIMEOUT_BLOCK, USUAL, SMALL + wanted) : name_of(rc);
}

static const char *commands(long count)
{
    const char *answer = "SUCCESS";
    while (count-- > 0 && strcmp(answer, "SUCCESS") == 0)
        answer = command();
    return answer;
}

static const char *contexts(long count)
{
    TSS2_RC rc = TSS2_RC_SUCCESS;
    while (count-- > 0 && rc == TSS2_RC_SUCCESS) {
        rc = open_it();
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
    return count - 3; /* this directory, and its two entries of every directory */
}

/* Gives all open files of the library an owner, which is seen wherever the same one is open; how many have this owner. */
static void mark(pid_t owner)
{
    for (int fd = 3; fd < 1024; fd++)
        if (fd != STEPS && fd != CODES)
            fcntl(fd, F_SETOWN, owner);
}

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

/* Without stdio, which may want memory. */
static void tell(const char *answer)
{
    struct iovec line[] = {{(void *)answer, strlen(answer)}, {"\n", 1}};
    (void)!writev(CODES, line, 2);
}

static void told(int signal)
{
    (void)signal;
    tell("interrupted");
}

/* SIGUSR1 interrupts from now on, and is told of. */
static const char *catch(void)
{
    struct sigaction action = {.sa_handler = told}; /* without SA_RESTART */
    return sigaction(SIGUSR1, &action, NULL) == 0 ? "SUCCESS" : "REFUSED";
}

/* What can be counted. */
static int is_number(const char *word, long *number)
{
    if (strcmp(word, "descriptors") == 0)
        *number = descriptors();
    else if (strcmp(word, "heap") == 0)
        *number = heap();
    else if (strcmp(word, "resident") == 0)
        *number = resident();
    else if (strcmp(word, "marked") == 0)
        *number = marked(getpid());
    else if (strcmp(word, "printed") == 0)
        *number = lseek(1, 0, SEEK_END);
    else
        return 0;
    if (*number < 0)
        *number = 0; /* stdout may be closed */
    return 1;
}

/* Commands, each interrupted again and again, until there were so many signals. The time between two is not regular. */
static const char *storm(int count)
{
    struct sigaction action = {.sa_handler = interrupted}; /* without SA_RESTART */
    const char *answer = "SUCCESS";
    sigaction(SIGVTALRM, &action, NULL);
    sigevent_t event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGVTALRM};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        return "NO_TIMER";
    for (unsigned round = 1; interrupts < count && strcmp(answer, "SUCCESS") == 0; round++) {
        struct itimerspec times = {.it_interval = {0, 50000 + round * 7919 % 100000}, .it_value = {0, 10000}};
        timer_settime(timer, 0, &times, NULL);
        answer = command();
    }
    timer_delete(timer);
    return answer;
}

/* What a parent is told while it waits for its child, who has the steps. */
static void obey(int signal)
{
    static char text[32] = "parent SUCCESS";
    switch (signal) {
    case SIGUSR2:
        snprintf(text, sizeof(text), "parent %s", receive(TSS2_TCTI_TIMEOUT_BLOCK, USUAL, SMALL + wanted));
        tell(text);
        break;
    case SIGHUP:
        finalize();
        tell("parent SUCCESS");
        break;
    case SIGTERM:
        _exit(0);
    }
}

/* The child goes on with the steps, and asks for other numbers of bytes than the parent, who waits for its end; with
 * `whole_tree` also for that of the child's own children, who may outlive it, but has then to have no other. */
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
        alarm(PATIENCE); /* nobody else ends one that hangs when its parent has ended */
        wanted = (wanted + 7) % 16 + 1;
        snprintf(text, sizeof(text), "child %d", (int)getpid());
        return text;
    }
    while (waitpid(child, &status, WNOHANG) == 0)
        obey(sigwaitinfo(&signals, NULL));
    while (whole_tree && waitpid(-1, &other, 0) > 0)
        continue;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (WIFEXITED(status))
        snprintf(text, sizeof(text), "exit %d", WEXITSTATUS(status));
    else
        snprintf(text, sizeof(text), "signal %d", WTERMSIG(status));
    return text;
}

/* A line without its end; 0 when there are no more. Nothing is read ahead, because a child shares what is left. */
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
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails ends this, too */
    for (int fd = 3; fd < 1024; fd++)
        close(fd); /* of whoever started the tests */
    dup3(0, STEPS, O_CLOEXEC);
    dup3(1, CODES, O_CLOEXEC);
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
        const char *answer = "NO_SUCH_STEP";
        char text[24];
        if (got < 1)
            break;
        if (is_number(word, &a)) {
            snprintf(text, sizeof(text), "%ld", a);
            answer = text;
        } else if (strcmp(word, "open") == 0) {
            answer = name_of(open_it());
        } else if (strcmp(word, "finalize") == 0) {
            finalize();
            answer = "SUCCESS";
        } else if (strcmp(word, "transmit") == 0) {
            answer = name_of(transmit((uint8_t)a));
        } else if (strcmp(word, "transmit-largest") == 0) {
            answer = name_of(transmit_largest());
        } else if (strcmp(word, "again") == 0) {
            answer = name_of(transmit_again());
        } else if (strcmp(word, "receive") == 0) {
            answer = receive((int)a, got > 2 ? (size_t)b : USUAL, SMALL + wanted);
        } else if (strcmp(word, "largest") == 0) {
            answer = receive((int)a, 2 * LARGEST, LARGEST);
        } else if (strcmp(word, "size") == 0) {
            answer = size_of_response((int)a);
        } else if (strcmp(word, "random") == 0) {
            answer = command();
        } else if (strcmp(word, "load") == 0) {
            answer = name_of(load(ctx));
        } else if (strcmp(word, "key") == 0) {
            TSS2_RC rc = hmac(ctx, 7);
            answer = rc == TSS2_RC_SUCCESS && memcmp(response + 16, right[7], DIGEST) != 0 ? "WRONG_KEY" : name_of(rc);
        } else if (strcmp(word, "commands") == 0) {
            answer = commands(a);
        } else if (strcmp(word, "contexts") == 0) {
            answer = contexts(a);
        } else if (strcmp(word, "locality") == 0) {
            answer = name_of(Tss2_Tcti_SetLocality(ctx, (uint8_t)a));
        } else if (strcmp(word, "cancel") == 0) {
            answer = name_of(Tss2_Tcti_Cancel(ctx));
        } else if (strcmp(word, "mark") == 0) {
            mark(getppid());
            answer = "SUCCESS";
        } else if (strcmp(word, "catch") == 0) {
            answer = catch();
        } else if (strcmp(word, "storm") == 0) {
            answer = storm((int)a);
        } else if (strcmp(word, "close") == 0) {
            answer = close((int)a) == 0 ? "SUCCESS" : "EBADF";
        } else if (strcmp(word, "limit-files") == 0) {
            answer = limit(RLIMIT_NOFILE, a) == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "limit-size") == 0) {
            answer = limit(RLIMIT_FSIZE, a) == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "exhaust") == 0) {
            answer = exhaust() == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "release") == 0) {
            answer = release() == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "fork") == 0 || strcmp(word, "fork-tree") == 0) {
            answer = fork_here(word[4] != 0);
        } else if (strcmp(word, "dlclose") == 0) {
            answer = dlclose(library) == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "exit") == 0) {
            _exit(0);
        }
        tell(answer);
    }
    finalize();
    return 0;
}
