// SPDX-License-Identifier: BSD-2-Clause
/* Child processes of a program that forks with an open context: a child whose parent waits for it, and one whose parent has
 * exited, as the parent of a daemon has. */

#ifndef ORPHAN_H
#define ORPHAN_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The name of this process in messages. */
static const char *who = "parent";

/* Waits for a child, which has to succeed; -1: for any child. */
static inline void wait_for(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) > 0 && status == 0)
        return;
    printf("the child ended with 0x%x\n", status);
    exit(1);
}

/* Calls `work` in a grandchild, after the child that inherited the context first has exited. */
static inline void work_as_orphan(void (*work)(void *), void *data)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t parent = fork();
    if (parent == 0) {
        pid_t me = getpid();
        if (fork() > 0)
            _exit(0);
        who = "orphan";
        while (getppid() == me)
            usleep(1000); /* the interval between checks */
        work(data);
        _exit(0);
    }
    wait_for(parent);
    wait_for(-1);
}

#endif
