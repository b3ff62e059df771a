/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a verified predicate becomes when another key signs it: the same, but for the number of the
 * key, which would otherwise be that of a key that did not sign.
 */
#include "format/provenance.h"

static bool is_named(const hm_json *member, const char *name) {
    return hm_bytes_equal_text(member->name, name);
}

/* `internal` may be NULL; what held nothing but the number goes with it. */
static void copy_internal(hm_json_writer *w, const hm_json *internal, uint64_t key_version) {
    const hm_json *old = internal != NULL ? hm_json_get(internal, HM_PROVENANCE_KEY_VERSION) : NULL;
    bool emptied = internal == NULL || (old != NULL && internal->count == 1);
    if (key_version == 0 && emptied) {
        return;
    }
    hm_json_name(w, HM_PROVENANCE_INTERNAL);
    hm_json_begin_object(w);
    for (const hm_json *m = internal != NULL ? internal->first : NULL; m != NULL; m = m->next) {
        if (m != old) {
            hm_json_copy_member(w, m);
        }
    }
    if (key_version != 0) {
        hm_json_member_number(w, HM_PROVENANCE_KEY_VERSION, key_version);
    }
    hm_json_end_object(w);
}

static void copy_definition(hm_json_writer *w, const hm_json *definition, uint64_t key_version) {
    bool done = false;
    hm_json_name(w, HM_PROVENANCE_DEFINITION);
    hm_json_begin_object(w);
    for (const hm_json *m = definition->first; m != NULL; m = m->next) {
        if (is_named(m, HM_PROVENANCE_INTERNAL)) {
            copy_internal(w, m, key_version);
            done = true;
        } else {
            hm_json_copy_member(w, m);
        }
    }
    if (!done) {
        copy_internal(w, NULL, key_version);
    }
    hm_json_end_object(w);
}

bool hm_provenance_is_training(const hm_json *definition) {
    const hm_json *type = definition != NULL ? hm_json_get(definition, "buildType") : NULL;
    return type != NULL && type->type == HM_JSON_STRING &&
           hm_bytes_equal_text(type->text, HM_PROVENANCE_BUILD_TYPE);
}

void hm_provenance_copy_predicate(hm_json_writer *w, const hm_json *predicate,
                                  uint64_t key_version) {
    hm_json_begin_object(w);
    for (const hm_json *m = predicate->first; m != NULL; m = m->next) {
        if (is_named(m, HM_PROVENANCE_DEFINITION) && hm_provenance_is_training(m)) {
            copy_definition(w, m, key_version);
        } else {
            hm_json_copy_member(w, m);
        }
    }
    hm_json_end_object(w);
}
