/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML for files that people write and that decide whom to believe. libyaml takes the text apart;
 * what is left here is the part of YAML in which a file means one thing only. Refused: a key twice
 * in a mapping, anchors and aliases, tags, several documents, bytes that are not UTF-8, and plain
 * words that one reader takes for a text and another for a truth value. Every error names the line
 * and column, from 1.
 */
#ifndef HM_YAML_H
#define HM_YAML_H

#include "base/base.h"

enum { HM_YAML_DEPTH = 16 };                 /* lists and mappings inside each other */
#define HM_YAML_FILE_LIMIT ((size_t)1 << 20) /* bytes of a document */
#define HM_YAML_NODE_LIMIT ((size_t)1 << 16) /* values in a document */

typedef enum hm_yaml_type {
    HM_YAML_SCALAR,
    HM_YAML_LIST,
    HM_YAML_MAPPING,
} hm_yaml_type;

typedef struct hm_yaml_doc hm_yaml_doc;

/* A value. Read-only but for `used`. Lives as long as its document. */
typedef struct hm_yaml hm_yaml;
struct hm_yaml {
    hm_yaml_type type;
    bool quoted; /* or a block scalar: a text, whatever it looks like */
    bool used;   /* taken by hm_yaml_take() */
    size_t line, column;
    char *text; /* of a SCALAR; UTF-8 without NUL */
    char *name; /* of a member of a MAPPING */
    size_t name_line, name_column;
    size_t count;   /* children of a LIST or MAPPING */
    hm_yaml *first; /* first child */
    hm_yaml *next;  /* next sibling */
    const hm_yaml_doc *doc;
    hm_yaml *made_before;
};

/*
 * Reads one document; an empty one has the root NULL. `what` names the source in errors. What is
 * wrong with a file of the caller's own is no verdict on a model: ::HM_UNDECIDED.
 */
HM_MUST_USE hm_status hm_yaml_parse(hm_bytes text, const char *what, hm_yaml_doc **doc,
                                    hm_error **error);
hm_yaml *hm_yaml_root(const hm_yaml_doc *doc);
void hm_yaml_free(hm_yaml_doc **doc);
#define hm_auto_yaml HM_CLEANUP(hm_yaml_free) hm_yaml_doc *

/* hm_fail() with ::HM_UNDECIDED and the place of `node` in front. */
hm_status hm_yaml_fail(const hm_yaml *node, hm_error **error, const char *format, ...)
    HM_PRINTF(3, 4);
/* Adds the hint "did you mean ...?" when one of the words is near enough. NULL ends `known`. */
void hm_yaml_hint_nearest(hm_error **error, const char *word, const char *const *known);

/* The member, marked as used; NULL when it is not there. */
hm_yaml *hm_yaml_take(hm_yaml *mapping, const char *name);
/* Refuses members that nobody took. `known` is for the hint; NULL ends it. */
HM_MUST_USE hm_status hm_yaml_refuse_rest(const hm_yaml *mapping, const char *const *known,
                                          hm_error **error);

/*
 * A value of one type, else an error. `node` NULL leaves the result as it is, so that what may be
 * left out is read with hm_yaml_text(hm_yaml_take(...), &with_default, error).
 */
HM_MUST_USE hm_status hm_yaml_want(const hm_yaml *node, hm_yaml_type type, hm_error **error);
/* Not empty, and not a plain word or number that could be taken for something else. */
HM_MUST_USE hm_status hm_yaml_text(const hm_yaml *node, const char **text, hm_error **error);
/* "true" or "false". */
HM_MUST_USE hm_status hm_yaml_bool(const hm_yaml *node, bool *truth, hm_error **error);
/* Decimal, from 0 to 2^53, without sign or leading zeros. */
HM_MUST_USE hm_status hm_yaml_integer(const hm_yaml *node, uint64_t *number, hm_error **error);
/* "2026-01-05T20:31:07Z", or "2026-01-05" for the first second of that day, or the last. */
HM_MUST_USE hm_status hm_yaml_time(const hm_yaml *node, bool last_second, int64_t *time,
                                   hm_error **error);
/*
 * The values of a list, or the one that stands in a list's place: the first, and on with
 * hm_yaml_next(). An empty list is an error.
 */
HM_MUST_USE hm_status hm_yaml_one_or_more(hm_yaml *node, hm_yaml **first, hm_error **error);
static inline hm_yaml *hm_yaml_next(const hm_yaml *list, const hm_yaml *at) {
    return list == at ? NULL : at->next;
}

#endif
