// SPDX-License-Identifier: BSD-2-Clause
/* Makes all calls of the loader.
 *
 *   loader [--transcript] NAME CONF LIBRARY
 *
 * NAME and CONF open a TPM; LIBRARY is the absolute path of the same module. Prints each check that fails and a summary;
 * with --transcript it prints the code of each call instead. */

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"
#include "report.h"

static const char *name, *conf, *library;

/* The initial value of pointers that the loader has to set. */
static int elsewhere;

static TSS2_RC get_random(TSS2_TCTI_CONTEXT *ctx)
{
    uint8_t response[4096];
    size_t size = sizeof(response);
    TSS2_RC rc = Tss2_Tcti_Transmit(ctx, sizeof(GET_RANDOM), GET_RANDOM);
    if (rc == TSS2_RC_SUCCESS)
        rc = Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK);
    return rc == TSS2_RC_SUCCESS ? response_code(response) : rc;
}

/* Uses and closes the context that was opened with this code. */
static void use(const char *what, TSS2_RC opened, TSS2_TCTI_CONTEXT *ctx, TSS2_RC want)
{
    TSS2_RC rc = opened == TSS2_RC_SUCCESS ? get_random(ctx) : opened;
    code(what, rc, want);
    if (opened == TSS2_RC_SUCCESS)
        Tss2_TctiLdr_Finalize(&ctx);
    that("the context is NULL afterwards", ctx == NULL);
}

static void opens(const char *what, const char *name_conf, TSS2_RC want)
{
    TSS2_TCTI_CONTEXT *ctx = (TSS2_TCTI_CONTEXT *)&elsewhere;
    TSS2_RC opened = Tss2_TctiLdr_Initialize(name_conf, &ctx);
    use(what, opened, ctx, want);
}

static void opens_ex(const char *what, const char *ex_name, const char *ex_conf, TSS2_RC want)
{
    TSS2_TCTI_CONTEXT *ctx = (TSS2_TCTI_CONTEXT *)&elsewhere;
    TSS2_RC opened = Tss2_TctiLdr_Initialize_Ex(ex_name, ex_conf, &ctx);
    use(what, opened, ctx, want);
}

/* Opens PREFIX OF SUFFIX:WITH. */
static void opens_joined(const char *what, const char *prefix, const char *of, const char *suffix, const char *with,
                         TSS2_RC want)
{
    char text[PATH_MAX];
    snprintf(text, sizeof(text), "%s%s%s:%s", prefix, of, suffix, with);
    opens(what, text, want);
}

static char *long_text(size_t length)
{
    char *text = malloc(length + 1);
    memset(text, 'x', length);
    text[length] = '\0';
    return text;
}

static void initialize(void)
{
    char *longest = long_text(PATH_MAX - 1), *longer = long_text(PATH_MAX);
    code("a NULL pointer for the context", Tss2_TctiLdr_Initialize("no-such-tcti", NULL), TSS2_TCTI_RC_BAD_VALUE);
    opens("a name without a library", "no-such-tcti", TSS2_TCTI_RC_NOT_SUPPORTED);
    opens("a name without a library and a conf", "no-such-tcti:conf", TSS2_TCTI_RC_NOT_SUPPORTED);
    opens("a conf without a name", ":conf", TSS2_TCTI_RC_BAD_VALUE);
    opens("a text of the maximum length", longest, TSS2_TCTI_RC_NOT_SUPPORTED);
    opens("a text too long", longer, TSS2_TCTI_RC_BAD_VALUE);
    opens("an absolute path without a file", "/nonexistent/libtss2-tcti-x.so.0", TSS2_TCTI_RC_NOT_SUPPORTED);
    opens("a file that is not a library", "/etc/passwd", TSS2_TCTI_RC_NOT_SUPPORTED);
    opens("a library that is not a TCTI", "libc.so.6", TSS2_TCTI_RC_BAD_REFERENCE);
    opens_joined("name:conf", "", name, "", conf, TSS2_RC_SUCCESS);
    opens_joined("libtss2-tcti-name.so.0:conf", "libtss2-tcti-", name, ".so.0", conf, TSS2_RC_SUCCESS);
    opens_joined("an absolute path:conf", "", library, "", conf, TSS2_RC_SUCCESS);
    opens_joined("tcti-name:conf", "tcti-", name, "", conf, TSS2_RC_SUCCESS);
    opens_joined("name:an invalid conf", "", name, "", "nonsense", TSS2_TCTI_RC_BAD_VALUE);
    free(longest);
    free(longer);
}

static void initialize_ex(void)
{
    char *longest = long_text(PATH_MAX - 1);
    code("a NULL pointer for the context", Tss2_TctiLdr_Initialize_Ex("no-such-tcti", conf, NULL), TSS2_TCTI_RC_BAD_VALUE);
    opens_ex("name and conf", name, conf, TSS2_RC_SUCCESS);
    opens_ex("absolute path and conf", library, conf, TSS2_RC_SUCCESS);
    opens_ex("a name without a library", "no-such-tcti", NULL, TSS2_TCTI_RC_NOT_SUPPORTED);
    opens_ex("a long name", longest, NULL, TSS2_TCTI_RC_NOT_SUPPORTED);
    opens_ex("an invalid conf", name, "nonsense", TSS2_TCTI_RC_BAD_VALUE);
    opens_ex("a conf without a name", NULL, "conf", TSS2_TCTI_RC_BAD_VALUE);
    opens_ex("a conf with an empty name", "", "conf", TSS2_TCTI_RC_BAD_VALUE);
    free(longest);
}

/* The result without a name depends on the machine, but not on the way in which the name is omitted. */
static void nothing_named(void)
{
    TSS2_TCTI_CONTEXT *ctx = NULL;
    TSS2_RC want = Tss2_TctiLdr_Initialize(NULL, &ctx);
    Tss2_TctiLdr_Finalize(&ctx);
    opens("NULL", NULL, want);
    opens("empty", "", want);
    opens("a colon", ":", want);
    opens_ex("NULL and NULL", NULL, NULL, want);
    opens_ex("empty and NULL", "", NULL, want);
    opens_ex("NULL and empty", NULL, "", want);
}

static void finalize(void)
{
    TSS2_TCTI_CONTEXT *ctx = NULL;
    Tss2_TctiLdr_Finalize(NULL);
    Tss2_TctiLdr_Finalize(&ctx);
    must("Initialize_Ex", Tss2_TctiLdr_Initialize_Ex(name, conf, &ctx));
    Tss2_TctiLdr_Finalize(&ctx);
    that("the context is NULL", ctx == NULL);
    Tss2_TctiLdr_Finalize(&ctx);
    code("another context", Tss2_TctiLdr_Initialize_Ex(name, conf, &ctx), TSS2_RC_SUCCESS);
    Tss2_TctiLdr_Finalize(&ctx);
}

static void info_of(const char *what, const char *of, TSS2_RC want)
{
    TSS2_TCTI_INFO *info = (TSS2_TCTI_INFO *)&elsewhere;
    TSS2_RC rc = Tss2_TctiLdr_GetInfo(of, &info);
    code(what, rc, want);
    if (rc == TSS2_RC_SUCCESS) {
        that("version", info->version == 2);
        that("init is NULL", info->init == NULL);
        that("texts", info->name && info->description && info->config_help);
        Tss2_TctiLdr_FreeInfo(&info);
        that("NULL after FreeInfo", info == NULL);
        Tss2_TctiLdr_FreeInfo(&info);
    }
    that("NULL after a failure", info == NULL);
}

static void get_info(void)
{
    TSS2_TCTI_INFO *first = NULL, *second = NULL;
    char *longer = long_text(PATH_MAX);
    code("a NULL pointer for the info", Tss2_TctiLdr_GetInfo(name, NULL), TSS2_TCTI_RC_BAD_REFERENCE);
    info_of("a name", name, TSS2_RC_SUCCESS);
    info_of("an absolute path", library, TSS2_RC_SUCCESS);
    info_of("a name without a library", "no-such-tcti", TSS2_TCTI_RC_NOT_SUPPORTED);
    info_of("a library that is not a TCTI", "libc.so.6", TSS2_TCTI_RC_BAD_REFERENCE);
    info_of("a text too long", longer, TSS2_TCTI_RC_BAD_VALUE);
    info_of("NULL", NULL, TSS2_RC_SUCCESS);
    must("GetInfo", Tss2_TctiLdr_GetInfo(name, &first));
    must("GetInfo", Tss2_TctiLdr_GetInfo(name, &second));
    that("each caller gets a copy of its own", first->name != second->name && strcmp(first->name, second->name) == 0);
    Tss2_TctiLdr_FreeInfo(&first);
    that("the copy stays valid", strstr(second->name, "tcti") != NULL);
    Tss2_TctiLdr_FreeInfo(&second);
    Tss2_TctiLdr_FreeInfo(&second);
    Tss2_TctiLdr_FreeInfo(NULL);
    free(longer);
}

int main(int argc, char **argv)
{
    int first = argc > 1 && strcmp(argv[1], "--transcript") == 0 ? 2 : 1;
    if (argc != first + 3) {
        fputs("usage: loader [--transcript] NAME CONF LIBRARY\n", stderr);
        return 2;
    }
    begin(first == 2);
    name = argv[first];
    conf = argv[first + 1];
    library = argv[first + 2];
    scenario("Initialize");
    initialize();
    scenario("Initialize_Ex");
    initialize_ex();
    scenario("nothing named");
    nothing_named();
    scenario("Finalize");
    finalize();
    scenario("GetInfo");
    get_info();
    return summary();
}
