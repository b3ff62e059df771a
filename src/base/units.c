/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and spans of time as people write them. */
#include "base/base.h"

#include <string.h>

/* Decimal digits, and a unit behind them; false when there is no number or it is too large. */
static bool split(const char *text, uint64_t *number, const char **unit) {
    *number = 0;
    for (*unit = text; **unit >= '0' && **unit <= '9'; ++*unit) {
        if (__builtin_mul_overflow(*number, 10, number) ||
            !hm_add_u64(*number, (uint64_t)(**unit - '0'), number)) {
            return false;
        }
    }
    return *unit != text;
}

static bool scale(uint64_t number, uint64_t by, uint64_t *result) {
    return !__builtin_mul_overflow(number, by, result);
}

static bool parse_duration(const char *text, uint64_t *seconds) {
    uint64_t number = 0;
    const char *unit = NULL;
    if (!split(text, &number, &unit) || number == 0 || strlen(unit) != 1) {
        return false;
    }
    uint64_t by = *unit == 's'   ? 1
                  : *unit == 'm' ? 60
                  : *unit == 'h' ? 60 * 60
                  : *unit == 'd' ? 24 * 60 * 60
                                 : 0;
    /* As many seconds as can be added to any time without a thought. */
    return by != 0 && scale(number, by, seconds) && *seconds <= UINT32_MAX;
}

static bool parse_size(const char *text, uint64_t *bytes) {
    static const char *const units[] = {"", "K", "M", "G", "T"};
    uint64_t number = 0;
    const char *unit = NULL;
    if (!split(text, &number, &unit)) {
        return false;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t length = strlen(units[i]);
        bool is_it = strncmp(unit, units[i], length) == 0 &&
                     (unit[length] == '\0' || (length > 0 && strcmp(unit + length, "iB") == 0));
        if (is_it) {
            return scale(number, UINT64_C(1) << (10 * i), bytes);
        }
    }
    return false;
}

hm_status hm_duration_from_text(const char *text, uint64_t *seconds, hm_error **error) {
    uint64_t value = 0;
    if (text == NULL || seconds == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_duration_from_text: an argument is missing");
    }
    if (!parse_duration(text, &value)) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "\"%s\" is not a span of time", text);
        hm_error_add_hint(error, "spans of time are written like 90s, 5m, 12h or 7d");
        return HM_USAGE;
    }
    *seconds = value;
    return HM_OK;
}

hm_status hm_size_from_text(const char *text, uint64_t *bytes, hm_error **error) {
    uint64_t value = 0;
    if (text == NULL || bytes == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_size_from_text: an argument is missing");
    }
    if (!parse_size(text, &value)) {
        (void)hm_fail(error, HM_USAGE, HM_REASON_NONE, "\"%s\" is not a size", text);
        hm_error_add_hint(error, "sizes are numbers of bytes, or written like 64MiB or 50GiB");
        return HM_USAGE;
    }
    *bytes = value;
    return HM_OK;
}
