// SPDX-License-Identifier: BSD-2-Clause
/* Unusual configuration strings, with typing mistakes and leftovers. They are for transcripts alone, because no
 * document says how the modules in C treat them. %s stands for the string that opens the TPM of the test. */

#ifndef UNUSUAL_H
#define UNUSUAL_H

#include <stdio.h>
#include "context.h"

struct unusual {
    const char *what, *format;
};

static const struct unusual addresses[] = {
    /* Nothing listens on port 1. */
    {"port with a blank before it", "port= 1"},
    {"port with a blank after it", "port=1 "},
    {"port with a tab before it", "port=\t1"},
    {"port with a line end", "port=1\n"},
    {"port with CR LF", "port=1\r\n"},
    {"port with a plus", "port=+1"},
    {"port with zeroes before it", "port=0001"},
    {"port in hexadecimal", "port=0x1"},
    {"port with a semicolon", "port=1;"},
    {"port with twenty digits", "port=11111111111111111111"},
    {"port of a blank", "port= "},
    {"port between blanks", "port= 1 ,host=127.0.0.1"},
    {"comma after", "%s,"},
    {"comma before", ",%s"},
    {"blank before", " %s"},
    {"upper case", "PORT=1,%s"},
    {"blank after a key", "port =1,%s"},
    {"quotes", "\"%s\""},
    {"twice", "%s,%s"},
    {"another port first", "port=1,%s"},
    {"another host first", "host=nonexistent.invalid,%s"},
    {"another path first", "path=/nonexistent,%s"},
    {"another host and port first", "host=nonexistent.invalid,port=1,%s"},
    {"another port last", "%s,port=1"},
    {"another path last", "%s,path=/nonexistent"},
    {"path with a blank", "path=/nonexistent path"},
    {"path with a line end", "path=/nonexistent\n"},
    {"path that is not UTF-8", "path=/nonexistent/\xff\xfe"},
    {"path with an equals sign", "path=/nonexistent=1"},
    {"unknown key last", "%s,unknown=1"},
};
static const struct unusual commands[] = {
    {"blank before", " %s"},
    {"line end after", "%s\n"},
    {"semicolon after", "%s;"},
    {"exec", "exec %s"},
    {"comment", "%s # : ,"},
    {"brackets", "(%s)"},
    {"a variable", "A=1; %s"},
    {"pipe", "cat | %s"},
    {"by the name of sh", "test \"$0\" = sh && %s"},
    {"without arguments", "test $# = 0 && %s"},
};
static const struct unusual wrapped[] = {
    {"tcti-", "tcti-%s"},
    {"libtss2-tcti-", "libtss2-tcti-%s"},
    {"libtss2-", "libtss2-%s"},
    {"blank before", " %s"},
    {"colon before", ":%s"},
    {"no name", ":"},
    {"slash before", "/%s"},
    {"upper case", "MSSIM:%s"},
    {"a name alone", "no-such"},
    {"a name and a colon", "no-such:"},
};

#define UNUSUAL(list) {list, sizeof(list) / sizeof(*(list))}
static const struct {
    const char *name;
    struct {
        const struct unusual *list;
        size_t count;
    } strings;
} lists[] = {
    {"tcti-swtpm", UNUSUAL(addresses)}, {"tcti-socket", UNUSUAL(addresses)}, {"tcti-cmd", UNUSUAL(commands)},
    {"tcti-pcap", UNUSUAL(wrapped)},    {"tctildr", UNUSUAL(wrapped)},
};

static void open_unusual(const struct unusual *string)
{
    char text[2048];
    size_t size = context_size();
    TSS2_TCTI_CONTEXT *ctx = garbage();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
    snprintf(text, sizeof(text), string->format, conf, conf);
#pragma GCC diagnostic pop
    TSS2_RC rc = init(ctx, &size, text);
    if (rc == TSS2_RC_SUCCESS) {
        rc = exchange(ctx, sizeof(GET_RANDOM), GET_RANDOM);
        Tss2_Tcti_Finalize(ctx);
    }
    code(string->what, rc, TSS2_RC_SUCCESS);
    free(ctx);
}

static void unusual_configurations(void)
{
    for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
        if (strcmp(lists[i].name, module->name) == 0)
            for (size_t j = 0; transcript() && j < lists[i].strings.count; j++)
                open_unusual(&lists[i].strings.list[j]);
}

#endif
