/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, ignore paths, shard names, hex, base64 and printable text. The input is a list of lines:
 * each by itself, then the first half of them as ignore paths for the second.
 */
#include "fuzz.h"

#include "format/oms.h"
#include "format/rsa_json.h"

enum { LINE_LIMIT = 64 };

static void check_name(hm_bytes line) {
    hm_auto_free char *name = hm_strndup((const char *)line.data, line.length);
    FUZZ_CHECK(name != NULL);
    if (!hm_name_valid(line)) {
        FUZZ_CHECK(!hm_rsa_json_name_valid(line));
        return;
    }
    FUZZ_CHECK(line.length > 0 && strlen(name) == line.length && hm_utf8_valid(line));
    FUZZ_CHECK(!fuzz_leads_outside(name) && strstr(name, "//") == NULL);
    FUZZ_CHECK(name[line.length - 1] != '/' && strcmp(name, ".") != 0);
    FUZZ_CHECK(strncmp(name, "./", 2) != 0 && strstr(name, "/./") == NULL);
    if (hm_rsa_json_name_valid(line)) {
        FUZZ_CHECK(strpbrk(name, "/\\") == NULL);
    }
}

/* One spelling of a shard's name only. */
static void check_shard(hm_bytes line) {
    hm_bytes path;
    uint64_t start, end;
    if (hm_oms_shard_name(line, &path, &start, &end)) {
        hm_auto_buf again = {0};
        hm_buf_add(&again, path.data, path.length);
        hm_buf_add_format(&again, ":%llu:%llu", (unsigned long long)start, (unsigned long long)end);
        FUZZ_CHECK(hm_bytes_equal(hm_buf_view(&again), line));
    }
}

static void check_base64(hm_bytes line) {
    hm_auto_buf data = {0};
    hm_auto_buf either = {0};
    hm_auto_buf again = {0};
    bool standard = hm_unbase64(line, HM_BASE64_STANDARD, &data);
    bool both = hm_unbase64(line, HM_BASE64_EITHER, &either);
    FUZZ_CHECK(!standard || (both && hm_bytes_equal(hm_buf_view(&data), hm_buf_view(&either))));
    if (both) {
        hm_buf_add_base64(&again, hm_buf_view(&either));
        FUZZ_CHECK(again.length == line.length);
        for (size_t i = 0; i < line.length; i++) {
            uint8_t byte = line.data[i] == '-' && !standard   ? '+'
                           : line.data[i] == '_' && !standard ? '/'
                                                              : line.data[i];
            FUZZ_CHECK(again.data[i] == byte);
        }
    }
}

static void check_hex(hm_bytes line) {
    hm_auto_free uint8_t *data = hm_alloc(line.length, 1);
    hm_auto_free char *again = hm_alloc(line.length + 2, 1);
    FUZZ_CHECK(data != NULL && again != NULL);
    if (hm_unhex(line, data, line.length / 2)) {
        hm_hex(data, line.length / 2, again);
        FUZZ_CHECK(hm_bytes_equal_text(line, again));
    }
}

static void check_printable(hm_bytes line) {
    hm_auto_buf shown = {0};
    hm_buf_add_printable(&shown, line);
    FUZZ_CHECK(hm_buf_check(&shown, NULL) == HM_OK);
    FUZZ_CHECK(strlen((const char *)shown.data) == shown.length);
    FUZZ_CHECK(fuzz_printable((const char *)shown.data, false));
}

static void check_base(hm_bytes line) {
    hm_auto_free char *path = hm_strndup((const char *)line.data, line.length);
    hm_auto_free char *base = path != NULL ? hm_path_base(path) : NULL;
    FUZZ_CHECK(base != NULL && strchr(base, '/') == NULL && strlen(base) <= strlen(path));
}

/* ---- ignore paths --------------------------------------------------------------------------- */

/* What a rule covers, said in the simplest way. */
static bool covers(const char *rule, const char *path) {
    size_t length = strlen(rule);
    return strncmp(rule, path, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

static void check_match(const hm_ignore *ignore, const char *path) {
    bool covered = false;
    const struct hm_ignore_rule *rule = hm_ignore_match(ignore, path);
    for (size_t i = 0; i < ignore->count; i++) {
        covered = covered || covers(ignore->rules[i].path, path);
    }
    FUZZ_CHECK(covered == (rule != NULL));
    FUZZ_CHECK(rule == NULL || covers(rule->path, path));
}

static void check_ignore(char *const *lines, size_t count) {
    hm_ignore ignore = {0};
    for (size_t i = 0; i < count / 2; i++) {
        hm_auto_error error = NULL;
        hm_status status = hm_ignore_add(&ignore, lines[i], HM_IGNORED_SIGNED, &error);
        FUZZ_CHECK((status == HM_OK) == hm_name_valid(hm_bytes_text(lines[i])));
        fuzz_verdict(status, &error);
        FUZZ_CHECK(status != HM_OK || hm_ignore_match(&ignore, lines[i]) != NULL);
    }
    for (size_t i = 0; i < count; i++) {
        if (hm_name_valid(hm_bytes_text(lines[i]))) {
            check_match(&ignore, lines[i]);
        }
    }
    for (size_t i = 1; i < ignore.count; i++) {
        FUZZ_CHECK(strcmp(ignore.rules[i - 1].path, ignore.rules[i].path) < 0);
    }
    hm_ignore_free(&ignore);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *lines[LINE_LIMIT] = {NULL};
    size_t count = 0;
    for (size_t start = 0; start < size && count < LINE_LIMIT;) {
        const uint8_t *end = memchr(data + start, '\n', size - start);
        size_t length = end != NULL ? (size_t)(end - data) - start : size - start;
        hm_bytes line = hm_bytes_of(data + start, length);
        check_name(line);
        check_shard(line);
        check_base64(line);
        check_hex(line);
        check_printable(line);
        check_base(line);
        lines[count++] = hm_strndup((const char *)line.data, line.length);
        start += length + 1;
    }
    check_ignore(lines, count);
    for (size_t i = 0; i < count; i++) {
        free(lines[i]);
    }
    return 0;
}
