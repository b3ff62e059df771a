/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 by the SHA extensions, up to 3 streams: two rounds depend on the two before them, and
 * while one stream waits for its result the others use the unit.
 */
#include "digest/sha256_lanes.h"

#if HM_SHA256_X86

#include <immintrin.h>

enum { LANES = 3 };

#define TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define INLINE TARGET __attribute__((always_inline)) static inline

/* The state as the instructions want it: words (a, b, e, f) and (c, d, g, h), highest first. */
typedef struct stream {
    __m128i abef;
    __m128i cdgh;
} stream;

INLINE stream load_state(const uint32_t state[HM_SHA256_WORDS]) {
    const __m128i *words = (const __m128i *)(const void *)state;
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1b);
    return (stream){.abef = _mm_alignr_epi8(badc, hgfe, 8),
                    .cdgh = _mm_blend_epi16(hgfe, badc, 0xf0)};
}

INLINE void store_state(stream s, uint32_t state[HM_SHA256_WORDS]) {
    __m128i *words = (__m128i *)(void *)state;
    __m128i feba = _mm_shuffle_epi32(s.abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(s.cdgh, 0xb1);
    _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
}

INLINE __m128i load_words(const uint8_t *data) {
    const __m128i swap = _mm_set_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)data), swap);
}

/* w[t] becomes the four words that follow the sixteen in w. */
INLINE __m128i next_words(const __m128i w[4], int t) {
    __m128i sum = _mm_sha256msg1_epu32(w[t & 3], w[(t + 1) & 3]);
    sum = _mm_add_epi32(sum, _mm_alignr_epi8(w[(t + 3) & 3], w[(t + 2) & 3], 4));
    return _mm_sha256msg2_epu32(sum, w[(t + 3) & 3]);
}

INLINE void four_rounds(stream *s, __m128i input) {
    s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, input);
    s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(input, 0x0e));
}

INLINE void one_block(stream s[LANES], const uint8_t *const data[LANES], size_t offset, int count) {
    const __m128i *constants = (const __m128i *)(const void *)hm_sha256_constants;
    stream old[LANES];
    __m128i w[LANES][4];
#pragma GCC unroll 3
    for (int i = 0; i < count; i++) {
        old[i] = s[i];
    }
#pragma GCC unroll 16
    for (int t = 0; t < 16; t++) {
        __m128i constant = _mm_load_si128(constants + t);
#pragma GCC unroll 3
        for (int i = 0; i < count; i++) {
            w[i][t & 3] = t < 4 ? load_words(data[i] + offset + 16 * t) : next_words(w[i], t);
            four_rounds(&s[i], _mm_add_epi32(w[i][t & 3], constant));
        }
    }
#pragma GCC unroll 3
    for (int i = 0; i < count; i++) {
        s[i].abef = _mm_add_epi32(s[i].abef, old[i].abef);
        s[i].cdgh = _mm_add_epi32(s[i].cdgh, old[i].cdgh);
    }
}

/* With `count` a constant, everything above becomes straight code. */
INLINE void compress(hm_sha256_lane *const *lanes, int count, size_t blocks) {
    stream s[LANES];
    const uint8_t *data[LANES];
#pragma GCC unroll 3
    for (int i = 0; i < count; i++) {
        s[i] = load_state(lanes[i]->state);
        data[i] = lanes[i]->data;
    }
    for (size_t offset = 0; offset < blocks * HM_SHA256_BLOCK; offset += HM_SHA256_BLOCK) {
        one_block(s, data, offset, count);
    }
#pragma GCC unroll 3
    for (int i = 0; i < count; i++) {
        store_state(s[i], lanes[i]->state);
    }
}

TARGET static void compress1(hm_sha256_lane *const *lanes, size_t blocks) {
    compress(lanes, 1, blocks);
}

TARGET static void compress2(hm_sha256_lane *const *lanes, size_t blocks) {
    compress(lanes, 2, blocks);
}

TARGET static void compress3(hm_sha256_lane *const *lanes, size_t blocks) {
    compress(lanes, 3, blocks);
}

void hm_sha256_shani(hm_sha256_lane *const *lanes, size_t count, size_t blocks) {
    if (count == 3) {
        compress3(lanes, blocks);
    } else if (count == 2) {
        compress2(lanes, blocks);
    } else if (count == 1) {
        compress1(lanes, blocks);
    }
}

#else

typedef int hm_no_shani; /* ISO C wants something in a file */

#endif
