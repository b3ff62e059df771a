/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the speed of each SHA-256 kernel on data in the cache, by one thread: a line with its
 * name, its streams and bytes per second for each that runs here, libcrypto's own among them.
 */
#include "digest/sha256_lanes.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* For each lane. Off a power of two, lest all lanes fall into one set of the cache. */
enum { LANE_BLOCKS = 63, LANE_BYTES = LANE_BLOCKS * HM_SHA256_BLOCK, SLICES = 80 };

static const double slice_seconds = 0.004;
static _Alignas(64) uint8_t data[HM_SHA256_LANES_MAX][LANE_BYTES];

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Hashes so many bytes once; false when it cannot. */
typedef bool hash_fn(const hm_sha256_kernel *kernel, size_t *bytes);

static bool hash_lanes(const hm_sha256_kernel *kernel, size_t *bytes) {
    hm_sha256_lane lanes[HM_SHA256_LANES_MAX];
    hm_sha256_lane *pointers[HM_SHA256_LANES_MAX];
    for (size_t i = 0; i < kernel->lanes; i++) {
        memcpy(lanes[i].state, hm_sha256_initial, sizeof(lanes[i].state));
        lanes[i].data = data[i];
        pointers[i] = &lanes[i];
    }
    kernel->function(pointers, kernel->lanes, LANE_BLOCKS);
    *bytes = kernel->lanes * LANE_BYTES;
    return true;
}

static bool hash_libcrypto(const hm_sha256_kernel *kernel, size_t *bytes) {
    (void)kernel;
    uint8_t digest[EVP_MAX_MD_SIZE];
    *bytes = sizeof(data);
    return EVP_Digest(data, sizeof(data), digest, NULL, EVP_sha256(), NULL) == 1;
}

static bool run_slice(hash_fn *hash, const hm_sha256_kernel *kernel, double *speed) {
    size_t total = 0;
    size_t bytes = 0;
    double started = now();
    double seconds = 0;
    while (seconds < slice_seconds) {
        if (!hash(kernel, &bytes)) {
            return false;
        }
        total += bytes;
        seconds = now() - started;
    }
    *speed = (double)total / seconds;
    return true;
}

/* The best slice, and short ones: other processes only ever slow it down. */
static bool show(const char *name, hash_fn *hash, const hm_sha256_kernel *kernel, size_t streams) {
    double best = 0;
    for (int i = 0; i < SLICES; i++) {
        double speed = 0;
        if (!run_slice(hash, kernel, &speed)) {
            return false;
        }
        best = speed > best ? speed : best;
    }
    return printf("%s %zu %.0f\n", name, streams, best) > 0;
}

int main(void) {
    memset(data, 0x5a, sizeof(data));
    bool shown = show("libcrypto", hash_libcrypto, NULL, 1);
    for (const hm_sha256_kernel *k = hm_sha256_kernels(); k->name != NULL && shown; k++) {
        if (k->lanes != 0) {
            shown = show(k->name, hash_lanes, k, k->lanes);
        }
    }
    return shown ? EXIT_SUCCESS : EXIT_FAILURE;
}
