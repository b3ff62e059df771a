/* SPDX-License-Identifier: Apache-2.0 */
/* The digest engine over files in memory: every hash, kernel, sink and way to fail. */
#include "digest/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1024 * 1024)

enum { FILES_MAX = 128 };

static const hm_hash hashes[] = {HM_HASH_SHA256, HM_HASH_BLAKE2B, HM_HASH_BLAKE3};
enum { HASHES = sizeof hashes / sizeof hashes[0] };

/* ---- files in memory, and a source that counts and misbehaves ------------------------------ */

typedef struct test_file {
    uint8_t *data;
    size_t length;
    int fd;
    bool changed_at_open, changed_at_close, fails_at_open, fails_at_close, unreadable;
    atomic_int opened, closed;
} test_file;

typedef struct fixture {
    test_file files[FILES_MAX];
    size_t count;
    pthread_t caller;
    atomic_bool other_threads, signals_open;
} fixture;

static fixture fix;

static void check_thread(void) {
    sigset_t set;
    if (!pthread_equal(pthread_self(), fix.caller)) {
        fix.other_threads = true;
        if (pthread_sigmask(SIG_SETMASK, NULL, &set) != 0 || sigismember(&set, SIGINT) != 1 ||
            sigismember(&set, SIGTERM) != 1 || sigismember(&set, SIGWINCH) != 1) {
            fix.signals_open = true;
        }
    }
}

static hm_status source_open(void *context, size_t file, int *fd, bool *changed, hm_error **error) {
    test_file *f = &((fixture *)context)->files[file];
    check_thread();
    if (f->fails_at_open) {
        return hm_fail_errno(error, EACCES, "cannot open 'file %zu'", file);
    }
    *changed = f->changed_at_open;
    if (!f->changed_at_open) {
        f->opened++;
        *fd = f->unreadable ? open("/dev/null", O_WRONLY | O_CLOEXEC) : dup(f->fd);
    }
    return HM_OK;
}

static hm_status source_close(void *context, size_t file, int fd, bool *changed, hm_error **error) {
    test_file *f = &((fixture *)context)->files[file];
    f->closed++;
    *changed = f->changed_at_close;
    (void)close(fd);
    return f->fails_at_close ? hm_fail_errno(error, EIO, "cannot close 'file %zu'", file) : HM_OK;
}

static const char *source_name(void *context, size_t file) {
    (void)context;
    return file == 0 ? "the first" : "another";
}

static void add_file_to(int fd, size_t length) {
    test_file *f = &fix.files[fix.count++];
    f->length = length;
    f->data = malloc(length + 1);
    f->fd = fd;
    assert_non_null(f->data);
    assert_true(f->fd >= 0);
    uint64_t state = 88172645463325252u + fix.count;
    for (size_t i = 0; i < length; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        f->data[i] = (uint8_t)(state >> 56);
    }
    for (size_t done = 0; done < length;) {
        ssize_t count = write(f->fd, f->data + done, length - done);
        assert_true(count > 0);
        done += (size_t)count;
    }
}

static void add_file(size_t length) {
    add_file_to(memfd_create("test", MFD_CLOEXEC), length);
}

/* On a real file system, whose page cache can be looked at. */
static void add_disk_file(size_t length) {
    FILE *file = tmpfile();
    assert_non_null(file);
    add_file_to(dup(fileno(file)), length);
    (void)fclose(file);
}

static int set_up(void **state) {
    (void)state;
    memset(&fix, 0, sizeof fix);
    fix.caller = pthread_self();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < fix.count; i++) {
        free(fix.files[i].data);
        (void)close(fix.files[i].fd);
    }
    (void)unsetenv("HALLMARK_KERNEL");
    return 0;
}

/* ---- jobs ----------------------------------------------------------------------------------- */

static hm_digest_job make_job(hm_hash hash, hm_range *ranges, size_t count) {
    return (hm_digest_job){
        .hash = hash,
        .source = {.context = &fix,
                   .open = source_open,
                   .close = source_close,
                   .name = source_name},
        .ranges = ranges,
        .range_count = count,
        .jobs = 3,
    };
}

/* One range per file, or shards of it; the caller frees. */
static hm_range *make_ranges(size_t shard, size_t *count) {
    size_t capacity = 0;
    hm_range *ranges = NULL;
    *count = 0;
    for (size_t i = 0; i < fix.count; i++) {
        size_t offset = 0;
        do {
            size_t left = fix.files[i].length - offset;
            size_t length = shard != 0 && left > shard ? shard : left;
            assert_true(hm_grow(&ranges, *count, &capacity, sizeof *ranges));
            ranges[(*count)++] = (hm_range){.file = i, .offset = offset, .length = length};
            offset += length;
        } while (offset < fix.files[i].length);
    }
    return ranges;
}

static void check_digest(hm_hash hash, const hm_range *range) {
    uint8_t expected[HM_DIGEST_MAX];
    hm_bytes data = {fix.files[range->file].data + range->offset, (size_t)range->length};
    assert_int_equal(hm_digest_bytes(hash, data, expected, NULL), HM_OK);
    assert_int_equal(range->state, HM_RANGE_DONE);
    assert_memory_equal(range->digest, expected, hm_hash_size(hash));
}

static void check_closed(void) {
    for (size_t i = 0; i < fix.count; i++) {
        assert_int_equal(fix.files[i].opened, fix.files[i].closed);
        assert_true(fix.files[i].opened <= 1);
        fix.files[i].opened = fix.files[i].closed = 0;
    }
}

static void run_and_check(hm_hash hash, size_t shard, unsigned jobs) {
    size_t count;
    hm_range *ranges = make_ranges(shard, &count);
    hm_digest_job job = make_job(hash, ranges, count);
    job.jobs = jobs;
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
    for (size_t i = 0; i < count; i++) {
        check_digest(hash, &ranges[i]);
        assert_int_equal(fix.files[ranges[i].file].opened, 1);
    }
    check_closed();
    free(ranges);
}

/* ---- names and single pieces ---------------------------------------------------------------- */

static const struct {
    hm_hash hash;
    const char *name;
    size_t size;
    const char *abc; /* the digest of "abc" begins so */
} known[] = {
    {HM_HASH_SHA256, "sha256", 32, "ba7816bf8f01cfea"},
    {HM_HASH_BLAKE2B, "blake2b", 64, "ba80a53f981c4d0d"},
    {HM_HASH_BLAKE3, "blake3", 32, "6437b3ac38465133"},
};

static void test_names(void **state) {
    (void)state;
    hm_hash hash;
    for (size_t i = 0; i < HASHES; i++) {
        assert_string_equal(hm_hash_name(known[i].hash), known[i].name);
        assert_int_equal(hm_hash_size(known[i].hash), known[i].size);
        assert_true(hm_hash_from_name(hm_bytes_text(known[i].name), &hash));
        assert_int_equal(hash, known[i].hash);
    }
    assert_false(hm_hash_from_name(hm_bytes_text("SHA256"), &hash));
    assert_false(hm_hash_from_name(hm_bytes_text("sha25"), &hash));
    assert_false(hm_hash_from_name(hm_bytes_of("sha256", 7), &hash));
    assert_false(hm_hash_from_name(hm_bytes_text(""), &hash));
}

static void test_known_digests(void **state) {
    (void)state;
    for (size_t i = 0; i < HASHES; i++) {
        uint8_t digest[HM_DIGEST_MAX];
        char text[17];
        assert_int_equal(hm_digest_bytes(known[i].hash, hm_bytes_text("abc"), digest, NULL), HM_OK);
        hm_hex(digest, 8, text);
        assert_string_equal(text, known[i].abc);
    }
}

/* ---- the right digests ---------------------------------------------------------------------- */

static const char *const kernels[] = {"", "libcrypto", "avx512", "avx2", "shani"};

/* False where the processor has no such kernel. */
static bool force_kernel(const char *name) {
    hm_sha256_choice choice;
    assert_int_equal(setenv("HALLMARK_KERNEL", name, 1), 0);
    return hm_sha256_choose(&choice, NULL) == HM_OK;
}

static void check_everything(size_t shard) {
    for (unsigned jobs = 1; jobs <= 4; jobs++) {
        for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
            if (force_kernel(kernels[i])) {
                run_and_check(HM_HASH_SHA256, shard, jobs);
            }
        }
        (void)unsetenv("HALLMARK_KERNEL");
        run_and_check(HM_HASH_BLAKE2B, shard, jobs);
        run_and_check(HM_HASH_BLAKE3, shard, jobs);
    }
}

static void test_small_files(void **state) {
    (void)state;
    for (size_t i = 0; i < FILES_MAX; i++) {
        add_file(i * 3);
    }
    check_everything(0);
}

/* Lanes of very different lengths, each refilled as it ends. */
static void test_unequal_files(void **state) {
    (void)state;
    for (size_t i = 0; i < 60; i++) {
        add_file(i % 7 == 0 ? 700000 + i * 1001 : (i * i * 131) % 70001);
    }
    check_everything(0);
}

static void test_shards(void **state) {
    (void)state;
    add_file(3 * MIB + 17);
    add_file(0);
    add_file(MIB);
    check_everything(MIB / 4);
    check_everything(99991);
}

/* Long streams, alone: with and without a second thread that reads ahead. */
static void test_long_files(void **state) {
    (void)state;
    add_file(33 * MIB + 5);
    add_file(100);
    add_file(9 * MIB);
    for (size_t i = 0; i < HASHES; i++) {
        for (unsigned jobs = 1; jobs <= 5; jobs += 2) {
            run_and_check(hashes[i], 0, jobs);
        }
    }
}

/* Or long ranges would be hashed by one thread, and nothing else would tell. */
static void test_blake3_library_fits(void **state) {
    (void)state;
    hm_range range = {.length = UINT64_C(1) << 30};
    hm_work work = {.range = &range};
    assert_true(hm_blake3_tree_fits(&work));
    range.length = 1;
    assert_false(hm_blake3_tree_fits(&work));
}

/* Offsets beyond 4 GiB, of a file that is a hole but for its end. */
static void test_far_offsets(void **state) {
    (void)state;
    const uint64_t far = UINT64_C(5) << 30;
    add_file(0);
    assert_int_equal(pwrite(fix.files[0].fd, "abc", 3, (off_t)far), 3);
    hm_range range = {.offset = far, .length = 3};
    hm_digest_job job = make_job(HM_HASH_SHA256, &range, 1);
    uint8_t expected[HM_DIGEST_MAX];
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
    assert_int_equal(hm_digest_bytes(job.hash, hm_bytes_text("abc"), expected, NULL), HM_OK);
    assert_memory_equal(range.digest, expected, 32);
}

static void test_nothing_to_do(void **state) {
    (void)state;
    hm_digest_job job = make_job(HM_HASH_SHA256, NULL, 0);
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
}

static void test_sinks(void **state) {
    (void)state;
    size_t count;
    add_file(5 * MIB + 3);
    add_file(777);
    add_file(0);
    for (size_t h = 0; h < HASHES; h++) {
        hm_range *ranges = make_ranges(2 * MIB, &count);
        uint8_t *memory = malloc(6 * MIB);
        int copy = memfd_create("copy", MFD_CLOEXEC);
        uint64_t offset = 10;
        for (size_t i = 0; i < count; i++) {
            ranges[i].sink.kind = i % 2 == 0 ? HM_SINK_MEMORY : HM_SINK_FILE;
            ranges[i].sink.memory = memory + offset - 10;
            ranges[i].sink.fd = copy;
            ranges[i].sink.offset = offset;
            offset += ranges[i].length;
        }
        hm_digest_job job = make_job(hashes[h], ranges, count);
        assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
        for (size_t i = 0; i < count; i++) {
            size_t length = (size_t)ranges[i].length;
            uint8_t *found = memory + ranges[i].sink.offset - 10;
            check_digest(hashes[h], &ranges[i]);
            if (ranges[i].sink.kind == HM_SINK_FILE && length > 0) {
                assert_int_equal(pread(copy, found, length, (off_t)ranges[i].sink.offset), length);
            }
            if (length > 0) {
                assert_memory_equal(found, fix.files[ranges[i].file].data + ranges[i].offset,
                                    length);
            }
        }
        check_closed();
        free(memory);
        free(ranges);
        (void)close(copy);
    }
}

static void test_sink_full(void **state) {
    (void)state;
    hm_auto_error error = NULL;
    add_file(100);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    hm_range range = {.length = 100, .sink = {.kind = HM_SINK_FILE, .fd = full}};
    hm_digest_job job = make_job(HM_HASH_SHA256, &range, 1);
    assert_int_equal(hm_digest_run(&job, &error), HM_UNDECIDED);
    assert_non_null(strstr(hm_error_message(error), "the first"));
    assert_int_equal(range.state, HM_RANGE_PENDING);
    check_closed();
    (void)close(full);
}

/* ---- sinks that the source opens ------------------------------------------------------------ */

static struct {
    int copies[8]; /* per file; -1: its bytes go nowhere */
    size_t opened[8], closed[8];
    bool whole[8], fails;
} sinks;

static hm_status open_sink(void *context, size_t file, int *fd, hm_error **error) {
    (void)context;
    sinks.opened[file]++;
    *fd = sinks.copies[file] >= 0 ? dup(sinks.copies[file]) : -1;
    return sinks.fails ? hm_fail_errno(error, ENOSPC, "no sink for 'file %zu'", file) : HM_OK;
}

static hm_status close_sink(void *context, size_t file, int fd, bool whole, hm_error **error) {
    (void)context;
    (void)error;
    sinks.closed[file]++;
    sinks.whole[file] = whole;
    (void)close(fd);
    return HM_OK;
}

static hm_digest_job make_sink_job(hm_range *ranges, size_t count) {
    hm_digest_job job = make_job(HM_HASH_SHA256, ranges, count);
    memset(&sinks, 0, sizeof sinks);
    for (size_t i = 0; i < fix.count; i++) {
        sinks.copies[i] = memfd_create("copy", MFD_CLOEXEC);
    }
    for (size_t i = 0; i < count; i++) {
        ranges[i].sink = (hm_sink){.kind = HM_SINK_FILE, .fd = -1, .offset = ranges[i].offset};
    }
    job.source.open_sink = open_sink;
    job.source.close_sink = close_sink;
    return job;
}

static void check_copy(size_t file) {
    struct stat st;
    uint8_t *found = malloc(fix.files[file].length + 1);
    assert_int_equal(fstat(sinks.copies[file], &st), 0);
    assert_int_equal(st.st_size, fix.files[file].length);
    assert_int_equal(pread(sinks.copies[file], found, fix.files[file].length, 0),
                     fix.files[file].length);
    assert_memory_equal(found, fix.files[file].data, fix.files[file].length);
    free(found);
}

static void close_copies(void) {
    for (size_t i = 0; i < fix.count; i++) {
        if (sinks.copies[i] >= 0) {
            (void)close(sinks.copies[i]);
        }
    }
}

static void test_opened_sinks(void **state) {
    (void)state;
    size_t count;
    add_file(5 * MIB + 3);
    add_file(777);
    add_file(0);
    add_file(3 * MIB);
    fix.files[1].changed_at_close = true;
    hm_range *ranges = make_ranges(MIB, &count);
    hm_digest_job job = make_sink_job(ranges, count);
    (void)close(sinks.copies[3]);
    sinks.copies[3] = -1;
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
    for (size_t i = 0; i < fix.count; i++) {
        assert_int_equal(sinks.opened[i], 1);
        assert_int_equal(sinks.closed[i], i != 3);
        assert_int_equal(sinks.whole[i], i == 0 || i == 2);
    }
    check_copy(0);
    check_copy(2);
    check_closed();
    close_copies();
    free(ranges);
}

static void test_sink_not_opened(void **state) {
    (void)state;
    hm_auto_error error = NULL;
    size_t count;
    add_file(5 * MIB);
    add_file(777);
    hm_range *ranges = make_ranges(MIB, &count);
    hm_digest_job job = make_sink_job(ranges, count);
    sinks.fails = true;
    assert_int_equal(hm_digest_run(&job, &error), HM_UNDECIDED);
    assert_non_null(strstr(hm_error_message(error), "no sink"));
    assert_false(sinks.whole[0] || sinks.whole[1]);
    check_closed();
    close_copies();
    free(ranges);
}

/* Some ranges of a file are done when the job ends: that is no whole copy. */
static void test_sink_not_whole(void **state) {
    (void)state;
    static const uint8_t other[32];
    size_t count;
    add_file(8 * MIB);
    hm_range *ranges = make_ranges(MIB, &count);
    hm_digest_job job = make_sink_job(ranges, count);
    job.jobs = 1;
    ranges[0].expected = other;
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
    assert_int_equal(sinks.closed[0], 1);
    assert_int_equal(sinks.whole[0], ranges[count - 1].state == HM_RANGE_DONE);
    check_closed();
    close_copies();
    free(ranges);
}

/* ---- files that change ---------------------------------------------------------------------- */

static void check_changed(hm_hash hash, size_t changed_file, size_t shard) {
    size_t count;
    hm_range *ranges = make_ranges(shard, &count);
    hm_digest_job job = make_job(hash, ranges, count);
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].file == changed_file) {
            assert_int_equal(ranges[i].state, HM_RANGE_CHANGED);
        } else {
            check_digest(hash, &ranges[i]);
        }
    }
    check_closed();
    free(ranges);
}

static void check_changed_all(size_t shard) {
    for (size_t i = 0; i < HASHES; i++) {
        check_changed(hashes[i], 1, shard);
    }
}

static void test_changed(void **state) {
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        add_file(i == 1 ? 9 * MIB : 100000 * i);
    }
    fix.files[1].changed_at_open = true;
    check_changed_all(MIB);
    check_changed_all(0);
    fix.files[1].changed_at_open = false;
    fix.files[1].changed_at_close = true;
    check_changed_all(MIB);
    check_changed_all(0);
}

/* Cut in a late shard: the digests of the earlier ones count for nothing. */
static void test_short_file(void **state) {
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        add_file(i == 1 ? 30 * MIB : 100000 * i);
    }
    static const size_t cuts[] = {30 * MIB - 1, 20 * MIB, 100, 0};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        assert_int_equal(ftruncate(fix.files[1].fd, (off_t)cuts[i]), 0);
        check_changed_all(MIB);
        check_changed_all(0);
    }
}

static void test_stop_on_change(void **state) {
    (void)state;
    size_t count;
    for (size_t i = 0; i < FILES_MAX; i++) {
        add_file(1000);
    }
    assert_int_equal(ftruncate(fix.files[0].fd, 10), 0);
    hm_range *ranges = make_ranges(400, &count);
    hm_digest_job job = make_job(HM_HASH_SHA256, ranges, count);
    job.jobs = 1;
    job.stop_on_change = true;
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
    assert_int_equal(ranges[0].state, HM_RANGE_CHANGED);
    assert_int_equal(ranges[2].state, HM_RANGE_CHANGED);
    assert_int_equal(ranges[count - 1].state, HM_RANGE_PENDING);
    assert_int_equal(fix.files[FILES_MAX - 1].opened, 0);
    check_closed();
    free(ranges);
}

/* A digest other than the expected one ends the job; it stands in its range. */
static void test_expected(void **state) {
    (void)state;
    uint8_t expected[HM_DIGEST_MAX] = {0};
    size_t count;
    for (size_t i = 0; i < FILES_MAX; i++) {
        add_file(100000);
    }
    hm_range *ranges = make_ranges(0, &count);
    hm_digest_job job = make_job(HM_HASH_SHA256, ranges, count);
    job.jobs = 1;
    ranges[0].expected = expected;
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
    check_digest(HM_HASH_SHA256, &ranges[0]);
    assert_int_equal(ranges[count - 1].state, HM_RANGE_PENDING);
    check_closed();
    memcpy(expected, ranges[0].digest, sizeof expected);
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
    check_digest(HM_HASH_SHA256, &ranges[count - 1]);
    check_closed();
    free(ranges);
}

/* ---- errors --------------------------------------------------------------------------------- */

static void check_failure(hm_hash hash, size_t shard, const char *text) {
    size_t count;
    hm_auto_error error = NULL;
    hm_range *ranges = make_ranges(shard, &count);
    hm_digest_job job = make_job(hash, ranges, count);
    assert_int_equal(hm_digest_run(&job, &error), HM_UNDECIDED);
    assert_non_null(strstr(hm_error_message(error), text));
    for (size_t i = 0; i < count; i++) {
        assert_true(ranges[i].file != 1 || ranges[i].state != HM_RANGE_DONE);
    }
    check_closed();
    free(ranges);
}

static void test_errors(void **state) {
    (void)state;
    for (size_t i = 0; i < 40; i++) {
        add_file(i < 3 ? 9 * MIB : 1000);
    }
    for (size_t h = 0; h < HASHES; h++) {
        for (size_t shard = 0; shard <= MIB; shard += MIB) {
            fix.files[1].fails_at_open = true;
            check_failure(hashes[h], shard, "cannot open 'file 1'");
            fix.files[1].fails_at_open = false;
            fix.files[1].fails_at_close = true;
            check_failure(hashes[h], shard, "cannot close 'file 1'");
            fix.files[1].fails_at_close = false;
            fix.files[1].unreadable = true;
            check_failure(hashes[h], shard, "cannot read 'another'");
            fix.files[1].unreadable = false;
        }
    }
}

static void test_wrong_calls(void **state) {
    (void)state;
    hm_auto_error error = NULL;
    add_file(1);
    hm_range range = {.offset = UINT64_MAX, .length = 2};
    hm_digest_job job = make_job(HM_HASH_SHA256, &range, 1);
    assert_int_equal(hm_digest_run(&job, NULL), HM_USAGE);
    range.offset = INT64_MAX;
    assert_int_equal(hm_digest_run(&job, NULL), HM_USAGE);
    range = (hm_range){.length = 1};
    assert_int_equal(setenv("HALLMARK_KERNEL", "abacus", 1), 0);
    assert_int_equal(hm_digest_run(&job, &error), HM_USAGE);
    assert_non_null(strstr(hm_error_message(error), "abacus"));
    assert_int_equal(fix.files[0].opened, 0);
}

/* ---- progress ------------------------------------------------------------------------------- */

typedef struct watch {
    uint64_t last, total;
    uint64_t stop_at;
    atomic_int inside;
    bool wrong;
} watch;

static bool watch_progress(void *context, uint64_t done, uint64_t total) {
    watch *w = context;
    w->wrong = w->wrong || w->inside++ != 0 || done < w->last || done > total;
    w->last = done;
    w->total = total;
    w->inside--;
    return done < w->stop_at;
}

static void test_progress(void **state) {
    (void)state;
    size_t count;
    add_file(20 * MIB);
    add_file(MIB);
    hm_range *ranges = make_ranges(MIB, &count);
    hm_digest_job job = make_job(HM_HASH_SHA256, ranges, count);
    watch w = {.stop_at = UINT64_MAX};
    job.progress = watch_progress;
    job.progress_context = &w;
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
    assert_false(w.wrong);
    assert_int_equal(w.last, 21 * MIB);
    assert_int_equal(w.total, 21 * MIB);
    check_closed();
    free(ranges);
}

static void check_stopped(hm_hash hash, size_t shard, uint64_t stop_at) {
    size_t count;
    hm_range *ranges = make_ranges(shard, &count);
    hm_digest_job job = make_job(hash, ranges, count);
    watch w = {.stop_at = stop_at};
    job.progress = watch_progress;
    job.progress_context = &w;
    assert_int_equal(hm_digest_run(&job, NULL), HM_UNDECIDED);
    assert_false(w.wrong);
    check_closed();
    free(ranges);
}

static void test_stop(void **state) {
    (void)state;
    add_file(40 * MIB);
    add_file(MIB);
    for (size_t i = 0; i < HASHES; i++) {
        check_stopped(hashes[i], MIB, 0);
        check_stopped(hashes[i], 0, 0);
        check_stopped(hashes[i], MIB, 41 * MIB);
        check_stopped(hashes[i], 0, 41 * MIB);
    }
}

/* ---- files that shrink under a window ------------------------------------------------------- */

static void default_sigbus(bool expected) {
    struct sigaction action;
    assert_int_equal(sigaction(SIGBUS, NULL, &action), 0);
    assert_int_equal(expected, (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_DFL);
}

/*
 * cmocka (and a sanitizer) handles the signal itself, which keeps windows closed. Valgrind does not
 * keep vector registers over a signal unless told to (--vex-iropt-register-updates).
 */
static void set_default_sigbus(void) {
    const char *preload = getenv("LD_PRELOAD");
    if (preload != NULL && strstr(preload, "vgpreload") != NULL) {
        printf("skipped: valgrind loses vector registers when a signal comes\n");
        skip();
    }
    assert_true(signal(SIGBUS, SIG_DFL) != SIG_ERR);
}

static void test_window(void **state) {
    (void)state;
    hm_windows windows;
    set_default_sigbus();
    size_t length = 5 * MIB;
    add_disk_file(length);
    hm_windows_open(&windows, 4, MIB);
    assert_non_null(windows.base);
    default_sigbus(false);
    const uint8_t *data = hm_windows_show(&windows, 2, fix.files[0].fd, 100, &length);
    if (data == NULL) {
        hm_windows_close(&windows);
        skip(); /* this file system does not tell what is cached */
    }
    assert_true(length > MIB - 8192 && length < MIB && length % 64 == 0);
    assert_memory_equal(data, fix.files[0].data + 100, length);
    assert_int_equal(ftruncate(fix.files[0].fd, 0), 0);
    assert_int_equal(((const volatile uint8_t *)data)[length - 1], 0);
    assert_true(hm_windows_torn(&windows, 2));
    assert_false(hm_windows_torn(&windows, 1));
    assert_null(hm_windows_show(&windows, 2, fix.files[0].fd, 0, &length));
    hm_windows_close(&windows);
    default_sigbus(true);
}

/* Cuts the first file the first time that it is called, which is after a piece was shown. */
static bool cut_file(void *context, uint64_t done, uint64_t total) {
    const size_t *length = context;
    (void)done;
    (void)total;
    return ftruncate(fix.files[0].fd, (off_t)*length) == 0;
}

static void check_cut(hm_hash hash, size_t length, unsigned jobs) {
    size_t count;
    hm_range *ranges = make_ranges(0, &count);
    hm_digest_job job = make_job(hash, ranges, count);
    job.jobs = jobs;
    job.progress = cut_file;
    job.progress_context = &length;
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
    assert_int_equal(ranges[0].state, HM_RANGE_CHANGED);
    for (size_t i = 1; i < count; i++) {
        check_digest(hash, &ranges[i]);
    }
    check_closed();
    free(ranges);
    default_sigbus(true);
}

static void check_cuts(hm_hash hash, size_t count, size_t length) {
    const size_t cuts[] = {0, 5000, length / 2, length - 10};
    set_default_sigbus();
    for (size_t i = 0; i < count; i++) {
        add_disk_file(length);
    }
    for (unsigned jobs = 1; jobs <= 2; jobs++) {
        for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
            check_cut(hash, cuts[i], jobs);
            assert_int_equal(pwrite(fix.files[0].fd, fix.files[0].data, length, 0), length);
        }
    }
}

static void test_cut_one_window(void **state) {
    (void)state;
    check_cuts(HM_HASH_SHA256, 20, 300 * 1000);
}

static void test_cut_many_windows(void **state) {
    (void)state;
    check_cuts(HM_HASH_SHA256, 20, 3 * MIB);
}

static void test_cut_tree(void **state) {
    (void)state;
    check_cuts(HM_HASH_BLAKE3, 3, 9 * MIB);
}

/* Gives the first file its content back once another one is done. */
static hm_status restore_at_close(void *context, size_t file, int fd, bool *changed,
                                  hm_error **error) {
    test_file *first = &fix.files[0];
    if (pwrite(first->fd, first->data, first->length, 0) != (ssize_t)first->length) {
        return hm_fail_errno(error, errno, "cannot restore");
    }
    return source_close(context, file, fd, changed, error);
}

/* What a torn window showed is not taken for content, even if the file is whole in the end. */
static void test_cut_and_restored(void **state) {
    (void)state;
    size_t count;
    size_t cut = 0;
    set_default_sigbus();
    for (size_t i = 0; i < 20; i++) {
        add_disk_file(i == 0 ? 500 * 1024 : 300 * 1024);
    }
    hm_range *ranges = make_ranges(0, &count);
    hm_digest_job job = make_job(HM_HASH_SHA256, ranges, count);
    job.jobs = 1;
    job.source.close = restore_at_close;
    job.progress = cut_file;
    job.progress_context = &cut;
    assert_int_equal(hm_digest_run(&job, NULL), HM_OK);
    if (ranges[0].state == HM_RANGE_DONE) { /* not so where there are no windows */
        check_digest(HM_HASH_SHA256, &ranges[0]);
    }
    check_closed();
    free(ranges);
}

static void own_handler(int number) {
    (void)number;
}

/* A program's own handler stays where it is, and a blocked SIGBUS hurts nobody. */
static void test_foreign_sigbus(void **state) {
    (void)state;
    struct sigaction own = {.sa_handler = own_handler};
    struct sigaction found;
    sigset_t mask;
    for (size_t i = 0; i < 20; i++) {
        add_disk_file(MIB);
    }
    assert_int_equal(sigaction(SIGBUS, &own, NULL), 0);
    run_and_check(HM_HASH_SHA256, 0, 2);
    assert_int_equal(sigaction(SIGBUS, NULL, &found), 0);
    assert_true(found.sa_handler == own_handler);
    own.sa_handler = SIG_DFL;
    assert_int_equal(sigaction(SIGBUS, &own, NULL), 0);
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGBUS);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &mask, NULL), 0);
    check_cut(HM_HASH_SHA256, 100, 1);
    assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &mask, NULL), 0);
}

/* ---- threads -------------------------------------------------------------------------------- */

static void test_small_job_without_threads(void **state) {
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        add_file(20000);
    }
    run_and_check(HM_HASH_SHA256, 0, 8);
    assert_false(fix.other_threads);
}

static void test_signals_stay_out(void **state) {
    (void)state;
    for (size_t i = 0; i < 100; i++) {
        add_file(100000);
    }
    run_and_check(HM_HASH_SHA256, 0, 4);
    assert_false(fix.signals_open);
}

static void test_few_descriptors(void **state) {
    (void)state;
    struct rlimit old;
    for (size_t i = 0; i < FILES_MAX; i++) {
        add_file(50000);
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    struct rlimit few = {.rlim_cur = FILES_MAX + 24, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    run_and_check(HM_HASH_SHA256, 0, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static void test_processors(void **state) {
    (void)state;
    cpu_set_t old;
    cpu_set_t one;
    assert_int_equal(sched_getaffinity(0, sizeof old, &old), 0);
    assert_true(hm_digest_processors() >= 1);
    assert_true(hm_digest_processors() <= (unsigned)CPU_COUNT(&old));
    CPU_ZERO(&one);
    size_t first = 0;
    while (!CPU_ISSET(first, &old)) {
        first++;
    }
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(hm_digest_processors(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof old, &old), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_names),
        TEST(test_known_digests),
        TEST(test_small_files),
        TEST(test_unequal_files),
        TEST(test_shards),
        TEST(test_long_files),
        TEST(test_blake3_library_fits),
        TEST(test_far_offsets),
        TEST(test_nothing_to_do),
        TEST(test_sinks),
        TEST(test_sink_full),
        TEST(test_opened_sinks),
        TEST(test_sink_not_opened),
        TEST(test_sink_not_whole),
        TEST(test_changed),
        TEST(test_short_file),
        TEST(test_stop_on_change),
        TEST(test_expected),
        TEST(test_errors),
        TEST(test_wrong_calls),
        TEST(test_progress),
        TEST(test_stop),
        TEST(test_window),
        TEST(test_cut_one_window),
        TEST(test_cut_many_windows),
        TEST(test_cut_and_restored),
        TEST(test_cut_tree),
        TEST(test_foreign_sigbus),
        TEST(test_small_job_without_threads),
        TEST(test_signals_stay_out),
        TEST(test_few_descriptors),
        TEST(test_processors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
