/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges whose parts are digested from the same bytes: every hash, kernel and boundary. */
#include "digest/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)

enum { FILES_MAX = 64 };

typedef struct test_file {
    uint8_t *data;
    size_t length;
    int fd;
    bool changed_at_close;
} test_file;

typedef struct fixture {
    test_file files[FILES_MAX];
    size_t count;
    size_t torn;        /* the file that is cut short once `torn_after` bytes were hashed */
    size_t torn_length; /* to this; SIZE_MAX: none is */
    uint64_t torn_after;
} fixture;

static fixture fix;

static hm_status source_open(void *context, size_t file, int *fd, bool *changed, hm_error **error) {
    (void)error;
    *changed = false;
    *fd = dup(((fixture *)context)->files[file].fd);
    return HM_OK;
}

static hm_status source_close(void *context, size_t file, int fd, bool *changed, hm_error **error) {
    (void)error;
    *changed = ((fixture *)context)->files[file].changed_at_close;
    (void)close(fd);
    return HM_OK;
}

static const char *source_name(void *context, size_t file) {
    (void)context;
    (void)file;
    return "a file";
}

static void write_all(int fd, const uint8_t *data, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t count = write(fd, data + done, length - done);
        assert_true(count > 0);
        done += (size_t)count;
    }
}

static void add_file_to(int fd, size_t length) {
    test_file *f = &fix.files[fix.count++];
    *f = (test_file){.length = length, .fd = fd, .data = malloc(length + 1)};
    assert_non_null(f->data);
    assert_true(fd >= 0);
    uint64_t state = 88172645463325252u + fix.count + length;
    for (size_t i = 0; i < length; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        f->data[i] = (uint8_t)(state >> 56);
    }
    write_all(fd, f->data, length);
}

static void add_file(size_t length) {
    add_file_to(memfd_create("test", MFD_CLOEXEC), length);
}

static void drop_files(void) {
    for (size_t i = 0; i < fix.count; i++) {
        free(fix.files[i].data);
        (void)close(fix.files[i].fd);
    }
    fix = (fixture){.torn_length = SIZE_MAX};
}

static int set_up(void **state) {
    (void)state;
    fix = (fixture){.torn_length = SIZE_MAX};
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    drop_files();
    (void)unsetenv("HALLMARK_KERNEL");
    return 0;
}

/* ---- jobs ----------------------------------------------------------------------------------- */

static size_t parts_of(size_t length, size_t part) {
    return length / part + (length % part != 0);
}

/* One range per file, each with its parts; the caller frees by free_ranges(). */
static hm_range *make_ranges(hm_hash hash, size_t part) {
    hm_range *ranges = calloc(fix.count + 1, sizeof *ranges);
    assert_non_null(ranges);
    for (size_t i = 0; i < fix.count; i++) {
        size_t size = parts_of(fix.files[i].length, part) * hm_hash_size(hash);
        ranges[i] = (hm_range){.file = i, .length = fix.files[i].length, .part_size = part};
        ranges[i].parts = malloc(size + 1);
        assert_non_null(ranges[i].parts);
        memset(ranges[i].parts, 0xee, size + 1);
    }
    return ranges;
}

static void free_ranges(hm_range *ranges) {
    for (size_t i = 0; i < fix.count; i++) {
        free(ranges[i].parts);
    }
    free(ranges);
}

/* libcrypto's digest, or the BLAKE3 library's, in one call. */
static void check_bytes(hm_hash hash, const uint8_t *data, size_t length, const uint8_t *digest) {
    uint8_t expected[HM_DIGEST_MAX];
    assert_int_equal(hm_digest_bytes(hash, hm_bytes_of(data, length), expected, NULL), HM_OK);
    assert_memory_equal(digest, expected, hm_hash_size(hash));
}

static void check_range(hm_hash hash, const hm_range *range) {
    const test_file *file = &fix.files[range->file];
    size_t part = (size_t)range->part_size;
    size_t count = parts_of(file->length, part);
    assert_int_equal(range->state, HM_RANGE_DONE);
    check_bytes(hash, file->data, file->length, range->digest);
    for (size_t i = 0; i < count; i++) {
        size_t left = file->length - i * part;
        check_bytes(hash, file->data + i * part, left < part ? left : part,
                    range->parts + i * hm_hash_size(hash));
    }
    assert_int_equal(range->parts[count * hm_hash_size(hash)], 0xee); /* nothing behind the last */
}

static bool show_progress(void *context, uint64_t done, uint64_t total) {
    (void)context;
    (void)total;
    if (fix.torn_length != SIZE_MAX && done >= fix.torn_after) {
        assert_int_equal(ftruncate(fix.files[fix.torn].fd, (off_t)fix.torn_length), 0);
    }
    return true;
}

static hm_status run(hm_hash hash, hm_range *ranges, unsigned jobs) {
    hm_digest_job job = {
        .hash = hash,
        .source = {.context = &fix,
                   .open = source_open,
                   .close = source_close,
                   .name = source_name},
        .ranges = ranges,
        .range_count = fix.count,
        .jobs = jobs,
        .progress = show_progress,
    };
    return hm_digest_run(&job, NULL);
}

static void run_and_check(hm_hash hash, size_t part, unsigned jobs) {
    hm_range *ranges = make_ranges(hash, part);
    assert_int_equal(run(hash, ranges, jobs), HM_OK);
    for (size_t i = 0; i < fix.count; i++) {
        check_range(hash, &ranges[i]);
    }
    free_ranges(ranges);
}

static const char *const kernels[] = {"", "libcrypto", "avx512", "avx2", "shani"};

static void check_everything(size_t part) {
    static const unsigned jobs[] = {1, 2, 4};
    for (size_t j = 0; j < sizeof jobs / sizeof jobs[0]; j++) {
        for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
            hm_sha256_choice choice;
            assert_int_equal(setenv("HALLMARK_KERNEL", kernels[i], 1), 0);
            if (hm_sha256_choose(&choice, NULL) == HM_OK) {
                run_and_check(HM_HASH_SHA256, part, jobs[j]);
            }
        }
        (void)unsetenv("HALLMARK_KERNEL");
        run_and_check(HM_HASH_BLAKE2B, part, jobs[j]);
        run_and_check(HM_HASH_BLAKE3, part, jobs[j]);
    }
}

/* ---- the right digests ---------------------------------------------------------------------- */

/* A file of every length at which something ends: a block, a part, several parts. */
static void add_boundaries(size_t part) {
    static const size_t blocks[] = {0, 1, 55, 56, 63, 64, 65, 119, 120};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        add_file(blocks[i]);
        add_file(2 * part + blocks[i]);
    }
    for (size_t whole = 1; whole <= 3; whole++) {
        add_file(whole * part - 1);
        add_file(whole * part);
        add_file(whole * part + 1);
    }
    add_file(5 * part - (part < 64 ? 1 : 64));
    add_file(5 * part + 64);
}

static void test_boundaries_in_lanes(void **state) {
    (void)state;
    add_boundaries(64 * KIB);
    check_everything(64 * KIB);
}

/* Parts that are no whole blocks, or hardly one, are not for lanes. */
static void test_odd_parts(void **state) {
    static const size_t parts[] = {1, 63, 64, 65, 1000, 64 * KIB + 1, 99991};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        drop_files();
        add_boundaries(parts[i]);
        check_everything(parts[i]);
    }
    (void)state;
}

/* Parts that end within what is read at once, at its end, and behind it. */
static void test_parts_and_pieces(void **state) {
    static const size_t parts[] = {64 * KIB + 64, 192 * KIB, 512 * KIB, 3 * MIB + 64};
    (void)state;
    add_file(9 * MIB + 17);
    add_file(3 * MIB + 64);
    add_file(256 * KIB);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        check_everything(parts[i]);
    }
}

/* One that two threads share, after others that lanes share. */
static void test_long_file(void **state) {
    (void)state;
    add_file(16 * MIB + 5);
    for (size_t i = 0; i < 20; i++) {
        add_file(300 * KIB + i * 1001);
    }
    check_everything(MIB);
    check_everything(5 * MIB + 1);
}

static void test_windows_on_a_disk(void **state) {
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    add_file_to(dup(fileno(file)), 9 * MIB + 3);
    (void)fclose(file);
    check_everything(4 * MIB);
    check_everything(700 * KIB);
}

/* Ranges with parts and ranges without, in one job. */
static void test_some_have_parts(void **state) {
    (void)state;
    for (size_t i = 0; i < 40; i++) {
        add_file(i * 30011);
    }
    hm_range *ranges = make_ranges(HM_HASH_SHA256, 128 * KIB);
    for (size_t i = 0; i < fix.count; i += 2) {
        free(ranges[i].parts);
        ranges[i].parts = NULL;
    }
    assert_int_equal(run(HM_HASH_SHA256, ranges, 3), HM_OK);
    for (size_t i = 0; i < fix.count; i++) {
        if (ranges[i].parts != NULL) {
            check_range(HM_HASH_SHA256, &ranges[i]);
        } else {
            check_bytes(HM_HASH_SHA256, fix.files[i].data, fix.files[i].length, ranges[i].digest);
        }
    }
    free_ranges(ranges);
}

static void test_parts_of_nothing(void **state) {
    (void)state;
    add_file(100);
    hm_range *ranges = make_ranges(HM_HASH_SHA256, 50);
    ranges[0].part_size = 0;
    assert_int_equal(run(HM_HASH_SHA256, ranges, 1), HM_USAGE);
    free_ranges(ranges);
}

/* ---- files that change ---------------------------------------------------------------------- */

static const hm_hash hashes[] = {HM_HASH_SHA256, HM_HASH_BLAKE2B, HM_HASH_BLAKE3};

static void check_changed(size_t part, unsigned jobs) {
    for (size_t i = 0; i < sizeof hashes / sizeof hashes[0]; i++) {
        hm_range *ranges = make_ranges(hashes[i], part);
        assert_int_equal(run(hashes[i], ranges, jobs), HM_OK);
        assert_int_equal(ranges[0].state, HM_RANGE_CHANGED);
        for (size_t r = 1; r < fix.count; r++) {
            check_range(hashes[i], &ranges[r]);
        }
        free_ranges(ranges);
    }
}

static void test_changed_at_close(void **state) {
    (void)state;
    add_file(9 * MIB);
    add_file(MIB);
    fix.files[0].changed_at_close = true;
    check_changed(MIB, 1);
    check_changed(MIB, 3);
}

static void test_shorter_than_expected(void **state) {
    (void)state;
    static const size_t ends[] = {0, 1, MIB - 1, MIB, MIB + 1, 20 * MIB - 1};
    add_file(20 * MIB);
    add_file(3 * MIB);
    for (size_t i = sizeof ends / sizeof ends[0]; i-- > 0;) {
        assert_int_equal(ftruncate(fix.files[0].fd, (off_t)ends[i]), 0);
        check_changed(MIB, 1);
        check_changed(MIB, 3);
        check_changed(99991, 2);
    }
}

/* Cut short while threads read ahead, hash parts, and look through windows. */
static void test_shrinks_meanwhile(void **state) {
    (void)state;
    for (unsigned jobs = 1; jobs <= 3; jobs++) {
        drop_files();
        FILE *file = tmpfile();
        assert_non_null(file);
        add_file_to(dup(fileno(file)), 150 * MIB);
        (void)fclose(file);
        fix.torn_length = MIB + 5;
        fix.torn_after = MIB;
        hm_range *ranges = make_ranges(HM_HASH_SHA256, 2 * MIB);
        assert_int_equal(run(HM_HASH_SHA256, ranges, jobs), HM_OK);
        assert_int_equal(ranges[0].state, HM_RANGE_CHANGED);
        free_ranges(ranges);
    }
}

static bool stop_now(void *context, uint64_t done, uint64_t total) {
    (void)context;
    (void)done;
    (void)total;
    return false;
}

/* Nobody waits for a piece that will not come. */
static void test_stopped(void **state) {
    (void)state;
    add_file(100 * MIB);
    for (size_t i = 0; i < sizeof hashes / sizeof hashes[0]; i++) {
        for (unsigned jobs = 1; jobs <= 3; jobs++) {
            hm_range *ranges = make_ranges(hashes[i], MIB + 1);
            hm_digest_job job = {
                .hash = hashes[i],
                .source = {.context = &fix,
                           .open = source_open,
                           .close = source_close,
                           .name = source_name},
                .ranges = ranges,
                .range_count = 1,
                .jobs = jobs,
                .progress = stop_now,
            };
            assert_int_equal(hm_digest_run(&job, NULL), HM_UNDECIDED);
            assert_int_equal(ranges[0].state, HM_RANGE_PENDING);
            free_ranges(ranges);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_boundaries_in_lanes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_odd_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_parts_and_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_windows_on_a_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_some_have_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_parts_of_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changed_at_close, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shorter_than_expected, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shrinks_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stopped, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
