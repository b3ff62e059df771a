/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views of a model that somebody changes meanwhile: what comes out is an error, or exactly what was
 * signed. First by stopping the loader at each of its reads (the linker puts __wrap_pread64() and
 * __wrap_fstat64() in their places), then by another process that never stops.
 * What was signed is known by libcrypto's SHA-256, not by the code under test.
 */
#include "hallmark.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

enum { SHARD = 64 * 1024, FILES = 3, DIGEST = 32 };

static const struct {
    const char *name;
    size_t size;
} files[FILES] = {{"a.bin", 5 * SHARD + 99}, {"b.bin", 5 * SHARD + 99}, {"small", 500}};

static char folder[64];
static uint8_t *good[FILES]; /* what was signed */
static uint8_t *evil[FILES];
static uint8_t digests[FILES][DIGEST];

static const char *in_folder(const char *name) {
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static const char *in_model(const char *name) {
    char path[200];
    (void)snprintf(path, sizeof path, "model/%s", name);
    return in_folder(path);
}

static void write_at(const char *path, const void *data, size_t size, int flags) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
    if (fd >= 0) {
        (void)!pwrite(fd, data, size, 0);
        (void)close(fd);
    }
}

/* ---- attacks: each one undone by restore() ------------------------------------------------ */

static void rewrite(size_t file) {
    write_at(in_model(files[file].name), evil[file], files[file].size, 0);
}

static void rewrite_end(size_t file) {
    int fd = open(in_model(files[file].name), O_WRONLY | O_CLOEXEC);
    uint8_t byte = (uint8_t)~good[file][files[file].size - 1];
    (void)!pwrite(fd, &byte, 1, (off_t)files[file].size - 1);
    (void)close(fd);
}

static void shorten(size_t file) {
    (void)!truncate(in_model(files[file].name), (off_t)files[file].size / 2);
}

static void lengthen(size_t file) {
    (void)!truncate(in_model(files[file].name), (off_t)files[file].size + SHARD);
}

static void replace(size_t file) {
    write_at(in_folder("other"), evil[file], files[file].size, O_TRUNC);
    (void)rename(in_folder("other"), in_model(files[file].name));
}

static void swap(size_t file) {
    (void)syscall(SYS_renameat2, AT_FDCWD, in_model(files[0].name), AT_FDCWD,
                  in_model(files[1].name), 2 /* RENAME_EXCHANGE */);
    (void)file;
}

static void make_link(size_t file) {
    write_at(in_folder("aside"), evil[file], files[file].size, O_TRUNC);
    (void)unlink(in_model(files[file].name));
    (void)!symlink(in_folder("aside"), in_model(files[file].name));
}

static void make_pipe(size_t file) {
    (void)unlink(in_model(files[file].name));
    (void)mkfifo(in_model(files[file].name), 0600);
}

static void swap_directories(size_t file) {
    (void)syscall(SYS_renameat2, AT_FDCWD, in_folder("model"), AT_FDCWD, in_folder("evil"), 2);
    (void)file;
}

typedef void (*attack)(size_t file);
static const attack attacks[] = {rewrite, rewrite_end, shorten,   lengthen,        replace,
                                 swap,    make_link,   make_pipe, swap_directories};
enum { ATTACKS = sizeof attacks / sizeof attacks[0] };

static void restore_files(const char *directory, uint8_t *const *content) {
    for (size_t i = 0; i < FILES; i++) {
        char path[200];
        struct stat st;
        (void)snprintf(path, sizeof path, "%s/%s", directory, files[i].name);
        if (lstat(in_folder(path), &st) != 0 || !S_ISREG(st.st_mode)) {
            (void)unlink(in_folder(path));
        }
        write_at(in_folder(path), content[i], files[i].size, 0);
        (void)!truncate(in_folder(path), (off_t)files[i].size);
    }
}

static void restore(void) {
    if (access(in_folder("evil/mark"), F_OK) != 0) {
        swap_directories(0);
    }
    restore_files("model", good);
}

/* ---- the loader, stopped ------------------------------------------------------------------ */

static struct {
    bool armed;
    atomic_uint calls;
    unsigned at; /* the call that is attacked */
    bool after;  /* once the call is made */
    attack attack;
    size_t file;
} trap;

static bool springs(void) {
    return trap.armed && atomic_fetch_add(&trap.calls, 1) + 1 == trap.at;
}

ssize_t __real_pread64(int fd, void *data, size_t length, off_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t length, off_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t length, off_t offset) {
    bool now = springs();
    if (now && !trap.after) {
        trap.attack(trap.file);
    }
    ssize_t got = __real_pread64(fd, data, length, offset);
    if (now && trap.after) {
        trap.attack(trap.file);
    }
    return got;
}

int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st) {
    bool now = springs();
    if (now && !trap.after) {
        trap.attack(trap.file);
    }
    int result = __real_fstat64(fd, st);
    if (now && trap.after) {
        trap.attack(trap.file);
    }
    return result;
}

/* ---- what comes out ------------------------------------------------------------------------ */

static unsigned handed_out;
static unsigned refused;

static void check(size_t file, const void *data, size_t length) {
    uint8_t digest[EVP_MAX_MD_SIZE];
    assert_int_equal(length, files[file].size);
    assert_int_equal(EVP_Digest(data, length, digest, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(digest, digests[file], DIGEST);
    handed_out++;
}

static void check_error(hm_status status, hm_error **error) {
    if (status != HM_REFUSED && status != HM_UNDECIDED) {
        fail_msg("%d: %s", (int)status, hm_error_message(*error));
    }
    assert_non_null(*error);
    hm_error_free(error);
    refused++;
}

static void try_map(hm_view *view, size_t file, size_t index) {
    hm_error *error = NULL;
    const void *data = NULL;
    uint64_t length = 0;
    hm_status status = hm_view_map(view, index, &data, &length, &error);
    if (status == HM_OK) {
        check(file, data, (size_t)length);
    } else {
        check_error(status, &error);
    }
}

static void try_fd(hm_view *view, size_t file, size_t index) {
    hm_error *error = NULL;
    int fd = -1;
    hm_status status = hm_view_fd(view, index, &fd, &error);
    if (status == HM_OK) {
        uint8_t *data = malloc(files[file].size + 1);
        ssize_t length = read(fd, data, files[file].size + 1);
        check(file, data, (size_t)length);
        free(data);
        (void)close(fd);
    } else {
        check_error(status, &error);
    }
}

static void read_in_pieces(hm_view *view, size_t file, size_t index, size_t piece) {
    hm_error *error = NULL;
    size_t size = (size_t)hm_view_size(view, index);
    uint8_t *data = malloc(size + 1);
    hm_status status = HM_OK;
    for (size_t done = 0; status == HM_OK && done < size;) {
        size_t length = size - done < piece ? size - done : piece;
        status = hm_view_read(view, index, done, data + done, length, NULL, &error);
        /* A piece that was handed out is good, whatever comes of the others. */
        assert_true(status != HM_OK || (done + length <= files[file].size &&
                                        memcmp(data + done, good[file] + done, length) == 0));
        done += length;
    }
    if (status == HM_OK) {
        check(file, data, size);
    } else {
        check_error(status, &error);
    }
    free(data);
}

/* Shards by themselves. */
static void try_read(hm_view *view, size_t file, size_t index) {
    read_in_pieces(view, file, index, 100000);
}

static void try_read_whole(hm_view *view, size_t file, size_t index) {
    read_in_pieces(view, file, index, SIZE_MAX);
}

typedef void (*way)(hm_view *view, size_t file, size_t index);
static const way ways[] = {try_map, try_fd, try_read, try_read_whole};
enum { WAYS = sizeof ways / sizeof ways[0] };

static void load(const hm_policy *policy, way how) {
    hm_error *error = NULL;
    hm_view *view = NULL;
    hm_model *model = NULL;
    hm_status status = hm_model_open(in_folder("model"), &model, &error);
    if (status == HM_OK) {
        status = hm_view_open(model, policy, NULL, &view, NULL, &error);
    }
    if (status != HM_OK) {
        check_error(status, &error);
    }
    for (size_t i = 0; i < FILES && view != NULL; i++) {
        size_t index = hm_view_find(view, files[i].name);
        assert_true(index < hm_view_count(view));
        how(view, i, index);
    }
    hm_view_close(&view);
    hm_model_close(&model);
}

/* ---- fixtures ----------------------------------------------------------------------------- */

static hm_policy *policy;

static void sign(uint64_t shard_size) {
    hm_sign_options options = HM_SIGN_OPTIONS_INIT;
    hm_signer *signer = NULL;
    hm_model *model = NULL;
    options.shard_size = shard_size;
    assert_int_equal(hm_model_open(in_folder("model"), &model, NULL), HM_OK);
    assert_int_equal(hm_signer_open(in_folder("key.pem"), NULL, &signer, NULL), HM_OK);
    assert_int_equal(hm_sign(&model, 1, signer, &options, NULL, NULL), HM_OK);
    hm_signer_close(&signer);
    hm_model_close(&model);
}

/* The other directory has good signatures, too, and bad files. */
static void copy_signature(void) {
    char command[512];
    (void)snprintf(command, sizeof command, "cp %s/model/model.sig %s/evil/", folder, folder);
    assert_int_equal(system(command), 0);
}

static int make_model(void **state) {
    hm_keygen_options options = HM_KEYGEN_OPTIONS_INIT;
    (void)state;
    strcpy(folder, "/tmp/hallmark-attack-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(mkdir(in_folder("model"), 0755), 0);
    assert_int_equal(mkdir(in_folder("evil"), 0755), 0);
    for (size_t i = 0; i < FILES; i++) {
        good[i] = malloc(files[i].size);
        evil[i] = malloc(files[i].size);
        for (size_t k = 0; k < files[i].size; k++) {
            good[i][k] = (uint8_t)(k * (2 * i + 3) ^ k >> 8);
            evil[i][k] = (uint8_t)(good[i][k] ^ 0x5A);
        }
        assert_int_equal(EVP_Digest(good[i], files[i].size, digests[i], NULL, EVP_sha256(), NULL),
                         1);
    }
    restore_files("model", good);
    restore_files("evil", evil);
    options.flags = HM_KEYGEN_PLAIN;
    assert_int_equal(hm_key_generate(in_folder("key.pem"), NULL, &options, NULL), HM_OK);
    assert_int_equal(hm_policy_new(&policy, NULL), HM_OK);
    assert_int_equal(hm_policy_add_key(policy, in_folder("key.pub"), NULL), HM_OK);
    return 0;
}

static int remove_model(void **state) {
    char command[128];
    (void)state;
    hm_policy_free(&policy);
    for (size_t i = 0; i < FILES; i++) {
        free(good[i]);
        free(evil[i]);
    }
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* ---- the tests ---------------------------------------------------------------------------- */

static void load_attacked(unsigned at, bool after, size_t number, size_t file, size_t how) {
    trap.at = at;
    trap.after = after;
    trap.attack = attacks[number];
    trap.file = file;
    atomic_store(&trap.calls, 0);
    trap.armed = true;
    load(policy, ways[how]);
    trap.armed = false;
    restore();
}

/* `mark` tells the directories apart: it is in the one that is not the model. */
static void attack_every_call(uint64_t shard_size) {
    sign(shard_size);
    copy_signature();
    write_at(in_folder("evil/mark"), "", 0, 0);
    handed_out = refused = 0;
    for (size_t how = 0; how < WAYS; how++) {
        load_attacked(0, false, 0, 0, how); /* counts */
        unsigned calls = atomic_load(&trap.calls);
        assert_true(calls > 4);
        for (unsigned at = 1; at <= calls; at++) {
            for (size_t number = 0; number < ATTACKS; number++) {
                load_attacked(at, number % 2 == at % 2, number, (at + number) % FILES, how);
            }
        }
    }
    assert_true(handed_out > 100 && refused > 100);
    print_message("handed out %u, refused %u\n", handed_out, refused);
}

static void test_stopped_at_every_read_of_files(void **state) {
    (void)state;
    attack_every_call(0);
}

static void test_stopped_at_every_read_of_shards(void **state) {
    (void)state;
    attack_every_call(SHARD);
}

/* Never ends by itself. Good now and then, or nothing would ever be handed out. */
static void attack_forever(void) {
    unsigned seed = 42;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)close(STDOUT_FILENO);
    (void)close(STDERR_FILENO);
    for (;;) {
        struct timespec moment = {.tv_nsec = rand_r(&seed) % 2000000};
        attacks[(size_t)rand_r(&seed) % ATTACKS]((size_t)rand_r(&seed) % FILES);
        if (rand_r(&seed) % 2 == 0) {
            (void)nanosleep(&moment, NULL);
        }
        restore();
        moment.tv_nsec = rand_r(&seed) % 6000000;
        (void)nanosleep(&moment, NULL);
    }
}

static pid_t attacker;

/* However the test ended. */
static int end_attack(void **state) {
    (void)state;
    trap.armed = false;
    if (attacker > 0) {
        (void)kill(attacker, SIGKILL);
        (void)waitpid(attacker, NULL, 0);
        attacker = 0;
    }
    restore();
    return 0;
}

static void race(uint64_t shard_size, unsigned loads) {
    sign(shard_size);
    copy_signature();
    write_at(in_folder("evil/mark"), "", 0, 0);
    handed_out = refused = 0;
    attacker = fork();
    assert_true(attacker >= 0);
    if (attacker == 0) {
        attack_forever();
    }
    for (unsigned i = 0; i < loads; i++) {
        load(policy, ways[i % WAYS]);
    }
    print_message("handed out %u, refused %u\n", handed_out, refused);
    assert_true(handed_out > loads / 20 && refused > loads / 20);
}

static unsigned loads_wanted(void) {
    const char *text = getenv("HALLMARK_RACES");
    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : 1500;
}

static void test_racing_a_writer_with_files(void **state) {
    (void)state;
    race(0, loads_wanted());
}

static void test_racing_a_writer_with_shards(void **state) {
    (void)state;
    race(SHARD, loads_wanted());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_stopped_at_every_read_of_files, end_attack),
        cmocka_unit_test_teardown(test_stopped_at_every_read_of_shards, end_attack),
        cmocka_unit_test_teardown(test_racing_a_writer_with_files, end_attack),
        cmocka_unit_test_teardown(test_racing_a_writer_with_shards, end_attack),
    };
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
