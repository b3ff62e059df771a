/* SPDX-License-Identifier: Apache-2.0 */
#include "record/outbox.h"

#include "base/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char alert_suffix[] = ".alert";
enum { FILE_LIMIT = HM_EVENT_LIMIT + 1024 };

void hm_waiting_free(hm_waiting *waiting) {
    free(waiting->path);
    free(waiting->to);
    free(waiting->ledger);
    hm_fd_close(&waiting->fd);
    hm_event_free(&waiting->event);
    hm_buf_free(&waiting->json);
}

/* ---- the directory --------------------------------------------------------------------------- */

hm_status hm_outbox_ready(const char *directory, hm_error **error) {
    hm_auto_error cause = NULL;
    hm_status status = HM_OK;
    /* Not what is above it: that may be a store whose disk is not there today. */
    if (mkdir(directory, 0700) != 0 && errno != EEXIST) {
        status = hm_fail_errno(&cause, errno, "cannot make the directory %s", directory);
    }
    if (status == HM_OK) {
        status = hm_check_own_directory(directory, &cause);
    }
    if (status == HM_OK && access(directory, W_OK | X_OK) != 0) {
        status = hm_fail_errno(&cause, errno, "cannot write to the directory %s", directory);
    }
    if (status == HM_OK) {
        return HM_OK;
    }
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "there is no outbox: %s",
                  hm_error_message(cause));
    hm_error_add_hint(error, "events and alerts that cannot be delivered wait there; name another "
                             "with \"outbox\" in the configuration");
    return HM_UNDECIDED;
}

static bool ends_with(const char *name, const char *suffix) {
    size_t length = strlen(name);
    size_t end = strlen(suffix);
    return length > end && name[0] != '.' && strcmp(name + length - end, suffix) == 0;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

hm_status hm_outbox_list(const char *directory, const char *suffix, char ***names, size_t *count,
                         hm_error **error) {
    hm_auto_dir dir = opendir(directory);
    size_t capacity = 0;
    *names = NULL;
    *count = 0;
    if (dir == NULL) {
        return errno == ENOENT
                   ? HM_OK
                   : hm_fail_errno(error, errno, "cannot open the outbox %s", directory);
    }
    for (const struct dirent *at = readdir(dir); at != NULL; at = readdir(dir)) {
        if (!ends_with(at->d_name, suffix)) {
            continue;
        }
        char *name = hm_strdup(at->d_name);
        if (name == NULL || !hm_grow(names, *count, &capacity, sizeof(char *))) {
            free(name);
            hm_text_list_free(names, *count);
            return hm_fail_memory(error);
        }
        (*names)[(*count)++] = name;
    }
    if (*count > 0) {
        qsort(*names, *count, sizeof(char *), compare_names);
    }
    return HM_OK;
}

bool hm_outbox_remove(const char *directory, const char *name) {
    hm_auto_free char *path = hm_textf("%s/%s", directory, name);
    return path != NULL && (unlink(path) == 0 || errno == ENOENT);
}

/* ---- events ---------------------------------------------------------------------------------- */

/* By this machine's clock, to the nanosecond: the order in which they go into the ledger. */
static char *event_path(const char *directory, const hm_event *event, const char *ledger) {
    static unsigned number;
    struct timespec now = {.tv_sec = 0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return hm_textf("%s/%012lld%09ld.%06u.%s.%s.event", directory, (long long)now.tv_sec,
                    now.tv_nsec, __atomic_fetch_add(&number, 1, __ATOMIC_RELAXED) % 1000000,
                    event->id, ledger);
}

hm_status hm_outbox_put_event(const char *directory, const hm_event *event, const char *ledger,
                              hm_error **error) {
    hm_auto_buf json = {.data = NULL};
    hm_status status = hm_outbox_ready(directory, error);
    hm_auto_free char *path = event_path(directory, event, ledger);
    if (status == HM_OK && path == NULL) {
        status = hm_fail_memory(error);
    }
    if (status == HM_OK) {
        status = hm_event_write(event, &json, error);
    }
    return status == HM_OK ? hm_write_file(path, hm_buf_view(&json), 0600, HM_WRITE_REPLACE, error)
                           : status;
}

hm_status hm_outbox_get_event(const char *directory, const char *name, hm_event *event,
                              hm_error **error) {
    hm_auto_buf json = {.data = NULL};
    hm_auto_free char *path = hm_textf("%s/%s", directory, name);
    hm_status status =
        path != NULL ? hm_read_own_file(path, FILE_LIMIT, &json, error) : hm_fail_memory(error);
    return status == HM_OK ? hm_event_parse(hm_buf_view(&json), event, error) : status;
}

/* ---- alerts ---------------------------------------------------------------------------------- */

/* A line of what became of it, and a line with the event. */
static hm_status write_alert(const hm_waiting *waiting, hm_write_rule rule, hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    hm_json_writer w = {.out = &text};
    hm_json_begin_object(&w);
    hm_json_member(&w, "to", waiting->to);
    hm_json_member(&w, "ledger", waiting->ledger);
    hm_json_member_number(&w, "attempts", waiting->attempts);
    hm_json_member_number(&w, "next", (uint64_t)(waiting->next > 0 ? waiting->next : 0));
    hm_json_end_object(&w);
    hm_buf_add_byte(&text, '\n');
    hm_buf_add(&text, waiting->json.data, waiting->json.length);
    hm_buf_add_byte(&text, '\n');
    hm_status status = hm_buf_check(&text, error);
    return status == HM_OK ? hm_write_file(waiting->path, hm_buf_view(&text), 0600, rule, error)
                           : status;
}

hm_status hm_outbox_put_alert(const char *directory, const hm_event *event, const char *ledger,
                              const char *to, hm_error **error) {
    hm_auto_waiting waiting = {.fd = -1, .to = hm_strdup(to), .ledger = hm_strdup(ledger)};
    waiting.path = hm_textf("%s/%012lld.%s.%s%s", directory, (long long)event->time, event->id, to,
                            alert_suffix);
    hm_status status = waiting.path != NULL && waiting.to != NULL && waiting.ledger != NULL
                           ? hm_event_write(event, &waiting.json, error)
                           : hm_fail_memory(error);
    if (status != HM_OK || hm_path_taken(waiting.path)) {
        return status;
    }
    hm_auto_error cause = NULL;
    status = write_alert(&waiting, HM_WRITE_NEW, &cause);
    return status == HM_OK || hm_path_taken(waiting.path) ? HM_OK : hm_error_move(error, &cause);
}

hm_status hm_outbox_put_back(const hm_waiting *waiting, hm_error **error) {
    return write_alert(waiting, HM_WRITE_REPLACE, error);
}

static hm_status parse_state(hm_bytes line, hm_waiting *waiting, hm_error **error) {
    static const char what[] = "state of an alert";
    hm_auto_json doc = NULL;
    hm_bytes to = {.data = NULL};
    hm_bytes ledger = {.data = NULL};
    uint64_t next = 0;
    hm_status status = hm_json_parse(line, what, &doc, error);
    hm_json *root = status == HM_OK ? hm_json_root(doc) : NULL;
    if (status == HM_OK) {
        status = hm_json_take_text(root, what, "to", &to, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_text(root, what, "ledger", &ledger, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_integer(root, what, "attempts", 0, &waiting->attempts, error);
    }
    if (status == HM_OK) {
        status = hm_json_take_integer(root, what, "next", 0, &next, error);
    }
    if (status == HM_OK) {
        status = hm_json_refuse_rest(root, what, error);
    }
    if (status == HM_OK) {
        waiting->next = (int64_t)next;
        waiting->to = hm_strndup((const char *)to.data, to.length);
        waiting->ledger = hm_strndup((const char *)ledger.data, ledger.length);
        status = waiting->to != NULL && waiting->ledger != NULL ? HM_OK : hm_fail_memory(error);
    }
    return status;
}

static hm_status parse_alert(hm_bytes text, hm_waiting *waiting, hm_error **error) {
    const uint8_t *end = text.length > 0 ? memchr(text.data, '\n', text.length) : NULL;
    if (end == NULL || text.data[text.length - 1] != '\n') {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is no alert", waiting->path);
    }
    size_t first = (size_t)(end - text.data);
    size_t second = text.length - first - 1;
    hm_status status = parse_state(hm_bytes_of(text.data, first), waiting, error);
    if (status == HM_OK) {
        hm_buf_add(&waiting->json, end + 1, second > 0 ? second - 1 : 0);
        status = hm_buf_check(&waiting->json, error);
    }
    return status == HM_OK ? hm_event_parse(hm_buf_view(&waiting->json), &waiting->event, error)
                           : status;
}

/* The lock is on the file that the name leads to: whoever changes it puts another in its place. */
static bool is_current(int fd, const char *path) {
    struct stat here;
    struct stat there;
    return fstat(fd, &here) == 0 && lstat(path, &there) == 0 && here.st_dev == there.st_dev &&
           here.st_ino == there.st_ino;
}

hm_status hm_outbox_take_alert(const char *directory, const char *name, hm_waiting *waiting,
                               bool *busy, hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    *busy = true;
    waiting->path = hm_textf("%s/%s", directory, name);
    if (waiting->path == NULL) {
        return hm_fail_memory(error);
    }
    waiting->fd = open(waiting->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (waiting->fd < 0) {
        return errno == ENOENT ? HM_OK
                               : hm_fail_errno(error, errno, "cannot open %s", waiting->path);
    }
    if (flock(waiting->fd, LOCK_EX | LOCK_NB) != 0 || !is_current(waiting->fd, waiting->path)) {
        return HM_OK;
    }
    *busy = false;
    hm_status status = hm_read_fd(waiting->fd, waiting->path, FILE_LIMIT, &text, error);
    return status == HM_OK ? parse_alert(hm_buf_view(&text), waiting, error) : status;
}
