/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes to a keyring. A key counts from the moment on when keyring.json names it, and that is
 * written last; so what an interrupted rotation leaves behind is never used. The file `.rotating`
 * says which number it was for, so that the next rotation may take the leftovers away; key files
 * of another origin are nobody's to take away, and stop it.
 */
#include "key/internal.h"
#include "key/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *path_in(const hm_keyring *ring, const char *name) {
    return hm_textf("%s/%s", ring->path, name);
}

/* What could not be read again, such as a time in the year 10000, is not written. */
static hm_status check_readable(const hm_buf *text, const char *path, hm_error **error) {
    hm_auto_keyring again = {.path = NULL};
    hm_auto_error cause = NULL;
    hm_status status = hm_keyring_parse(hm_buf_view(text), path, &again, &cause);
    if (status == HM_OK && text->length > HM_KEYRING_FILE_LIMIT) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s would become too large", path);
    }
    if (status == HM_REFUSED) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "this cannot be recorded: %s",
                       hm_error_message(cause));
    }
    return status == HM_OK ? HM_OK : hm_error_move(error, &cause);
}

hm_status hm_keyring_save(const hm_keyring *ring, hm_error **error) {
    hm_auto_free char *path = path_in(ring, "keyring.json");
    hm_auto_buf text = {.data = NULL};
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_keyring_print(ring, &text, error);
    if (status == HM_OK) {
        status = check_readable(&text, path, error);
    }
    return status == HM_OK ? hm_write_file(path, hm_buf_view(&text), 0644, HM_WRITE_REPLACE, error)
                           : status;
}

/* What was made by hand is put on record first: from then on the files alone say nothing. */
static hm_status record(hm_keyring *ring, hm_error **error) {
    hm_status status = ring->recorded ? HM_OK : hm_keyring_save(ring, error);
    ring->recorded = status == HM_OK;
    return status;
}

/* ---- leftovers ------------------------------------------------------------------------------ */

static hm_status remove_file(const char *path, hm_error **error) {
    return unlink(path) == 0 || errno == ENOENT
               ? HM_OK
               : hm_fail_errno(error, errno, "cannot remove %s", path);
}

static hm_status remove_pair(const hm_keyring *ring, uint64_t version, hm_error **error) {
    hm_auto_free char *private_path = hm_keyring_file(ring, version, "pem");
    hm_auto_free char *public_path = hm_keyring_file(ring, version, "pub");
    if (private_path == NULL || public_path == NULL) {
        return hm_fail_memory(error);
    }
    hm_write_file_recover(private_path);
    hm_write_file_recover(public_path);
    hm_status status = remove_file(private_path, error);
    return status == HM_OK ? remove_file(public_path, error) : status;
}

/* The number in `.rotating`; 0 when no rotation was interrupted. */
static hm_status read_marker(const char *path, uint64_t *version, hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    hm_auto_error cause = NULL;
    *version = 0;
    if (access(path, F_OK) != 0) {
        return HM_OK;
    }
    hm_status status = hm_read_own_file(path, 64, &text, &cause);
    if (status != HM_OK) {
        return hm_error_move(error, &cause);
    }
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull((const char *)text.data, &end, 10);
    if (errno != 0 || strcmp(end, "\n") != 0) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is not what a rotation writes",
                       path);
    }
    *version = value;
    return HM_OK;
}

/* Keys that were never recorded have signed nothing and are nowhere believed. */
static hm_status clear_leftovers(const hm_keyring *ring, const char *marker, uint64_t version,
                                 hm_error **error) {
    hm_status status = HM_OK;
    if (hm_keyring_find(ring, version) == NULL) {
        status = remove_pair(ring, version, error);
    }
    return status == HM_OK ? remove_file(marker, error) : status;
}

/* Reads the keyring as it is on the disk; what an interrupted rotation left is taken away. */
static hm_status load_clean(const char *path, hm_keyring *ring, hm_error **error) {
    uint64_t version = 0;
    hm_auto_free char *marker = hm_textf("%s/.rotating", path);
    if (marker == NULL) {
        return hm_fail_memory(error);
    }
    hm_keyring_free(ring);
    hm_status status = hm_keyring_load(path, ring, error);
    if (status == HM_OK) {
        status = read_marker(marker, &version, error);
    }
    if (status != HM_OK || version == 0) {
        return status;
    }
    status = clear_leftovers(ring, marker, version, error);
    if (status == HM_OK) {
        hm_keyring_free(ring);
        status = hm_keyring_load(path, ring, error);
    }
    return status;
}

hm_status hm_keyring_begin(const char *path, hm_keyring *ring, int *lock, hm_error **error) {
    hm_auto_free char *lock_path = hm_textf("%s/.lock", path);
    if (lock_path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_check_own_directory(path, error);
    if (status == HM_OK) {
        status = hm_lock_file(lock_path, lock, error);
    }
    return status == HM_OK ? load_clean(path, ring, error) : status;
}

static hm_status refuse_strays(const hm_keyring *ring, hm_error **error) {
    if (ring->stray_count == 0) {
        return HM_OK;
    }
    (void)hm_fail(error, HM_USAGE, HM_REASON_NONE,
                  "%s/%s is a key file that keyring.json does not know", ring->path,
                  ring->strays[0]);
    hm_error_add_hint(error,
                      "move it out of the keyring; `hallmark key list %s` names all such "
                      "files",
                      ring->path);
    return HM_USAGE;
}

/* ---- old private keys ----------------------------------------------------------------------- */

/*
 * Overwritten, for what that is worth: a file system or a disk may keep older copies of a block.
 * Not through a link, which may lead to a key of another keyring.
 */
static bool overwrite(const char *path) {
    static const uint8_t zeros[4096];
    struct stat st;
    hm_auto_fd fd = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return errno == ELOOP || errno == EACCES; /* a link, or mode 0400: only its name goes */
    }
    for (off_t done = 0; done < st.st_size;) {
        off_t left = st.st_size - done;
        size_t length = left < (off_t)sizeof zeros ? (size_t)left : sizeof zeros;
        ssize_t written = pwrite(fd, zeros, length, done);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        done += written;
    }
    return fsync(fd) == 0;
}

static hm_status remove_private(const hm_keyring *ring, uint64_t version, hm_error **error) {
    hm_auto_free char *path = hm_keyring_file(ring, version, "pem");
    if (path == NULL) {
        return hm_fail_memory(error);
    }
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        return HM_OK;
    }
    if (!overwrite(path)) {
        return hm_fail_errno(error, errno, "cannot overwrite the private key %s", path);
    }
    return remove_file(path, error);
}

/* Only once the new version is on record. */
static hm_status remove_old(const hm_keyring *ring, uint64_t newest, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < ring->count && status == HM_OK; i++) {
        if (ring->entries[i].version < newest) {
            status = remove_private(ring, ring->entries[i].version, error);
        }
    }
    hm_auto_fd dir = open(ring->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (status == HM_OK && (dir < 0 || fsync(dir) != 0)) {
        status = hm_fail_errno(error, errno, "cannot sync %s", ring->path);
    }
    if (status != HM_OK) {
        hm_error_add_hint(error,
                          "version %llu is made and recorded; delete the older private "
                          "keys by hand",
                          (unsigned long long)newest);
    }
    return status;
}

/* ---- rotating ------------------------------------------------------------------------------- */

/* One rotation. */
typedef struct rotation {
    const hm_rotate_options *options;
    hm_keygen_options keygen;
    hm_keyring ring;
    int lock;
    int64_t now;
    uint64_t version;
    char *marker;
} rotation;

static void rotation_free(rotation *job) {
    hm_keyring_free(&job->ring);
    hm_auto_free_(&job->marker);
    hm_fd_close(&job->lock);
}

static hm_status check_text(const char *what, const char *text, bool good, hm_error **error) {
    if (text == NULL || good) {
        return HM_OK;
    }
    return hm_fail(error, HM_USAGE, HM_REASON_NONE, "\"%s\" cannot be %s", text, what);
}

static hm_status check_call(const char *keyring, rotation *job, hm_error **error) {
    const hm_rotate_options *options = job->options;
    if (keyring == NULL || keyring[0] == '\0' || options == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "hm_keyring_rotate: no keyring is named");
    }
    hm_status status =
        hm_check_options("hm_keyring_rotate", options->size, sizeof *options, options->flags,
                         HM_ROTATE_PLAIN | HM_ROTATE_REMOVE_OLD_PRIVATE, error);
    if (status != HM_OK) {
        return status;
    }
    job->now = hm_time_now();
    job->keygen.flags = (options->flags & HM_ROTATE_PLAIN) != 0 ? HM_KEYGEN_PLAIN : 0;
    job->keygen.type = options->type;
    job->keygen.passphrase = options->passphrase;
    job->keygen.passphrase_context = options->passphrase_context;
    status = hm_keygen_check(&job->keygen, error);
    if (status == HM_OK) {
        status = hm_keygen_check_passphrase(&job->keygen, error);
    }
    if (status == HM_OK && options->signer != NULL) {
        status = check_text("the name of a signer", options->signer,
                            hm_keyring_text_valid(hm_bytes_text(options->signer)), error);
    }
    if (status == HM_OK && options->base_name != NULL) {
        status = check_text("the name of key files", options->base_name,
                            hm_keyring_base_valid(hm_bytes_text(options->base_name)), error);
    }
    if (status == HM_OK && job->now < 0) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    return status;
}

static hm_status check_times(const rotation *job, hm_error **error) {
    const hm_rotate_options *options = job->options;
    int64_t from = options->signs_from != 0 ? options->signs_from : job->now;
    if (options->not_after != 0 && options->not_after <= from) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "the new version would end before it begins to sign");
    }
    if (from > job->now && (options->flags & HM_ROTATE_REMOVE_OLD_PRIVATE) != 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "the old private key is still needed until the new version signs");
    }
    return HM_OK;
}

static hm_status make_directory(const char *path, hm_error **error) {
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return hm_fail_errno(error, errno, "cannot make the directory %s", path);
    }
    return HM_OK;
}

/* A name can be given once; later it could only contradict what verifiers know. */
static hm_status settle_name(const char *what, const char *wanted, bool settled, char **name,
                             hm_error **error) {
    if (wanted == NULL || strcmp(wanted, *name) == 0) {
        return HM_OK;
    }
    if (settled) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "the keyring's %s is %s, and stays it",
                       what, *name);
    }
    char *copy = hm_strdup(wanted);
    if (copy == NULL) {
        return hm_fail_memory(error);
    }
    hm_auto_free_(name);
    *name = copy;
    return HM_OK;
}

static hm_status prepare(rotation *job, hm_error **error) {
    hm_keyring *ring = &job->ring;
    bool begun = ring->recorded && ring->count > 0;
    hm_status status = settle_name("signer", job->options->signer, begun, &ring->signer, error);
    if (status == HM_OK) {
        status =
            settle_name("base name", job->options->base_name, ring->count > 0, &ring->base, error);
    }
    job->marker = path_in(ring, ".rotating");
    if (status == HM_OK && job->marker == NULL) {
        status = hm_fail_memory(error);
    }
    if (status == HM_OK) {
        status = refuse_strays(ring, error);
    }
    if (status == HM_OK && ring->count >= HM_KEYRING_VERSIONS) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "the keyring %s is full", ring->path);
    }
    job->version = ring->count > 0 ? ring->entries[ring->count - 1].version + 1 : 1;
    if (status == HM_OK && job->version > HM_KEYRING_NUMBER_LIMIT) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "the keyring has no number left");
    }
    return status == HM_OK ? record(ring, error) : status;
}

static hm_status mark(const rotation *job, hm_error **error) {
    hm_auto_buf text = {.data = NULL};
    hm_buf_add_format(&text, "%llu\n", (unsigned long long)job->version);
    hm_status status = hm_buf_check(&text, error);
    return status == HM_OK
               ? hm_write_file(job->marker, hm_buf_view(&text), 0600, HM_WRITE_REPLACE, error)
               : status;
}

static hm_status generate(rotation *job, hm_pubkey **key, hm_error **error) {
    hm_auto_free char *private_path = hm_keyring_file(&job->ring, job->version, "pem");
    hm_auto_free char *public_path = hm_keyring_file(&job->ring, job->version, "pub");
    if (private_path == NULL || public_path == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_key_generate(private_path, public_path, &job->keygen, error);
    return status == HM_OK ? hm_pubkey_load(public_path, key, error) : status;
}

static hm_status add_entry(rotation *job, hm_error **error) {
    const hm_rotate_options *options = job->options;
    HM_CLEANUP(hm_pubkey_free) hm_pubkey *key = NULL;
    hm_keyring_entry entry = {
        .version = job->version,
        .created = job->now,
        .signs_from = options->signs_from != 0 ? options->signs_from : job->now,
        .not_after = options->not_after != 0 ? options->not_after : HM_TIME_NEVER,
    };
    hm_status status = generate(job, &key, error);
    if (status != HM_OK) {
        return status;
    }
    memcpy(entry.fingerprint, key->fingerprint, sizeof entry.fingerprint);
    entry.algorithm = hm_strdup(key->algorithm);
    status =
        entry.algorithm != NULL ? hm_keyring_add(&job->ring, &entry, error) : hm_fail_memory(error);
    hm_auto_free_(&entry.algorithm);
    return status == HM_OK ? hm_keyring_save(&job->ring, error) : status;
}

static hm_status make_version(rotation *job, const char *keyring, hm_error **error) {
    hm_status status = mark(job, error);
    if (status == HM_OK) {
        status = add_entry(job, error);
    }
    if (status != HM_OK) {
        /* What is on the disk counts: a write that failed late may have been done all the same. */
        (void)load_clean(keyring, &job->ring, NULL);
        return status;
    }
    /* A marker that stays does no harm: its number is on record. */
    (void)unlink(job->marker);
    return HM_OK;
}

hm_status hm_keyring_rotate(const char *keyring, const hm_rotate_options *options,
                            uint64_t *version, hm_error **error) {
    HM_CLEANUP(rotation_free)
    rotation job = {.options = options, .keygen = HM_KEYGEN_OPTIONS_INIT, .lock = -1};
    hm_status status = check_call(keyring, &job, error);
    if (status == HM_OK) {
        status = check_times(&job, error);
    }
    if (status == HM_OK) {
        status = make_directory(keyring, error);
    }
    if (status == HM_OK) {
        status = hm_keyring_begin(keyring, &job.ring, &job.lock, error);
    }
    if (status == HM_OK) {
        status = prepare(&job, error);
    }
    if (status == HM_OK) {
        status = make_version(&job, keyring, error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (version != NULL) {
        *version = job.version;
    }
    return (options->flags & HM_ROTATE_REMOVE_OLD_PRIVATE) != 0
               ? remove_old(&job.ring, job.version, error)
               : HM_OK;
}

/* ---- revoking ------------------------------------------------------------------------------- */

static hm_status record_revocation(hm_keyring *ring, uint64_t version, int64_t since,
                                   const char *reason, hm_error **error) {
    hm_keyring_entry *entry = hm_keyring_find(ring, version);
    if (entry == NULL) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "the keyring %s has no version %llu",
                      ring->path, (unsigned long long)version);
        hm_error_add_hint(error, "`hallmark key list %s` shows which there are", ring->path);
        return HM_USAGE;
    }
    /* To take a revocation back would be to believe again what a thief may have signed. */
    if (entry->revoked && since >= entry->revoked_since) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "version %llu is revoked already; it can only be revoked since an earlier "
                       "time",
                       (unsigned long long)version);
    }
    char *copy = hm_strdup(reason);
    if (copy == NULL) {
        return hm_fail_memory(error);
    }
    hm_auto_free_(&entry->reason);
    entry->reason = copy;
    entry->revoked = true;
    entry->revoked_since = since;
    return hm_keyring_save(ring, error);
}

hm_status hm_keyring_revoke(const char *keyring, uint64_t version, int64_t since,
                            const char *reason, hm_error **error) {
    hm_auto_keyring ring = {.path = NULL};
    hm_auto_fd lock = -1;
    int64_t from = since != 0 ? since : hm_time_now();
    if (keyring == NULL || reason == NULL || version == 0) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_keyring_revoke: an argument is missing");
    }
    hm_status status = check_text("a reason: it must be one line of text", reason,
                                  hm_keyring_text_valid(hm_bytes_text(reason)), error);
    if (status == HM_OK && from < 0) {
        status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the clock makes no sense");
    }
    if (status == HM_OK) {
        status = hm_keyring_begin(keyring, &ring, &lock, error);
    }
    return status == HM_OK ? record_revocation(&ring, version, from, reason, error) : status;
}
