// SPDX-License-Identifier: BSD-2-Clause
/* A library for LD_PRELOAD: ends a program that asks the name service for hosts, users or groups. */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void end(const char *function)
{
    if (write(STDERR_FILENO, function, strlen(function)) < 0)
        exit(1);
    abort();
}

#define FUNCTION(name)       \
    void name(void);         \
    void name(void)          \
    {                        \
        end(#name " called\n"); \
    }

FUNCTION(getaddrinfo)
FUNCTION(getnameinfo)
FUNCTION(gethostbyname)
FUNCTION(gethostbyname2)
FUNCTION(gethostbyname_r)
FUNCTION(gethostbyname2_r)
FUNCTION(getpwuid)
FUNCTION(getpwuid_r)
FUNCTION(getpwnam)
FUNCTION(getpwnam_r)
FUNCTION(getpwent)
FUNCTION(getgrgid)
FUNCTION(getgrgid_r)
FUNCTION(getgrnam)
FUNCTION(getgrnam_r)
FUNCTION(getgrent)
FUNCTION(getgrouplist)
FUNCTION(getservbyname)
FUNCTION(getservbyname_r)
