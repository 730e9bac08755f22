// SPDX-License-Identifier: BSD-2-Clause
/* The binary interface of a TCTI: sizes, offsets, types and codes. It either compiles or does not. Compiled against
 * our headers and against the distribution's, it proves that both describe the same interface. */

#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tctildr.h>
#include <tss2/tss2_tcti_device.h>
#include <tss2/tss2_tcti_swtpm.h>

#define SAME_TYPE(expression, type) _Generic((expression), type: 1, default: 0)
#define POINTER sizeof(void *)
/* Of a field in a structure: 8, on i386 4. */
#define ALIGNMENT_OF_UINT64 offsetof(struct { char before; uint64_t number; }, number)
#define BYTES(on_64_bits, on_32_bits, on_i386) \
    (POINTER == 8 ? (on_64_bits) : ALIGNMENT_OF_UINT64 == 8 ? (on_32_bits) : (on_i386))

/* The head of a context. */
_Static_assert(sizeof(TSS2_TCTI_CONTEXT_COMMON_V1) == BYTES(64, 40, 36), "V1");
_Static_assert(sizeof(TSS2_TCTI_CONTEXT_COMMON_V2) == BYTES(72, 48, 40), "V2");
_Static_assert(sizeof(TSS2_TCTI_CONTEXT_COMMON_CURRENT) == sizeof(TSS2_TCTI_CONTEXT_COMMON_V2), "current is V2");

#define OFFSET(field, expected) \
    _Static_assert(offsetof(TSS2_TCTI_CONTEXT_COMMON_V1, field) == (expected), #field)
OFFSET(magic, 0);
OFFSET(version, 8);
OFFSET(transmit, 8 + POINTER);
OFFSET(receive, 8 + 2 * POINTER);
OFFSET(finalize, 8 + 3 * POINTER);
OFFSET(cancel, 8 + 4 * POINTER);
OFFSET(getPollHandles, 8 + 5 * POINTER);
OFFSET(setLocality, 8 + 6 * POINTER);
_Static_assert(offsetof(TSS2_TCTI_CONTEXT_COMMON_V2, v1) == 0, "v1");
_Static_assert(offsetof(TSS2_TCTI_CONTEXT_COMMON_V2, makeSticky) == BYTES(64, 40, 36), "makeSticky");

/* The info of a module. */
_Static_assert(sizeof(TSS2_TCTI_INFO) == 5 * POINTER, "info");
_Static_assert(offsetof(TSS2_TCTI_INFO, version) == 0, "info.version");
_Static_assert(offsetof(TSS2_TCTI_INFO, name) == POINTER, "info.name");
_Static_assert(offsetof(TSS2_TCTI_INFO, description) == 2 * POINTER, "info.description");
_Static_assert(offsetof(TSS2_TCTI_INFO, config_help) == 3 * POINTER, "info.config_help");
_Static_assert(offsetof(TSS2_TCTI_INFO, init) == 4 * POINTER, "info.init");

static const TSS2_TCTI_INFO info;
static const TSS2_TCTI_CONTEXT_COMMON_V2 context;
_Static_assert(SAME_TYPE(context.v1.magic, uint64_t), "type of magic");
_Static_assert(SAME_TYPE(context.v1.version, uint32_t), "type of version");
_Static_assert(SAME_TYPE(info.version, uint32_t), "type of info.version");
_Static_assert(SAME_TYPE(info.name, const char *), "type of info.name");
_Static_assert(SAME_TYPE(info.description, const char *), "type of info.description");
_Static_assert(SAME_TYPE(info.config_help, const char *), "type of info.config_help");
_Static_assert(SAME_TYPE((TSS2_RC)0, uint32_t), "type of a return code");

/* poll(2) takes the handles as they are. */
_Static_assert(SAME_TYPE((TSS2_TCTI_POLL_HANDLE *)0, struct pollfd *), "poll handle");

/* The functions of a context. */
typedef TSS2_TCTI_CONTEXT *ctx;
_Static_assert(SAME_TYPE(context.v1.transmit, TSS2_RC (*)(ctx, size_t, const uint8_t *)), "transmit");
_Static_assert(SAME_TYPE(context.v1.receive, TSS2_RC (*)(ctx, size_t *, uint8_t *, int32_t)), "receive");
_Static_assert(SAME_TYPE(context.v1.finalize, void (*)(ctx)), "finalize");
_Static_assert(SAME_TYPE(context.v1.cancel, TSS2_RC (*)(ctx)), "cancel");
_Static_assert(SAME_TYPE(context.v1.getPollHandles, TSS2_RC (*)(ctx, struct pollfd *, size_t *)), "getPollHandles");
_Static_assert(SAME_TYPE(context.v1.setLocality, TSS2_RC (*)(ctx, uint8_t)), "setLocality");
_Static_assert(SAME_TYPE(context.makeSticky, TSS2_RC (*)(ctx, uint32_t *, uint8_t)), "makeSticky");
_Static_assert(SAME_TYPE((TSS2_TCTI_TRANSMIT_FCN)0, TSS2_RC (*)(ctx, size_t, const uint8_t *)), "TRANSMIT_FCN");
_Static_assert(SAME_TYPE((TSS2_TCTI_RECEIVE_FCN)0, TSS2_RC (*)(ctx, size_t *, uint8_t *, int32_t)), "RECEIVE_FCN");
_Static_assert(SAME_TYPE((TSS2_TCTI_FINALIZE_FCN)0, void (*)(ctx)), "FINALIZE_FCN");
_Static_assert(SAME_TYPE((TSS2_TCTI_CANCEL_FCN)0, TSS2_RC (*)(ctx)), "CANCEL_FCN");
_Static_assert(SAME_TYPE((TSS2_TCTI_GET_POLL_HANDLES_FCN)0, TSS2_RC (*)(ctx, struct pollfd *, size_t *)),
               "GET_POLL_HANDLES_FCN");
_Static_assert(SAME_TYPE((TSS2_TCTI_SET_LOCALITY_FCN)0, TSS2_RC (*)(ctx, uint8_t)), "SET_LOCALITY_FCN");
_Static_assert(SAME_TYPE((TSS2_TCTI_MAKE_STICKY_FCN)0, TSS2_RC (*)(ctx, uint32_t *, uint8_t)), "MAKE_STICKY_FCN");
typedef TSS2_RC (*init_function)(ctx, size_t *, const char *);
_Static_assert(SAME_TYPE(info.init, init_function), "init");
_Static_assert(SAME_TYPE((TSS2_TCTI_INIT_FUNC)0, init_function), "INIT_FUNC");
_Static_assert(SAME_TYPE((TSS2_TCTI_INFO_FUNC)0, const TSS2_TCTI_INFO *(*)(void)), "INFO_FUNC");
_Static_assert(sizeof(TSS2_TCTI_INFO_SYMBOL) == sizeof("Tss2_Tcti_Info"), "the name of the info function");

/* The exported functions. */
_Static_assert(SAME_TYPE(&Tss2_Tcti_Device_Init, init_function), "Tss2_Tcti_Device_Init");
_Static_assert(SAME_TYPE(&Tss2_Tcti_Swtpm_Init, init_function), "Tss2_Tcti_Swtpm_Init");
_Static_assert(SAME_TYPE(&Tss2_Tcti_Swtpm_Reset, TSS2_RC (*)(ctx)), "Tss2_Tcti_Swtpm_Reset");
_Static_assert(SAME_TYPE(&Tss2_TctiLdr_Initialize, TSS2_RC (*)(const char *, ctx *)), "Initialize");
_Static_assert(SAME_TYPE(&Tss2_TctiLdr_Initialize_Ex, TSS2_RC (*)(const char *, const char *, ctx *)), "Initialize_Ex");
_Static_assert(SAME_TYPE(&Tss2_TctiLdr_Finalize, void (*)(ctx *)), "Finalize");
_Static_assert(SAME_TYPE(&Tss2_TctiLdr_GetInfo, TSS2_RC (*)(const char *, TSS2_TCTI_INFO **)), "GetInfo");
_Static_assert(SAME_TYPE(&Tss2_TctiLdr_FreeInfo, void (*)(TSS2_TCTI_INFO **)), "FreeInfo");

/* Codes. */
_Static_assert(TSS2_RC_SUCCESS == 0, "success");
_Static_assert(TSS2_RC_LAYER_SHIFT == 16, "shift");
_Static_assert(TSS2_RC_LAYER_MASK == 0xff0000, "mask");
_Static_assert(TSS2_TPM_RC_LAYER == 0, "layer of the TPM");
_Static_assert(TSS2_FEATURE_RC_LAYER == 0x60000, "layer of FAPI");
_Static_assert(TSS2_ESAPI_RC_LAYER == 0x70000, "layer of ESAPI");
_Static_assert(TSS2_SYS_RC_LAYER == 0x80000, "layer of SAPI");
_Static_assert(TSS2_MU_RC_LAYER == 0x90000, "layer of marshalling");
_Static_assert(TSS2_TCTI_RC_LAYER == 0xa0000, "layer of a TCTI");
_Static_assert(TSS2_RESMGR_RC_LAYER == 0xb0000, "layer of the resource manager");
_Static_assert(TSS2_RESMGR_TPM_RC_LAYER == 0xc0000, "layer of its TPM codes");

#define CODE(name, value) _Static_assert(TSS2_TCTI_RC_##name == 0xa0000 + (value), #name)
CODE(GENERAL_FAILURE, 0x1);
CODE(NOT_IMPLEMENTED, 0x2);
CODE(BAD_CONTEXT, 0x3);
CODE(ABI_MISMATCH, 0x4);
CODE(BAD_REFERENCE, 0x5);
CODE(INSUFFICIENT_BUFFER, 0x6);
CODE(BAD_SEQUENCE, 0x7);
CODE(NO_CONNECTION, 0x8);
CODE(TRY_AGAIN, 0x9);
CODE(IO_ERROR, 0xa);
CODE(BAD_VALUE, 0xb);
CODE(NOT_PERMITTED, 0xc);
CODE(MALFORMED_RESPONSE, 0x11);
CODE(NOT_SUPPORTED, 0x15);
CODE(MEMORY, 0x17);
_Static_assert(SAME_TYPE(TSS2_TCTI_RC_MEMORY, TSS2_RC), "type of a code");

/* The codes that tpm2-tss has since 4.0, and how a code is composed, are in our header alone. */
#ifdef TSS2_RC_OF
_Static_assert(TSS2_BASE_RC_CALLBACK_NULL == 54, "no callback");
_Static_assert(TSS2_ESYS_RC_CALLBACK_NULL == 0x70036, "no callback of ESAPI");
_Static_assert(TSS2_ESYS_RC_NOT_SUPPORTED == 0x70015, "not supported by ESAPI");
_Static_assert(TSS2_FAPI_RC_NULL_CALLBACK == 0x60036, "no callback of FAPI");
#endif

_Static_assert(TSS2_TCTI_TIMEOUT_BLOCK == -1, "blocks");
_Static_assert(TSS2_TCTI_TIMEOUT_NONE == 0, "does not wait");
