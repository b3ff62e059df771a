/* SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

static bool component_valid(const uint8_t *text, size_t length) {
    bool dots =
        (length == 1 && text[0] == '.') || (length == 2 && text[0] == '.' && text[1] == '.');
    return length > 0 && !dots;
}

bool hm_name_valid(hm_bytes name) {
    if (!hm_utf8_valid(name) || memchr(name.data, 0, name.length) != NULL) {
        return false;
    }
    size_t start = 0;
    for (size_t i = 0; i <= name.length; i++) {
        if (i == name.length || name.data[i] == '/') {
            if (!component_valid(name.data + start, i - start)) {
                return false;
            }
            start = i + 1;
        }
    }
    return true;
}

const char *hm_ignore_source_name(hm_ignore_source source) {
    switch (source) {
    case HM_IGNORED_DEFAULT: return "format-default";
    case HM_IGNORED_SIGNED: return "signed";
    case HM_IGNORED_CALLER: return "caller";
    case HM_IGNORED_SIGNATURE: return "signature-file";
    case HM_IGNORED_PROVENANCE: return "provenance-file";
    }
    return "";
}

/* Finds the rule for exactly the first `length` bytes of `path`, or the place where it would be. */
static bool find_rule(const hm_ignore *ignore, const char *path, size_t length, size_t *place) {
    size_t low = 0;
    size_t high = ignore->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *rule = ignore->rules[middle].path;
        int order = strncmp(path, rule, length);
        order = order == 0 && rule[length] != '\0' ? -1 : order;
        if (order == 0) {
            *place = middle;
            return true;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    *place = low;
    return false;
}

hm_status hm_ignore_add(hm_ignore *ignore, const char *path, hm_ignore_source source,
                        hm_error **error) {
    /* "" and "." would leave out the whole model, and with it everything that verifies anything. */
    if (!hm_name_valid(hm_bytes_text(path))) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "\"%s\" is not a path inside the model that can be ignored", path);
    }
    size_t place;
    if (find_rule(ignore, path, strlen(path), &place)) {
        return HM_OK;
    }
    if (ignore->count >= HM_IGNORE_LIMIT) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                       "more than %d paths are to be ignored", HM_IGNORE_LIMIT);
    }
    char *copy = hm_strdup(path);
    if (copy == NULL ||
        !hm_grow(&ignore->rules, ignore->count, &ignore->capacity, sizeof(*ignore->rules))) {
        free(copy);
        return hm_fail_memory(error);
    }
    memmove(&ignore->rules[place + 1], &ignore->rules[place],
            (ignore->count - place) * sizeof(*ignore->rules));
    ignore->rules[place] = (struct hm_ignore_rule){.path = copy, .source = source};
    ignore->count++;
    return HM_OK;
}

hm_status hm_ignore_add_git(hm_ignore *ignore, hm_error **error) {
    static const char *const paths[] = {".git", ".gitignore", ".gitattributes", ".github"};
    hm_status status = HM_OK;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]) && status == HM_OK; i++) {
        status = hm_ignore_add(ignore, paths[i], HM_IGNORED_DEFAULT, error);
    }
    return status;
}

const struct hm_ignore_rule *hm_ignore_match(const hm_ignore *ignore, const char *path) {
    size_t length = 0;
    do {
        length += strcspn(path + length, "/");
        size_t place;
        if (find_rule(ignore, path, length, &place)) {
            return &ignore->rules[place];
        }
    } while (path[length++] == '/');
    return NULL;
}

void hm_ignore_free(hm_ignore *ignore) {
    for (size_t i = 0; i < ignore->count; i++) {
        free(ignore->rules[i].path);
    }
    free(ignore->rules);
    *ignore = (hm_ignore){0};
}
