/* SPDX-License-Identifier: Apache-2.0 */
#include "format/format.h"

#include <stdlib.h>
#include <string.h>

/* A new format is a file beside this one and a row here. */
static const hm_format *const formats[] = {
    &hm_format_oms,
    &hm_format_sig_json,
    &hm_format_manifest_json,
};
enum { FORMAT_COUNT = sizeof(formats) / sizeof(formats[0]) };

const hm_format *hm_format_find(const char *name) {
    for (size_t i = 0; i < FORMAT_COUNT; i++) {
        if (strcmp(formats[i]->name, name) == 0) {
            return formats[i];
        }
    }
    return NULL;
}

const hm_format *hm_format_at(size_t index) {
    return index < FORMAT_COUNT ? formats[index] : NULL;
}

char *hm_format_names(void) {
    hm_buf names = {0};
    for (size_t i = 0; i < FORMAT_COUNT; i++) {
        hm_buf_add_format(&names, "%s%s", i > 0 ? ", " : "", formats[i]->name);
    }
    return hm_buf_steal_text(&names);
}

/* ---- statements ----------------------------------------------------------------------------- */

/* Takes over `json`, which may be NULL when memory ran out. */
static hm_status statements_push(hm_statements *statements, const char *name, char *json,
                                 hm_error **error) {
    char *copy = hm_strdup(name);
    if (copy == NULL || json == NULL ||
        !hm_grow(&statements->list, statements->count, &statements->capacity,
                 sizeof(hm_statement))) {
        free(copy);
        free(json);
        return hm_fail_memory(error);
    }
    statements->list[statements->count++] = (hm_statement){.name = copy, .json = json};
    return HM_OK;
}

hm_status hm_statements_add(hm_statements *statements, const char *name, const hm_json *value,
                            hm_error **error) {
    if (value == NULL) {
        return HM_OK;
    }
    hm_auto_buf canonical = {0};
    hm_auto_json doc = NULL;
    hm_auto_buf text = {0};
    hm_json_writer writer = {.out = &text};
    /* By way of the canonical form: of two spellings of a number only one may have been signed. */
    hm_status status = hm_canonical_json(value, &canonical, error);
    if (status == HM_OK) {
        status = hm_json_parse(hm_buf_view(&canonical), name, &doc, error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_json_copy(&writer, hm_json_root(doc));
    return statements_push(statements, name, hm_buf_steal_text(&text), error);
}

hm_status hm_statements_add_text(hm_statements *statements, const char *name, const char *text,
                                 hm_error **error) {
    if (text == NULL) {
        return HM_OK;
    }
    hm_auto_buf json = {0};
    hm_json_writer writer = {.out = &json};
    hm_json_text(&writer, text);
    return statements_push(statements, name, hm_buf_steal_text(&json), error);
}

hm_status hm_statements_add_member(hm_statements *statements, const char *prefix,
                                   const hm_json *member, hm_error **error) {
    hm_auto_buf name = {0};
    hm_auto_buf text = {0};
    hm_json_writer writer = {.out = &text};
    hm_buf_add_text(&name, prefix);
    hm_buf_add_printable(&name, member->name);
    hm_status status = hm_buf_check(&name, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json_copy(&writer, member);
    return statements_push(statements, (const char *)name.data, hm_buf_steal_text(&text), error);
}

void hm_statements_free(hm_statements *statements) {
    for (size_t i = 0; i < statements->count; i++) {
        free(statements->list[i].name);
        free(statements->list[i].json);
    }
    free(statements->list);
    *statements = (hm_statements){0};
}

/* ---- envelopes ------------------------------------------------------------------------------ */

hm_status hm_envelope_parse(hm_bytes file, const char *what, hm_envelope *envelope,
                            hm_error **error) {
    *envelope = (hm_envelope){0};
    hm_status status = hm_json_parse(file, what, &envelope->doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *root = hm_json_root(envelope->doc);
    for (size_t i = 0; i < FORMAT_COUNT; i++) {
        if (root->type == HM_JSON_OBJECT && formats[i]->recognise(root)) {
            envelope->format = formats[i];
            envelope->scheme = formats[i]->scheme;
            return formats[i]->parse(envelope, root, error);
        }
    }
    status = hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED,
                     "%s is not a signature file of any format known here", what);
    hm_auto_free char *names = hm_format_names();
    hm_error_add_hint(error, "known formats: %s", names != NULL ? names : "");
    return status;
}

hm_status hm_envelope_promise(hm_envelope *envelope, hm_promise *promise, hm_error **error) {
    *promise = (hm_promise){0};
    return envelope->format->promise(envelope, promise, error);
}

hm_status hm_envelope_parts(hm_envelope *envelope, size_t count, hm_error **error) {
    envelope->parts = hm_alloc(count, sizeof(hm_signed_part));
    envelope->part_count = envelope->parts != NULL ? count : 0;
    return envelope->parts != NULL ? HM_OK : hm_fail_memory(error);
}

void hm_envelope_free(hm_envelope *envelope) {
    for (size_t i = 0; i < envelope->part_count; i++) {
        hm_buf_free(&envelope->parts[i].message);
        hm_buf_free(&envelope->parts[i].signature);
    }
    free(envelope->parts);
    free(envelope->key_hint);
    hm_x509_stack_free(&envelope->certificates);
    hm_buf_free(&envelope->payload);
    hm_statements_free(&envelope->claimed);
    hm_json_free(&envelope->doc);
    *envelope = (hm_envelope){0};
}

void hm_promise_free(hm_promise *promise) {
    hm_manifest_free(&promise->manifest);
    hm_ignore_free(&promise->ignore);
    hm_statements_free(&promise->stated);
    *promise = (hm_promise){0};
}

/* ---- default places ------------------------------------------------------------------------- */

/*
 * Python's Path.with_suffix(): the last suffix of the name goes, a leading dot begins no suffix and
 * a trailing one ends none.
 */
static char *with_suffix(const char *path, const char *suffix) {
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    bool has_suffix = dot != NULL && dot != name && dot[1] != '\0';
    int length = has_suffix ? (int)(dot - path) : (int)strlen(path);
    return hm_textf("%.*s%s", length, path, suffix);
}

/* `inside` in a directory, or `beside` behind a file's name. */
static hm_status place(const char *path, bool is_directory, const char *inside, const char *beside,
                       char **signature, hm_error **error) {
    size_t length = strlen(path);
    const char *slash = length > 0 && path[length - 1] == '/' ? "" : "/";
    *signature =
        is_directory ? hm_textf("%s%s%s", path, slash, inside) : hm_textf("%s%s", path, beside);
    return *signature != NULL ? HM_OK : hm_fail_memory(error);
}

hm_status hm_format_shards_path(const char *path, bool is_directory, char **signature,
                                hm_error **error) {
    return place(path, is_directory, "model.shards.sig", ".shards.sig", signature, error);
}

hm_status hm_format_default_path(const hm_format *format, const char *path, bool is_directory,
                                 char **signature, hm_error **error) {
    if (format->suffix == NULL) {
        return place(path, is_directory, "model.sig", ".sig", signature, error);
    }
    *signature = with_suffix(path, format->suffix);
    return *signature != NULL ? HM_OK : hm_fail_memory(error);
}
