// SPDX-License-Identifier: BSD-2-Clause
/* Measures the memory of this process, and exhausts it. */

#ifndef MEMORY_H
#define MEMORY_H

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

/* Returns the number of allocated bytes. */
static inline long heap(void)
{
    struct mallinfo2 info = mallinfo2();
    return (long)(info.uordblks + info.hblkhd);
}

/* Returns the resident memory of this process in bytes. /proc/self/statm would be rounded. */
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

/* Sets the limit of a resource; a negative number removes the limit. */
static inline int limit(int resource, long most)
{
    struct rlimit limit;
    getrlimit(resource, &limit);
    limit.rlim_cur = most < 0 ? limit.rlim_max : (rlim_t)most;
    return setrlimit(resource, &limit);
}

/* All memory that malloc could still allocate; each piece contains the address of the one before. */
static void *hoard;

/* Makes every further malloc fail. No more memory can be mapped, and all free memory is allocated, the smallest pieces
 * last because malloc may have a free list for each of their sizes. */
static inline int exhaust(void)
{
    volatile uint8_t stack[1 << 20]; /* the stack could not grow any more, either */
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
