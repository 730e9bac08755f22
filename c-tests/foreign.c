// SPDX-License-Identifier: BSD-2-Clause
/* Passes contexts to functions of modules that did not make them: foreign [+]LIBRARY=CONF... Each library opens a context with
 * its CONF. Then each function that takes a context, of each library that is marked with "+" because it is ours, gets the
 * context of each other library: it must return BAD_CONTEXT and change nothing. */

#include <dlfcn.h>
#include <string.h>
#include <tss2/tss2_tcti.h>
#include "report.h"

#define MODULES 16

static struct module {
    void *library;
    int ours;
    TSS2_TCTI_CONTEXT *context;
    size_t size;
} modules[MODULES];

static void open_module(struct module *module, char *argument)
{
    module->ours = *argument == '+';
    char *path = argument + module->ours, *conf = strchr(path, '=');
    *conf++ = '\0';
    scenario(path);
    module->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module->library == NULL) {
        puts(dlerror());
        exit(1);
    }
    TSS2_TCTI_INFO_FUNC info = (TSS2_TCTI_INFO_FUNC)dlsym(module->library, TSS2_TCTI_INFO_SYMBOL);
    if (info == NULL) { /* the loader in C */
        TSS2_RC (*initialize)(const char *, TSS2_TCTI_CONTEXT **) =
            (TSS2_RC (*)(const char *, TSS2_TCTI_CONTEXT **))dlsym(module->library, "Tss2_TctiLdr_Initialize");
        must("Initialize", initialize(conf, &module->context));
        module->size = sizeof(TSS2_TCTI_CONTEXT_COMMON_V2);
        return;
    }
    must("the size", info()->init(NULL, &module->size, conf));
    module->context = calloc(1, module->size);
    must("Init", info()->init(module->context, &module->size, conf));
}

static void functions_reject(struct module *module, TSS2_TCTI_CONTEXT *foreign)
{
    static const uint8_t command[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8};
    static const char *const only_of_one[] = {"Tss2_Tcti_Libtpms_Reset", "Tss2_Tcti_Swtpm_Reset"};
    TSS2_TCTI_CONTEXT_COMMON_V2 *head = (TSS2_TCTI_CONTEXT_COMMON_V2 *)module->context;
    TSS2_TCTI_POLL_HANDLE handle;
    size_t count = 1, room = 0;
    uint32_t object = 0x80000000;
    code("transmit", head->v1.transmit(foreign, sizeof(command), command), TSS2_TCTI_RC_BAD_CONTEXT);
    code("receive", head->v1.receive(foreign, &room, NULL, 0), TSS2_TCTI_RC_BAD_CONTEXT);
    code("cancel", head->v1.cancel(foreign), TSS2_TCTI_RC_BAD_CONTEXT);
    code("getPollHandles", head->v1.getPollHandles(foreign, &handle, &count), TSS2_TCTI_RC_BAD_CONTEXT);
    code("setLocality", head->v1.setLocality(foreign, 0), TSS2_TCTI_RC_BAD_CONTEXT);
    code("makeSticky", head->makeSticky(foreign, &object, 1), TSS2_TCTI_RC_BAD_CONTEXT);
    head->v1.finalize(foreign);
    for (size_t i = 0; i < sizeof(only_of_one) / sizeof(only_of_one[0]); i++) {
        TSS2_RC (*reset)(TSS2_TCTI_CONTEXT *) = (TSS2_RC (*)(TSS2_TCTI_CONTEXT *))dlsym(module->library, only_of_one[i]);
        if (reset != NULL)
            code(only_of_one[i], reset(foreign), TSS2_TCTI_RC_BAD_CONTEXT);
    }
    TSS2_RC (*platform)(TSS2_TCTI_CONTEXT *, uint32_t) =
        (TSS2_RC (*)(TSS2_TCTI_CONTEXT *, uint32_t))dlsym(module->library, "tcti_platform_command");
    if (platform != NULL)
        code("tcti_platform_command", platform(foreign, 1), TSS2_TCTI_RC_BAD_CONTEXT);
    void (*finalize)(TSS2_TCTI_CONTEXT **) = (void (*)(TSS2_TCTI_CONTEXT **))dlsym(module->library, "Tss2_TctiLdr_Finalize");
    if (finalize != NULL) {
        TSS2_TCTI_CONTEXT *still = foreign;
        finalize(&still);
        that("Tss2_TctiLdr_Finalize", still == foreign);
    }
}

int main(int argc, char **argv)
{
    int count = argc - 1;
    if (count < 2 || count > MODULES)
        return 2;
    begin(0);
    for (int i = 0; i < count; i++)
        open_module(&modules[i], argv[i + 1]);
    for (int i = 0; i < count; i++)
        for (int j = 0; modules[i].ours && j < count; j++) {
            if (i == j)
                continue;
            char text[512], *before = malloc(modules[j].size);
            snprintf(text, sizeof(text), "%s with %s", argv[i + 1], argv[j + 1]);
            scenario(text);
            memcpy(before, modules[j].context, modules[j].size);
            functions_reject(&modules[i], modules[j].context);
            that("nothing has changed", memcmp(before, modules[j].context, modules[j].size) == 0);
            free(before);
        }
    for (int i = 0; i < count; i++) {
        Tss2_Tcti_Finalize(modules[i].context);
        free(modules[i].context);
    }
    return summary();
}
