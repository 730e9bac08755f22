// SPDX-License-Identifier: BSD-2-Clause
/* traces NAME_CONF: what calls leave in the memory of this process. Prints how often each call that succeeded has called
 * the allocator, and how many copies of a response exist once the context is finalized. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tctildr.h>
#include <unistd.h>
#include "commands.h"

/* The functions of glibc behind those that this program replaces. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static volatile int counting;
static volatile unsigned allocations;

static void count(void)
{
    if (counting)
        allocations++;
}

void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    count();
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size)
{
    count();
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    *block = aligned_alloc(alignment, size);
    return *block == NULL ? ENOMEM : 0;
}

enum { TRANSMIT, POLL_HANDLES, SIZE, RECEIVE, LOCALITY, CANCEL, CALLS };
static const char *const names[CALLS] = {"transmit", "getPollHandles", "size", "receive", "setLocality", "cancel"};
static unsigned sums[CALLS];

/* Begins to count before a call, which is the second argument of COUNTED. */
static unsigned start(void)
{
    allocations = 0;
    counting = 1;
    return 0;
}

static TSS2_RC stop(int call, TSS2_RC rc)
{
    counting = 0;
    if (rc == TSS2_RC_SUCCESS) {
        sums[call] += allocations;
        return rc;
    }
    if (rc != TSS2_TCTI_RC_NOT_IMPLEMENTED) {
        printf("%s: 0x%x\n", names[call], (unsigned)rc);
        exit(1);
    }
    return rc;
}

#define COUNTED(name, call) (start(), stop(name, call))

/* GetRandom of 32 bytes. */
static const uint8_t RANDOM[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 32};
enum { BYTES = 32, SECRET = 12, MASK = 0x5a };

/* The last random bytes of a response, masked so that this is no copy of them. The allocator overwrites the first bytes of a
 * block that is freed. */
static uint8_t masked[SECRET];

static void run(TSS2_TCTI_CONTEXT *tcti)
{
    uint8_t response[4096];
    TSS2_TCTI_POLL_HANDLE handles[8];
    size_t size = 0, number = sizeof(handles) / sizeof(*handles);
    COUNTED(TRANSMIT, Tss2_Tcti_Transmit(tcti, sizeof(RANDOM), RANDOM));
    if (COUNTED(POLL_HANDLES, Tss2_Tcti_GetPollHandles(tcti, handles, &number)) == TSS2_RC_SUCCESS)
        poll(handles, number, -1);
    COUNTED(SIZE, Tss2_Tcti_Receive(tcti, &size, NULL, TSS2_TCTI_TIMEOUT_BLOCK));
    size = sizeof(response);
    COUNTED(RECEIVE, Tss2_Tcti_Receive(tcti, &size, response, TSS2_TCTI_TIMEOUT_BLOCK));
    if (size != 12 + BYTES || response_code(response) != 0) {
        printf("a response of %zu bytes with code 0x%" PRIx32 "\n", size, response_code(response));
        exit(1);
    }
    for (size_t i = 0; i < SECRET; i++)
        masked[i] = response[12 + BYTES - SECRET + i] ^ MASK;
    explicit_bzero(response, sizeof(response));
}

/* Returns the number of copies of the random bytes in writable memory. Does not allocate: a new block could overwrite a copy in
 * one that was freed. */
static unsigned copies(void)
{
    static char maps[1 << 18];
    static uint8_t page[1 << 16];
    unsigned found = 0;
    size_t length = 0;
    ssize_t got;
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC), list = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while ((got = read(list, maps + length, sizeof(maps) - 1 - length)) > 0)
        length += (size_t)got;
    if (memory < 0 || length == 0 || length == sizeof(maps) - 1)
        exit(2);
    for (char *line = maps; *line != '\0'; line = strchr(line, '\n') + 1) {
        char *after;
        uint64_t from = strtoull(line, &after, 16), to = strtoull(after + 1, &after, 16);
        if (strncmp(after, " rw", 3) != 0)
            continue;
        /* Each read overlaps the one before, so that no copy is missed at the border. */
        for (uint64_t at = from; at < to; at += sizeof(page) - SECRET) {
            got = pread(memory, page, to - at < sizeof(page) ? to - at : sizeof(page), (off_t)at);
            for (ssize_t i = 0; i + SECRET <= got; i++) {
                size_t same = 0;
                while (same < SECRET && (page[i + (ssize_t)same] ^ MASK) == masked[same])
                    same++;
                found += same == SECRET;
            }
            explicit_bzero(page, sizeof(page));
        }
    }
    close(list);
    close(memory);
    return found;
}

int main(int argc, char **argv)
{
    TSS2_TCTI_CONTEXT *tcti;
    TSS2_RC rc = argc == 2 ? Tss2_TctiLdr_Initialize(argv[1], &tcti) : TSS2_TCTI_RC_BAD_VALUE;
    if (rc != TSS2_RC_SUCCESS) {
        printf("Init: 0x%x\n", (unsigned)rc);
        return 1;
    }
    for (int i = 0; i < 20; i++) {
        run(tcti);
        COUNTED(LOCALITY, Tss2_Tcti_SetLocality(tcti, 0));
    }
    COUNTED(TRANSMIT, Tss2_Tcti_Transmit(tcti, sizeof(RANDOM), RANDOM));
    if (COUNTED(CANCEL, Tss2_Tcti_Cancel(tcti)) == TSS2_RC_SUCCESS)
        run(tcti);
    Tss2_TctiLdr_Finalize(&tcti);
    unsigned left = copies();
    for (int call = 0; call < CALLS; call++)
        printf("%s %u\n", names[call], sums[call]);
    printf("copies %u\n", left);
    return 0;
}
