// SPDX-License-Identifier: BSD-2-Clause
// Two modules linked into a static program, which cannot load libraries. With ONE it has only the first.
#include <stdio.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tcti_device.h>
#include <tss2/tss2_tcti_null.h>

int main(void) {
    size_t size = 0;
    TSS2_RC rc = Tss2_Tcti_Device_Init(NULL, &size, "/dev/tpmrm0");
    if (rc != TSS2_RC_SUCCESS || size == 0) return 1;
    // Init fails with a message, which uses the standard library's code for text and files.
    _Alignas(16) unsigned char context[1024];
    if (size > sizeof context) return 2;
    if (Tss2_Tcti_Device_Init((TSS2_TCTI_CONTEXT *)context, &size, "/dev/null") == TSS2_RC_SUCCESS) return 3;
#ifndef ONE
    if (Tss2_Tcti_Null_Init(NULL, &size, NULL) != TSS2_RC_SUCCESS || size > sizeof context) return 4;
    if (Tss2_Tcti_Null_Init((TSS2_TCTI_CONTEXT *)context, &size, NULL) != TSS2_RC_SUCCESS) return 5;
    Tss2_Tcti_Finalize((TSS2_TCTI_CONTEXT *)context);
#endif
    puts("passed");
    return 0;
}
