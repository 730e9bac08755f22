// SPDX-License-Identifier: BSD-2-Clause
/* TPM commands that the C tests send (TPM 2.0 Library Part 3), and access to the fields of a response header. */

#ifndef COMMANDS_H
#define COMMANDS_H

#include <stddef.h>
#include <stdint.h>

/* Startup(CLEAR); a TPM that is already started up returns TPM_RC_INITIALIZE. */
static const uint8_t STARTUP[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0};
#define TPM_RC_INITIALIZE 0x100

/* GetRandom of 8 bytes. The response has a header of 10 bytes, 2 bytes of length and 8 bytes of data. */
static const uint8_t GET_RANDOM[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8};
#define GET_RANDOM_RESPONSE 20

/* GetCapability of all fixed properties. The response has a few hundred bytes. */
static const uint8_t GET_CAPABILITY[] = {0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 127};

/* A full SelfTest, which takes some time. */
static const uint8_t SELF_TEST[] = {0x80, 0x01, 0, 0, 0, 11, 0, 0, 0x01, 0x43, 1};

/* GetTestResult, which is as short as a command can be: a header alone. */
static const uint8_t GET_TEST_RESULT[] = {0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x7c};

/* CreatePrimary of a storage key without a password in the owner hierarchy. An RSA key takes some time, the same each
 * time because it is derived from the same seed. The handle of the key is the first field of the response. */
#define CREATE_PRIMARY(type, ...)                                                                                      \
    {0x80, 0x02, 0, 0, 0, 67, 0, 0, 0x01, 0x31, 0x40, 0, 0, 0x01, 0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, 0, 4,   \
     0, 0, 0, 0, 0, 26, 0, type, 0, 0x0b, 0, 0x03, 0x04, 0x72, 0, 0, 0, 0x06, 0, 128, 0, 0x43, __VA_ARGS__, 0, 0, 0, 0, \
     0, 0}
/* No scheme, 2048 bits, the default exponent, an empty unique field. */
static const uint8_t CREATE_RSA[] = CREATE_PRIMARY(0x01, 0, 0x10, 0x08, 0, 0, 0, 0, 0, 0, 0);
/* No scheme, NIST P-256, no key derivation, an empty unique field. */
static const uint8_t CREATE_ECC[] = CREATE_PRIMARY(0x23, 0, 0x10, 0, 0x03, 0, 0x10, 0, 0, 0, 0);

_Static_assert(sizeof(CREATE_RSA) == 67 && sizeof(CREATE_ECC) == 67, "the size in the header");

/* StartAuthSession of a policy session with a nonce of 16 bytes and SHA-256, not salted, not bound and without
 * encryption. */
static const uint8_t START_SESSION[] = {0x80, 0x01, 0, 0, 0, 43, 0, 0, 0x01, 0x76, 0x40, 0, 0, 0x07, 0x40,
                                        0, 0, 0x07, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
                                        11, 12, 13, 14, 15, 16, 0, 0, 1, 0, 0x10, 0, 0x0b};
_Static_assert(sizeof(START_SESSION) == 43, "the size in the header");

/* A command whose only parameter is a handle. */
#define WITH_HANDLE(code, handle)                                                                                      \
    {0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, code, (handle) >> 24 & 0xff, (handle) >> 16 & 0xff, (handle) >> 8 & 0xff,    \
     (handle) & 0xff}
#define FLUSH_CONTEXT 0x65
#define READ_PUBLIC 0x73

static inline uint32_t be32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static inline uint32_t response_size(const uint8_t *response)
{
    return be32(response + 2);
}

static inline uint32_t response_code(const uint8_t *response)
{
    return be32(response + 6);
}

#endif
