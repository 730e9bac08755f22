// SPDX-License-Identifier: BSD-2-Clause
/* How much memory this process has, and how it comes to have none. */

#ifndef MEMORY_H
#define MEMORY_H

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

/* Bytes that are allocated. */
static inline long heap(void)
{
    struct mallinfo2 info = mallinfo2();
    return (long)(info.uordblks + info.hblkhd);
}

/* Bytes of memory that this process has; statm rounds. */
static inline long resident(void)
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

/* Of a resource; a negative number is no limit. */
static inline int limit(int resource, long most)
{
    struct rlimit limit;
    getrlimit(resource, &limit);
    limit.rlim_cur = most < 0 ? limit.rlim_max : (rlim_t)most;
    return setrlimit(resource, &limit);
}

/* What malloc had left, each piece with the address of the one before it. */
static void *hoard;

/* From here on malloc gives nothing, whatever is asked for. No more is mapped, and what is free is taken, the small pieces
 * last: of each of their sizes malloc may have a list. */
static inline int exhaust(void)
{
    volatile uint8_t stack[1 << 20]; /* which could not grow any more, either */
    for (size_t at = 0; at < sizeof(stack); at += 4096)
        stack[at] = 1;
    int limited = limit(RLIMIT_AS, 0);
    for (size_t size = 1 << 24; size >= sizeof(void *); size -= size > 4096 ? size / 2 : sizeof(void *))
        for (void **piece; (piece = malloc(size)) != NULL; hoard = piece)
            *piece = hoard;
    return limited;
}

static inline int release(void)
{
    while (hoard != NULL) {
        void *before = *(void **)hoard;
        free(hoard);
        hoard = before;
    }
    return limit(RLIMIT_AS, -1);
}

#endif
