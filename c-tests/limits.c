// SPDX-License-Identifier: BSD-2-Clause
/* No configuration string is expensive: limits LIBRARY INIT [NAME:]. INIT is the Init function of the library, and NAME: the
 * beginning of every string. Each call runs on a small stack, and its allocations and processor time are measured.
 * Prints each check that fails and a summary. */

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <tss2/tss2_tcti.h>
#include "report.h"

#define MOST_MEMORY (1 << 20)
#define MOST_TIME 100 /* milliseconds of processor time */
#define STACK (256 << 10)
/* No call needs it. It keeps a call that allocates without limit from taking the memory of the machine. */
#define ADDRESS_SPACE (1ul << 30)

/* The limit of a name or a configuration string. */
#define LONGEST 4096

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void __libc_free(void *memory);

static _Atomic long in_use, peak;

static void *allocated(void *memory)
{
    long now = in_use += malloc_usable_size(memory);
    if (now > peak)
        peak = now;
    return memory;
}

void *malloc(size_t size)
{
    return allocated(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return allocated(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
    long before = malloc_usable_size(memory);
    void *larger = __libc_realloc(memory, size);
    if (larger != NULL || size == 0) {
        in_use -= before;
        allocated(larger);
    }
    return larger;
}

void free(void *memory)
{
    in_use -= malloc_usable_size(memory);
    __libc_free(memory);
}

/* A text: BEFORE count times, MIDDLE, AFTER count times. */
static const struct {
    const char *before;
    size_t count;
    const char *middle, *after;
} TEXTS[] = {
    {"a", 1 << 20, "", ""},
    {",", 100000, "", ""},
    {"a=b,", 100000, "", ""},
    {"", 1 << 20, "host=", "b"},
    {"", 1 << 20, "path=/", "b"},
    {"\xff", 1 << 20, "", ""},
    {"pcap:", 100000, "", ""},
    {"a", LONGEST + 1, "", ""},
    {"a", LONGEST, "", ""},
    {"a", LONGEST - 1, "", ""},
    {"\xff", LONGEST, "", ""},
    {"\n", LONGEST, "", ""},
    {",", LONGEST, "", ""},
    {"=", LONGEST, "", ""},
    {"a=b,", LONGEST / 4, "", ""},
    {"port=1,", LONGEST / 7, "", ""},
    {"", LONGEST - 5, "host=", "1"},
    {"", LONGEST - 5, "host=", "."},
    {"", LONGEST - 6, "path=/", "b"},
    {"", LONGEST - 5, "port=", "9"},
    {"/", LONGEST, "", ""},
    {"../", LONGEST / 3, "", ""},
    {"pcap:", LONGEST / 5, "", ""},
    {"tctildr:", LONGEST / 8, "", ""},
    {"pcap:tctildr:", LONGEST / 13, "", ""},
    {"libtss2-tcti-pcap.so.0:", LONGEST / 23, "", ""},
    {":", LONGEST, "", ""},
    /* for regular expressions */
    {"(", LONGEST, "", ""},
    {"(", LONGEST / 2, "", ")"},
    {"(", LONGEST / 3, "", ")*"},
    {"[", LONGEST, "", ""},
    {"|", LONGEST, "", ""},
    {"a|", LONGEST / 2, "", ""},
    {"", LONGEST - 1, "a", "*"},
    {"a*", LONGEST / 2, "", ""},
    {"\\", LONGEST, "", ""},
    {"(", 4, "a", "){255}"},
    {"(", 8, "a", "){1,255}"},
    {"(", 8, "", "){255}"},
    {"(", 400, "a", "){2}"},
    {"a{255}", LONGEST / 6, "", ""},
    {"a{255}|", LONGEST / 7, "", ""},
    {"", 1, "(){2147483647}", ""},
    {"", 1, "a{99999999999999999999}", ""},
};

typedef TSS2_RC init_function(TSS2_TCTI_CONTEXT *, size_t *, const char *);

static init_function *init;
static size_t context_size;
static char *conf;
static TSS2_RC result;

/* The other functions of the loader that take a name or a configuration string; NULL for other modules. */
static TSS2_RC (*initialize)(const char *, TSS2_TCTI_CONTEXT **);
static TSS2_RC (*initialize_ex)(const char *, const char *, TSS2_TCTI_CONTEXT **);
static TSS2_RC (*get_info)(const char *, TSS2_TCTI_INFO **);
static void (*finalize)(TSS2_TCTI_CONTEXT **);
static void (*free_info)(TSS2_TCTI_INFO **);

static void refused(const char *call, TSS2_RC rc)
{
    if (strlen(conf) > LONGEST)
        code(call, rc, TSS2_TCTI_RC_BAD_VALUE);
}

static void call_loader(void)
{
    TSS2_TCTI_CONTEXT *ctx = NULL;
    TSS2_TCTI_INFO *info = NULL;
    refused("Initialize", initialize(conf, &ctx));
    finalize(&ctx);
    refused("Initialize_Ex, a name", initialize_ex(conf, NULL, &ctx));
    finalize(&ctx);
    refused("Initialize_Ex, a conf", initialize_ex("null", conf, &ctx));
    finalize(&ctx);
    refused("GetInfo", get_info(conf, &info));
    free_info(&info);
}

static void *open_it(void *memory)
{
    TSS2_TCTI_CONTEXT *ctx = memory;
    size_t size = context_size;
    result = init(ctx, &size, conf);
    refused("Init", result);
    if (initialize_ex != NULL)
        call_loader();
    return NULL;
}

static char *text(const char *name, size_t row)
{
    size_t before = strlen(TEXTS[row].before), after = strlen(TEXTS[row].after);
    char *made = malloc(strlen(name) + (before + after) * TEXTS[row].count + strlen(TEXTS[row].middle) + 1);
    char *at = stpcpy(made, name);
    for (size_t i = 0; i < TEXTS[row].count; i++)
        at = stpcpy(at, TEXTS[row].before);
    at = stpcpy(at, TEXTS[row].middle);
    for (size_t i = 0; i < TEXTS[row].count; i++)
        at = stpcpy(at, TEXTS[row].after);
    return made;
}

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void opens(const char *what)
{
    pthread_t thread;
    pthread_attr_t attributes;
    void *memory = calloc(1, context_size);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    long before = peak = in_use;
    double started = milliseconds();
    pthread_create(&thread, &attributes, open_it, memory);
    pthread_join(thread, NULL);
    double took = milliseconds() - started;
    long used = peak - before;
    if (used > MOST_MEMORY || took > MOST_TIME)
        printf("%s: %ld bytes, %.1f ms\n", what, used, took);
    that("memory", used <= MOST_MEMORY);
    that("time", took <= MOST_TIME);
    if (result == TSS2_RC_SUCCESS)
        Tss2_Tcti_Finalize((TSS2_TCTI_CONTEXT *)memory);
    pthread_attr_destroy(&attributes);
    free(memory);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    begin(0);
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    init = library != NULL ? (init_function *)dlsym(library, argv[2]) : NULL;
    if (init == NULL)
        return 2;
    *(void **)&initialize = dlsym(library, "Tss2_TctiLdr_Initialize");
    *(void **)&initialize_ex = dlsym(library, "Tss2_TctiLdr_Initialize_Ex");
    *(void **)&get_info = dlsym(library, "Tss2_TctiLdr_GetInfo");
    *(void **)&finalize = dlsym(library, "Tss2_TctiLdr_Finalize");
    *(void **)&free_info = dlsym(library, "Tss2_TctiLdr_FreeInfo");
    must("the size", init(NULL, &context_size, NULL));
    const struct rlimit limit = {ADDRESS_SPACE, ADDRESS_SPACE};
    setrlimit(RLIMIT_AS, &limit);
    const char *name = argc > 3 ? argv[3] : "";
    for (size_t row = 0; row < sizeof(TEXTS) / sizeof(TEXTS[0]); row++) {
        char what[80];
        conf = text(name, row);
        snprintf(what, sizeof(what), "%.40s, %zu bytes", conf, strlen(conf));
        scenario(what);
        opens(what);
        free(conf);
    }
    return summary();
}
