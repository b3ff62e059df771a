/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256, 8 streams: word i of all of them in one register. */
#include "digest/sha256_lanes.h"

#if HM_SHA256_X86

#include <immintrin.h>

enum { LANES = 8 };

#define TARGET __attribute__((target("avx2")))
#define INLINE TARGET __attribute__((always_inline)) static inline

INLINE __m256i add(__m256i a, __m256i b) {
    return _mm256_add_epi32(a, b);
}

INLINE __m256i xor (__m256i a, __m256i b) { return _mm256_xor_si256(a, b); }

    INLINE __m256i rotate(__m256i x, int count) {
    return _mm256_or_si256(_mm256_srli_epi32(x, count), _mm256_slli_epi32(x, 32 - count));
}

INLINE __m256i big_sigma0(__m256i a) {
    return xor(xor(rotate(a, 2), rotate(a, 13)), rotate(a, 22));
}

INLINE __m256i big_sigma1(__m256i e) {
    return xor(xor(rotate(e, 6), rotate(e, 11)), rotate(e, 25));
}

INLINE __m256i small_sigma0(__m256i w) {
    return xor(xor(rotate(w, 7), rotate(w, 18)), _mm256_srli_epi32(w, 3));
}

INLINE __m256i small_sigma1(__m256i w) {
    return xor(xor(rotate(w, 17), rotate(w, 19)), _mm256_srli_epi32(w, 10));
}

/* Rows to columns: w[i] gets word i of every stream, as the hash reads it (big-endian). */
INLINE void load_words(const uint8_t *const data[LANES], size_t offset, __m256i w[LANES]) {
    const __m256i swap = _mm256_set_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203,
                                          0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);
    __m256i a[LANES];
    __m256i b[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i++) {
        __m256i row = _mm256_loadu_si256((const __m256i *)(const void *)(data[i] + offset));
        a[i] = _mm256_shuffle_epi8(row, swap);
    }
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 2) {
        b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < LANES; i += 4) {
        a[i] = _mm256_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm256_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm256_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        w[i] = _mm256_permute2x128_si256(a[i], a[i + 4], 0x20);
        w[i + 4] = _mm256_permute2x128_si256(a[i], a[i + 4], 0x31);
    }
}

/* One round; the caller renames a..h instead of moving them. */
INLINE void one_round(__m256i s[8], int t, __m256i w, const uint32_t *constant) {
    __m256i *a = &s[(8 - t) & 7], *b = &s[(9 - t) & 7], *c = &s[(10 - t) & 7];
    __m256i *d = &s[(11 - t) & 7], *e = &s[(12 - t) & 7], *f = &s[(13 - t) & 7];
    __m256i *g = &s[(14 - t) & 7], *h = &s[(15 - t) & 7];
    __m256i input = add(add(*h, w), _mm256_set1_epi32((int)*constant));
    __m256i choice = xor(*g, _mm256_and_si256(*e, xor(*f, *g)));
    __m256i t1 = add(add(input, choice), big_sigma1(*e));
    __m256i majority =
        _mm256_or_si256(_mm256_and_si256(*a, *b), _mm256_and_si256(*c, _mm256_or_si256(*a, *b)));
    *d = add(*d, t1);
    *h = add(add(t1, majority), big_sigma0(*a));
}

INLINE void sixteen_rounds(__m256i s[8], __m256i w[16], const uint32_t *constants, int expand) {
#pragma GCC unroll 16
    for (int t = 0; t < 16; t++) {
        if (expand) {
            w[t] = add(add(w[t], small_sigma0(w[(t + 1) & 15])),
                       add(w[(t + 9) & 15], small_sigma1(w[(t + 14) & 15])));
        }
        one_round(s, t & 7, w[t], constants + t);
    }
}

TARGET static void compress(uint32_t states[HM_SHA256_WORDS][LANES],
                            const uint8_t *const data[LANES], size_t blocks) {
    __m256i s[HM_SHA256_WORDS];
    for (int i = 0; i < HM_SHA256_WORDS; i++) {
        s[i] = _mm256_load_si256((const __m256i *)(const void *)states[i]);
    }
    for (size_t offset = 0; offset < blocks * HM_SHA256_BLOCK; offset += HM_SHA256_BLOCK) {
        __m256i w[16];
        load_words(data, offset, w);
        load_words(data, offset + HM_SHA256_BLOCK / 2, w + LANES);
        __m256i old[HM_SHA256_WORDS];
        for (int i = 0; i < HM_SHA256_WORDS; i++) {
            old[i] = s[i];
        }
        sixteen_rounds(s, w, hm_sha256_constants, 0);
        for (int t = 16; t < 64; t += 16) {
            sixteen_rounds(s, w, hm_sha256_constants + t, 1);
        }
        for (int i = 0; i < HM_SHA256_WORDS; i++) {
            s[i] = add(s[i], old[i]);
        }
    }
    for (int i = 0; i < HM_SHA256_WORDS; i++) {
        _mm256_store_si256((__m256i *)(void *)states[i], s[i]);
    }
}

void hm_sha256_avx2(hm_sha256_lane *const *lanes, size_t count, size_t blocks) {
    uint32_t states[HM_SHA256_WORDS][LANES] __attribute__((aligned(32))) = {{0}};
    const uint8_t *data[LANES];
    for (size_t lane = 0; lane < LANES; lane++) {
        data[lane] = lanes[lane < count ? lane : 0]->data; /* an unused one repeats the first */
        for (size_t i = 0; lane < count && i < HM_SHA256_WORDS; i++) {
            states[i][lane] = lanes[lane]->state[i];
        }
    }
    compress(states, data, blocks);
    for (size_t lane = 0; lane < count; lane++) {
        for (size_t i = 0; i < HM_SHA256_WORDS; i++) {
            lanes[lane]->state[i] = states[i][lane];
        }
    }
}

#else

typedef int hm_no_avx2; /* ISO C wants something in a file */

#endif
