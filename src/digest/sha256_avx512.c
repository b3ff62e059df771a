/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256, 16 streams: word i of all of them in one register. */
#include "digest/sha256_lanes.h"

#if HM_SHA256_X86

#include <immintrin.h>

enum { LANES = 16 };

#define TARGET __attribute__((target("avx512f,avx512bw")))
#define INLINE TARGET __attribute__((always_inline)) static inline

typedef struct vectors {
    __m512i v[16];
} vectors;

INLINE __m512i xor3(__m512i a, __m512i b, __m512i c) {
    return _mm512_ternarylogic_epi32(a, b, c, 0x96);
}

INLINE __m512i add(__m512i a, __m512i b) {
    return _mm512_add_epi32(a, b);
}

INLINE __m512i big_sigma0(__m512i a) {
    return xor3(_mm512_ror_epi32(a, 2), _mm512_ror_epi32(a, 13), _mm512_ror_epi32(a, 22));
}

INLINE __m512i big_sigma1(__m512i e) {
    return xor3(_mm512_ror_epi32(e, 6), _mm512_ror_epi32(e, 11), _mm512_ror_epi32(e, 25));
}

INLINE __m512i small_sigma0(__m512i w) {
    return xor3(_mm512_ror_epi32(w, 7), _mm512_ror_epi32(w, 18), _mm512_srli_epi32(w, 3));
}

INLINE __m512i small_sigma1(__m512i w) {
    return xor3(_mm512_ror_epi32(w, 17), _mm512_ror_epi32(w, 19), _mm512_srli_epi32(w, 10));
}

/* Rows to columns: w->v[i] gets word i of every stream, as the hash reads it (big-endian). */
INLINE void load_words(const uint8_t *const data[LANES], size_t offset, vectors *w) {
    const __m512i swap = _mm512_set4_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);
    vectors a;
    vectors b;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        a.v[i] = _mm512_shuffle_epi8(_mm512_loadu_si512(data[i] + offset), swap);
    }
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i += 2) { /* pairs of words */
        b.v[i] = _mm512_unpacklo_epi32(a.v[i], a.v[i + 1]);
        b.v[i + 1] = _mm512_unpackhi_epi32(a.v[i], a.v[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 4) { /* one word of four streams in each quarter */
        a.v[i] = _mm512_unpacklo_epi64(b.v[i], b.v[i + 2]);
        a.v[i + 1] = _mm512_unpackhi_epi64(b.v[i], b.v[i + 2]);
        a.v[i + 2] = _mm512_unpacklo_epi64(b.v[i + 1], b.v[i + 3]);
        a.v[i + 3] = _mm512_unpackhi_epi64(b.v[i + 1], b.v[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* quarters to their places */
        __m512i low = _mm512_shuffle_i32x4(a.v[i], a.v[i + 4], 0x44);
        __m512i high = _mm512_shuffle_i32x4(a.v[i], a.v[i + 4], 0xee);
        __m512i low2 = _mm512_shuffle_i32x4(a.v[i + 8], a.v[i + 12], 0x44);
        __m512i high2 = _mm512_shuffle_i32x4(a.v[i + 8], a.v[i + 12], 0xee);
        w->v[i] = _mm512_shuffle_i32x4(low, low2, 0x88);
        w->v[i + 4] = _mm512_shuffle_i32x4(low, low2, 0xdd);
        w->v[i + 8] = _mm512_shuffle_i32x4(high, high2, 0x88);
        w->v[i + 12] = _mm512_shuffle_i32x4(high, high2, 0xdd);
    }
}

/* One round; the caller renames a..h instead of moving them. */
INLINE void one_round(__m512i s[8], int t, __m512i w, const uint32_t *constant) {
    __m512i *a = &s[(8 - t) & 7], *b = &s[(9 - t) & 7], *c = &s[(10 - t) & 7];
    __m512i *d = &s[(11 - t) & 7], *e = &s[(12 - t) & 7], *f = &s[(13 - t) & 7];
    __m512i *g = &s[(14 - t) & 7], *h = &s[(15 - t) & 7];
    __m512i input = add(add(*h, w), _mm512_set1_epi32((int)*constant));
    __m512i choice = _mm512_ternarylogic_epi32(*e, *f, *g, 0xca);
    __m512i t1 = add(add(input, choice), big_sigma1(*e));
    *d = add(*d, t1);
    *h = add(add(t1, _mm512_ternarylogic_epi32(*a, *b, *c, 0xe8)), big_sigma0(*a));
}

INLINE void sixteen_rounds(__m512i s[8], vectors *w, const uint32_t *constants, int expand) {
#pragma GCC unroll 16
    for (int t = 0; t < 16; t++) {
        if (expand) {
            w->v[t] = add(add(w->v[t], small_sigma0(w->v[(t + 1) & 15])),
                          add(w->v[(t + 9) & 15], small_sigma1(w->v[(t + 14) & 15])));
        }
        one_round(s, t & 7, w->v[t], constants + t);
    }
}

TARGET static void compress(uint32_t states[HM_SHA256_WORDS][LANES],
                            const uint8_t *const data[LANES], size_t blocks) {
    __m512i s[HM_SHA256_WORDS];
    for (int i = 0; i < HM_SHA256_WORDS; i++) {
        s[i] = _mm512_loadu_si512(states[i]);
    }
    for (size_t offset = 0; offset < blocks * HM_SHA256_BLOCK; offset += HM_SHA256_BLOCK) {
        vectors w;
        load_words(data, offset, &w);
        __m512i old[HM_SHA256_WORDS];
        for (int i = 0; i < HM_SHA256_WORDS; i++) {
            old[i] = s[i];
        }
        sixteen_rounds(s, &w, hm_sha256_constants, 0);
        for (int t = 16; t < 64; t += 16) {
            sixteen_rounds(s, &w, hm_sha256_constants + t, 1);
        }
        for (int i = 0; i < HM_SHA256_WORDS; i++) {
            s[i] = add(s[i], old[i]);
        }
    }
    for (int i = 0; i < HM_SHA256_WORDS; i++) {
        _mm512_storeu_si512(states[i], s[i]);
    }
}

void hm_sha256_avx512(hm_sha256_lane *const *lanes, size_t count, size_t blocks) {
    uint32_t states[HM_SHA256_WORDS][LANES] __attribute__((aligned(64))) = {{0}};
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

typedef int hm_no_avx512; /* ISO C wants something in a file */

#endif
