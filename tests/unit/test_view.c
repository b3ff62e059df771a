/* SPDX-License-Identifier: Apache-2.0 */
/* Verified views, through the public header: what they hand out, and what they refuse. */
#include "hallmark.h"
#include "record_report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHARD = 64 * 1024, BIG = 3 * 1024 * 1024 + 12345, SMALL = 777 };

/* ---- fixtures --------------------------------------------------------------------------- */

static char folder[64];

static const char *in_folder(const char *name) {
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* The same bytes for the same name, none of them like those beside them. */
static uint8_t byte_at(const char *name, size_t offset) {
    uint64_t x = (uint64_t)(unsigned char)name[0] * UINT64_C(0x9E3779B97F4A7C15) + offset;
    x ^= x >> 31;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    return (uint8_t)(x >> 56);
}

static uint8_t *content(const char *name, size_t size) {
    uint8_t *data = malloc(size + 1);
    assert_non_null(data);
    for (size_t i = 0; i < size; i++) {
        data[i] = byte_at(name, i);
    }
    return data;
}

static void write_bytes(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_file(const char *name, size_t size) {
    char path[512];
    uint8_t *data = content(name, size);
    (void)snprintf(path, sizeof path, "%s/model/%s", folder, name);
    write_bytes(path, data, size);
    free(data);
}

static void write_text(const char *path, const char *text) {
    write_bytes(path, text, strlen(text));
}

static void new_key(const char *name) {
    hm_keygen_options options = HM_KEYGEN_OPTIONS_INIT;
    options.flags = HM_KEYGEN_PLAIN;
    assert_int_equal(hm_key_generate(in_folder(name), NULL, &options, NULL), HM_OK);
}

static int make_model(void **state) {
    (void)state;
    strcpy(folder, "/tmp/hallmark-view-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(mkdir(in_folder("model"), 0755), 0);
    assert_int_equal(mkdir(in_folder("model/sub"), 0755), 0);
    write_file("big", BIG);
    write_file("config", SMALL);
    write_file("sub/tiny", 1);
    new_key("a.pem");
    new_key("b.pem");
    return 0;
}

static int remove_model(void **state) {
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static hm_model *model_of(const char *name) {
    hm_model *model = NULL;
    assert_int_equal(hm_model_open(in_folder(name), &model, NULL), HM_OK);
    return model;
}

static void sign_as(const char *key, uint64_t shard_size, const char *signature,
                    const char *metadata) {
    hm_sign_options options = HM_SIGN_OPTIONS_INIT;
    const char *others[] = {"a.sig", "b.sig", "a.provenance.json", "model.sig"};
    hm_error *error = NULL;
    hm_signer *signer = NULL;
    hm_model *model = model_of("model");
    options.shard_size = shard_size;
    options.metadata = metadata;
    options.ignore = others;
    options.ignore_count = 4;
    options.signature = signature != NULL ? in_folder(signature) : NULL;
    assert_int_equal(hm_signer_open(in_folder(key), NULL, &signer, NULL), HM_OK);
    if (hm_sign(&model, 1, signer, &options, NULL, &error) != HM_OK) {
        fail_msg("%s", hm_error_message(error));
    }
    hm_signer_close(&signer);
    hm_model_close(&model);
}

static void sign(uint64_t shard_size) {
    sign_as("a.pem", shard_size, NULL, NULL);
}

static hm_policy *policy_by_key(void) {
    hm_policy *policy = NULL;
    assert_int_equal(hm_policy_new(&policy, NULL), HM_OK);
    assert_int_equal(hm_policy_add_key(policy, in_folder("a.pub"), NULL), HM_OK);
    return policy;
}

/* A policy file with one rule, for every model. */
static hm_policy *policy_by_file(const char *rule) {
    char text[2048];
    hm_policy *policy = NULL;
    hm_error *error = NULL;
    (void)snprintf(text, sizeof text,
                   "version: 1\nsigners:\n  a: {keys: [a.pub]}\n  b: {keys: [b.pub]}\n"
                   "models:\n  - name: \"*\"\n%s",
                   rule);
    write_text(in_folder("policy.yaml"), text);
    assert_int_equal(chmod(in_folder("policy.yaml"), 0644), 0);
    if (hm_policy_load(in_folder("policy.yaml"), &policy, &error) != HM_OK) {
        fail_msg("%s", hm_error_message(error));
    }
    return policy;
}

typedef struct opened {
    hm_model *model;
    hm_view *view;
    hm_report *report;
    hm_error *error;
} opened;

static hm_status try_open(opened *o, hm_policy *policy, const hm_view_options *options) {
    *o = (opened){.model = model_of("model")};
    hm_status status = hm_view_open(o->model, policy, options, &o->view, &o->report, &o->error);
    assert_true((status == HM_OK) == (o->view != NULL));
    assert_true((status == HM_OK) == (o->error == NULL));
    hm_policy_free(&policy); /* not needed for reading */
    return status;
}

static void close_all(opened *o) {
    hm_view_close(&o->view);
    hm_report_free(&o->report);
    hm_error_free(&o->error);
    hm_model_close(&o->model);
}

static opened open_good(hm_policy *policy) {
    opened o;
    if (try_open(&o, policy, NULL) != HM_OK) {
        fail_msg("%s", hm_error_message(o.error));
    }
    return o;
}

static void assert_refused(opened *o, hm_policy *policy, hm_reason reason) {
    assert_int_equal(try_open(o, policy, NULL), HM_REFUSED);
    assert_int_equal(hm_error_reason(o->error), reason);
    close_all(o);
}

static size_t index_of(const opened *o, const char *name) {
    size_t index = hm_view_find(o->view, name);
    assert_true(index < hm_view_count(o->view));
    assert_string_equal(hm_view_name(o->view, index), name);
    return index;
}

static void assert_good(hm_status status, hm_error **error) {
    if (status != HM_OK) {
        fail_msg("%s", hm_error_message(*error));
    }
}

static void assert_content(const opened *o, const char *name, size_t size) {
    size_t index = index_of(o, name);
    const void *data = NULL;
    uint64_t length = 0;
    hm_error *error = NULL;
    assert_int_equal(hm_view_size(o->view, index), size);
    assert_good(hm_view_map(o->view, index, &data, &length, &error), &error);
    uint8_t *expected = content(name, size);
    assert_int_equal(length, size);
    assert_memory_equal(data, expected, size);
    free(expected);
}

static void assert_mismatch(hm_status status, hm_error **error, const char *label) {
    assert_int_equal(status, HM_REFUSED);
    assert_int_equal(hm_error_reason(*error), HM_REASON_DIGEST_MISMATCH);
    assert_non_null(strstr(hm_error_message(*error), label));
    hm_error_free(error);
}

/* Changes one byte, and leaves the size. */
static void poke(const char *name, off_t offset) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/model/%s", folder, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    (void)close(fd);
}

static uint64_t bytes_read(void) {
    char line[128];
    unsigned long long bytes = 0;
    FILE *file = fopen("/proc/self/io", "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    assert_int_equal(sscanf(line, "rchar: %llu", &bytes), 1);
    (void)fclose(file);
    return bytes;
}

/* ---- whole files ------------------------------------------------------------------------ */

static void test_what_was_signed_is_handed_out(void **state) {
    (void)state;
    static const uint64_t layouts[] = {0, SHARD, BIG, UINT64_C(1) << 40};
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        sign(layouts[i]);
        opened o = open_good(policy_by_key());
        assert_int_equal(hm_view_count(o.view), 3);
        assert_int_equal(hm_view_lazy(o.view, index_of(&o, "big")), layouts[i] != 0);
        assert_int_equal(hm_view_find(o.view, "nothing"), SIZE_MAX);
        assert_content(&o, "big", BIG);
        assert_content(&o, "config", SMALL);
        assert_content(&o, "sub/tiny", 1);
        close_all(&o);
    }
}

static void test_opening_reads_no_contents(void **state) {
    (void)state;
    sign(SHARD);
    uint64_t before = bytes_read();
    opened o = open_good(policy_by_key());
    assert_true(bytes_read() - before < BIG / 4);
    before = bytes_read();
    assert_content(&o, "big", BIG);
    assert_true(bytes_read() - before < BIG + 65536); /* once */
    before = bytes_read();
    assert_content(&o, "big", BIG);
    assert_true(bytes_read() - before < 4096);
    close_all(&o);
}

/* The signature says what the names are; whatever else is there is refused before it is read. */
static void test_names_are_compared_at_opening(void **state) {
    opened o;
    (void)state;
    sign(0);
    write_file("extra", 10);
    assert_refused(&o, policy_by_key(), HM_REASON_EXTRA_FILE);
    assert_int_equal(unlink(in_folder("model/extra")), 0);
    assert_int_equal(unlink(in_folder("model/config")), 0);
    assert_refused(&o, policy_by_key(), HM_REASON_MISSING_FILE);
    write_file("config", SMALL);
}

static void test_sizes_are_compared_at_opening(void **state) {
    opened o;
    (void)state;
    sign(SHARD);
    static const size_t sizes[] = {BIG - 1, BIG + 1, BIG - SHARD, BIG + SHARD, 1, 0};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(truncate(in_folder("model/big"), (off_t)sizes[i]), 0);
        assert_int_equal(try_open(&o, policy_by_key(), NULL), HM_REFUSED);
        assert_true(hm_error_reason(o.error) == HM_REASON_DIGEST_MISMATCH ||
                    hm_error_reason(o.error) == HM_REASON_MISSING_FILE);
        close_all(&o);
    }
    write_file("big", BIG);
}

static void test_nothing_comes_without_a_good_signature(void **state) {
    opened o;
    (void)state;
    (void)unlink(in_folder("model/model.sig"));
    assert_refused(&o, policy_by_key(), HM_REASON_UNSIGNED);
    sign_as("b.pem", 0, NULL, NULL);
    assert_refused(&o, policy_by_key(), HM_REASON_UNTRUSTED_SIGNER);
}

/* Letting a model through unsigned lets nobody view it. */
static void test_let_through_gives_no_view(void **state) {
    opened o;
    (void)state;
    (void)unlink(in_folder("model/model.sig"));
    assert_refused(&o, policy_by_file("    signers: [a]\n    unsigned: warn\n"),
                   HM_REASON_UNSIGNED);
}

static void test_a_changed_file_is_refused_when_it_is_read(void **state) {
    hm_error *error = NULL;
    (void)state;
    static const uint64_t layouts[] = {0, SHARD};
    for (size_t i = 0; i < 2; i++) {
        sign(layouts[i]);
        poke("big", 2 * SHARD + 5);
        opened o = open_good(policy_by_key());
        int fd = -1;
        const char *label = layouts[i] == 0 ? "big in" : "big:131072:196608";
        assert_mismatch(hm_view_fd(o.view, index_of(&o, "big"), &fd, &error), &error, label);
        assert_int_equal(fd, -1);
        assert_content(&o, "config", SMALL); /* what is good is still to be had */
        assert_mismatch(hm_view_load(o.view, NULL, 0, NULL, &error), &error, label);
        poke("big", 2 * SHARD + 5);
        assert_content(&o, "big", BIG); /* once it is what was signed, too */
        close_all(&o);
    }
}

static void test_a_file_of_another_kind_or_size_is_refused(void **state) {
    hm_error *error = NULL;
    (void)state;
    sign(0);
    opened o = open_good(policy_by_key());
    size_t big = index_of(&o, "big");
    assert_int_equal(rename(in_folder("model/big"), in_folder("aside")), 0);
    for (int kind = 0; kind < 4; kind++) {
        if (kind == 1) {
            assert_int_equal(symlink(in_folder("aside"), in_folder("model/big")), 0);
        } else if (kind == 2) {
            assert_int_equal(mkfifo(in_folder("model/big"), 0600), 0);
        } else if (kind == 3) {
            write_file("big", BIG + 1);
        }
        assert_int_equal(hm_view_load(o.view, &big, 1, NULL, &error), HM_REFUSED);
        assert_int_equal(hm_error_reason(error), HM_REASON_CHANGED_WHILE_READING);
        hm_error_free(&error);
        (void)unlink(in_folder("model/big"));
    }
    assert_int_equal(rename(in_folder("aside"), in_folder("model/big")), 0);
    assert_content(&o, "big", BIG);
    close_all(&o);
}

/* Only the bytes count: a copy in the file's place is as good. */
static void test_the_same_bytes_in_another_file_are_good(void **state) {
    (void)state;
    sign(SHARD);
    opened o = open_good(policy_by_key());
    assert_int_equal(unlink(in_folder("model/big")), 0);
    write_file("big", BIG);
    assert_content(&o, "big", BIG);
    close_all(&o);
}

static void test_empty_files(void **state) {
    (void)state;
    write_file("empty", 0);
    static const uint64_t layouts[] = {0, SHARD};
    for (size_t i = 0; i < 2; i++) {
        int fd = -1;
        struct stat st;
        sign(layouts[i]);
        opened o = open_good(policy_by_key());
        assert_content(&o, "empty", 0);
        assert_int_equal(hm_view_fd(o.view, index_of(&o, "empty"), &fd, NULL), HM_OK);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, 0);
        (void)close(fd);
        close_all(&o);
    }
    /* What was empty is no longer, or the other way round. */
    opened o;
    write_file("empty", 1);
    assert_int_equal(try_open(&o, policy_by_key(), NULL), HM_REFUSED);
    close_all(&o);
    write_file("empty", 0);
    sign(0);
    write_file("config", 0);
    assert_refused(&o, policy_by_key(), HM_REASON_DIGEST_MISMATCH);
    write_file("config", SMALL);
    assert_int_equal(unlink(in_folder("model/empty")), 0);
}

/* ---- memory that nobody can change -------------------------------------------------------- */

static void assert_sealed(int fd, size_t size) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int seals = fcntl(fd, F_GET_SEALS);
    assert_int_equal(seals & (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                     F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    int again = open(path, O_RDWR | O_CLOEXEC);
    if (again >= 0) {
        assert_int_equal(pwrite(again, "x", 1, 0), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(ftruncate(again, 0), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(ftruncate(again, (off_t)size + 1), -1);
        assert_int_equal(errno, EPERM);
        if (size > 0) {
            assert_true(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) ==
                        MAP_FAILED);
        }
        (void)close(again);
    }
}

static void test_memory_is_sealed(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t size;
    } files[] = {{"big", BIG}, {"config", SMALL}, {"sub/tiny", 1}};
    sign(0);
    opened o = open_good(policy_by_key());
    for (size_t i = 0; i < 3; i++) {
        int fd = -1;
        int second = -1;
        uint8_t bytes[2] = {0};
        const void *data;
        uint64_t length;
        size_t index = index_of(&o, files[i].name);
        assert_int_equal(hm_view_fd(o.view, index, &fd, NULL), HM_OK);
        assert_int_equal(hm_view_fd(o.view, index, &second, NULL), HM_OK);
        assert_sealed(fd, files[i].size);
        /* Each has its own offset. */
        assert_int_equal(read(fd, bytes, 1), 1);
        assert_int_equal(read(second, bytes + 1, 1), 1);
        assert_int_equal(bytes[0], byte_at(files[i].name, 0));
        assert_int_equal(bytes[0], bytes[1]);
        assert_int_equal(lseek(fd, 0, SEEK_END), files[i].size);
        assert_int_equal(hm_view_map(o.view, index, &data, &length, NULL), HM_OK);
        uintptr_t page = (uintptr_t)data / 4096 * 4096;
        assert_int_equal(mprotect((void *)page, 4096, PROT_READ | PROT_WRITE), -1);
        (void)close(fd);
        (void)close(second);
    }
    close_all(&o);
}

/* Another process of the user finds the memory in /proc while it is being filled. */
static bool tamper(void *context, uint64_t done, uint64_t total) {
    unsigned *found = context;
    (void)done;
    (void)total;
    for (int fd = 0; fd < 256; fd++) {
        char path[64];
        char target[64] = "";
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) < 0 ||
            strncmp(target, "/memfd:hallmark", 15) != 0) {
            continue;
        }
        int other = open(path, O_RDWR | O_CLOEXEC);
        if (other >= 0) {
            ++*found;
            assert_int_equal(pwrite(other, "x", 1, 0), -1);
            assert_int_equal(errno, EPERM);
            assert_int_equal(ftruncate(other, 0), -1);
            assert_int_equal(errno, EPERM);
            assert_true(mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0) == MAP_FAILED);
            (void)close(other);
        }
    }
    return true;
}

static void test_nobody_else_can_write_while_it_is_filled(void **state) {
    unsigned found = 0;
    hm_verify_options verify = HM_VERIFY_OPTIONS_INIT;
    hm_view_options options = HM_VIEW_OPTIONS_INIT;
    hm_view_read_options how = HM_VIEW_READ_OPTIONS_INIT;
    opened o;
    (void)state;
    sign(SHARD);
    how.progress = tamper;
    how.progress_context = &found;
    verify.jobs = 1;
    options.verify = &verify;
    assert_int_equal(try_open(&o, policy_by_key(), &options), HM_OK);
    assert_int_equal(hm_view_load(o.view, NULL, 0, &how, NULL), HM_OK);
    assert_true(found >= 2);
    close_all(&o);
}

static size_t open_descriptors(void) {
    size_t count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    }
    return count;
}

static void test_a_descriptor_outlives_the_view(void **state) {
    (void)state;
    sign(SHARD);
    opened o = open_good(policy_by_key());
    int fd = -1;
    uint8_t byte;
    assert_int_equal(hm_view_fd(o.view, index_of(&o, "big"), &fd, NULL), HM_OK);
    close_all(&o);
    assert_int_equal(pread(fd, &byte, 1, BIG - 1), 1);
    assert_int_equal(byte, byte_at("big", BIG - 1));
    (void)close(fd);
}

static void test_many_small_files_take_no_descriptors(void **state) {
    (void)state;
    struct rlimit old;
    for (int i = 0; i < 200; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "part-%03d", i);
        write_file(name, 64 * (size_t)(i + 1));
    }
    sign(0);
    opened o = open_good(policy_by_key());
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    struct rlimit few = {.rlim_cur = 100, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    size_t before = open_descriptors();
    for (size_t i = 0; i < 100; i++) { /* one by one, and then the rest at once */
        assert_int_equal(hm_view_load(o.view, &i, 1, NULL, NULL), HM_OK);
    }
    assert_int_equal(hm_view_load(o.view, NULL, 0, NULL, NULL), HM_OK);
    assert_true(open_descriptors() <= before + 1);
    assert_content(&o, "part-150", 64 * 151);
    close_all(&o);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    for (int i = 0; i < 200; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "model/part-%03d", i);
        assert_int_equal(unlink(in_folder(name)), 0);
    }
}

static void test_nothing_leaks(void **state) {
    (void)state;
    sign(SHARD);
    size_t before = open_descriptors();
    for (int i = 0; i < 300; i++) {
        opened o = open_good(policy_by_key());
        uint8_t bytes[100];
        int fd = -1;
        assert_int_equal(hm_view_read(o.view, 0, 1000, bytes, sizeof bytes, NULL, NULL), HM_OK);
        assert_int_equal(hm_view_fd(o.view, (size_t)i % 3, &fd, NULL), HM_OK);
        (void)close(fd);
        close_all(&o);
    }
    assert_int_equal(open_descriptors(), before);
}

static void test_a_child_reads_what_is_loaded(void **state) {
    (void)state;
    sign(SHARD);
    opened o = open_good(policy_by_key());
    assert_int_equal(hm_view_load(o.view, NULL, 0, NULL, NULL), HM_OK);
    pid_t child = fork();
    if (child == 0) {
        const void *data = NULL;
        uint64_t length = 0;
        bool good =
            hm_view_map(o.view, hm_view_find(o.view, "big"), &data, &length, NULL) == HM_OK &&
            ((const uint8_t *)data)[BIG - 1] == byte_at("big", BIG - 1);
        _exit(good ? 0 : 1);
    }
    int ended;
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    assert_content(&o, "big", BIG);
    close_all(&o);
}

/* ---- what cannot be had ------------------------------------------------------------------- */

static bool stop(void *context, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    ++*(unsigned *)context;
    return false;
}

static void test_loading_can_be_stopped(void **state) {
    static const uint64_t layouts[] = {0, SHARD};
    static const uint8_t zeros[BIG];
    hm_error *error = NULL;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        unsigned calls = 0;
        hm_view_read_options how = HM_VIEW_READ_OPTIONS_INIT;
        how.progress = stop;
        how.progress_context = &calls;
        sign(layouts[i]);
        opened o = open_good(policy_by_key());
        size_t big = index_of(&o, "big");
        assert_int_equal(hm_view_load(o.view, NULL, 0, &how, &error), HM_UNDECIDED);
        assert_true(calls > 0);
        hm_error_free(&error);
        uint8_t *target = malloc(BIG);
        memset(target, 0x77, BIG);
        assert_int_equal(hm_view_read(o.view, big, 0, target, BIG, &how, &error), HM_UNDECIDED);
        assert_memory_equal(target, zeros, BIG);
        hm_error_free(&error);
        free(target);
        assert_content(&o, "big", BIG); /* others are not stopped by that */
        close_all(&o);
    }
}

static void test_the_limit_on_files_is_told(void **state) {
    struct rlimit old;
    hm_error *error = NULL;
    (void)state;
    sign(0);
    opened o = open_good(policy_by_key());
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit small = {.rlim_cur = 1000000, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(hm_view_load(o.view, NULL, 0, NULL, &error), HM_UNDECIDED);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_non_null(strstr(hm_error_message(error), "limit on the size of files"));
    hm_error_free(&error);
    assert_content(&o, "big", BIG);
    close_all(&o);
}

/* A file that is larger than any memory: what the signature says of it does not matter yet. */
static void test_what_memory_it_takes_is_told_before(void **state) {
    hm_error *error = NULL;
    (void)state;
    sign(0);
    assert_int_equal(truncate(in_folder("model/big"), (off_t)1 << 43), 0);
    opened o = open_good(policy_by_key());
    uint64_t before = bytes_read();
    assert_int_equal(hm_view_load(o.view, NULL, 0, NULL, &error), HM_UNDECIDED);
    assert_true(bytes_read() - before < 1 << 20);
    assert_non_null(strstr(hm_error_message(error), "needs 8.0 TiB of memory"));
    hm_error_free(&error);
    assert_content(&o, "config", SMALL);
    close_all(&o);
    assert_int_equal(unlink(in_folder("model/big")), 0);
    write_file("big", BIG);
}

static void test_wrong_calls(void **state) {
    uint8_t bytes[10];
    const void *data;
    uint64_t length;
    int fd;
    size_t wrong = 3;
    hm_view_options options = HM_VIEW_OPTIONS_INIT;
    opened o;
    (void)state;
    sign(SHARD);
    options.flags = 2;
    assert_int_equal(try_open(&o, policy_by_key(), &options), HM_USAGE);
    close_all(&o);
    o = open_good(policy_by_key());
    size_t big = index_of(&o, "big");
    assert_int_equal(hm_view_load(o.view, &wrong, 1, NULL, NULL), HM_USAGE);
    assert_int_equal(hm_view_fd(o.view, wrong, &fd, NULL), HM_USAGE);
    assert_int_equal(hm_view_map(o.view, SIZE_MAX, &data, &length, NULL), HM_USAGE);
    assert_int_equal(hm_view_read(o.view, wrong, 0, bytes, 1, NULL, NULL), HM_USAGE);
    assert_int_equal(hm_view_read(o.view, big, BIG - 9, bytes, 10, NULL, NULL), HM_USAGE);
    assert_int_equal(hm_view_read(o.view, big, UINT64_MAX, bytes, 10, NULL, NULL), HM_USAGE);
    assert_int_equal(hm_view_read(o.view, big, BIG, bytes, 0, NULL, NULL), HM_OK);
    assert_string_equal(hm_view_name(o.view, wrong), "");
    assert_int_equal(hm_view_size(o.view, wrong), 0);
    close_all(&o);
}

/* ---- shards ------------------------------------------------------------------------------ */

static void assert_read(const opened *o, size_t index, size_t offset, size_t length) {
    uint8_t *target = malloc(length + 2);
    hm_error *error = NULL;
    assert_non_null(target);
    target[0] = target[length + 1] = 0xA5;
    assert_good(hm_view_read(o->view, index, offset, target + 1, length, NULL, &error), &error);
    for (size_t i = 0; i < length; i++) {
        if (target[1 + i] != byte_at("big", offset + i)) {
            fail_msg("byte %zu of %zu at %zu", i, length, offset);
        }
    }
    assert_int_equal(target[0], 0xA5);
    assert_int_equal(target[length + 1], 0xA5);
    free(target);
}

static void read_all_over(const opened *o) {
    static const size_t offsets[] = {0, 1, SHARD - 1, SHARD, SHARD + 1, 3 * SHARD, BIG - 2};
    static const size_t lengths[] = {1, 2, SHARD - 1, SHARD, SHARD + 1, 5 * SHARD, BIG};
    size_t big = index_of(o, "big");
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
            size_t left = BIG - offsets[i];
            assert_read(o, big, offsets[i], lengths[k] < left ? lengths[k] : left);
        }
    }
}

static void test_any_part_can_be_read(void **state) {
    hm_view_options options = HM_VIEW_OPTIONS_INIT;
    (void)state;
    sign(SHARD);
    static const uint64_t remember[] = {0, 1, 3 * SHARD};
    for (size_t i = 0; i < 3; i++) {
        opened o;
        options.remember = remember[i];
        assert_int_equal(try_open(&o, policy_by_key(), &options), HM_OK);
        read_all_over(&o);
        assert_int_equal(hm_view_load(o.view, NULL, 0, NULL, NULL), HM_OK);
        read_all_over(&o);
        close_all(&o);
    }
}

static void test_only_what_is_needed_is_read(void **state) {
    (void)state;
    sign(SHARD);
    opened o = open_good(policy_by_key());
    size_t big = index_of(&o, "big");
    uint64_t before = bytes_read();
    assert_false(hm_view_ready(o.view, big, 10 * SHARD, 1));
    assert_read(&o, big, 10 * SHARD + 7, 2 * SHARD);
    uint64_t once = bytes_read() - before;
    assert_true(once >= 3 * SHARD && once < 3 * SHARD + 32768);
    before = bytes_read();
    assert_true(hm_view_ready(o.view, big, 10 * SHARD + 9, 100));
    assert_read(&o, big, 10 * SHARD + 9, 100); /* it is remembered */
    assert_true(bytes_read() - before < 32768);
    assert_false(hm_view_ready(o.view, big, 9 * SHARD, SHARD + 1));
    assert_false(hm_view_ready(o.view, big, 12 * SHARD + 7, SHARD));
    assert_true(hm_view_ready(o.view, big, BIG, 0));
    assert_false(hm_view_ready(o.view, big, BIG - 1, 2));
    assert_false(hm_view_ready(o.view, big, UINT64_MAX, 2));
    assert_good(hm_view_load(o.view, &big, 1, NULL, NULL), NULL);
    assert_true(hm_view_ready(o.view, big, 0, BIG));
    close_all(&o);
}

static void test_a_bad_shard_gives_nothing(void **state) {
    hm_error *error = NULL;
    (void)state;
    sign(SHARD);
    poke("big", 3 * SHARD + 17);
    opened o = open_good(policy_by_key());
    size_t big = index_of(&o, "big");
    uint8_t *target = malloc(BIG);
    static const uint8_t zeros[BIG];
    const char *label = "big:196608:262144";
    memset(target, 0x77, BIG);
    assert_mismatch(hm_view_read(o.view, big, 0, target, BIG, NULL, &error), &error, label);
    assert_memory_equal(target, zeros, BIG);
    memset(target, 0x77, BIG);
    assert_mismatch(hm_view_read(o.view, big, 4 * SHARD - 1, target, 2, NULL, &error), &error,
                    label);
    assert_memory_equal(target, zeros, 2);
    assert_mismatch(hm_view_read(o.view, big, 3 * SHARD, target, 1, NULL, &error), &error, label);
    assert_read(&o, big, 0, 3 * SHARD);
    assert_read(&o, big, 4 * SHARD, BIG - 4 * SHARD);
    free(target);
    close_all(&o);
    poke("big", 3 * SHARD + 17);
}

/* What was forgotten is read again, and has to be good again. */
static void test_a_forgotten_shard_is_verified_again(void **state) {
    hm_view_options options = HM_VIEW_OPTIONS_INIT;
    hm_error *error = NULL;
    uint8_t byte;
    opened o;
    (void)state;
    sign(SHARD);
    options.remember = 1;
    assert_int_equal(try_open(&o, policy_by_key(), &options), HM_OK);
    size_t big = index_of(&o, "big");
    assert_read(&o, big, 5, 10);
    poke("big", 6);
    assert_read(&o, big, 5, 10); /* from what is remembered */
    assert_read(&o, big, SHARD + 5, 10);
    assert_mismatch(hm_view_read(o.view, big, 5, &byte, 1, NULL, &error), &error, "big:0:65536");
    poke("big", 6);
    assert_read(&o, big, 5, 10);
    close_all(&o);
}

/* ---- whole files, read to where they are wanted -------------------------------------------- */

static size_t memories(void) {
    size_t count = 0;
    for (int fd = 0; fd < 256; fd++) {
        char path[64];
        char target[64] = "";
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        count += readlink(path, target, sizeof target - 1) > 0 &&
                 strncmp(target, "/memfd:hallmark", 15) == 0;
    }
    return count;
}

static void test_a_whole_file_is_read_to_where_it_is_wanted(void **state) {
    hm_error *error = NULL;
    static const uint8_t zeros[BIG];
    (void)state;
    sign(0);
    opened o = open_good(policy_by_key());
    size_t big = index_of(&o, "big");
    uint8_t *target = malloc(BIG);
    uint64_t before = bytes_read();
    assert_read(&o, big, 0, BIG);
    assert_true(bytes_read() - before < BIG + 32768);
    assert_int_equal(memories(), 0);
    poke("big", 17);
    memset(target, 0x77, BIG);
    assert_mismatch(hm_view_read(o.view, big, 0, target, BIG, NULL, &error), &error, "big");
    assert_memory_equal(target, zeros, BIG);
    poke("big", 17);
    assert_read(&o, big, 1, BIG - 1); /* a part: the file is loaded */
    assert_int_equal(memories(), 1);
    poke("big", 17);
    assert_read(&o, big, 0, BIG); /* from sealed memory */
    poke("big", 17);
    free(target);
    close_all(&o);
}

static size_t resident(void *map, size_t length) {
    unsigned char pages[1024];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t count = 0;
    assert_true(length / page < sizeof pages);
    assert_int_equal(mincore(map, length, pages), 0);
    for (size_t i = 0; i < length / page; i++) {
        count += pages[i] & 1;
    }
    return count;
}

/* Zeros, and not by writing them: of a stopped reading most was not even taken yet. */
static void test_a_failed_reading_gives_memory_back(void **state) {
    static const uint64_t layouts[] = {0, SHARD};
    static const uint8_t zeros[BIG];
    hm_error *error = NULL;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        hm_view_read_options how = HM_VIEW_READ_OPTIONS_INIT;
        how.flags = HM_VIEW_UNTOUCHED;
        sign(layouts[i]);
        opened o = open_good(policy_by_key());
        const char *label = i == 0 ? "big" : "big:0:65536";
        size_t big = index_of(&o, "big");
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        size_t length = (BIG / page + 2) * page;
        uint8_t *map =
            mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(map, MAP_FAILED);
        uint8_t *target = map + 100; /* its first and its last page are not whole */
        poke("big", 17);
        assert_mismatch(hm_view_read(o.view, big, 0, target, BIG, &how, &error), &error, label);
        assert_in_range(resident(map, length), 0, 2);
        assert_memory_equal(target, zeros, BIG);
        poke("big", 17);
        assert_good(hm_view_read(o.view, big, 0, target, BIG, &how, &error), &error);
        assert_in_range(resident(map, length), BIG / page, length / page);
        (void)munmap(map, length);
        close_all(&o);
    }
}

/* Memory that is yet to be had is asked for before anything is read, and then not touched. */
static void test_what_memory_a_target_takes_is_told_before(void **state) {
    hm_error *error = NULL;
    uint8_t byte = 0x77;
    hm_view_read_options how = HM_VIEW_READ_OPTIONS_INIT;
    (void)state;
    sign(0);
    assert_int_equal(truncate(in_folder("model/big"), (off_t)1 << 43), 0);
    opened o = open_good(policy_by_key());
    how.flags = HM_VIEW_UNTOUCHED;
    assert_int_equal(hm_view_read(o.view, index_of(&o, "big"), 0, &byte, (size_t)1 << 43, &how,
                                  &error),
                     HM_UNDECIDED);
    assert_non_null(strstr(hm_error_message(error), "needs 8.0 TiB of memory"));
    assert_int_equal(byte, 0x77);
    hm_error_free(&error);
    close_all(&o);
    assert_int_equal(unlink(in_folder("model/big")), 0);
    write_file("big", BIG);
}

/* ---- several signatures, pins, statements ------------------------------------------------- */

#define BOTH "    signers: [a, b]\n    threshold: 2\n    signatures: [a.sig, b.sig]\n"

static void sign_both(uint64_t a, uint64_t b) {
    (void)unlink(in_folder("model/model.sig"));
    sign_as("a.pem", a, "model/a.sig", NULL);
    sign_as("b.pem", b, "model/b.sig", NULL);
}

static void unsign_both(void) {
    (void)unlink(in_folder("model/a.sig"));
    (void)unlink(in_folder("model/b.sig"));
}

static void test_all_demanded_signatures_hold(void **state) {
    (void)state;
    static const struct {
        uint64_t a, b;
        bool lazy;
    } cases[] = {
        {0, 0, false},         {SHARD, SHARD, true},     {0, SHARD, false},
        {SHARD, 0, false},     {SHARD, 4 * SHARD, true}, {SHARD, 100000, true},
        {100000, 70000, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sign_both(cases[i].a, cases[i].b);
        opened o = open_good(policy_by_file(BOTH));
        assert_int_equal(hm_view_lazy(o.view, index_of(&o, "big")), cases[i].lazy);
        read_all_over(&o);
        assert_content(&o, "big", BIG);
        assert_content(&o, "config", SMALL);
        close_all(&o);
    }
    unsign_both();
}

/* One signature is of other content than the other: whichever it is, nothing is handed out. */
static void test_one_bad_signature_of_several_is_enough(void **state) {
    hm_error *error = NULL;
    uint8_t byte;
    uint8_t *target = malloc(BIG);
    (void)state;
    static const uint64_t layouts[][2] = {{0, 0},
                                          {0, SHARD},
                                          {SHARD, 0},
                                          {SHARD, SHARD},
                                          {SHARD, 100000}};
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        for (int first = 0; first < 2; first++) {
            sign_both(layouts[i][0], layouts[i][1]);
            poke("big", 17);
            sign_as(first ? "a.pem" : "b.pem", layouts[i][first ? 0 : 1],
                    first ? "model/a.sig" : "model/b.sig", NULL);
            for (int content = 0; content < 2; content++) {
                opened o = open_good(policy_by_file(BOTH));
                size_t big = index_of(&o, "big");
                assert_mismatch(hm_view_read(o.view, big, 0, target, BIG, NULL, &error), &error,
                                "big");
                assert_mismatch(hm_view_read(o.view, big, 17, &byte, 1, NULL, &error), &error,
                                "big");
                assert_mismatch(hm_view_load(o.view, &big, 1, NULL, &error), &error, "big");
                assert_content(&o, "config", SMALL);
                close_all(&o);
                poke("big", 17);
            }
            poke("big", 17);
        }
    }
    free(target);
    unsign_both();
}

static void model_digest(char *hex) {
    hm_report *report = NULL;
    hm_model *model = model_of("model");
    assert_int_equal(hm_digest(model, NULL, &report, NULL), HM_OK);
    strcpy(hex, hm_report_model_digest(report));
    hm_report_free(&report);
    hm_model_close(&model);
}

/* A pinned model digest is of everything: it is read at once, and no byte of it before. */
static void test_a_pinned_model_is_read_at_opening(void **state) {
    char rule[256];
    char digest[65];
    opened o;
    (void)state;
    (void)unlink(in_folder("model/model.sig"));
    model_digest(digest);
    (void)snprintf(rule, sizeof rule, "    pinned: {model: %s}\n", digest);
    uint64_t before = bytes_read();
    o = open_good(policy_by_file(rule));
    assert_true(bytes_read() - before > BIG);
    before = bytes_read();
    assert_content(&o, "big", BIG);
    assert_content(&o, "config", SMALL);
    assert_true(bytes_read() - before < 65536);
    char *json = NULL;
    assert_int_equal(hm_report_json(o.report, &json, NULL), HM_OK);
    assert_non_null(strstr(json, "\"status\": \"verified\""));
    hm_text_free(&json);
    close_all(&o);
    poke("big", 5);
    assert_refused(&o, policy_by_file(rule), HM_REASON_PINNED_DIGEST_MISMATCH);
    poke("big", 5);
}

static void test_a_pin_and_a_signature_both_hold(void **state) {
    char rule[256];
    char digest[65];
    opened o;
    (void)state;
    (void)unlink(in_folder("model/model.sig"));
    model_digest(digest);
    (void)snprintf(rule, sizeof rule, "    signers: [a]\n    pinned: {model: %s}\n", digest);
    static const uint64_t layouts[] = {0, SHARD};
    for (size_t i = 0; i < 2; i++) {
        sign(layouts[i]);
        o = open_good(policy_by_file(rule));
        assert_content(&o, "big", BIG);
        close_all(&o);
        poke("big", 5);
        assert_refused(&o, policy_by_file(rule), HM_REASON_PINNED_DIGEST_MISMATCH);
        sign(layouts[i]); /* now it is the pin alone that does not hold */
        assert_refused(&o, policy_by_file(rule), HM_REASON_PINNED_DIGEST_MISMATCH);
        poke("big", 5);
        assert_refused(&o, policy_by_file(rule), HM_REASON_DIGEST_MISMATCH);
    }
}

/* Pinned files are promised one by one, like signed ones. */
static void test_pinned_files_are_read_when_asked_for(void **state) {
    hm_error *error = NULL;
    opened o;
    char rule[512];
    (void)state;
    (void)unlink(in_folder("model/model.sig"));
    (void)snprintf(rule, sizeof rule, "    pinned:\n      files:\n");
    hm_report *report = NULL;
    hm_model *model = model_of("model");
    char *json = NULL;
    assert_int_equal(hm_digest(model, NULL, &report, NULL), HM_OK);
    assert_int_equal(hm_report_json(report, &json, NULL), HM_OK);
    const char *at = json;
    static const char *const names[] = {"big", "config", "sub/tiny"};
    for (size_t i = 0; i < 3; i++) {
        char digest[65] = "";
        at = strstr(at, "\"digest\": \"");
        assert_non_null(at);
        (void)sscanf(at, "\"digest\": \"%64[0-9a-f]", digest);
        at++;
        size_t used = strlen(rule);
        (void)snprintf(rule + used, sizeof rule - used, "        %s: sha256:%s\n", names[i],
                       digest);
    }
    hm_text_free(&json);
    hm_report_free(&report);
    hm_model_close(&model);
    o = open_good(policy_by_file(rule));
    assert_false(hm_view_lazy(o.view, index_of(&o, "big")));
    assert_content(&o, "big", BIG);
    close_all(&o);
    poke("big", 5);
    o = open_good(policy_by_file(rule));
    assert_content(&o, "config", SMALL);
    assert_int_equal(hm_view_load(o.view, NULL, 0, NULL, &error), HM_REFUSED);
    assert_int_equal(hm_error_reason(error), HM_REASON_PINNED_DIGEST_MISMATCH);
    hm_error_free(&error);
    close_all(&o);
    poke("big", 5);
}

static void test_statements_are_verified_at_opening(void **state) {
    opened o;
    (void)state;
    static const uint64_t layouts[] = {0, SHARD};
    for (size_t i = 0; i < 2; i++) {
        sign_as("a.pem", layouts[i], NULL, "{\"run\": \"one\"}");
        uint64_t before = bytes_read();
        o = open_good(policy_by_key());
        assert_true(bytes_read() - before < BIG / 4);
        assert_string_not_equal(hm_report_provenance_path(o.report), "");
        assert_content(&o, "big", BIG);
        close_all(&o);
        /* That of another version of the model. */
        assert_int_equal(rename(in_folder("model/model.provenance.sigstore.json"),
                                in_folder("old")),
                         0);
        poke("big", 3);
        sign(layouts[i]);
        assert_int_equal(rename(in_folder("old"),
                                in_folder("model/model.provenance.sigstore.json")),
                         0);
        assert_refused(&o, policy_by_key(), HM_REASON_PROVENANCE);
        poke("big", 3);
        assert_int_equal(unlink(in_folder("model/model.provenance.sigstore.json")), 0);
    }
    sign(0);
    assert_refused(&o, policy_by_file("    signers: [a]\n    provenance: {required: true}\n"),
                   HM_REASON_PROVENANCE);
}

static void test_the_report_says_what_is_verified_yet(void **state) {
    char *json = NULL;
    (void)state;
    sign(0);
    opened o = open_good(policy_by_key());
    assert_int_equal(hm_report_json(o.report, &json, NULL), HM_OK);
    assert_non_null(strstr(json, "\"status\": \"opened\""));
    hm_text_free(&json);
    assert_int_equal(hm_report_text(o.report, 0, &json, NULL), HM_OK);
    assert_non_null(strstr(json, "contents are verified when they are read"));
    hm_text_free(&json);
    hm_event event = {.host = NULL};
    bool none = false;
    assert_int_equal(hm_event_of_report(o.report, &event, &none, NULL), HM_OK);
    assert_false(none);
    assert_int_equal(event.kind, HM_EVENT_LOADED); /* the ledger does not say: verified */
    hm_event_free(&event);
    close_all(&o);
}

static void test_a_single_file(void **state) {
    hm_signer *signer = NULL;
    hm_view *view = NULL;
    const void *data;
    uint64_t length;
    (void)state;
    write_text(in_folder("alone"), "the content of the file");
    hm_model *model = model_of("alone");
    assert_int_equal(hm_signer_open(in_folder("a.pem"), NULL, &signer, NULL), HM_OK);
    assert_int_equal(hm_sign(&model, 1, signer, NULL, NULL, NULL), HM_OK);
    hm_signer_close(&signer);
    hm_policy *policy = policy_by_key();
    assert_int_equal(hm_view_open(model, policy, NULL, &view, NULL, NULL), HM_OK);
    assert_int_equal(hm_view_count(view), 1);
    assert_string_equal(hm_view_name(view, 0), "alone");
    assert_int_equal(hm_view_map(view, 0, &data, &length, NULL), HM_OK);
    assert_int_equal(length, 23);
    assert_memory_equal(data, "the content of the file", 23);
    hm_view_close(&view);
    /* It is called by its path, which has its name. */
    write_text(in_folder("alone"), "the content of a film !");
    hm_error *error = NULL;
    assert_int_equal(hm_view_open(model, policy, NULL, &view, NULL, NULL), HM_OK);
    hm_status status = hm_view_map(view, 0, &data, &length, &error);
    char *expected = NULL;
    assert_true(asprintf(&expected, "%s is not what was signed", in_folder("alone")) > 0);
    assert_string_equal(hm_error_message(error), expected);
    assert_mismatch(status, &error, "alone");
    free(expected);
    hm_view_close(&view);
    hm_policy_free(&policy);
    hm_model_close(&model);
}

/* ---- threads ----------------------------------------------------------------------------- */

typedef struct reader {
    opened *o;
    unsigned seed;
    bool loads;
    bool good;
} reader;

static void *read_at_random(void *context) {
    reader *r = context;
    size_t big = hm_view_find(r->o->view, "big");
    uint8_t *target = malloc(BIG);
    r->good = true;
    for (int i = 0; i < 60 && r->good; i++) {
        size_t offset = (size_t)rand_r(&r->seed) % BIG;
        size_t length = 1 + (size_t)rand_r(&r->seed) % (6 * SHARD);
        length = length < BIG - offset ? length : BIG - offset;
        r->good = hm_view_read(r->o->view, big, offset, target, length, NULL, NULL) == HM_OK;
        for (size_t k = 0; k < length && r->good; k++) {
            r->good = target[k] == byte_at("big", offset + k);
        }
        if (r->loads && i == 40) {
            const void *data;
            uint64_t size;
            r->good = r->good && hm_view_map(r->o->view, big, &data, &size, NULL) == HM_OK;
        }
    }
    free(target);
    return NULL;
}

static void test_several_threads_read_at_once(void **state) {
    (void)state;
    hm_view_options options = HM_VIEW_OPTIONS_INIT;
    opened o;
    options.remember = 2 * SHARD;
    sign(SHARD);
    assert_int_equal(try_open(&o, policy_by_key(), &options), HM_OK);
    pthread_t threads[4];
    reader readers[4];
    for (unsigned i = 0; i < 4; i++) {
        readers[i] = (reader){.o = &o, .seed = i + 1, .loads = i == 3};
        assert_int_equal(pthread_create(&threads[i], NULL, read_at_random, &readers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(readers[i].good);
    }
    close_all(&o);
}

typedef struct loader {
    char path[512];
    hm_policy *policy;
    atomic_bool ended;
    atomic_uint loaded, failed;
} loader;

static void *load_all_the_while(void *context) {
    loader *l = context;
    while (!atomic_load(&l->ended)) {
        hm_model *model = NULL;
        hm_view *view = NULL;
        bool good = hm_model_open(l->path, &model, NULL) == HM_OK &&
                    hm_view_open(model, l->policy, NULL, &view, NULL, NULL) == HM_OK &&
                    hm_view_load(view, NULL, 0, NULL, NULL) == HM_OK;
        atomic_fetch_add(good ? &l->loaded : &l->failed, 1);
        hm_view_close(&view);
        hm_model_close(&model);
    }
    return NULL;
}

/* Children that keep all they have: none may have a mapping that hinders sealing. */
static void test_forks_while_others_load(void **state) {
    (void)state;
    enum { THREADS = 4, CHILDREN = 150 };
    pthread_t threads[THREADS];
    pid_t children[CHILDREN];
    loader l = {.loaded = 0};
    sign(SHARD);
    l.policy = policy_by_key();
    (void)snprintf(l.path, sizeof l.path, "%s", in_folder("model"));
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, load_all_the_while, &l), 0);
    }
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            (void)pause();
            _exit(0);
        }
        assert_true(children[i] > 0);
        (void)usleep(2000);
    }
    atomic_store(&l.ended, true);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (int i = 0; i < CHILDREN; i++) {
        (void)kill(children[i], SIGKILL);
        (void)waitpid(children[i], NULL, 0);
    }
    assert_true(atomic_load(&l.loaded) > 0);
    assert_int_equal(atomic_load(&l.failed), 0);
    hm_policy_free(&l.policy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_signed_is_handed_out),
        cmocka_unit_test(test_opening_reads_no_contents),
        cmocka_unit_test(test_names_are_compared_at_opening),
        cmocka_unit_test(test_sizes_are_compared_at_opening),
        cmocka_unit_test(test_nothing_comes_without_a_good_signature),
        cmocka_unit_test(test_let_through_gives_no_view),
        cmocka_unit_test(test_a_changed_file_is_refused_when_it_is_read),
        cmocka_unit_test(test_a_file_of_another_kind_or_size_is_refused),
        cmocka_unit_test(test_the_same_bytes_in_another_file_are_good),
        cmocka_unit_test(test_empty_files),
        cmocka_unit_test(test_memory_is_sealed),
        cmocka_unit_test(test_nobody_else_can_write_while_it_is_filled),
        cmocka_unit_test(test_a_descriptor_outlives_the_view),
        cmocka_unit_test(test_many_small_files_take_no_descriptors),
        cmocka_unit_test(test_nothing_leaks),
        cmocka_unit_test(test_a_child_reads_what_is_loaded),
        cmocka_unit_test(test_loading_can_be_stopped),
        cmocka_unit_test(test_the_limit_on_files_is_told),
        cmocka_unit_test(test_what_memory_it_takes_is_told_before),
        cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_any_part_can_be_read),
        cmocka_unit_test(test_only_what_is_needed_is_read),
        cmocka_unit_test(test_a_bad_shard_gives_nothing),
        cmocka_unit_test(test_a_forgotten_shard_is_verified_again),
        cmocka_unit_test(test_a_whole_file_is_read_to_where_it_is_wanted),
        cmocka_unit_test(test_a_failed_reading_gives_memory_back),
        cmocka_unit_test(test_what_memory_a_target_takes_is_told_before),
        cmocka_unit_test(test_all_demanded_signatures_hold),
        cmocka_unit_test(test_one_bad_signature_of_several_is_enough),
        cmocka_unit_test(test_a_pinned_model_is_read_at_opening),
        cmocka_unit_test(test_a_pin_and_a_signature_both_hold),
        cmocka_unit_test(test_pinned_files_are_read_when_asked_for),
        cmocka_unit_test(test_statements_are_verified_at_opening),
        cmocka_unit_test(test_the_report_says_what_is_verified_yet),
        cmocka_unit_test(test_a_single_file),
        cmocka_unit_test(test_several_threads_read_at_once),
        cmocka_unit_test(test_forks_while_others_load),
    };
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
