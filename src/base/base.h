/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base: the ground under every room. Errors, bytes, arrays, texts, safe files.
 * Knows nothing of models, signatures or keys.
 */
#ifndef HM_BASE_H
#define HM_BASE_H

#include "hallmark.h"

#include <dirent.h>
#include <stdarg.h>
#include <sys/types.h>

/* ---- errors ------------------------------------------------------------------------------- */

/*
 * Stores a new error and returns `status`. `error` may be NULL. An error that is already stored is
 * kept: the first cause is the one that helps. Control characters in the text are escaped.
 */
hm_status hm_fail(hm_error **error, hm_status status, hm_reason reason, const char *format, ...)
    HM_PRINTF(4, 5);
/* The same for ::HM_UNDECIDED, with ": " and the text of `errnum` behind the message. */
hm_status hm_fail_errno(hm_error **error, int errnum, const char *format, ...) HM_PRINTF(3, 4);
/* The same for any status, with the first entry of libcrypto's error queue, which is emptied. */
hm_status hm_fail_crypto(hm_error **error, hm_status status, hm_reason reason, const char *format,
                         ...) HM_PRINTF(4, 5);
/* Memory ran out: ::HM_UNDECIDED. Never allocates. */
hm_status hm_fail_memory(hm_error **error);
/* Adds what to do about it, unless something is said already. */
void hm_error_add_hint(hm_error **error, const char *format, ...) HM_PRINTF(2, 3);
/* Whether it says that memory ran out, which decides nothing, whatever was being looked at. */
bool hm_error_is_memory(const hm_error *error);
/* Moves `from` to `*error` (or frees it) and returns its status. `*from` becomes NULL. */
hm_status hm_error_move(hm_error **error, hm_error **from);

/* The same with a copy: `from` stays. */
hm_status hm_error_copy(hm_error **error, const hm_error *from);

#define HM_CLEANUP(function) __attribute__((cleanup(function)))
#define hm_auto_error HM_CLEANUP(hm_error_free) hm_error *

/* ---- memory ------------------------------------------------------------------------------- */

/* calloc; NULL when memory runs out or `count * size` overflows. A size of 0 gives one byte. */
void *hm_alloc(size_t count, size_t size);
/*
 * Makes room for one more element: when `count == *capacity`, doubles the array. False when memory
 * runs out; the array is then as it was.
 */
bool hm_grow(void *array_pointer, size_t count, size_t *capacity, size_t element_size);
char *hm_strdup(const char *text);
char *hm_strndup(const char *text, size_t length);
char *hm_textf(const char *format, ...) HM_PRINTF(1, 2);
/* A copy of `text`, or NULL where there is none or it is empty. False when memory runs out. */
bool hm_set_text(char **place, const char *text);

void hm_auto_free_(void *pointer_pointer);
/* Frees a list of texts and its elements. */
void hm_text_list_free(char ***list, size_t count);
#define hm_auto_free HM_CLEANUP(hm_auto_free_)

static inline bool hm_add_u64(uint64_t a, uint64_t b, uint64_t *sum) {
    return !__builtin_add_overflow(a, b, sum);
}

/* ---- bytes -------------------------------------------------------------------------------- */

/* A view: somebody else's bytes. */
typedef struct hm_bytes {
    const uint8_t *data;
    size_t length;
} hm_bytes;

static inline hm_bytes hm_bytes_of(const void *data, size_t length) {
    return (hm_bytes){(const uint8_t *)data, length};
}
hm_bytes hm_bytes_text(const char *text);
bool hm_bytes_equal(hm_bytes a, hm_bytes b);
bool hm_bytes_equal_text(hm_bytes a, const char *text);

/*
 * An owner that grows, and is wiped when freed or moved. Appending never fails on the spot: the
 * buffer remembers, and hm_buf_check() tells. There is always a NUL behind the bytes once one byte
 * was appended or hm_buf_check() was passed.
 */
typedef struct hm_buf {
    uint8_t *data;
    size_t length;
    size_t capacity;
    bool failed;
} hm_buf;

void hm_buf_add(hm_buf *buf, const void *data, size_t length);
void hm_buf_add_text(hm_buf *buf, const char *text);
void hm_buf_add_byte(hm_buf *buf, uint8_t byte);
void hm_buf_add_format(hm_buf *buf, const char *format, ...) HM_PRINTF(2, 3);
/* Room for `length` more bytes, uninitialised, counted as appended; NULL when memory runs out. */
uint8_t *hm_buf_extend(hm_buf *buf, size_t length);
HM_MUST_USE hm_status hm_buf_check(hm_buf *buf, hm_error **error);
/* Hands the bytes over as a NUL-terminated text and leaves the buffer empty; NULL if it failed. */
char *hm_buf_steal_text(hm_buf *buf);
/* hm_buf_check(), and the same into `*text` when all is well. */
HM_MUST_USE hm_status hm_buf_hand_over(hm_buf *buf, char **text, hm_error **error);
void hm_buf_free(hm_buf *buf);
static inline hm_bytes hm_buf_view(const hm_buf *buf) {
    return (hm_bytes){buf->data, buf->length};
}
#define hm_auto_buf HM_CLEANUP(hm_buf_free) hm_buf

/* Lower-case hex. `text` has room for 2 * length + 1. */
void hm_hex(const uint8_t *data, size_t length, char *text);
void hm_buf_add_hex(hm_buf *buf, const uint8_t *data, size_t length);
/* Takes lower-case hex of exactly `length` bytes and nothing else. */
bool hm_unhex(hm_bytes text, uint8_t *data, size_t length);
/* Whether a text is just so many digits of lower-case hex. */
bool hm_is_hex(const char *text, size_t digits);
/* Standard alphabet, padded, one line. */
void hm_buf_add_base64(hm_buf *buf, hm_bytes data);
typedef enum hm_base64_rule {
    HM_BASE64_STANDARD, /* the standard alphabet only */
    HM_BASE64_EITHER,   /* standard or URL-safe, not mixed (DSSE) */
} hm_base64_rule;
/* Padded, no white space, unused bits zero. False: not such text, or memory (then buf->failed). */
bool hm_unbase64(hm_bytes text, hm_base64_rule rule, hm_buf *buf);

/*
 * Length of the well-formed UTF-8 sequence at `p` (RFC 3629, section 4: no overlong forms, no
 * surrogates, nothing above U+10FFFF), and its code point; 0 when there is none. `left` is not 0.
 */
size_t hm_utf8_sequence(const uint8_t *p, size_t left, uint32_t *code);
bool hm_utf8_valid(hm_bytes text);
/*
 * Appends text that is safe on a terminal: control characters, DEL, C1, bidirectional controls,
 * invalid UTF-8 and the backslash are written as escapes.
 */
void hm_buf_add_printable(hm_buf *buf, hm_bytes text);
/* Well-formed UTF-8 of which hm_buf_add_printable() would escape nothing but backslashes. */
bool hm_text_plain(hm_bytes text);

/* ---- time --------------------------------------------------------------------------------- */

/*
 * Now, in seconds since 1970; -1 when the clock makes no sense. The environment variable
 * HALLMARK_TIME, in the same unit, stands in for the clock; reports tell of it.
 */
int64_t hm_time_now(void);
/* Milliseconds on a clock that nobody sets, to measure with. */
int64_t hm_now_ms(void);
bool hm_time_is_set(void);
/* RFC 3339 in UTC, "2026-01-05T20:31:07Z". */
void hm_buf_add_time(hm_buf *buf, int64_t time);
/* Reads exactly what hm_buf_add_time() writes, of the years 1970 to 9999. */
bool hm_time_parse(hm_bytes text, int64_t *time);
/* A moment that lies before, and one that lies after, every other. */
#define HM_TIME_ALWAYS INT64_MIN
#define HM_TIME_NEVER INT64_MAX

/* ---- files -------------------------------------------------------------------------------- */

void hm_fd_close(int *fd);
#define hm_auto_fd HM_CLEANUP(hm_fd_close) int
void hm_dir_close(DIR **dir);
#define hm_auto_dir HM_CLEANUP(hm_dir_close) DIR *

/* Writes all of it. False with errno. */
bool hm_write_all(int fd, hm_bytes content);

/*
 * Opens `path` beneath directory `dir`: no component leads above or outside it, none is a symbolic
 * link (unless `follow`: then links are followed as long as they stay inside). Any length of path.
 * O_CLOEXEC is added. -1 with errno.
 */
int hm_open_beneath(int dir, const char *path, int flags, bool follow);

/* Reads a whole descriptor, at most `limit` bytes: beyond, ::HM_REFUSED malformed. */
HM_MUST_USE hm_status hm_read_fd(int fd, const char *what, size_t limit, hm_buf *buf,
                                 hm_error **error);
/* Opens and reads a regular file. A missing one: ::HM_UNDECIDED. */
HM_MUST_USE hm_status hm_read_file(const char *path, size_t limit, hm_buf *buf, hm_error **error);

typedef enum hm_write_rule {
    HM_WRITE_REPLACE, /* the old file stays until the new one is complete */
    HM_WRITE_NEW,     /* an existing file is an error */
} hm_write_rule;
/*
 * Writes a file beside its place, syncs it, and gives it its name in one step: at any moment there
 * is the old file or the new one. Signals that would end the process wait meanwhile.
 */
HM_MUST_USE hm_status hm_write_file(const char *path, hm_bytes content, mode_t mode,
                                    hm_write_rule rule, hm_error **error);
/* A file to be written beside others. */
typedef struct hm_new_file {
    const char *path;
    hm_bytes content;
    hm_write_rule rule;
} hm_new_file;
enum { HM_NEW_FILES_MAX = 4 };
/*
 * The same for several files, with different names: none gets its name before all are complete and
 * on the disk. A failure leaves everything as it was; only on a file system that cannot exchange
 * two names, what was replaced already stays so when the rename of a later file fails.
 */
HM_MUST_USE hm_status hm_write_files(const hm_new_file *files, size_t count, mode_t mode,
                                     hm_error **error);
/* Removes what a writer of `path` that was killed in mid-step may have left beside it. */
void hm_write_file_recover(const char *path);

/* Whether something is at `path`, be it a link to nowhere or what cannot be looked at. */
bool hm_path_taken(const char *path);
/* Whether two paths name one place in one directory, which exists; what is there does not count. */
bool hm_same_place(const char *a, const char *b);

/*
 * Takes the lock that the file `path` stands for, making it if need be, and waits some seconds for
 * whoever has it; then ::HM_UNDECIDED, naming that process. It is let go when `*fd` is closed, and
 * by the kernel when its holder dies.
 */
HM_MUST_USE hm_status hm_lock_file(const char *path, int *fd, hm_error **error);

/*
 * Opens and reads a file that only its owner may change, and that belongs to the caller or root:
 * what it says is the caller's own word. A missing one: ::HM_UNDECIDED.
 */
HM_MUST_USE hm_status hm_read_own_file(const char *path, size_t limit, hm_buf *buf,
                                       hm_error **error);
/*
 * The same for a secret: to others than the owner and its group it must give nothing, and to the
 * group no more than to be read. One line's end behind it is dropped.
 */
HM_MUST_USE hm_status hm_read_secret_file(const char *path, size_t limit, hm_buf *buf,
                                          hm_error **error);
/*
 * Whether nobody else can put files in the place of those in a directory: it belongs to the caller
 * or root, and others may not write to it, or not replace what is not theirs (the sticky bit).
 */
HM_MUST_USE hm_status hm_check_own_directory(const char *path, hm_error **error);

/*
 * The directory in which this host remembers things of a kind, `name`: below HALLMARK_STATE_DIR,
 * /var/lib/hallmark for root, or the user's own. `*none` when nothing is to be remembered. `what`
 * ends the message when there is no place for it.
 */
HM_MUST_USE hm_status hm_state_directory(const char *name, const char *what, char **directory,
                                         bool *none, hm_error **error);
/* Makes a directory and those above it, for its owner alone; it must then be the caller's own. */
HM_MUST_USE hm_status hm_make_own_directory(const char *path, hm_error **error);
/*
 * Reads what is remembered in a file of such a directory, both of which must be the caller's own.
 * A file that is not there leaves `*there` false.
 */
HM_MUST_USE hm_status hm_state_read(const char *directory, const char *path, size_t limit,
                                    hm_buf *file, bool *there, hm_error **error);
/* Makes it if need be, and takes its lock; see hm_lock_file(). */
HM_MUST_USE hm_status hm_state_lock(const char *directory, int *lock, hm_error **error);

/* The last component of a path, without trailing slashes: "" for "/" and "". Newly allocated. */
char *hm_path_base(const char *path);

/* ---- forks ---------------------------------------------------------------------------------- */

/*
 * What a fork in another thread must not cut in two stands between these: a lock would be held in
 * the child for ever. One at a time in the process, and short; they do not nest.
 */
void hm_fork_hold(void);
void hm_fork_release(void);

/* ---- checks shared by all entry points ------------------------------------------------------ */

/* A parameter struct's `size` and `flags` against what this library knows. */
HM_MUST_USE hm_status hm_check_options(const char *function, size_t size, size_t known_size,
                                       uint64_t flags, uint64_t known_flags, hm_error **error);

#endif
