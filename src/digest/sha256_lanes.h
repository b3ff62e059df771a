/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 compression of many streams side by side (FIPS 180-4). A kernel advances independent
 * streams by the same number of whole blocks; padding, reading and the choice of the kernel are
 * not its business.
 */
#ifndef HM_DIGEST_SHA256_LANES_H
#define HM_DIGEST_SHA256_LANES_H

#include "base/base.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HM_SHA256_X86 1
#else
#define HM_SHA256_X86 0
#endif

enum { HM_SHA256_BLOCK = 64, HM_SHA256_WORDS = 8, HM_SHA256_LANES_MAX = 16 };

extern const uint32_t hm_sha256_initial[HM_SHA256_WORDS];
extern const uint32_t hm_sha256_constants[64];

/* One stream's chaining value, and where its next blocks lie, at any alignment. */
typedef struct hm_sha256_lane {
    uint32_t state[HM_SHA256_WORDS];
    const uint8_t *data;
} hm_sha256_lane;

/* Advances `lanes[0]` to `lanes[count - 1]` by `blocks` each; `data` is left as it was. */
typedef void hm_sha256_fn(hm_sha256_lane *const *lanes, size_t count, size_t blocks);

/* What this processor does best, by the number of streams. */
typedef struct hm_sha256_choice {
    size_t lanes;       /* streams side by side that pay; 1: libcrypto alone */
    hm_sha256_fn *wide; /* of many streams, or NULL */
    size_t wide_lanes;
    size_t wide_least; /* with fewer streams `few` is faster */
    hm_sha256_fn *few; /* or NULL */
    size_t few_lanes;
    bool forced; /* by the environment: a single stream too goes through these */
    unsigned speed_one, speed_few, speed_wide; /* relative; libcrypto, `few`, `wide` */
} hm_sha256_choice;

/* The environment variable HALLMARK_KERNEL forces one; a value that cannot be: ::HM_USAGE. */
HM_MUST_USE hm_status hm_sha256_choose(hm_sha256_choice *choice, hm_error **error);
/* Advances any number of streams by the kernels of choice. */
void hm_sha256_advance(const hm_sha256_choice *choice, hm_sha256_lane *const *lanes, size_t count,
                       size_t blocks);
/* Throughput to expect of a thread with so many streams, relative. */
unsigned hm_sha256_speed(const hm_sha256_choice *choice, size_t streams);

/* The kernels by name, for tests; NULL behind the last. `lanes` is 0 where it cannot run here. */
typedef struct hm_sha256_kernel {
    const char *name;
    hm_sha256_fn *function;
    size_t lanes;
} hm_sha256_kernel;
const hm_sha256_kernel *hm_sha256_kernels(void);

#if HM_SHA256_X86
hm_sha256_fn hm_sha256_avx512; /* up to 16 streams */
hm_sha256_fn hm_sha256_avx2;   /* up to 8 */
hm_sha256_fn hm_sha256_shani;  /* up to 3 */
#endif

#endif
