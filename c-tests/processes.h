// SPDX-License-Identifier: BSD-2-Clause
/* The processes of one test. Each is forked from another one, counts its checks, and exits with status 1 when one
 * failed. A parent and a child are connected by a line: a process that waits on it learns whether the other one has
 * notified it or has exited. */

#ifndef PROCESSES_H
#define PROCESSES_H

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include "report.h"

/* The time limit of one process in seconds, after which SIGALRM kills it. */
#define LIMIT 100u

/* The memory that all processes share. */
static struct together {
    atomic_uint passed, failed;
    atomic_uint is_over;  /* the processes that work until something else is done exit now */
    atomic_uint has_sent; /* the child has sent its command */
    atomic_uint forked;
    atomic_int numbers[1024]; /* the IDs of the processes that were forked here; a module may fork others */
} *together;

static inline void come_together(void)
{
    together = mmap(NULL, sizeof(*together), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (together == MAP_FAILED)
        exit(2);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* becomes the parent of processes whose parent has exited */
}

static inline void count(void)
{
    fflush(stdout);
    atomic_fetch_add(&together->passed, passed);
    atomic_fetch_add(&together->failed, failed);
}

/* Exits, and leaves the contexts of this process as they are. */
static inline _Noreturn void leave(void)
{
    count();
    _exit(failed != 0);
}

static inline pid_t forked(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        must("fork", TSS2_TCTI_RC_MEMORY);
    if (child == 0) {
        passed = failed = 0;
        alarm(LIMIT);
    } else {
        atomic_store(&together->numbers[atomic_fetch_add(&together->forked, 1) % 1024], child);
    }
    return child;
}

static inline int is_ours(pid_t process)
{
    for (int i = 0; i < 1024; i++)
        if (atomic_load(&together->numbers[i]) == process)
            return 1;
    return 0;
}

/* Forks. In both processes `line` is their end of the line between them. */
static inline pid_t forked_with(int *line)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        must("socketpair", TSS2_TCTI_RC_IO_ERROR);
    pid_t child = forked();
    *line = ends[child == 0];
    close(ends[child != 0]);
    return child;
}

static inline void tell(int line)
{
    (void)!send(line, "", 1, MSG_NOSIGNAL);
}

/* Waits for a notification. Returns 0 when the other process has exited instead. */
static inline int is_told(int line)
{
    char byte;
    return read(line, &byte, 1) == 1;
}

/* Waits for a child, which has to succeed. */
static inline void succeeds(pid_t child)
{
    int status = -1;
    that("the child exists", waitpid(child, &status, 0) == child);
    that("the child succeeds", status == 0);
}

static inline void is_killed(pid_t child)
{
    int status = -1;
    kill(child, SIGKILL);
    that("the child exists", waitpid(child, &status, 0) == child);
    that("the child was killed, and had not exited before", WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Waits for all descendants of this process, which have to succeed. */
static inline void all_succeed(void)
{
    int status;
    for (pid_t process; (process = waitpid(-1, &status, 0)) > 0;) {
        if (!is_ours(process))
            continue;
        that("no process hangs", !WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM);
        that("each process succeeds", status == 0);
    }
}

static inline void pause_for(long nanoseconds)
{
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    nanosleep(&time, NULL);
}

/* Waits until the process is blocked in a system call, or until `is_done`. */
static inline void blocks(pid_t process, const atomic_uint *is_done)
{
    char path[64], now[128], before[128] = "";
    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)process);
    while (!atomic_load(is_done)) {
        FILE *file = fopen(path, "r");
        int has_line = file != NULL && fgets(now, sizeof(now), file) != NULL;
        if (file != NULL)
            fclose(file);
        if (!has_line || (strcmp(now, before) == 0 && strncmp(now, "running", 7) != 0))
            return;
        strcpy(before, now);
        pause_for(2000000); /* the interval between checks */
    }
}

#endif
