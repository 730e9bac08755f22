// SPDX-License-Identifier: BSD-2-Clause
/* Finds the context of the module in the contexts of the loader and of pcap, as programs do that know these structures of
 * tpm2-tss 4.2.0, and resets its TPM with the function of each module: inside NAME:CONF. Prints the code of each function. */

#include <inttypes.h>
#include <stdio.h>
#include <tss2/tss2_tcti_libtpms.h>
#include <tss2/tss2_tcti_mssim.h>
#include <tss2/tss2_tcti_swtpm.h>
#include <tss2/tss2_tctildr.h>
#include "structures.h"

#define OF_THE_LOADER 0xbc44a31ca74b4aafULL
#define OF_PCAP 0x9cf45c5d7d9d0d3fULL

static TSS2_TCTI_CONTEXT *inside(TSS2_TCTI_CONTEXT *context)
{
    for (;;)
        switch (TSS2_TCTI_MAGIC(context)) {
        case OF_THE_LOADER:
            context = ((struct tctildr_context *)context)->tcti;
            break;
        case OF_PCAP:
            context = ((struct pcap_context *)context)->child;
            break;
        default:
            return context;
        }
}

int main(int argc, char **argv)
{
    TSS2_TCTI_CONTEXT *context, *module;
    if (argc != 2 || Tss2_TctiLdr_Initialize(argv[1], &context) != TSS2_RC_SUCCESS)
        return 2;
    module = inside(context);
    printf("libtpms 0x%" PRIx32 "\n", Tss2_Tcti_Libtpms_Reset(module));
    printf("swtpm 0x%" PRIx32 "\n", Tss2_Tcti_Swtpm_Reset(module));
    printf("mssim 0x%" PRIx32 "\n", tcti_platform_command(module, MS_SIM_POWER_OFF));
    Tss2_TctiLdr_Finalize(&context);
    return 0;
}
