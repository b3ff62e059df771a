/* SPDX-License-Identifier: Apache-2.0 */
#include "base/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <yaml.h>

struct hm_yaml_doc {
    char *what;
    hm_yaml *root;
    hm_yaml *last_made; /* all nodes, for freeing */
};

typedef struct reader {
    yaml_parser_t parser;
    hm_yaml_doc *doc;
    size_t nodes;
    unsigned depth;
    hm_error **error;
} reader;

#define auto_event HM_CLEANUP(yaml_event_delete) yaml_event_t

/* ---- errors --------------------------------------------------------------------------------- */

static hm_status fail_at(const reader *r, const yaml_mark_t *mark, const char *message) {
    return hm_fail(r->error, HM_UNDECIDED, HM_REASON_NONE, "%s:%zu:%zu: %s", r->doc->what,
                   mark->line + 1, mark->column + 1, message);
}

hm_status hm_yaml_fail(const hm_yaml *node, hm_error **error, const char *format, ...) {
    va_list args;
    char *text = NULL;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) {
        return hm_fail_memory(error);
    }
    hm_status status = hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s:%zu:%zu: %s",
                               node->doc->what, node->line, node->column, text);
    hm_auto_free_(&text);
    return status;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Letters to add, drop or change until `a` is `b`; far too many when memory runs out. */
static size_t distance(const char *a, const char *b) {
    size_t length = strlen(b);
    hm_auto_free size_t *row = hm_alloc(length + 1, sizeof *row);
    if (row == NULL) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= length; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            size_t changed = diagonal + (a[i] != b[j] ? 1 : 0);
            diagonal = row[j + 1];
            row[j + 1] = least(changed, least(row[j], row[j + 1]) + 1);
        }
    }
    return row[length];
}

void hm_yaml_hint_nearest(hm_error **error, const char *word, const char *const *known) {
    const char *nearest = NULL;
    size_t best = 3;
    if (strlen(word) > 64) {
        return;
    }
    for (size_t i = 0; known[i] != NULL; i++) {
        size_t length = strlen(known[i]);
        size_t far = length > 64 ? SIZE_MAX : distance(word, known[i]);
        if (far < best && far < length) {
            best = far;
            nearest = known[i];
        }
    }
    if (nearest != NULL) {
        hm_error_add_hint(error, "did you mean \"%s\"?", nearest);
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

static hm_status fail_parser(const reader *r) {
    const yaml_parser_t *parser = &r->parser;
    if (parser->error == YAML_MEMORY_ERROR) {
        return hm_fail_memory(r->error);
    }
    const char *problem = parser->problem != NULL ? parser->problem : "this is not YAML";
    bool placed = parser->error == YAML_SCANNER_ERROR || parser->error == YAML_PARSER_ERROR;
    hm_status status = fail_at(r, placed ? &parser->problem_mark : &parser->mark, problem);
    if (parser->context != NULL && strstr(parser->context, "alias") != NULL) {
        hm_error_add_hint(r->error, "a text that begins with a star needs quotes");
    } else if (strstr(problem, "start any token") != NULL) {
        hm_error_add_hint(r->error, "indent with spaces, and quote texts that begin with a sign");
    }
    return status;
}

static hm_status next_event(reader *r, yaml_event_t *event) {
    return yaml_parser_parse(&r->parser, event) == 1 ? HM_OK : fail_parser(r);
}

static hm_status new_node(reader *r, const yaml_event_t *event, hm_yaml_type type, hm_yaml **node) {
    if (r->nodes == HM_YAML_NODE_LIMIT) {
        return fail_at(r, &event->start_mark, "the file holds too many values");
    }
    hm_yaml *made = hm_alloc(1, sizeof *made);
    if (made == NULL) {
        return hm_fail_memory(r->error);
    }
    *made = (hm_yaml){
        .type = type,
        .line = event->start_mark.line + 1,
        .column = event->start_mark.column + 1,
        .doc = r->doc,
        .made_before = r->doc->last_made,
    };
    r->doc->last_made = made;
    r->nodes++;
    *node = made;
    return HM_OK;
}

/* What makes the same text mean something else, or stands for something that is elsewhere. */
static hm_status refuse_magic(const reader *r, const yaml_mark_t *mark, const yaml_char_t *anchor,
                              const yaml_char_t *tag) {
    if (anchor != NULL) {
        return fail_at(r, mark, "anchors (&) are not supported");
    }
    return tag != NULL ? fail_at(r, mark, "tags (!) are not supported") : HM_OK;
}

static hm_status read_scalar(reader *r, const yaml_event_t *event, hm_yaml **node) {
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    hm_status status =
        refuse_magic(r, &event->start_mark, event->data.scalar.anchor, event->data.scalar.tag);
    if (status == HM_OK && memchr(value, 0, length) != NULL) {
        status = fail_at(r, &event->start_mark, "a NUL in a text");
    }
    if (status == HM_OK) {
        status = new_node(r, event, HM_YAML_SCALAR, node);
    }
    if (status != HM_OK) {
        return status;
    }
    (*node)->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    (*node)->text = hm_strndup(value, length);
    return (*node)->text != NULL ? HM_OK : hm_fail_memory(r->error);
}

static hm_status read_node(reader *r, yaml_event_t *event, hm_yaml **node);

static hm_status read_items(reader *r, hm_yaml *list) {
    hm_yaml **link = &list->first;
    for (;;) {
        auto_event event = {.type = YAML_NO_EVENT};
        hm_status status = next_event(r, &event);
        if (status != HM_OK || event.type == YAML_SEQUENCE_END_EVENT) {
            return status;
        }
        status = read_node(r, &event, link);
        if (status != HM_OK) {
            return status;
        }
        link = &(*link)->next;
        list->count++;
    }
}

static hm_status refuse_twin(const hm_yaml *mapping, const hm_yaml *key, hm_error **error) {
    enum { MEMBERS_MAX = 8192 }; /* each is compared with all before it */
    if (mapping->count >= MEMBERS_MAX) {
        return hm_yaml_fail(key, error, "more than %d keys in one mapping", MEMBERS_MAX);
    }
    for (const hm_yaml *member = mapping->first; member != NULL; member = member->next) {
        if (strcmp(member->name, key->text) == 0) {
            return hm_yaml_fail(key, error,
                                "\"%s\" is here a second time; the first is in line %zu", key->text,
                                member->name_line);
        }
    }
    return HM_OK;
}

static hm_status read_key(reader *r, const yaml_event_t *event, const hm_yaml *mapping,
                          hm_yaml **key) {
    if (event->type != YAML_SCALAR_EVENT) {
        return fail_at(r, &event->start_mark,
                       event->type == YAML_ALIAS_EVENT ? "aliases (*) are not supported"
                                                       : "a key must be a text");
    }
    hm_status status = read_scalar(r, event, key);
    if (status == HM_OK && (*key)->text[0] == '\0') {
        status = hm_yaml_fail(*key, r->error, "a key is empty");
    }
    return status == HM_OK ? refuse_twin(mapping, *key, r->error) : status;
}

static hm_status read_member(reader *r, hm_yaml *key, hm_yaml **member) {
    auto_event event = {.type = YAML_NO_EVENT};
    hm_status status = next_event(r, &event);
    hm_yaml *value = NULL;
    if (status == HM_OK) {
        status = read_node(r, &event, &value);
    }
    if (status == HM_OK) {
        value->name = key->text;
        key->text = NULL;
        value->name_line = key->line;
        value->name_column = key->column;
        *member = value; /* not before it has a name */
    }
    return status;
}

static hm_status read_members(reader *r, hm_yaml *mapping) {
    hm_yaml **link = &mapping->first;
    for (;;) {
        auto_event event = {.type = YAML_NO_EVENT};
        hm_yaml *key = NULL;
        hm_status status = next_event(r, &event);
        if (status != HM_OK || event.type == YAML_MAPPING_END_EVENT) {
            return status;
        }
        status = read_key(r, &event, mapping, &key);
        if (status == HM_OK) {
            status = read_member(r, key, link);
        }
        if (status != HM_OK) {
            return status;
        }
        link = &(*link)->next;
        mapping->count++;
    }
}

static hm_status read_collection(reader *r, const yaml_event_t *event, hm_yaml **node) {
    bool list = event->type == YAML_SEQUENCE_START_EVENT;
    hm_status status =
        refuse_magic(r, &event->start_mark,
                     list ? event->data.sequence_start.anchor : event->data.mapping_start.anchor,
                     list ? event->data.sequence_start.tag : event->data.mapping_start.tag);
    if (status == HM_OK && r->depth == HM_YAML_DEPTH) {
        status = fail_at(r, &event->start_mark, "nested too deep");
    }
    if (status == HM_OK) {
        status = new_node(r, event, list ? HM_YAML_LIST : HM_YAML_MAPPING, node);
    }
    if (status != HM_OK) {
        return status;
    }
    r->depth++;
    status = list ? read_items(r, *node) : read_members(r, *node);
    r->depth--;
    return status;
}

static hm_status read_node(reader *r, yaml_event_t *event, hm_yaml **node) {
    switch (event->type) {
    case YAML_SCALAR_EVENT: return read_scalar(r, event, node);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT: return read_collection(r, event, node);
    case YAML_ALIAS_EVENT: {
        hm_status status = fail_at(r, &event->start_mark, "aliases (*) are not supported");
        hm_error_add_hint(r->error, "a text that begins with a star needs quotes");
        return status;
    }
    default: return fail_at(r, &event->start_mark, "a value must stand here");
    }
}

/* STREAM-START, then DOCUMENT-START, a value and DOCUMENT-END, or nothing; then STREAM-END. */
static hm_status read_document(reader *r) {
    auto_event start = {.type = YAML_NO_EVENT};
    auto_event value = {.type = YAML_NO_EVENT};
    auto_event end = {.type = YAML_NO_EVENT};
    hm_status status = next_event(r, &start);
    if (status != HM_OK || start.type == YAML_STREAM_END_EVENT) {
        return status;
    }
    if (start.data.document_start.tag_directives.start !=
        start.data.document_start.tag_directives.end) {
        return fail_at(r, &start.start_mark, "tags (!) are not supported");
    }
    status = next_event(r, &value);
    if (status == HM_OK) {
        status = read_node(r, &value, &r->doc->root);
    }
    return status == HM_OK ? next_event(r, &end) : status;
}

static hm_status read_stream(reader *r) {
    auto_event start = {.type = YAML_NO_EVENT};
    auto_event end = {.type = YAML_NO_EVENT};
    hm_status status = next_event(r, &start);
    if (status == HM_OK) {
        status = read_document(r);
    }
    if (status != HM_OK || r->doc->root == NULL) {
        return status;
    }
    status = next_event(r, &end);
    if (status == HM_OK && end.type != YAML_STREAM_END_EVENT) {
        status = fail_at(r, &end.start_mark, "a second document begins here");
    }
    return status;
}

/* libyaml would tell of the byte, not of the line. */
static hm_status check_bytes(const hm_yaml_doc *doc, hm_bytes text, hm_error **error) {
    size_t line = 1;
    size_t column = 1;
    if (text.length > HM_YAML_FILE_LIMIT) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is larger than %zu bytes",
                       doc->what, HM_YAML_FILE_LIMIT);
    }
    for (size_t i = 0; i < text.length;) {
        uint32_t code;
        size_t length = hm_utf8_sequence(text.data + i, text.length - i, &code);
        bool control =
            length > 0 && ((code < 0x20 && code != '\t' && code != '\n' && code != '\r') ||
                           (code >= 0x7f && code < 0xa0));
        if (length == 0 || control || code == 0xfeff) {
            return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s:%zu:%zu: %s", doc->what, line,
                           column,
                           length == 0 ? "not valid UTF-8"
                           : control   ? "a control character"
                                       : "a byte order mark");
        }
        line += code == '\n' ? 1 : 0;
        column = code == '\n' ? 1 : column + 1;
        i += length;
    }
    return HM_OK;
}

static hm_status parse(hm_yaml_doc *doc, hm_bytes text, hm_error **error) {
    reader r = {.doc = doc, .error = error};
    hm_status status = check_bytes(doc, text, error);
    if (status != HM_OK) {
        return status;
    }
    if (yaml_parser_initialize(&r.parser) != 1) {
        return hm_fail_memory(error);
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, text.length > 0 ? text.data : (const uint8_t *)"",
                                 text.length);
    status = read_stream(&r);
    yaml_parser_delete(&r.parser);
    return status;
}

hm_status hm_yaml_parse(hm_bytes text, const char *what, hm_yaml_doc **doc, hm_error **error) {
    hm_auto_yaml made = hm_alloc(1, sizeof *made);
    if (made == NULL) {
        return hm_fail_memory(error);
    }
    made->what = hm_strdup(what);
    if (made->what == NULL) {
        return hm_fail_memory(error);
    }
    hm_status status = parse(made, text, error);
    if (status == HM_OK) {
        *doc = made;
        made = NULL;
    }
    return status;
}

hm_yaml *hm_yaml_root(const hm_yaml_doc *doc) {
    return doc->root;
}

void hm_yaml_free(hm_yaml_doc **doc) {
    if (*doc == NULL) {
        return;
    }
    while ((*doc)->last_made != NULL) {
        hm_yaml *node = (*doc)->last_made;
        (*doc)->last_made = node->made_before;
        free(node->text);
        free(node->name);
        free(node);
    }
    free((*doc)->what);
    free(*doc);
    *doc = NULL;
}

/* ---- plain words ---------------------------------------------------------------------------- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_one_of(const char *text, const char *const *words) {
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* By either version of YAML: digits, sign, point, exponent, "0x1f", "1:30", "1_000", ".inf". */
static bool looks_like_number(const char *text) {
    static const char *const words[] = {".inf", "-.inf", "+.inf", ".nan", NULL};
    const char *p = text + (*text == '+' || *text == '-' ? 1 : 0);
    if (is_one_of(text, words)) {
        return true;
    }
    bool prefixed = p[0] == '0' && (p[1] == 'x' || p[1] == 'o' || p[1] == 'b');
    const char *allowed = prefixed ? "0123456789abcdefABCDEF_xo" : "0123456789._:eE+-";
    return (is_digit(*p) || (*p == '.' && is_digit(p[1]))) && p[strspn(p, allowed)] == '\0';
}

typedef enum meaning { IS_TEXT, IS_NOTHING, IS_BOOL, IS_BOOL_ELSEWHERE, IS_NUMBER } meaning;

static meaning meaning_of(const hm_yaml *scalar) {
    static const char *const nothing[] = {"", "~", "null", NULL};
    static const char *const truths[] = {"yes", "no", "on", "off", "y", "n", "true", "false", NULL};
    const char *text = scalar->text;
    if (scalar->quoted) {
        return IS_TEXT;
    }
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        return IS_BOOL;
    }
    return is_one_of(text, nothing)  ? IS_NOTHING
           : is_one_of(text, truths) ? IS_BOOL_ELSEWHERE
           : looks_like_number(text) ? IS_NUMBER
                                     : IS_TEXT;
}

static const char *kind_of(const hm_yaml *node) {
    switch (node->type) {
    case HM_YAML_LIST: return "a list";
    case HM_YAML_MAPPING: return "a mapping";
    case HM_YAML_SCALAR: break;
    }
    switch (meaning_of(node)) {
    case IS_NOTHING: return "nothing";
    case IS_BOOL: return "true or false";
    case IS_BOOL_ELSEWHERE: return "a word that some readers of YAML take for true or false";
    case IS_NUMBER: return "a number";
    case IS_TEXT: break;
    }
    return "a text";
}

static hm_status fail_type(const hm_yaml *node, const char *wanted, hm_error **error) {
    hm_status status = node->name != NULL
                           ? hm_yaml_fail(node, error, "\"%s\" must be %s, and this is %s",
                                          node->name, wanted, kind_of(node))
                           : hm_yaml_fail(node, error, "here must stand %s, and this is %s", wanted,
                                          kind_of(node));
    if (node->type == HM_YAML_SCALAR && strcmp(wanted, "a text") == 0 && node->text[0] != '\0') {
        hm_error_add_hint(error, "if a text is meant, put it in quotes");
    }
    return status;
}

/* ---- access --------------------------------------------------------------------------------- */

hm_yaml *hm_yaml_take(hm_yaml *mapping, const char *name) {
    for (hm_yaml *member = mapping->first; mapping->type == HM_YAML_MAPPING && member != NULL;
         member = member->next) {
        if (strcmp(member->name, name) == 0) {
            member->used = true;
            return member;
        }
    }
    return NULL;
}

hm_status hm_yaml_refuse_rest(const hm_yaml *mapping, const char *const *known, hm_error **error) {
    for (const hm_yaml *member = mapping->first; member != NULL; member = member->next) {
        if (!member->used) {
            hm_yaml place = *member;
            place.line = member->name_line;
            place.column = member->name_column;
            (void)hm_yaml_fail(&place, error, "\"%s\" is not a key that belongs here",
                               member->name);
            hm_yaml_hint_nearest(error, member->name, known);
            return HM_UNDECIDED;
        }
    }
    return HM_OK;
}

hm_status hm_yaml_want(const hm_yaml *node, hm_yaml_type type, hm_error **error) {
    if (node == NULL || node->type == type) {
        return HM_OK;
    }
    return fail_type(node,
                     type == HM_YAML_LIST      ? "a list"
                     : type == HM_YAML_MAPPING ? "a mapping"
                                               : "a text",
                     error);
}

hm_status hm_yaml_text(const hm_yaml *node, const char **text, hm_error **error) {
    if (node == NULL) {
        return HM_OK;
    }
    if (node->type != HM_YAML_SCALAR || meaning_of(node) != IS_TEXT) {
        return fail_type(node, "a text", error);
    }
    if (node->text[0] == '\0') {
        return hm_yaml_fail(node, error, "an empty text");
    }
    *text = node->text;
    return HM_OK;
}

hm_status hm_yaml_bool(const hm_yaml *node, bool *truth, hm_error **error) {
    if (node == NULL) {
        return HM_OK;
    }
    if (node->type != HM_YAML_SCALAR || meaning_of(node) != IS_BOOL) {
        return fail_type(node, "true or false", error);
    }
    *truth = strcmp(node->text, "true") == 0;
    return HM_OK;
}

static bool to_integer(const char *text, uint64_t *number) {
    uint64_t value = 0;
    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0')) {
        return false;
    }
    for (const char *p = text; *p != '\0'; p++) {
        if (!is_digit(*p) || value > (UINT64_C(1) << 53) / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(*p - '0');
    }
    *number = value;
    return value <= UINT64_C(1) << 53;
}

hm_status hm_yaml_integer(const hm_yaml *node, uint64_t *number, hm_error **error) {
    uint64_t value = 0;
    if (node == NULL) {
        return HM_OK;
    }
    if (node->type != HM_YAML_SCALAR || meaning_of(node) != IS_NUMBER) {
        return fail_type(node, "a whole number", error);
    }
    if (!to_integer(node->text, &value)) {
        return hm_yaml_fail(node, error, "%s is not a whole number from 0 to 2^53", node->text);
    }
    *number = value;
    return HM_OK;
}

/* ---- time ----------------------------------------------------------------------------------- */

/* Where '0' stands in the form, a digit; all else as it is. */
static bool has_form(const char *text, const char *form) {
    size_t i = 0;
    for (; form[i] != '\0' && text[i] != '\0'; i++) {
        if (form[i] == '0' ? !is_digit(text[i]) : text[i] != form[i]) {
            return false;
        }
    }
    return form[i] == '\0' && text[i] == '\0';
}

static int number_at(const char *text, size_t from, size_t length) {
    int value = 0;
    for (size_t i = 0; i < length; i++) {
        value = value * 10 + (text[from + i] - '0');
    }
    return value;
}

/* False for the 30th of February and its like, and for leap seconds. */
static bool to_time(const char *text, bool last_second, int64_t *time) {
    bool day = has_form(text, "0000-00-00");
    if (!day && !has_form(text, "0000-00-00T00:00:00Z")) {
        return false;
    }
    struct tm parts = {
        .tm_year = number_at(text, 0, 4) - 1900,
        .tm_mon = number_at(text, 5, 2) - 1,
        .tm_mday = number_at(text, 8, 2),
        .tm_hour = day ? (last_second ? 23 : 0) : number_at(text, 11, 2),
        .tm_min = day ? (last_second ? 59 : 0) : number_at(text, 14, 2),
        .tm_sec = day ? (last_second ? 59 : 0) : number_at(text, 17, 2),
    };
    struct tm same = parts;
    *time = timegm(&same);
    return parts.tm_year >= 70 && same.tm_year == parts.tm_year && same.tm_mon == parts.tm_mon &&
           same.tm_mday == parts.tm_mday && same.tm_hour == parts.tm_hour &&
           same.tm_min == parts.tm_min && same.tm_sec == parts.tm_sec;
}

hm_status hm_yaml_time(const hm_yaml *node, bool last_second, int64_t *time, hm_error **error) {
    int64_t value = 0;
    if (node == NULL) {
        return HM_OK;
    }
    if (node->type != HM_YAML_SCALAR) {
        return fail_type(node, "a time", error);
    }
    if (!to_time(node->text, last_second, &value)) {
        (void)hm_yaml_fail(node, error, "\"%s\" is not a time", node->text);
        hm_error_add_hint(error, "write times in UTC, as 2026-01-05T20:31:07Z or 2026-01-05");
        return HM_UNDECIDED;
    }
    *time = value;
    return HM_OK;
}

hm_status hm_yaml_one_or_more(hm_yaml *node, hm_yaml **first, hm_error **error) {
    *first = node;
    if (node == NULL || node->type != HM_YAML_LIST) {
        return HM_OK;
    }
    *first = node->first;
    return node->count > 0 ? HM_OK : hm_yaml_fail(node, error, "an empty list");
}
