/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints eight random bytes from a TPM: random NAME:CONF. Without an argument the loader uses the first TPM that opens.
 *
 *     cc -o random random.c $(pkg-config --cflags --libs tss2-tctildr)
 */
#include <stdio.h>
#include <tss2/tss2_tctildr.h>

int main(int argc, char **argv)
{
    /* TPM2_GetRandom: tag, size of the command, command code, number of bytes. */
    const uint8_t command[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8};
    uint8_t response[4096];
    size_t size = sizeof response;
    TSS2_TCTI_CONTEXT *tcti;

    TSS2_RC rc = Tss2_TctiLdr_Initialize(argc > 1 ? argv[1] : NULL, &tcti);
    if (rc != TSS2_RC_SUCCESS)
        return fprintf(stderr, "cannot open a TPM: 0x%x\n", (unsigned)rc), 1;
    rc = Tss2_Tcti_Transmit(tcti, sizeof command, command);
    if (rc == TSS2_RC_SUCCESS)
        rc = Tss2_Tcti_Receive(tcti, &size, response, TSS2_TCTI_TIMEOUT_BLOCK);
    Tss2_TctiLdr_Finalize(&tcti);
    /* Ten bytes of header, then two with the number of random bytes. An error response is only a header. */
    if (rc != TSS2_RC_SUCCESS || size != 12 + 8)
        return fprintf(stderr, "no random bytes: 0x%x, a response of %zu bytes\n", (unsigned)rc, size), 1;
    for (size_t i = 12; i < size; i++)
        printf("%02x", response[i]);
    puts("");
    return 0;
}
