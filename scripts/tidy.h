/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read before every source of the library by scripts/tidy.sh. clang's analyzer does not look into
 * other files; without this it takes it that a function which fails may return HM_OK.
 */
#ifndef HM_TIDY_H
#define HM_TIDY_H

#include "base/base.h"

#define hm_fail(error, status, ...) (hm_fail(error, status, __VA_ARGS__), (status))
#define hm_fail_errno(...) (hm_fail_errno(__VA_ARGS__), HM_UNDECIDED)
#define hm_fail_crypto(error, status, ...) (hm_fail_crypto(error, status, __VA_ARGS__), (status))
#define hm_fail_memory(error) (hm_fail_memory(error), HM_UNDECIDED)
#define hm_error_move(error, from) (hm_error_move(error, from), HM_UNDECIDED)

#endif
