// SPDX-License-Identifier: BSD-2-Clause
/* Contexts of tpm2-tss 4.2.0 whose fields some programs read, such as upstream's tpmclient. They are from tctildr.h
 * and tcti-pcap.h. */

#ifndef STRUCTURES_H
#define STRUCTURES_H

#include <stdint.h>
#include <tss2/tss2_tcti.h>

struct tctildr_context {
    TSS2_TCTI_CONTEXT_COMMON_V2 head;
    void *library, *info;
    TSS2_TCTI_CONTEXT *tcti;
};
struct pcap_context {
    struct {
        TSS2_TCTI_CONTEXT_COMMON_V2 head;
        int state;
        struct {
            uint16_t tag;
            uint32_t size, code;
        } header;
        uint8_t locality, partial[2];
    } common;
    uint32_t builder[5];
    TSS2_TCTI_CONTEXT *child;
};

#endif
