// SPDX-License-Identifier: BSD-2-Clause
/* An SPI bus with a simulated TPM, for the drivers of c-tests/spi-bus.c: bus TCTI SOCKET [FAULTS]. FAULTS are those of
 * the simulator. Prints "ready" and serves until the end of its input. Exits with status 0 if no driver used the bus
 * while another one held it, and none violated the protocol. */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "tis-sim.h"

#define CONNECTIONS 64

/* The connection of the driver that holds the bus; -1: none. */
static int holder = -1;
/* A driver was killed while it held the bus: the TPM saw an incomplete transaction. */
static int was_cut;

static void release_bus(struct tis_sim *sim)
{
    tis_sim_release(sim);
    holder = -1;
}

/* How often a driver used the bus while another one held it. */
static unsigned intruders;

static int has_bus(struct tis_sim *sim, int connection);

/* Whether a driver was killed and left no message. */
static int has_ended(int connection)
{
    char byte;
    return recv(connection, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Handles one message of a driver. Returns 0 when the driver has ended. */
static int shift(struct tis_sim *sim, int connection)
{
    uint8_t message[128], answer[128] = {0};
    ssize_t size = recv(connection, message, sizeof(message), 0);
    if (size <= 0) {
        was_cut |= holder == connection;
        if (holder == connection)
            release_bus(sim);
        return 0;
    }
    if (!has_bus(sim, connection)) {
        intruders += !has_ended(connection);
        answer[0] = 1;
    } else if (message[0] == 't') {
        answer[0] = tis_sim_transfer(sim, message + 1, answer + 1, (size_t)size - 1) != 0;
    } else if (message[0] == 'a') {
        answer[0] = tis_sim_acquire(sim) != 0;
        holder = connection;
    } else {
        release_bus(sim);
    }
    return send(connection, answer, (size_t)size, MSG_NOSIGNAL) == size || errno == EPIPE;
}

/* Whether a driver may use the bus. A driver that was killed holds it until this is noticed, and may have left a
 * message. */
static int has_bus(struct tis_sim *sim, int connection)
{
    struct pollfd other = {holder, POLLIN, 0};
    for (int i = 0; i < 2 && holder >= 0 && holder != connection && !has_ended(connection); i++)
        if (poll(&other, 1, 10000) != 1 || !shift(sim, holder))
            break;
    return holder < 0 || holder == connection;
}

static int serve(struct tis_sim *sim, const char *path)
{
    struct pollfd fds[2 + CONNECTIONS] = {{STDIN_FILENO, POLLIN, 0}};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    nfds_t count = 2;
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    fds[1] = (struct pollfd){socket(AF_UNIX, SOCK_SEQPACKET, 0), POLLIN, 0};
    if (bind(fds[1].fd, (struct sockaddr *)&address, sizeof(address)) != 0 || chmod(path, 0666) != 0 ||
        listen(fds[1].fd, CONNECTIONS) != 0)
        return 2;
    puts("ready");
    fflush(stdout);
    while (poll(fds, count, -1) > 0 && fds[0].revents == 0) {
        for (nfds_t i = 2; i < count; i++) {
            if (fds[i].revents == 0 || shift(sim, fds[i].fd))
                continue;
            close(fds[i].fd);
            fds[i--] = fds[--count];
        }
        if (fds[1].revents != 0 && count < 2 + CONNECTIONS)
            fds[count++] = (struct pollfd){accept(fds[1].fd, NULL, NULL), POLLIN, 0};
    }
    return intruders != 0 || (!was_cut && tis_sim_offences(sim) != 0);
}

int main(int argc, char **argv)
{
    struct tis_sim *sim = argc < 3 ? NULL : tis_sim_new(argv[1], argc > 3 ? argv[3] : NULL);
    int status = sim == NULL ? 2 : serve(sim, argv[2]);
    if (sim != NULL)
        tis_sim_free(sim);
    return status;
}
