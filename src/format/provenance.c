/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading provenance. As in-toto and SLSA have it, members that are not known are passed over, here
 * shown as well; nothing that is judged depends on them.
 */
#include "format/provenance.h"

#include "format/oms.h"

#include <stdlib.h>
#include <string.h>

#define SUFFIX ".provenance.sigstore.json"

/* The length of `name` without `suffix`, of which something must be left. */
static size_t without(const char *name, size_t length, const char *suffix) {
    size_t cut = strlen(suffix);
    return length > cut && memcmp(name + length - cut, suffix, cut) == 0 ? length - cut : length;
}

hm_status hm_provenance_default_path(const char *signature, char **path, hm_error **error) {
    const char *slash = strrchr(signature, '/');
    const char *name = slash != NULL ? slash + 1 : signature;
    size_t length = without(name, strlen(name), ".sig");
    length = without(name, length, ".shards");
    *path = hm_textf("%.*s" SUFFIX, (int)(name - signature) + (int)length, signature);
    return *path != NULL ? HM_OK : hm_fail_memory(error);
}

void hm_provenance_free(hm_provenance *provenance) {
    for (size_t i = 0; i < provenance->dependency_count; i++) {
        free(provenance->dependencies[i]);
    }
    free(provenance->dependencies);
    free(provenance->subjects);
    free(provenance->builder);
    hm_statements_free(&provenance->stated);
    *provenance = (hm_provenance){0};
}

/* ---- the bundle ----------------------------------------------------------------------------- */

hm_status hm_provenance_parse(hm_bytes file, const char *what, hm_envelope *envelope,
                              hm_error **error) {
    hm_status status = hm_envelope_parse(file, what, envelope, error);
    if (status == HM_OK && envelope->format != &hm_format_oms) {
        status = hm_oms_malformed(error, "%s is not a bundle with a statement", what);
    }
    return status;
}

hm_status hm_provenance_recognise(const hm_envelope *envelope, bool *recognised, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_auto_error cause = NULL;
    *recognised = false;
    if (envelope->format != &hm_format_oms || envelope->oms_v020) {
        return HM_OK;
    }
    hm_status status = hm_json_parse(hm_buf_view(&envelope->payload), "payload", &doc, &cause);
    if (status != HM_OK) {
        return status == HM_REFUSED ? HM_OK : hm_error_move(error, &cause);
    }
    const hm_json *root = hm_json_root(doc);
    const hm_json *type = root->type == HM_JSON_OBJECT ? hm_json_get(root, "predicateType") : NULL;
    *recognised = type != NULL && type->type == HM_JSON_STRING &&
                  hm_bytes_equal_text(type->text, HM_PROVENANCE_PREDICATE);
    return HM_OK;
}

/* ---- digests -------------------------------------------------------------------------------- */

/* Those of which it is known how long they are. */
static const struct {
    const char *name;
    size_t size;
} algorithms[] = {
    {"sha256", 32}, {"sha384", 48}, {"sha512", 64}, {"blake2b", 64}, {"blake3", 32},
};

bool hm_provenance_digest_valid(hm_bytes text, size_t *algorithm_length) {
    uint8_t digest[HM_DIGEST_MAX];
    const uint8_t *colon = text.length > 0 ? memchr(text.data, ':', text.length) : NULL;
    if (colon == NULL) {
        return false;
    }
    size_t length = (size_t)(colon - text.data);
    hm_bytes name = hm_bytes_of(text.data, length);
    hm_bytes hex = hm_bytes_of(colon + 1, text.length - length - 1);
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
        if (hm_bytes_equal_text(name, algorithms[i].name)) {
            *algorithm_length = length;
            return hm_unhex(hex, digest, algorithms[i].size);
        }
    }
    return false;
}

/* A text that is compared or kept as one of C's must not end sooner there than it does here. */
static hm_status check_text(const hm_json *value, const char *what, hm_error **error) {
    if (value->type != HM_JSON_STRING) {
        return hm_oms_malformed(error, "%s is %s, not a string", what,
                                hm_json_type_name(value->type));
    }
    return memchr(value->text.data, 0, value->text.length) == NULL
               ? HM_OK
               : hm_oms_malformed(error, "%s holds a NUL", what);
}

static hm_status read_digest(const hm_json *digests, const char *name, const char *what,
                             uint8_t *digest, bool *there, hm_error **error) {
    const hm_json *value = hm_json_get(digests, name);
    *there = value != NULL;
    if (value == NULL) {
        return HM_OK;
    }
    hm_status status = check_text(value, what, error);
    if (status == HM_OK && !hm_unhex(value->text, digest, 32)) {
        status = hm_oms_malformed(error, "%s: %s is not a digest in lower-case hex", what, name);
    }
    return status;
}

/* ---- subjects ------------------------------------------------------------------------------- */

static hm_status read_subject(hm_json *entry, hm_provenance *provenance, hm_error **error) {
    static const char what[] = "subject[].digest";
    hm_json *digests;
    hm_provenance_subject subject = {.has_root = false};
    if (entry->type != HM_JSON_OBJECT) {
        return hm_oms_malformed(error, "a subject is %s", hm_json_type_name(entry->type));
    }
    hm_status status = hm_json_take(entry, "subject[]", "digest", HM_JSON_OBJECT, &digests, error);
    if (status == HM_OK) {
        status = read_digest(digests, "sha256", what, subject.root, &subject.has_root, error);
    }
    if (status == HM_OK) {
        status = read_digest(digests, HM_OMS_MODEL_DIGEST, what, subject.model, &subject.has_model,
                             error);
    }
    if (status != HM_OK) {
        return status;
    }
    if (!hm_grow(&provenance->subjects, provenance->subject_count, &provenance->subject_capacity,
                 sizeof subject)) {
        return hm_fail_memory(error);
    }
    provenance->subjects[provenance->subject_count++] = subject;
    return HM_OK;
}

static hm_status read_subjects(hm_json *statement, hm_provenance *provenance, hm_error **error) {
    hm_json *list;
    hm_status status = hm_json_take(statement, "statement", "subject", HM_JSON_ARRAY, &list, error);
    if (status == HM_OK && list->count == 0) {
        status = hm_oms_malformed(error, "the statement is about nothing: it has no subject");
    }
    hm_json *entry = status == HM_OK ? list->first : NULL;
    for (; entry != NULL && status == HM_OK; entry = entry->next) {
        status = read_subject(entry, provenance, error);
    }
    return status == HM_OK ? hm_statements_add_member(&provenance->stated, "", list, error)
                           : status;
}

/* ---- the predicate -------------------------------------------------------------------------- */

static hm_status add_dependency(hm_provenance *provenance, const hm_json *digest,
                                hm_error **error) {
    hm_status status = check_text(digest, "a digest in resolvedDependencies", error);
    if (status == HM_OK && memchr(digest->name.data, 0, digest->name.length) != NULL) {
        status = hm_oms_malformed(error, "a digest in resolvedDependencies has a NUL in its name");
    }
    if (status != HM_OK) {
        return status;
    }
    hm_auto_free char *text =
        hm_textf("%s:%s", (const char *)digest->name.data, (const char *)digest->text.data);
    if (text == NULL || !hm_grow(&provenance->dependencies, provenance->dependency_count,
                                 &provenance->dependency_capacity, sizeof(char *))) {
        return hm_fail_memory(error);
    }
    provenance->dependencies[provenance->dependency_count++] = text;
    text = NULL;
    return HM_OK;
}

/* A dependency may be known by its place alone; then there is nothing to compare. */
static hm_status read_dependency(const hm_json *entry, hm_provenance *provenance,
                                 hm_error **error) {
    if (entry->type != HM_JSON_OBJECT) {
        return hm_oms_malformed(error, "an entry of resolvedDependencies is %s",
                                hm_json_type_name(entry->type));
    }
    const hm_json *digests = hm_json_get(entry, "digest");
    if (digests == NULL) {
        return HM_OK;
    }
    if (digests->type != HM_JSON_OBJECT) {
        return hm_oms_malformed(error, "a digest in resolvedDependencies is %s",
                                hm_json_type_name(digests->type));
    }
    hm_status status = HM_OK;
    for (const hm_json *d = digests->first; d != NULL && status == HM_OK; d = d->next) {
        status = add_dependency(provenance, d, error);
    }
    return status;
}

/* A member that may be missing, but not of another type. */
static hm_status take_optional(hm_json *object, const char *what, const char *name,
                               hm_json_type type, hm_json **member, hm_error **error) {
    *member = NULL;
    return hm_json_get(object, name) == NULL
               ? HM_OK
               : hm_json_take(object, what, name, type, member, error);
}

/* Every member of `object`; of those that `inside` names, each member of theirs in their place. */
static hm_status state_members(hm_statements *stated, const hm_json *object,
                               const char *const *inside, hm_error **error) {
    hm_status status = HM_OK;
    for (const hm_json *m = object->first; m != NULL && status == HM_OK; m = m->next) {
        const char *opened = NULL;
        for (size_t i = 0; inside[i] != NULL; i++) {
            opened = hm_bytes_equal_text(m->name, inside[i]) ? inside[i] : opened;
        }
        hm_auto_free char *prefix = opened != NULL ? hm_textf("%s.", opened) : NULL;
        if (opened != NULL && prefix == NULL) {
            return hm_fail_memory(error);
        }
        if (opened == NULL) {
            status = hm_statements_add_member(stated, "", m, error);
        }
        const hm_json *part = opened != NULL ? m->first : NULL;
        for (; part != NULL && status == HM_OK; part = part->next) {
            status = hm_statements_add_member(stated, prefix, part, error);
        }
    }
    return status;
}

/* What other build types call so is their own affair. */
static hm_status read_key_version(const hm_json *definition, hm_provenance *provenance,
                                  hm_error **error) {
    hm_json *internal = hm_json_get(definition, HM_PROVENANCE_INTERNAL);
    return !hm_provenance_is_training(definition) || internal == NULL ||
                   hm_json_get(internal, HM_PROVENANCE_KEY_VERSION) == NULL
               ? HM_OK
               : hm_json_take_integer(internal, HM_PROVENANCE_INTERNAL, HM_PROVENANCE_KEY_VERSION,
                                      1, &provenance->key_version, error);
}

static hm_status read_definition(hm_json *predicate, hm_provenance *provenance, hm_error **error) {
    static const char what[] = HM_PROVENANCE_DEFINITION;
    static const char *const inside[] = {"externalParameters", HM_PROVENANCE_INTERNAL, NULL};
    hm_json *definition;
    hm_json *part;
    hm_json *list;
    hm_bytes type;
    hm_status status =
        hm_json_take(predicate, "predicate", what, HM_JSON_OBJECT, &definition, error);
    if (status == HM_OK) {
        status = hm_json_take_text(definition, what, "buildType", &type, error);
    }
    for (size_t i = 0; inside[i] != NULL && status == HM_OK; i++) {
        status = take_optional(definition, what, inside[i], HM_JSON_OBJECT, &part, error);
    }
    if (status == HM_OK) {
        status = read_key_version(definition, provenance, error);
    }
    if (status == HM_OK) {
        status =
            take_optional(definition, what, "resolvedDependencies", HM_JSON_ARRAY, &list, error);
    }
    const hm_json *entry = status == HM_OK && list != NULL ? list->first : NULL;
    for (; entry != NULL && status == HM_OK; entry = entry->next) {
        status = read_dependency(entry, provenance, error);
    }
    return status == HM_OK ? state_members(&provenance->stated, definition, inside, error) : status;
}

static hm_status read_builder(hm_json *details, hm_provenance *provenance, hm_error **error) {
    hm_json *builder;
    hm_json *id;
    hm_status status =
        hm_json_take(details, "runDetails", "builder", HM_JSON_OBJECT, &builder, error);
    if (status == HM_OK) {
        status = hm_json_take(builder, "builder", "id", HM_JSON_STRING, &id, error);
    }
    if (status == HM_OK) {
        status = check_text(id, "builder.id", error);
    }
    if (status != HM_OK) {
        return status;
    }
    provenance->builder = hm_strdup((const char *)id->text.data);
    return provenance->builder != NULL ? HM_OK : hm_fail_memory(error);
}

static hm_status read_details(hm_json *predicate, hm_provenance *provenance, hm_error **error) {
    static const char *const inside[] = {"builder", "metadata", NULL};
    hm_json *details;
    hm_json *metadata;
    hm_status status =
        hm_json_take(predicate, "predicate", "runDetails", HM_JSON_OBJECT, &details, error);
    if (status == HM_OK) {
        status = read_builder(details, provenance, error);
    }
    if (status == HM_OK) {
        status = take_optional(details, "runDetails", "metadata", HM_JSON_OBJECT, &metadata, error);
    }
    return status == HM_OK ? state_members(&provenance->stated, details, inside, error) : status;
}

static hm_status demand_text(hm_json *statement, const char *name, const char *wanted,
                             hm_error **error) {
    hm_bytes text;
    hm_status status = hm_json_take_text(statement, "statement", name, &text, error);
    if (status == HM_OK && !hm_bytes_equal_text(text, wanted)) {
        status = hm_oms_malformed(error, "statement.%s is not %s", name, wanted);
    }
    return status;
}

static hm_status read_statement(hm_json *statement, hm_provenance *provenance, hm_error **error) {
    hm_json *predicate;
    hm_status status = demand_text(statement, "_type", HM_OMS_STATEMENT_TYPE, error);
    if (status == HM_OK) {
        status = demand_text(statement, "predicateType", HM_PROVENANCE_PREDICATE, error);
    }
    if (status == HM_OK) {
        status = read_subjects(statement, provenance, error);
    }
    if (status == HM_OK) {
        status =
            hm_json_take(statement, "statement", "predicate", HM_JSON_OBJECT, &predicate, error);
    }
    if (status == HM_OK) {
        status = read_definition(predicate, provenance, error);
    }
    return status == HM_OK ? read_details(predicate, provenance, error) : status;
}

hm_status hm_provenance_read(hm_bytes payload, hm_provenance *provenance, hm_error **error) {
    hm_auto_json doc = NULL;
    *provenance = (hm_provenance){0};
    hm_status status = hm_json_parse(payload, "the signed statement", &doc, error);
    if (status != HM_OK) {
        return status;
    }
    hm_json *statement = hm_json_root(doc);
    if (statement->type != HM_JSON_OBJECT) {
        return hm_oms_malformed(error, "the signed statement is %s",
                                hm_json_type_name(statement->type));
    }
    status = read_statement(statement, provenance, error);
    if (status != HM_OK) {
        hm_provenance_free(provenance);
    }
    return status;
}
