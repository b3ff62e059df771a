/* SPDX-License-Identifier: Apache-2.0 */
/* Which SHA-256 kernels this processor has, and which to use for how many streams. */
#include "digest/engine.h"
#include "digest/sha256_lanes.h"

#include <stdlib.h>
#include <string.h>

#if HM_SHA256_X86
#include <cpuid.h>
#endif

#define KERNEL_VARIABLE "HALLMARK_KERNEL"

enum { AVX512, AVX2, SHANI, KERNELS };

static hm_sha256_kernel kernels[KERNELS + 1]; /* filled once */
static pthread_once_t kernels_once = PTHREAD_ONCE_INIT;

#if HM_SHA256_X86

static bool has_shani(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0 &&
           __builtin_cpu_supports("sse4.1");
}

/* __builtin_cpu_supports() also asks whether the system saves the wide registers. */
static void find_kernels(void) {
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
    bool avx2 = __builtin_cpu_supports("avx2");
    kernels[AVX512] = (hm_sha256_kernel){"avx512", hm_sha256_avx512, avx512 ? 16 : 0};
    kernels[AVX2] = (hm_sha256_kernel){"avx2", hm_sha256_avx2, avx2 ? 8 : 0};
    kernels[SHANI] = (hm_sha256_kernel){"shani", hm_sha256_shani, has_shani() ? 3 : 0};
}

#else

static void find_kernels(void) {
    kernels[AVX512].name = "avx512";
    kernels[AVX2].name = "avx2";
    kernels[SHANI].name = "shani";
}

#endif

const hm_sha256_kernel *hm_sha256_kernels(void) {
    (void)pthread_once(&kernels_once, find_kernels);
    return kernels;
}

static void use_wide(hm_sha256_choice *choice, const hm_sha256_kernel *kernel) {
    choice->wide = kernel->function;
    choice->wide_lanes = kernel->lanes;
    choice->lanes = kernel->lanes;
}

static void use_few(hm_sha256_choice *choice, const hm_sha256_kernel *kernel) {
    choice->few = kernel->function;
    choice->few_lanes = kernel->lanes;
    choice->lanes = choice->lanes > kernel->lanes ? choice->lanes : kernel->lanes;
}

/* The figures behind this are in docs/digest-engine.md. */
static void choose_best(hm_sha256_choice *choice) {
    const hm_sha256_kernel *k = hm_sha256_kernels();
    bool shani = k[SHANI].lanes != 0;
    choice->speed_one = shani ? 17 : 5;
    choice->speed_few = shani ? 20 : 5;
    choice->speed_wide = choice->speed_few;
    if (shani) {
        use_few(choice, &k[SHANI]);
    }
    if (k[AVX512].lanes != 0) {
        use_wide(choice, &k[AVX512]);
        choice->wide_least = shani ? 9 : 3;
        choice->speed_wide = 37;
    } else if (k[AVX2].lanes != 0 && !shani) {
        use_wide(choice, &k[AVX2]);
        choice->wide_least = 3;
        choice->speed_wide = 15;
    }
}

static hm_status fail_name(const char *name, hm_error **error) {
    hm_auto_buf names = {0};
    for (const hm_sha256_kernel *k = hm_sha256_kernels(); k->name != NULL; k++) {
        if (k->lanes != 0) {
            hm_buf_add_format(&names, "%s, ", k->name);
        }
    }
    hm_buf_add_text(&names, "libcrypto");
    hm_status status = hm_buf_check(&names, error);
    if (status == HM_OK) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s=%s: no such kernel on this machine",
                         KERNEL_VARIABLE, name);
        hm_error_add_hint(error, "unset it, or choose one of: %s", (const char *)names.data);
    }
    return status;
}

/* By name, without another one beside it. */
static bool choose_forced(hm_sha256_choice *choice, const char *name) {
    const hm_sha256_kernel *k = hm_sha256_kernels();
    while (k->name != NULL && strcmp(k->name, name) != 0) {
        k++;
    }
    if (k->name == NULL || k->lanes == 0) {
        return strcmp(name, "libcrypto") == 0;
    }
    choice->forced = true;
    if (k == hm_sha256_kernels() + SHANI) {
        use_few(choice, k);
    } else {
        use_wide(choice, k);
    }
    return true;
}

hm_status hm_sha256_choose(hm_sha256_choice *choice, hm_error **error) {
    const char *name = getenv(KERNEL_VARIABLE);
    *choice = (hm_sha256_choice){.lanes = 1, .speed_one = 1, .speed_few = 1, .speed_wide = 1};
    if (name == NULL || *name == '\0') {
        choose_best(choice);
        return HM_OK;
    }
    return choose_forced(choice, name) ? HM_OK : fail_name(name, error);
}

unsigned hm_sha256_speed(const hm_sha256_choice *choice, size_t streams) {
    if (streams <= 1) {
        return choice->speed_one;
    }
    return choice->wide != NULL && streams >= choice->wide_least ? choice->speed_wide
                                                                 : choice->speed_few;
}

/* How many of `count` streams go into the next call of the kernel for few: 4 are 2 and 2. */
static size_t few_at_once(const hm_sha256_choice *choice, size_t count) {
    if (count == choice->few_lanes + 1) {
        return count / 2;
    }
    return count < choice->few_lanes ? count : choice->few_lanes;
}

void hm_sha256_advance(const hm_sha256_choice *choice, hm_sha256_lane *const *lanes, size_t count,
                       size_t blocks) {
    for (size_t n; count > 0; lanes += n, count -= n) {
        if (choice->few == NULL || (choice->wide != NULL && count >= choice->wide_least)) {
            n = count < choice->wide_lanes ? count : choice->wide_lanes;
            choice->wide(lanes, n, blocks);
        } else {
            n = few_at_once(choice, count);
            choice->few(lanes, n, blocks);
        }
    }
}

void hm_digest_describe(hm_buf *out) {
    hm_sha256_choice choice;
    hm_buf_add_text(out, "sha256 kernels: ");
    const hm_sha256_kernel *k = hm_sha256_kernels();
    for (size_t i = 0; k[i].name != NULL; i++) {
        if (k[i].lanes != 0) {
            hm_buf_add_format(out, "%s (%zu streams), ", k[i].name, k[i].lanes);
        }
    }
    hm_buf_add_text(out, "libcrypto (1 stream); in use: ");
    if (hm_sha256_choose(&choice, NULL) != HM_OK) {
        hm_buf_add_text(out, "none, " KERNEL_VARIABLE " names another");
    } else {
        const char *separator = "";
        for (size_t i = 0; k[i].name != NULL; i++) {
            if (k[i].lanes != 0 && (k[i].function == choice.wide || k[i].function == choice.few)) {
                hm_buf_add_format(out, "%s%s", separator, k[i].name);
                separator = ", ";
            }
        }
        hm_buf_add_format(out, "%s%s", choice.forced ? "" : separator,
                          choice.forced ? " (forced)" : "libcrypto");
    }
    hm_buf_add_format(out, "\nblake3: reference library %s\n", blake3_version());
}
