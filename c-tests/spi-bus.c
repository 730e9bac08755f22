// SPDX-License-Identifier: BSD-2-Clause
/* A TCTI over libtss2-tcti-spi-helper whose bus is a process of its own, as a bus of the kernel is shared by
 * processes. The configuration is "held PATH" or "whole PATH", where c-tests/bus.c listens on PATH. A forked process
 * connects to the bus again. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <tss2/tss2_tcti_spi_helper.h>

#define MAX_TRANSFER 68u /* bytes */

struct bus {
    struct sockaddr_un address;
    struct timespec timer;
    int fd;
    pid_t process; /* the owner of the connection */
};

static int connect_to(struct bus *bus)
{
    if (bus->process == getpid())
        return 0;
    if (bus->process != 0)
        close(bus->fd);
    bus->process = getpid();
    bus->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    return connect(bus->fd, (struct sockaddr *)&bus->address, sizeof(bus->address));
}

/* Sends a message and receives the answer: a status and `count` bytes. */
static TSS2_RC ask(void *user_data, char what, const void *out, void *in, size_t count)
{
    struct bus *bus = user_data;
    uint8_t message[1 + MAX_TRANSFER] = {(uint8_t)what}, answer[1 + MAX_TRANSFER];
    if (connect_to(bus) != 0 || count > MAX_TRANSFER)
        return TSS2_TCTI_RC_IO_ERROR;
    if (out != NULL)
        memcpy(message + 1, out, count);
    if (send(bus->fd, message, 1 + count, MSG_NOSIGNAL) != (ssize_t)(1 + count))
        return TSS2_TCTI_RC_IO_ERROR;
    if (recv(bus->fd, answer, sizeof(answer), 0) != (ssize_t)(1 + count) || answer[0] != 0)
        return TSS2_TCTI_RC_IO_ERROR;
    if (in != NULL)
        memcpy(in, answer + 1, count);
    return TSS2_RC_SUCCESS;
}

static TSS2_RC spi_transfer(void *user_data, const void *data_out, void *data_in, size_t cnt)
{
    return ask(user_data, 't', data_out, data_in, cnt);
}

static TSS2_RC spi_acquire(void *user_data)
{
    return ask(user_data, 'a', NULL, NULL, 0);
}

static TSS2_RC spi_release(void *user_data)
{
    return ask(user_data, 'r', NULL, NULL, 0);
}

static TSS2_RC sleep_ms(void *user_data, int milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    (void)user_data;
    return nanosleep(&time, NULL) == 0 ? TSS2_RC_SUCCESS : TSS2_TCTI_RC_GENERAL_FAILURE;
}

static TSS2_RC start_timeout(void *user_data, int milliseconds)
{
    struct bus *bus = user_data;
    clock_gettime(CLOCK_MONOTONIC, &bus->timer);
    bus->timer.tv_sec += milliseconds / 1000 + 1;
    return TSS2_RC_SUCCESS;
}

static TSS2_RC timeout_expired(void *user_data, bool *result)
{
    const struct bus *bus = user_data;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *result = now.tv_sec > bus->timer.tv_sec;
    return TSS2_RC_SUCCESS;
}

/* Called in each process that finalizes. */
static void finalize(void *user_data)
{
    struct bus *bus = user_data;
    close(bus->fd);
    free(bus);
}

static TSS2_RC init(TSS2_TCTI_CONTEXT *ctx, size_t *size, const char *conf)
{
    TSS2_TCTI_SPI_HELPER_PLATFORM platform = {
        .sleep_ms = sleep_ms,
        .start_timeout = start_timeout,
        .timeout_expired = timeout_expired,
        .spi_transfer = spi_transfer,
        .finalize = finalize,
    };
    char how[8];
    if (ctx == NULL)
        return Tss2_Tcti_Spi_Helper_Init(NULL, size, NULL);
    struct bus *bus = calloc(1, sizeof(*bus));
    if (bus == NULL || conf == NULL || sscanf(conf, "%7s %107s", how, bus->address.sun_path) != 2)
        return TSS2_TCTI_RC_BAD_VALUE;
    bus->address.sun_family = AF_UNIX;
    if (strcmp(how, "held") == 0) {
        platform.spi_acquire = spi_acquire;
        platform.spi_release = spi_release;
    }
    platform.user_data = bus;
    return Tss2_Tcti_Spi_Helper_Init(ctx, size, &platform);
}

const TSS2_TCTI_INFO *Tss2_Tcti_Info(void)
{
    static const TSS2_TCTI_INFO info = {
        .version = 2,
        .name = "spi-bus",
        .description = "A TPM on an SPI bus that another process drives.",
        .config_help = "held or whole, and the path of its socket.",
        .init = init,
    };
    return &info;
}
