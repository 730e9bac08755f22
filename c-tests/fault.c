// SPDX-License-Identifier: BSD-2-Clause
/* One module, driven step by step, in a process to which something can happen: fault LIBRARY CONF. Reads a step per line
 * from stdin and prints its code, or a number, at once. Both streams are put out of the way first, so that they can be
 * closed; what a module would print on stdout is counted.
 *
 * Each GetRandom asks for another number of bytes: an answer to another command is WRONG_ANSWER. */

#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <tss2/tss2_tcti.h>
#include "commands.h"
#include "report.h"

/* Where the steps come from and the codes go to. */
#define STEPS 100
#define CODES 101

static const char *conf;
static void *library;
static const TSS2_TCTI_INFO *info;
static TSS2_TCTI_CONTEXT *ctx;
static uint8_t wanted; /* bytes of the command under way */
static volatile sig_atomic_t interrupts;

static TSS2_RC open_it(void)
{
    size_t size = 0;
    TSS2_RC rc = info->init(NULL, &size, conf);
    if (rc != TSS2_RC_SUCCESS)
        return rc;
    ctx = calloc(1, size);
    rc = info->init(ctx, &size, conf);
    if (rc != TSS2_RC_SUCCESS) {
        free(ctx);
        ctx = NULL;
    }
    return rc;
}

static void finalize(void)
{
    if (ctx == NULL)
        return;
    Tss2_Tcti_Finalize(ctx);
    free(ctx);
    ctx = NULL;
}

static TSS2_RC transmit_again(void)
{
    uint8_t command[sizeof(GET_RANDOM)];
    memcpy(command, GET_RANDOM, sizeof(command));
    command[sizeof(command) - 1] = wanted;
    return Tss2_Tcti_Transmit(ctx, sizeof(command), command);
}

static TSS2_RC transmit(void)
{
    wanted = wanted % 16 + 1;
    return transmit_again();
}

static const char *receive(int timeout, size_t room)
{
    static uint8_t response[1 << 21];
    size_t size = room;
    TSS2_RC rc = Tss2_Tcti_Receive(ctx, &size, response, timeout);
    if (rc != TSS2_RC_SUCCESS)
        return name_of(rc);
    if (size != response_size(response) || response_code(response) != 0)
        return "NOT_AN_ANSWER";
    return size == 12u + wanted || size > 64 ? "SUCCESS" : "WRONG_ANSWER";
}

static const char *size_of_response(int timeout)
{
    size_t size = 0;
    return name_of(Tss2_Tcti_Receive(ctx, &size, NULL, timeout));
}

static const char *command(void)
{
    TSS2_RC rc = transmit();
    return rc == TSS2_RC_SUCCESS ? receive(TSS2_TCTI_TIMEOUT_BLOCK, 4096) : name_of(rc);
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

/* Bytes that are allocated. */
static long heap(void)
{
    struct mallinfo2 info = mallinfo2();
    return (long)(info.uordblks + info.hblkhd);
}

/* Bytes of memory that this process has; statm rounds. */
static long resident(void)
{
    char line[128];
    long kibibytes = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        sscanf(line, "Rss: %ld kB", &kibibytes);
    if (file != NULL)
        fclose(file);
    return kibibytes * 1024;
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

/* Room for no more than there is. */
static int limit(const char *what, long more)
{
    struct rlimit limit;
    int resource = strcmp(what, "nofile") == 0 ? RLIMIT_NOFILE : strcmp(what, "as") == 0 ? RLIMIT_AS : RLIMIT_FSIZE;
    getrlimit(resource, &limit);
    limit.rlim_cur = more < 0 ? limit.rlim_max : (rlim_t)more;
    if (resource == RLIMIT_AS && more >= 0) {
        long pages = 0;
        FILE *statm = fopen("/proc/self/statm", "re");
        if (statm == NULL || fscanf(statm, "%ld", &pages) != 1)
            return -1;
        fclose(statm);
        limit.rlim_cur = (rlim_t)(pages * sysconf(_SC_PAGESIZE) + more);
    }
    return setrlimit(resource, &limit);
}

static void interrupted(int signal)
{
    (void)signal;
    interrupts++;
}

static void told(int signal)
{
    (void)signal;
    (void)!write(CODES, "interrupted\n", 12);
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

/* The child goes on with the steps; the parent waits for its end. */
static void fork_here(void)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails ends both */
        dprintf(CODES, "child\n");
        return;
    }
    waitpid(child, &status, 0);
    if (WIFEXITED(status))
        dprintf(CODES, "exit %d\n", WEXITSTATUS(status));
    else
        dprintf(CODES, "signal %d\n", WTERMSIG(status));
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
    char line[64], word[16], what[16];
    long a, b;
    if (argc != 3)
        return 2;
    alarm(PATIENCE);
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
        int got = sscanf(line, "%15s %ld %ld", word, &a, &b);
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
            answer = name_of(transmit());
        } else if (strcmp(word, "again") == 0) {
            answer = name_of(transmit_again());
        } else if (strcmp(word, "receive") == 0) {
            answer = receive((int)a, got > 2 ? (size_t)b : 4096);
        } else if (strcmp(word, "size") == 0) {
            answer = size_of_response((int)a);
        } else if (strcmp(word, "random") == 0) {
            answer = command();
        } else if (strcmp(word, "commands") == 0) {
            answer = commands(a);
        } else if (strcmp(word, "contexts") == 0) {
            answer = contexts(a);
        } else if (strcmp(word, "locality") == 0) {
            answer = name_of(Tss2_Tcti_SetLocality(ctx, (uint8_t)a));
        } else if (strcmp(word, "catch") == 0) {
            answer = catch();
        } else if (strcmp(word, "storm") == 0) {
            answer = storm((int)a);
        } else if (strcmp(word, "close") == 0) {
            answer = close((int)a) == 0 ? "SUCCESS" : "EBADF";
        } else if (sscanf(line, "limit %15s %ld", what, &a) == 2) {
            answer = limit(what, a) == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "fork") == 0) {
            fork_here();
            continue;
        } else if (strcmp(word, "dlclose") == 0) {
            answer = dlclose(library) == 0 ? "SUCCESS" : "REFUSED";
        } else if (strcmp(word, "exit") == 0) {
            _exit(0);
        }
        dprintf(CODES, "%s\n", answer);
    }
    finalize();
    return 0;
}
