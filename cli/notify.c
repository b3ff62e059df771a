/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service manager is told, by systemd's protocol (sd_notify(3)): lines of NAME=VALUE in one
 * datagram. Nothing happens where nobody listens, and nobody is waited for.
 */
#include "cli.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Where to send it; 0: nowhere. A name that begins with '@' is of the abstract kind. */
static socklen_t place_of(struct sockaddr_un *address) {
    const char *name = secure_getenv("NOTIFY_SOCKET");
    size_t length = name != NULL ? strlen(name) : 0;
    if (length < 2 || length >= sizeof(address->sun_path) || (*name != '/' && *name != '@')) {
        return 0;
    }
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, name, length);
    if (*name == '@') {
        address->sun_path[0] = '\0';
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    }
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
}

void cli_notify(const char *format, ...) {
    struct sockaddr_un address;
    socklen_t length = place_of(&address);
    if (length == 0) {
        return;
    }
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int written = vasprintf(&text, format, args);
    va_end(args);
    int fd = written > 0 ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (fd >= 0) {
        (void)sendto(fd, text, (size_t)written, MSG_NOSIGNAL | MSG_DONTWAIT,
                     (const struct sockaddr *)&address, length);
        (void)close(fd);
    }
    if (written >= 0) {
        free(text);
    }
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int64_t number_of(const char *name) {
    const char *text = secure_getenv(name);
    char *end = NULL;
    long long number = text != NULL ? strtoll(text, &end, 10) : 0;
    return end != NULL && *end == '\0' && number > 0 && number < INT64_MAX / 1000 ? number : 0;
}

void cli_watchdog_start(cli_watchdog *watchdog) {
    int64_t process = number_of("WATCHDOG_PID");
    int64_t limit = number_of("WATCHDOG_USEC") * 1000;
    *watchdog = (cli_watchdog){.every = process == 0 || process == getpid() ? limit / 2 : 0};
}

void cli_watchdog_show(cli_watchdog *watchdog) {
    int64_t time = now();
    if (watchdog->every > 0 && (watchdog->last == 0 || time - watchdog->last >= watchdog->every)) {
        watchdog->last = time;
        cli_notify("WATCHDOG=1");
    }
}
