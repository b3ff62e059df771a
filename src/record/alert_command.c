/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands: a program gets the event on its standard input. There is no shell, and what an event
 * says (names of models come from others) is never part of a command line. The environment is
 * made anew: whoever starts a deployment chooses no libraries or search paths for a command that
 * may run as somebody else.
 */
#include "record/alert.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_LIMIT = 512, STEP_MS = 20 };

typedef struct running {
    pid_t pid;
    int output; /* the end of the pipe that is read here */
    hm_buf said;
    int wait_status;
    bool ended, timed_out;
} running;

static void running_free(running *r) {
    hm_fd_close(&r->output);
    hm_buf_free(&r->said);
}

/* A file in memory: a program that does not read its input hinders nobody. */
static hm_status make_input(const hm_alert *alert, int *fd, hm_error **error) {
    hm_auto_fd made = memfd_create("event", MFD_CLOEXEC);
    hm_auto_buf text = {.data = NULL};
    hm_buf_add(&text, alert->json.data, alert->json.length);
    hm_buf_add_byte(&text, '\n');
    hm_status status = hm_buf_check(&text, error);
    if (status != HM_OK) {
        return status;
    }
    if (made < 0 || pwrite(made, text.data, text.length, 0) != (ssize_t)text.length) {
        return hm_fail_errno(error, errno, "cannot hand the event to %s", alert->to->name);
    }
    *fd = made;
    made = -1;
    return HM_OK;
}

/* Its own process group, so that what it starts ends with it; no signal of ours is held off. */
static int prepare(posix_spawnattr_t *how, posix_spawn_file_actions_t *files, int input,
                   int output) {
    sigset_t none;
    sigset_t usual;
    (void)sigemptyset(&none);
    (void)sigemptyset(&usual);
    (void)sigaddset(&usual, SIGPIPE);
    (void)sigaddset(&usual, SIGXFSZ);
    int cause = posix_spawnattr_setflags(how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                  POSIX_SPAWN_SETSIGDEF);
    cause = cause != 0 ? cause : posix_spawnattr_setpgroup(how, 0);
    cause = cause != 0 ? cause : posix_spawnattr_setsigmask(how, &none);
    cause = cause != 0 ? cause : posix_spawnattr_setsigdefault(how, &usual);
    cause = cause != 0 ? cause : posix_spawn_file_actions_adddup2(files, input, STDIN_FILENO);
    cause = cause != 0 ? cause : posix_spawn_file_actions_adddup2(files, output, STDOUT_FILENO);
    cause = cause != 0 ? cause : posix_spawn_file_actions_adddup2(files, output, STDERR_FILENO);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
    /* What this program was handed open, such as a passphrase, is not the command's. */
    cause = cause != 0 ? cause : posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1);
#endif
    return cause;
}

static int spawn(const hm_alert *alert, char *const *environment, int input, int output,
                 pid_t *pid) {
    posix_spawnattr_t how;
    posix_spawn_file_actions_t files;
    int cause = posix_spawnattr_init(&how);
    if (cause != 0) {
        return cause;
    }
    cause = posix_spawn_file_actions_init(&files);
    if (cause == 0) {
        char **words = hm_alloc(alert->to->command_count + 1, sizeof(char *));
        cause = words != NULL ? prepare(&how, &files, input, output) : ENOMEM;
        for (size_t i = 0; words != NULL && i < alert->to->command_count; i++) {
            words[i] = alert->to->command[i];
        }
        if (cause == 0) {
            cause = posix_spawn(pid, words[0], &files, &how, words, environment);
        }
        hm_auto_free_(&words);
        (void)posix_spawn_file_actions_destroy(&files);
    }
    (void)posix_spawnattr_destroy(&how);
    return cause;
}

static hm_status start(const hm_alert *alert, running *r, hm_error **error) {
    hm_auto_fd input = -1;
    int ends[2] = {-1, -1};
    hm_auto_free char *word = hm_textf("HALLMARK_EVENT=%s", hm_event_word(alert->event->kind));
    hm_auto_free char *id = hm_textf("HALLMARK_EVENT_ID=%s", alert->event->id);
    char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char language[] = "LANG=C.UTF-8";
    char *environment[] = {path, language, word, id, NULL};
    hm_status status =
        word != NULL && id != NULL ? make_input(alert, &input, error) : hm_fail_memory(error);
    if (status != HM_OK) {
        return status;
    }
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return hm_fail_errno(error, errno, "cannot run %s", alert->to->command[0]);
    }
    r->output = ends[0];
    hm_auto_fd theirs = ends[1];
    int cause = spawn(alert, environment, input, theirs, &r->pid);
    return cause == 0 ? HM_OK : hm_fail_errno(error, cause, "cannot run %s", alert->to->command[0]);
}

/* ---- until it ends -------------------------------------------------------------------------- */

/* Takes what there is; keeps the beginning. */
static void listen_to(running *r, int wait_ms) {
    char piece[512];
    struct pollfd ready = {.fd = r->output, .events = POLLIN};
    if (poll(&ready, 1, wait_ms) <= 0) {
        return;
    }
    ssize_t got = read(r->output, piece, sizeof piece);
    size_t room = r->said.length < OUTPUT_LIMIT ? OUTPUT_LIMIT - r->said.length : 0;
    if (got > 0) {
        hm_buf_add(&r->said, piece, (size_t)got < room ? (size_t)got : room);
    } else {
        hm_fd_close(&r->output); /* poll() passes over it from here on */
    }
}

static void reap(running *r, int flags) {
    pid_t done = 0;
    do {
        done = waitpid(r->pid, &r->wait_status, flags);
    } while (done < 0 && errno == EINTR);
    r->ended = done != 0;
    if (done < 0) { /* a host program that ignores SIGCHLD: how it ended is not to be learnt */
        r->wait_status = -1;
    }
}

static void wait_for(running *r, unsigned timeout_ms) {
    int64_t until = hm_now_ms() + timeout_ms;
    for (reap(r, WNOHANG); !r->ended && hm_now_ms() < until; reap(r, WNOHANG)) {
        listen_to(r, STEP_MS);
    }
    r->timed_out = !r->ended;
    if (!r->ended) {
        (void)kill(-r->pid, SIGKILL);
        reap(r, 0);
    }
    for (size_t before = SIZE_MAX; r->output >= 0 && before != r->said.length;) {
        before = r->said.length;
        listen_to(r, 0);
    }
}

/* What it said, as the end of a message of one line. NULL when memory runs out. */
static char *words_of(hm_buf *said) {
    for (size_t i = 0; i < said->length; i++) {
        said->data[i] = said->data[i] == '\n' ? ' ' : said->data[i];
    }
    while (said->length > 0 && said->data[said->length - 1] == ' ') {
        said->length--;
    }
    return said->failed ? NULL
                        : hm_textf("%s%.*s", said->length > 0 ? ": " : "", (int)said->length,
                                   said->length > 0 ? (const char *)said->data : "");
}

static hm_status judge(const hm_alert *alert, running *r, hm_error **error) {
    const char *program = alert->to->command[0];
    hm_auto_free char *text = words_of(&r->said);
    if (text == NULL) {
        return hm_fail_memory(error);
    }
    if (r->timed_out) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "%s did not end within %u s and was killed%s", program,
                       alert->to->timeout_ms / 1000, text);
    }
    if (WIFSIGNALED(r->wait_status)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s was ended by signal %d%s", program,
                       WTERMSIG(r->wait_status), text);
    }
    return WIFEXITED(r->wait_status) && WEXITSTATUS(r->wait_status) == 0
               ? HM_OK
               : hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s ended with status %d%s", program,
                         WEXITSTATUS(r->wait_status), text);
}

hm_status hm_alert_command(const hm_alert *alert, uint64_t *pause, hm_error **error) {
    HM_CLEANUP(running_free) running r = {.output = -1};
    (void)pause;
    hm_status status = start(alert, &r, error);
    if (status == HM_OK) {
        wait_for(&r, alert->to->timeout_ms);
        status = judge(alert, &r, error);
    }
    return status;
}
