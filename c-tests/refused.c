// SPDX-License-Identifier: BSD-2-Clause
/* A refused command does not cost loaded objects: refused NAME:CONF HANDLE FOURTH SIZE. The arguments are the codes,
 * in hexadecimal, of the TCTI or of the TPM, for a handle that does not exist, an object for which there is no room,
 * and a command that is too large. Prints each check that fails and a summary. */

#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tctildr.h>
#include "commands.h"
#include "report.h"

/* The number of objects for which a TPM has room. */
#define OBJECTS 3
#define NO_HANDLE 0x80000007u

static TSS2_TCTI_CONTEXT *ctx;
static uint32_t handles[OBJECTS];
static uint8_t publics[OBJECTS][1024];
static uint8_t response[4096];

static TSS2_RC receive(void)
{
    size_t size = sizeof(response);
    TSS2_RC rc = Tss2_Tcti_Receive(ctx, &size, response, TSS2_TCTI_TIMEOUT_BLOCK);
    return rc == TSS2_RC_SUCCESS ? response_code(response) : rc;
}

/* Exchanges one command. Returns the code of the call that fails, or of the TPM. */
static TSS2_RC exchange(size_t length, const uint8_t *command)
{
    TSS2_RC rc = Tss2_Tcti_Transmit(ctx, length, command);
    return rc == TSS2_RC_SUCCESS ? receive() : rc;
}

static TSS2_RC read_public(uint32_t handle)
{
    const uint8_t command[] = WITH_HANDLE(READ_PUBLIC, handle);
    return exchange(sizeof(command), command);
}

/* Creates a key that is different for each number: the number is its unique field. */
static TSS2_RC create(uint8_t number)
{
    const size_t x = sizeof(CREATE_ECC) - 10, size_of_public = 33;
    uint8_t command[sizeof(CREATE_ECC) + 1];
    memcpy(command, CREATE_ECC, x + 2);
    memcpy(command + x + 3, CREATE_ECC + x + 2, sizeof(CREATE_ECC) - x - 2);
    command[x + 1] = 1;
    command[x + 2] = number;
    command[5]++;
    command[size_of_public + 1]++;
    return exchange(sizeof(command), command);
}

static void all_objects_answer(void)
{
    for (int i = 0; i < OBJECTS; i++) {
        code_of("ReadPublic of object", i, read_public(handles[i]), TSS2_RC_SUCCESS);
        that("it is the same object", memcmp(response, publics[i], response_size(response)) == 0);
    }
}

static void objects_are_loaded(void)
{
    scenario("objects_are_loaded");
    for (int i = 0; i < OBJECTS; i++) {
        must("a new object", create(i + 1));
        handles[i] = be32(response + 10);
        must("ReadPublic", read_public(handles[i]));
        memcpy(publics[i], response, response_size(response));
    }
    that("the objects are different", memcmp(publics[0], publics[1], response_size(response)) != 0);
    all_objects_answer();
}

static void an_unknown_handle(TSS2_RC refusal)
{
    scenario("an_unknown_handle");
    code("ReadPublic", read_public(NO_HANDLE), refusal);
    all_objects_answer();
}

static void a_fourth_object(TSS2_RC refusal)
{
    scenario("a_fourth_object");
    for (int i = 0; i < 2; i++)
        code("a new object", create(0x40 + i), refusal);
    all_objects_answer();
}

static void a_command_that_is_too_large(TSS2_RC refusal)
{
    static uint8_t large[4097] = {0x80, 0x01, 0, 0, 0x10, 0x01, 0, 0, 0x01, 0x7b};
    scenario("a_command_that_is_too_large");
    code("4097 bytes", exchange(sizeof(large), large), refusal);
    all_objects_answer();
}

static void a_command_while_a_response_is_due(void)
{
    scenario("a_command_while_a_response_is_due");
    must("transmit", Tss2_Tcti_Transmit(ctx, sizeof(GET_RANDOM), GET_RANDOM));
    code("another", Tss2_Tcti_Transmit(ctx, sizeof(GET_RANDOM), GET_RANDOM), TSS2_TCTI_RC_BAD_SEQUENCE);
    code("receive", receive(), TSS2_RC_SUCCESS);
    all_objects_answer();
}

static void flush(uint32_t handle)
{
    const uint8_t command[] = WITH_HANDLE(FLUSH_CONTEXT, handle);
    code("flush", exchange(sizeof(command), command), TSS2_RC_SUCCESS);
}

/* Flushing an object makes room for another one. */
static void another_object_after_one_is_flushed(void)
{
    scenario("another_object_after_one_is_flushed");
    flush(handles[1]);
    code("a new object", create(0x50), TSS2_RC_SUCCESS);
    handles[1] = be32(response + 10);
    code("ReadPublic", read_public(handles[1]), TSS2_RC_SUCCESS);
    memcpy(publics[1], response, response_size(response));
    all_objects_answer();
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    begin(0);
    must("open", Tss2_TctiLdr_Initialize(argv[1], &ctx));
    objects_are_loaded();
    an_unknown_handle(strtoul(argv[2], NULL, 16));
    a_fourth_object(strtoul(argv[3], NULL, 16));
    a_command_that_is_too_large(strtoul(argv[4], NULL, 16));
    a_command_while_a_response_is_due();
    another_object_after_one_is_flushed();
    for (int i = 0; i < OBJECTS; i++)
        flush(handles[i]); /* without a resource manager they would stay loaded */
    Tss2_TctiLdr_Finalize(&ctx);
    return summary();
}
