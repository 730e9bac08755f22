/* SPDX-License-Identifier: BSD-2-Clause */
/* The functions that Debian's libunwind.a calls and that only glibc has: the hardened variants of printf(3). The flag and the
 * size of the object are for additional checks, which are omitted here. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

int __vfprintf_chk(FILE *stream, int flag, const char *format, va_list arguments);
int __vsnprintf_chk(char *text, size_t size, int flag, size_t object, const char *format, va_list arguments);

int __vfprintf_chk(FILE *stream, int flag, const char *format, va_list arguments)
{
    (void)flag;
    return vfprintf(stream, format, arguments);
}

int __vsnprintf_chk(char *text, size_t size, int flag, size_t object, const char *format, va_list arguments)
{
    (void)flag;
    (void)object;
    return vsnprintf(text, size, format, arguments);
}
