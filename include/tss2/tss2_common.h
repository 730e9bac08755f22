/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Base types and return codes of the TSS 2.0 (TCG "TSS 2.0 Overview and Common Structures"), as far as a TCTI
 * needs them. Where libtss2-dev is installed its header of this name is the one to use; both agree.
 */
#ifndef TSS2_COMMON_H
#define TSS2_COMMON_H
#define TSS2_API_VERSION_1_2_1_108

#include <stdint.h>

typedef uint8_t UINT8;
typedef uint8_t BYTE;
typedef int8_t INT8;
typedef int BOOL;
typedef uint16_t UINT16;
typedef int16_t INT16;
typedef uint32_t UINT32;
typedef int32_t INT32;
typedef uint64_t UINT64;
typedef int64_t INT64;

/* Versions of a library's interface. */
typedef struct TSS2_ABI_VERSION TSS2_ABI_VERSION;
struct TSS2_ABI_VERSION {
    uint32_t tssCreator;
    uint32_t tssFamily;
    uint32_t tssLevel;
    uint32_t tssVersion;
};
#define TSS2_ABI_VERSION_CURRENT {1, 2, 1, 108}

/* Return code of every function: layer in bits 16 to 23, code in bits 0 to 15; 0 is success. */
typedef uint32_t TSS2_RC;

#define TSS2_RC_SUCCESS ((TSS2_RC) 0)
#define TSS2_RC_LAYER_SHIFT (16)
#define TSS2_RC_LAYER(level) ((TSS2_RC) (level) << TSS2_RC_LAYER_SHIFT)
#define TSS2_RC_LAYER_MASK TSS2_RC_LAYER(0xff)

#define TSS2_TPM_RC_LAYER TSS2_RC_LAYER(0)
#define TSS2_FEATURE_RC_LAYER TSS2_RC_LAYER(6)
#define TSS2_ESAPI_RC_LAYER TSS2_RC_LAYER(7)
#define TSS2_SYS_RC_LAYER TSS2_RC_LAYER(8)
#define TSS2_MU_RC_LAYER TSS2_RC_LAYER(9)
#define TSS2_TCTI_RC_LAYER TSS2_RC_LAYER(10)
#define TSS2_RESMGR_RC_LAYER TSS2_RC_LAYER(11)
#define TSS2_RESMGR_TPM_RC_LAYER TSS2_RC_LAYER(12)

/* Codes, the same in every layer. */
#define TSS2_BASE_RC_GENERAL_FAILURE 1U     /* anything without a code of its own */
#define TSS2_BASE_RC_NOT_IMPLEMENTED 2U     /* no such function here */
#define TSS2_BASE_RC_BAD_CONTEXT 3U         /* not a context of this library */
#define TSS2_BASE_RC_ABI_MISMATCH 4U        /* a context of a version that is not known */
#define TSS2_BASE_RC_BAD_REFERENCE 5U       /* NULL where none may be */
#define TSS2_BASE_RC_INSUFFICIENT_BUFFER 6U /* the buffer is too short */
#define TSS2_BASE_RC_BAD_SEQUENCE 7U        /* not now: another call is due */
#define TSS2_BASE_RC_NO_CONNECTION 8U       /* the layer below went away */
#define TSS2_BASE_RC_TRY_AGAIN 9U           /* not yet: call again */
#define TSS2_BASE_RC_IO_ERROR 10U           /* the system or the peer failed */
#define TSS2_BASE_RC_BAD_VALUE 11U          /* a wrong parameter */
#define TSS2_BASE_RC_NOT_PERMITTED 12U      /* access denied */
#define TSS2_BASE_RC_MALFORMED_RESPONSE 17U /* what came back is no response */
#define TSS2_BASE_RC_NOT_SUPPORTED 21U      /* there is no such thing */
#define TSS2_BASE_RC_MEMORY 23U             /* out of memory */

#define TSS2_TCTI_RC(code) ((TSS2_RC) (TSS2_TCTI_RC_LAYER | (code)))
#define TSS2_TCTI_RC_GENERAL_FAILURE TSS2_TCTI_RC(TSS2_BASE_RC_GENERAL_FAILURE)
#define TSS2_TCTI_RC_NOT_IMPLEMENTED TSS2_TCTI_RC(TSS2_BASE_RC_NOT_IMPLEMENTED)
#define TSS2_TCTI_RC_BAD_CONTEXT TSS2_TCTI_RC(TSS2_BASE_RC_BAD_CONTEXT)
#define TSS2_TCTI_RC_ABI_MISMATCH TSS2_TCTI_RC(TSS2_BASE_RC_ABI_MISMATCH)
#define TSS2_TCTI_RC_BAD_REFERENCE TSS2_TCTI_RC(TSS2_BASE_RC_BAD_REFERENCE)
#define TSS2_TCTI_RC_INSUFFICIENT_BUFFER TSS2_TCTI_RC(TSS2_BASE_RC_INSUFFICIENT_BUFFER)
#define TSS2_TCTI_RC_BAD_SEQUENCE TSS2_TCTI_RC(TSS2_BASE_RC_BAD_SEQUENCE)
#define TSS2_TCTI_RC_NO_CONNECTION TSS2_TCTI_RC(TSS2_BASE_RC_NO_CONNECTION)
#define TSS2_TCTI_RC_TRY_AGAIN TSS2_TCTI_RC(TSS2_BASE_RC_TRY_AGAIN)
#define TSS2_TCTI_RC_IO_ERROR TSS2_TCTI_RC(TSS2_BASE_RC_IO_ERROR)
#define TSS2_TCTI_RC_BAD_VALUE TSS2_TCTI_RC(TSS2_BASE_RC_BAD_VALUE)
#define TSS2_TCTI_RC_NOT_PERMITTED TSS2_TCTI_RC(TSS2_BASE_RC_NOT_PERMITTED)
#define TSS2_TCTI_RC_MALFORMED_RESPONSE TSS2_TCTI_RC(TSS2_BASE_RC_MALFORMED_RESPONSE)
#define TSS2_TCTI_RC_NOT_SUPPORTED TSS2_TCTI_RC(TSS2_BASE_RC_NOT_SUPPORTED)
#define TSS2_TCTI_RC_MEMORY TSS2_TCTI_RC(TSS2_BASE_RC_MEMORY)

#endif /* TSS2_COMMON_H */
