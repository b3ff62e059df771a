/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets in memory: the process they live in, the pages that hold them, how they get there. */
#include "key/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

enum {
    PASSPHRASE_LIMIT = 1024,
    HEAP_MIN_BLOCK = 32,
};

/*
 * The heap that libcrypto takes private numbers from. A power of two; libcrypto cannot do without
 * once it is there, so it is large even where it can then not be locked whole.
 */
static size_t heap_size(void) {
    const size_t largest = (size_t)1 << 20, smallest = (size_t)1 << 18;
    struct rlimit limit;
    size_t size = largest;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
        while (size > smallest && size > limit.rlim_cur) {
            size /= 2;
        }
    }
    return size;
}

void hm_process_harden(void) {
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (CRYPTO_secure_malloc_initialized() == 0) {
        (void)CRYPTO_secure_malloc_init(heap_size(), HEAP_MIN_BLOCK);
    }
}

hm_status hm_secret_reserve(hm_secret *secret, size_t capacity, hm_error **error) {
    hm_secret_free(secret);
    void *pages = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        return hm_fail_memory(error);
    }
    /* Without these the secret could reach the disk, by the swap or a dump. Not all may lock. */
    (void)mlock(pages, capacity);
    (void)madvise(pages, capacity, MADV_DONTDUMP);
    *secret = (hm_secret){.data = pages, .capacity = capacity};
    return HM_OK;
}

void hm_secret_free(hm_secret *secret) {
    if (secret->data != NULL) {
        OPENSSL_cleanse(secret->data, secret->capacity);
        (void)munmap(secret->data, secret->capacity);
    }
    *secret = (hm_secret){.data = NULL};
}

/* ---- files ---------------------------------------------------------------------------------- */

/* Public keys are open to all, and closing them would be of no use to anybody. */
static bool is_public_name(const char *path) {
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".pub") == 0;
}

/* Looks at the open descriptor, not the path: nobody can put another file there in between. */
static hm_status check_private(int fd, const char *noun, const char *path, hm_error **error) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return hm_fail_errno(error, errno, "cannot look at the %s %s", noun, path);
    }
    if (!S_ISREG(st.st_mode)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "the %s %s is not a regular file", noun,
                       path);
    }
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "the %s %s belongs to another user (%ju)", noun, path, (uintmax_t)st.st_uid);
        hm_error_add_hint(error, "use a copy that is yours: `install -m 600 %s COPY`", path);
        return HM_UNDECIDED;
    }
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                      "the %s %s is open to other users (mode %04o)", noun, path,
                      (unsigned)(st.st_mode & 07777));
        hm_error_add_hint(error,
                          is_public_name(path)
                              ? "%s is a public key by its name; signing needs the private one"
                              : "chmod 600 %s (of a Kubernetes secret: defaultMode: 0400)",
                          path);
        return HM_UNDECIDED;
    }
    return HM_OK;
}

/* Fills the secret from `fd`; there is room for one byte more than a key file may have. */
static hm_status read_all(int fd, const char *noun, const char *path, hm_secret *secret,
                          hm_error **error) {
    for (;;) {
        ssize_t got = read(fd, secret->data + secret->length, secret->capacity - secret->length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return hm_fail_errno(error, errno, "cannot read the %s %s", noun, path);
        }
        if (got == 0) {
            return HM_OK;
        }
        secret->length += (size_t)got;
        if (secret->length > HM_KEY_FILE_LIMIT) {
            return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                           "%s is too large for a %s (over %zu bytes)", path, noun,
                           HM_KEY_FILE_LIMIT);
        }
    }
}

hm_status hm_secret_read_file(const char *noun, const char *path, hm_secret *secret,
                              hm_error **error) {
    /* A link may lead there, as in a Kubernetes volume; a named pipe must not make us wait. */
    hm_auto_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return hm_fail_errno(error, errno, "cannot open the %s %s", noun, path);
    }
    hm_status status = check_private(fd, noun, path, error);
    if (status == HM_OK) {
        status = hm_secret_reserve(secret, HM_KEY_FILE_LIMIT + 1, error);
    }
    if (status == HM_OK) {
        status = read_all(fd, noun, path, secret, error);
    }
    return status;
}

/* ---- passphrases ---------------------------------------------------------------------------- */

hm_status hm_secret_ask(hm_passphrase_fn ask, void *context, const char *what, bool again,
                        hm_secret *secret, hm_error **error) {
    size_t length = 0;
    hm_status status = hm_secret_reserve(secret, PASSPHRASE_LIMIT, error);
    if (status != HM_OK) {
        return status;
    }
    /* What is asked stands on a terminal, and the name of a file may be anybody's. */
    hm_auto_buf shown = {.data = NULL};
    hm_buf_add_printable(&shown, hm_bytes_text(what));
    status = hm_buf_check(&shown, error);
    if (status != HM_OK) {
        return status;
    }
    if (!ask(context, (const char *)shown.data, again, (char *)secret->data, secret->capacity,
             &length)) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "no passphrase was given for %s", what);
    }
    if (length > secret->capacity) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                       "the passphrase for %s is too long (over %d bytes)", what, PASSPHRASE_LIMIT);
    }
    secret->length = length;
    return HM_OK;
}
