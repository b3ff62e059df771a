/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON reader and writers. Whatever spelling a document has, and whatever spelling it is
 * written in again, it is read as the same document, and has one canonical spelling.
 */
#include "fuzz.h"

static hm_json_doc *must_parse(const hm_buf *text) {
    hm_json_doc *doc = NULL;
    hm_auto_error error = NULL;
    FUZZ_CHECK(hm_json_parse(hm_buf_view(text), "again", &doc, &error) == HM_OK);
    return doc;
}

static void check_object(const hm_json *object) {
    const hm_json **sorted = hm_json_sort_members(object);
    FUZZ_CHECK(sorted != NULL);
    for (size_t i = 0; i < object->count; i++) {
        const hm_bytes *name = &sorted[i]->name;
        FUZZ_CHECK(hm_utf8_valid(*name) && name->data[name->length] == '\0');
        if (memchr(name->data, 0, name->length) == NULL) {
            FUZZ_CHECK(hm_json_get(object, (const char *)name->data) == sorted[i]);
        }
    }
    free(sorted);
}

static void check_value(const hm_json *value, unsigned depth) {
    uint64_t number;
    size_t children = 0;
    FUZZ_CHECK(depth <= HM_JSON_DEPTH && *hm_json_type_name(value->type) != '\0');
    if (value->type == HM_JSON_STRING) {
        FUZZ_CHECK(hm_utf8_valid(value->text) && value->text.data[value->text.length] == '\0');
    }
    if (hm_json_integer(value, &number)) {
        FUZZ_CHECK(value->type == HM_JSON_NUMBER && number <= UINT64_C(1) << 53);
    }
    for (const hm_json *child = value->first; child != NULL; child = child->next) {
        check_value(child, depth + 1);
        children++;
    }
    FUZZ_CHECK(children == value->count);
    if (value->type == HM_JSON_OBJECT) {
        check_object(value);
    }
}

static bool canonical(const hm_json *root, hm_buf *out) {
    hm_auto_error error = NULL;
    hm_status status = hm_canonical_json(root, out, &error);
    fuzz_verdict(status, &error);
    return status == HM_OK;
}

static void check_canonical(const hm_buf *text) {
    hm_auto_buf again = {0};
    hm_auto_json doc = must_parse(text);
    FUZZ_CHECK(canonical(hm_json_root(doc), &again));
    FUZZ_CHECK(hm_bytes_equal(hm_buf_view(text), hm_buf_view(&again)));
    for (size_t i = 0; i < text->length; i++) {
        FUZZ_CHECK(text->data[i] >= 0x20 && text->data[i] < 0x7f);
    }
}

/* A copy in some spelling is the same document. */
static void check_copy(const hm_json *root, unsigned indent, bool ascii, const hm_buf *wanted) {
    hm_auto_buf text = {0};
    hm_auto_buf found = {0};
    hm_json_writer writer = {.out = &text, .indent = indent, .ascii = ascii};
    hm_json_copy(&writer, root);
    FUZZ_CHECK(!text.failed && !writer.after_name && writer.depth == 0);
    hm_auto_json doc = must_parse(&text);
    bool spelt = canonical(hm_json_root(doc), &found);
    FUZZ_CHECK(spelt == (wanted != NULL));
    FUZZ_CHECK(!spelt || hm_bytes_equal(hm_buf_view(wanted), hm_buf_view(&found)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_auto_error error = NULL;
    hm_auto_json doc = NULL;
    hm_auto_buf text = {0};
    hm_status status = hm_json_parse(hm_bytes_of(data, size), "input", &doc, &error);
    fuzz_verdict(status, &error);
    if (status != HM_OK) {
        return 0;
    }
    const hm_json *root = hm_json_root(doc);
    FUZZ_CHECK(hm_utf8_valid(hm_bytes_of(data, size)));
    check_value(root, 0);
    bool spelt = canonical(root, &text);
    if (spelt) {
        check_canonical(&text);
    }
    check_copy(root, 0, false, spelt ? &text : NULL);
    check_copy(root, 2, true, spelt ? &text : NULL);
    return 0;
}
