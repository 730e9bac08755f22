// SPDX-License-Identifier: BSD-2-Clause
/* The processes of one test: each is forked from another, counts what it checks, and ends with status 1 when a check
 * failed. A process has a line to the one that it forked: who waits on it learns whether the other has told, or has
 * ended. */

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

/* Seconds that one process may take. One that hangs longer is ended by SIGALRM. */
#define LIMIT 100u

/* What all processes see. */
static struct together {
    atomic_uint passed, failed;
    atomic_uint is_over;  /* those that go on until something else is done end now */
    atomic_uint has_sent; /* the child's command has left */
    atomic_uint forked;
    atomic_int numbers[1024]; /* of the processes that were forked here; a module may have processes of its own */
} *together;

static inline void come_together(void)
{
    together = mmap(NULL, sizeof(*together), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (together == MAP_FAILED)
        exit(2);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* also of those whose parent has ended */
}

static inline void count(void)
{
    fflush(stdout);
    atomic_fetch_add(&together->passed, passed);
    atomic_fetch_add(&together->failed, failed);
}

/* Ends this process, and leaves its contexts as they are. */
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

/* In both processes `line` is their end of the line between them. */
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

/* 0 when the other has ended instead. */
static inline int is_told(int line)
{
    char byte;
    return read(line, &byte, 1) == 1;
}

/* Waits for the end of a child. */
static inline void ends_well(pid_t child)
{
    int status = -1;
    that("there is such a child", waitpid(child, &status, 0) == child);
    that("the child ends well", status == 0);
}

static inline void ends_by_force(pid_t child)
{
    int status = -1;
    kill(child, SIGKILL);
    that("there is such a child", waitpid(child, &status, 0) == child);
    that("the child was killed, and had not ended of itself", WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Waits until all processes have ended that were forked from this one, and from those. */
static inline void all_end_well(void)
{
    int status;
    for (pid_t process; (process = waitpid(-1, &status, 0)) > 0;) {
        if (!is_ours(process))
            continue;
        that("no process hangs", !WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM);
        that("each process ends well", status == 0);
    }
}

static inline void pause_for(long nanoseconds)
{
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    nanosleep(&time, NULL);
}

/* Waits until the process is inside a system call that takes its time, or until `is_done`. */
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
        pause_for(2000000); /* only how often to ask */
    }
}

#endif
