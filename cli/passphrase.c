/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { CTRL_C = 3 };

/*
 * Reads up to the end of the line or file. False on errors, when there is no room for it, or when
 * somebody at a terminal gives up.
 */
static bool read_line(int fd, bool terminal, char *buffer, size_t capacity, size_t *length) {
    *length = 0;
    for (;;) {
        char c;
        ssize_t got = read(fd, &c, 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 || (got == 1 && terminal && c == CTRL_C)) {
            return false;
        }
        if (got == 0 || c == '\n') {
            break;
        }
        if (*length == capacity) {
            errno = E2BIG;
            return false;
        }
        buffer[(*length)++] = c;
    }
    if (*length > 0 && buffer[*length - 1] == '\r') {
        (*length)--;
    }
    return true;
}

static bool from_file(const char *path, char *buffer, size_t capacity, size_t *length) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    bool done = fd >= 0 && read_line(fd, false, buffer, capacity, length);
    if (!done) {
        cli_complain("cannot read a passphrase from %s: %s", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return done;
}

/* The terminal's echo is put back before any signal that ends us is let through. */
static bool prompt(int tty, const char *text, char *buffer, size_t capacity, size_t *length) {
    struct termios shown;
    struct termios hidden;
    sigset_t ending;
    sigset_t before;
    if (tcgetattr(tty, &shown) != 0) {
        return false;
    }
    hidden = shown;
    hidden.c_lflag &= (tcflag_t) ~(ECHO | ECHOE | ECHOK | ECHONL);
    hidden.c_lflag |= ISIG | ICANON;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGHUP);
    sigprocmask(SIG_BLOCK, &ending, &before);
    /* Ctrl-C ends the line instead of the process, so that echo comes back. */
    hidden.c_cc[VINTR] = _POSIX_VDISABLE;
    hidden.c_cc[VQUIT] = _POSIX_VDISABLE;
    hidden.c_cc[VSUSP] = _POSIX_VDISABLE;
    hidden.c_cc[VEOL] = CTRL_C;
    /* First no echo, then the prompt: what answers it is never shown. */
    bool done = tcsetattr(tty, TCSAFLUSH, &hidden) == 0 &&
                write(tty, text, strlen(text)) == (ssize_t)strlen(text) &&
                read_line(tty, true, buffer, capacity, length);
    (void)tcsetattr(tty, TCSAFLUSH, &shown);
    (void)!write(tty, "\n", 1);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return done;
}

static bool from_terminal(const char *what, bool again, char *buffer, size_t capacity,
                          size_t *length) {
    char text[512];
    char second[1024];
    size_t second_length = 0;
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0) {
        cli_complain("a passphrase is needed for %s, and there is no terminal to ask on; use "
                     "--passphrase-file or --passphrase-fd",
                     what);
        return false;
    }
    snprintf(text, sizeof(text), "Passphrase for %.400s: ", what);
    bool done = prompt(tty, text, buffer, capacity, length);
    if (done && again) {
        done = prompt(tty, "The same again: ", second, sizeof(second), &second_length);
        if (done && (second_length != *length || memcmp(second, buffer, *length) != 0)) {
            cli_complain("the two passphrases differ");
            done = false;
        }
        explicit_bzero(second, sizeof(second));
    }
    close(tty);
    return done;
}

bool cli_ask_passphrase(void *context, const char *what, bool again, char *buffer, size_t capacity,
                        size_t *length) {
    const cli_passphrase *source = context;
    if (source->file != NULL) {
        return from_file(source->file, buffer, capacity, length);
    }
    if (source->fd.given) {
        /* A command that is alerted later is not to inherit it. */
        bool done = source->fd.value <= 1023 &&
                    fcntl((int)source->fd.value, F_SETFD, FD_CLOEXEC) == 0 &&
                    read_line((int)source->fd.value, false, buffer, capacity, length);
        if (!done) {
            cli_complain("cannot read a passphrase from descriptor %llu",
                         (unsigned long long)source->fd.value);
        }
        return done;
    }
    return from_terminal(what, again, buffer, capacity, length);
}
