/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AddressSanitizer has its own malloc, which the shim cannot stand in front of. A program built
 * with it is linked with --wrap for these, so that its allocations can fail all the same.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static bool fails(const char *name) {
    static bool (*hook)(const char *name);
    static bool looked;
    if (!looked) {
        looked = true;
        hook = (bool (*)(const char *))(uintptr_t)dlsym(RTLD_DEFAULT, "hm_fault_allocation");
    }
    return hook != NULL && hook(name);
}

#define WRAP(type, failed, name, parameters, arguments)                                            \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters {                                                                \
        return fails(#name) ? (failed) : __real_##name arguments;                                  \
    }
WRAP(void *, NULL, malloc, (size_t size), (size))
WRAP(void *, NULL, calloc, (size_t count, size_t size), (count, size))
WRAP(void *, NULL, realloc, (void *memory, size_t size), (memory, size))
WRAP(void *, NULL, reallocarray, (void *memory, size_t count, size_t size), (memory, count, size))
WRAP(void *, NULL, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
WRAP(int, ENOMEM, posix_memalign, (void **memory, size_t alignment, size_t size),
     (memory, alignment, size))
WRAP(char *, NULL, strdup, (const char *text), (text))
WRAP(char *, NULL, strndup, (const char *text, size_t limit), (text, limit))
WRAP(int, -1, vasprintf, (char **text, const char *format, va_list list), (text, format, list))
