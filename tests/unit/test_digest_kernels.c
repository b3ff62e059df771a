/* SPDX-License-Identifier: Apache-2.0 */
/* Every SHA-256 kernel against libcrypto, on the same bytes. */
#include "digest/engine.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 300, BLOCKS_MAX = 9, ALIGNMENTS = 64 };

static uint64_t random_state = 88172645463325252u;

/* xorshift64: the same numbers in every run. */
static size_t random_below(size_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state % limit);
}

static void fill(uint8_t *data, size_t length) {
    for (size_t i = 0; i < length; i++) {
        data[i] = (uint8_t)random_below(256);
    }
}

/* One stream as a kernel gets it: whole blocks, the padding written out by hand. */
typedef struct message {
    uint8_t *allocation; /* exactly as long as it must be, for the sanitizers */
    uint8_t *data;
    size_t length;
    size_t blocks;
    hm_sha256_lane lane;
} message;

static void message_make(message *m, size_t length) {
    size_t alignment = random_below(ALIGNMENTS);
    m->length = length;
    m->blocks = (length + 9 + HM_SHA256_BLOCK - 1) / HM_SHA256_BLOCK;
    size_t size = m->blocks * HM_SHA256_BLOCK;
    m->allocation = malloc(alignment + size);
    assert_non_null(m->allocation);
    m->data = m->allocation + alignment;
    memset(m->data, 0, size);
    fill(m->data, length);
    m->data[length] = 0x80;
    for (size_t i = 0; i < 8; i++) {
        m->data[size - 1 - i] = (uint8_t)((uint64_t)length * 8 >> 8 * i);
    }
    memcpy(m->lane.state, hm_sha256_initial, sizeof m->lane.state);
    m->lane.data = m->data;
}

static void message_check(message *m) {
    uint8_t expected[HM_DIGEST_MAX];
    uint8_t found[32];
    for (size_t i = 0; i < sizeof found; i++) {
        found[i] = (uint8_t)(m->lane.state[i / 4] >> (24 - 8 * (i % 4)));
    }
    assert_int_equal(hm_digest_bytes(HM_HASH_SHA256, hm_bytes_of(m->data, m->length), expected,
                                     NULL),
                     HM_OK);
    assert_memory_equal(found, expected, sizeof found);
    free(m->allocation);
}

/* Around every boundary of the padding, from nothing to several blocks. */
static size_t random_length(void) {
    return random_below(4) == 0 ? random_below(BLOCKS_MAX * 64)
                                : random_below(BLOCKS_MAX) * 64 + random_below(20) + 50;
}

/* Streams of one length, and of many: the shorter ones drop out as they end. */
static void check_count(hm_sha256_fn *function, size_t count, bool equal) {
    message messages[HM_SHA256_LANES_MAX];
    hm_sha256_lane *lanes[HM_SHA256_LANES_MAX];
    size_t length = random_length();
    for (size_t i = 0; i < count; i++) {
        message_make(&messages[i], equal ? length : random_length());
    }
    for (;;) {
        size_t active = 0;
        size_t blocks = SIZE_MAX;
        for (size_t i = 0; i < count; i++) {
            if (messages[i].blocks > 0) {
                lanes[active++] = &messages[i].lane;
                blocks = messages[i].blocks < blocks ? messages[i].blocks : blocks;
            }
        }
        if (active == 0) {
            break;
        }
        blocks = 1 + random_below(blocks);
        function(lanes, active, blocks);
        for (size_t i = 0; i < count; i++) {
            size_t step = messages[i].blocks > 0 ? blocks : 0;
            messages[i].blocks -= step;
            messages[i].lane.data += step * HM_SHA256_BLOCK;
        }
    }
    for (size_t i = 0; i < count; i++) {
        message_check(&messages[i]);
    }
}

static void check_kernel(const char *name) {
    const hm_sha256_kernel *kernel = hm_sha256_kernels();
    while (kernel->name != NULL && strcmp(kernel->name, name) != 0) {
        kernel++;
    }
    assert_non_null(kernel->name);
    if (kernel->lanes == 0) {
        printf("skipped: this processor (or what imitates it) has no %s\n", name);
        skip();
    }
    for (size_t count = 1; count <= kernel->lanes; count++) {
        for (int i = 0; i < ROUNDS / (int)kernel->lanes; i++) {
            check_count(kernel->function, count, true);
            check_count(kernel->function, count, false);
        }
    }
}

static void test_avx512(void **state) {
    (void)state;
    check_kernel("avx512");
}

static void test_avx2(void **state) {
    (void)state;
    check_kernel("avx2");
}

static void test_shani(void **state) {
    (void)state;
    check_kernel("shani");
}

/* A kernel leaves alone the streams it was not given, and any number of blocks may be none. */
static void test_no_blocks(void **state) {
    (void)state;
    for (const hm_sha256_kernel *k = hm_sha256_kernels(); k->name != NULL; k++) {
        hm_sha256_lane lane = {.data = (const uint8_t *)"x"};
        hm_sha256_lane *lanes = &lane;
        memcpy(lane.state, hm_sha256_initial, sizeof lane.state);
        if (k->lanes != 0) {
            k->function(&lanes, 1, 0);
        }
        assert_memory_equal(lane.state, hm_sha256_initial, sizeof lane.state);
    }
}

/* ---- the choice --------------------------------------------------------------------------- */

static hm_sha256_choice choose(const char *name) {
    hm_sha256_choice choice;
    assert_int_equal(name != NULL ? setenv("HALLMARK_KERNEL", name, 1)
                                  : unsetenv("HALLMARK_KERNEL"),
                     0);
    assert_int_equal(hm_sha256_choose(&choice, NULL), HM_OK);
    (void)unsetenv("HALLMARK_KERNEL");
    return choice;
}

/* Whatever the number of streams, the choice takes all of them as far. */
static void check_choice(const hm_sha256_choice *choice) {
    for (size_t count = 1; count <= choice->lanes; count++) {
        message messages[HM_SHA256_LANES_MAX];
        hm_sha256_lane *lanes[HM_SHA256_LANES_MAX];
        for (size_t i = 0; i < count; i++) {
            message_make(&messages[i], 200);
            lanes[i] = &messages[i].lane;
        }
        hm_sha256_advance(choice, lanes, count, messages[0].blocks);
        for (size_t i = 0; i < count; i++) {
            message_check(&messages[i]);
        }
    }
}

static void test_choice(void **state) {
    (void)state;
    hm_sha256_choice choice = choose(NULL);
    if (choice.lanes > 1) {
        check_choice(&choice);
    }
    for (const hm_sha256_kernel *k = hm_sha256_kernels(); k->name != NULL; k++) {
        if (k->lanes != 0) {
            choice = choose(k->name);
            assert_true(choice.forced);
            assert_int_equal(choice.lanes, k->lanes);
            check_choice(&choice);
        }
    }
    assert_int_equal(choose("libcrypto").lanes, 1);
}

static void test_choice_unknown(void **state) {
    (void)state;
    hm_sha256_choice choice;
    hm_auto_error error = NULL;
    assert_int_equal(setenv("HALLMARK_KERNEL", "abacus", 1), 0);
    assert_int_equal(hm_sha256_choose(&choice, &error), HM_USAGE);
    (void)unsetenv("HALLMARK_KERNEL");
    assert_non_null(strstr(hm_error_message(error), "abacus"));
    assert_non_null(strstr(hm_error_hint(error), "libcrypto"));
}

static void test_describe(void **state) {
    (void)state;
    hm_auto_buf text = {0};
    hm_digest_describe(&text);
    assert_int_equal(hm_buf_check(&text, NULL), HM_OK);
    assert_memory_equal(text.data, "sha256 kernels: ", 16);
    assert_non_null(strstr((const char *)text.data, "\nblake3: "));
    assert_int_equal(text.data[text.length - 1], '\n');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_avx512),   cmocka_unit_test(test_avx2),
        cmocka_unit_test(test_shani),    cmocka_unit_test(test_no_blocks),
        cmocka_unit_test(test_choice),   cmocka_unit_test(test_choice_unknown),
        cmocka_unit_test(test_describe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
