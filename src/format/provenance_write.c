/* SPDX-License-Identifier: Apache-2.0 */
/* From training metadata to a provenance statement; docs/provenance.md has the table. */
#include "format/oms.h"
#include "format/provenance.h"

#include <string.h>
#include <time.h>

#define TIME_EXAMPLE "2026-01-05T08:00:00Z"

/* The members that have a place of their own in the statement; NULL: not given. */
typedef struct training {
    const hm_json *metadata;
    const hm_json *dataset;
    const hm_json *hyperparameters;
    const hm_json *framework;
    hm_buf start, end; /* as SLSA wants times; empty: not given */
} training;

static void training_free(training *made) {
    hm_buf_free(&made->start);
    hm_buf_free(&made->end);
}

static hm_status wrong(hm_error **error, const char *name, const char *wanted) {
    return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                   "the training metadata: \"%s\" is not %s, as a provenance statement needs it",
                   name, wanted);
}

/* ---- times ---------------------------------------------------------------------------------- */

/* Reads `count` digits at `*at`; -1 when there is something else. */
static int read_digits(hm_bytes text, size_t *at, size_t count) {
    int value = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t c = *at < text.length ? text.data[*at] : 0;
        if (c < '0' || c > '9') {
            return -1;
        }
        value = 10 * value + (c - '0');
        (*at)++;
    }
    return value;
}

static bool read_mark(hm_bytes text, size_t *at, const char *marks) {
    bool good = *at < text.length && text.data[*at] != 0 && strchr(marks, text.data[*at]) != NULL;
    *at += good ? 1 : 0;
    return good;
}

/* Date and time of day, as struct tm has them; timegm() finds the 30th of February. */
static bool read_clock(hm_bytes text, size_t *at, int64_t *seconds) {
    static const struct {
        size_t digits;
        const char *mark; /* behind it */
    } fields[6] = {{4, "-"}, {2, "-"}, {2, "Tt"}, {2, ":"}, {2, ":"}, {2, NULL}};
    int v[6];
    for (size_t i = 0; i < 6; i++) {
        v[i] = read_digits(text, at, fields[i].digits);
        if (v[i] < 0 || (fields[i].mark != NULL && !read_mark(text, at, fields[i].mark))) {
            return false;
        }
    }
    struct tm tm = {.tm_year = v[0] - 1900,
                    .tm_mon = v[1] - 1,
                    .tm_mday = v[2],
                    .tm_hour = v[3],
                    .tm_min = v[4],
                    .tm_sec = v[5]};
    *seconds = timegm(&tm);
    return tm.tm_year == v[0] - 1900 && tm.tm_mon == v[1] - 1 && tm.tm_mday == v[2] &&
           tm.tm_hour == v[3] && tm.tm_min == v[4] && tm.tm_sec == v[5];
}

static bool read_zone(hm_bytes text, size_t *at, int64_t *offset) {
    *offset = 0;
    if (read_mark(text, at, "Zz")) {
        return true;
    }
    bool west = *at < text.length && text.data[*at] == '-';
    if (!read_mark(text, at, "+-")) {
        return false;
    }
    int hours = read_digits(text, at, 2);
    int minutes = read_mark(text, at, ":") ? read_digits(text, at, 2) : -1;
    *offset = (west ? -60 : 60) * (60 * (int64_t)hours + minutes);
    return hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60;
}

/* RFC 3339 in any zone to what SLSA asks for: the same in UTC. The fraction stays as it is. */
static bool read_time(hm_bytes text, hm_buf *utc, int64_t *seconds) {
    size_t at = 0;
    int64_t offset = 0;
    if (!read_clock(text, &at, seconds)) {
        return false;
    }
    size_t dot = at;
    if (read_mark(text, &at, ".")) {
        while (at - dot < 10 && read_digits(text, &at, 1) >= 0) {
        }
    }
    size_t fraction = at - dot;
    if (fraction == 1 || !read_zone(text, &at, &offset) || at != text.length) {
        return false;
    }
    *seconds -= offset;
    hm_buf_add_time(utc, *seconds);
    if (!utc->failed && fraction > 0) {
        utc->length--;
        hm_buf_add(utc, text.data + dot, fraction);
        hm_buf_add_byte(utc, 'Z');
    }
    return true;
}

static hm_status take_time(hm_json *metadata, const char *name, const char *other, hm_buf *utc,
                           int64_t *seconds, hm_error **error) {
    hm_json *value;
    hm_status status = hm_metadata_take(metadata, name, other, &value, error);
    if (status != HM_OK || value == NULL) {
        return status;
    }
    if (value->type != HM_JSON_STRING || !read_time(value->text, utc, seconds)) {
        return wrong(error, hm_json_get(metadata, name) != NULL ? name : other,
                     "an RFC 3339 time with its zone, such as \"" TIME_EXAMPLE "\"");
    }
    return hm_buf_check(utc, error);
}

static hm_status take_times(hm_json *metadata, training *made, hm_error **error) {
    int64_t start = 0;
    int64_t end = 0;
    hm_status status =
        take_time(metadata, "training_start", "start_time", &made->start, &start, error);
    if (status == HM_OK) {
        status = take_time(metadata, "training_end", "end_time", &made->end, &end, error);
    }
    if (status == HM_OK && made->start.length > 0 && made->end.length > 0 && end < start) {
        status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "the training metadata: the training ends before it starts");
    }
    return status;
}

/* ---- the other members ---------------------------------------------------------------------- */

/* A digest alone is SHA-256, as in the other formats. */
static bool split_digest(hm_bytes text, hm_bytes *algorithm, hm_bytes *hex) {
    uint8_t digest[32];
    size_t length;
    if (hm_unhex(text, digest, sizeof digest)) {
        *algorithm = hm_bytes_text("sha256");
        *hex = text;
        return true;
    }
    if (!hm_provenance_digest_valid(text, &length)) {
        return false;
    }
    *algorithm = hm_bytes_of(text.data, length);
    *hex = hm_bytes_of(text.data + length + 1, text.length - length - 1);
    return true;
}

static hm_status take_dataset(hm_json *metadata, training *made, hm_error **error) {
    static const char wanted[] =
        "a digest in lower-case hex (SHA-256, or \"ALGORITHM:HEX\"), or an "
        "object of such digests by name";
    hm_bytes algorithm, hex;
    const hm_json *value = hm_json_take_any(metadata, "dataset_hash");
    made->dataset = value;
    if (value == NULL) {
        return HM_OK;
    }
    bool single = value->type == HM_JSON_STRING;
    if (!single && value->type != HM_JSON_OBJECT) {
        return wrong(error, "dataset_hash", wanted);
    }
    bool good = single ? split_digest(value->text, &algorithm, &hex) : value->count > 0;
    const hm_json *m = single ? NULL : value->first;
    for (; m != NULL && good; m = m->next) {
        good = m->type == HM_JSON_STRING && split_digest(m->text, &algorithm, &hex);
    }
    return good ? HM_OK : wrong(error, "dataset_hash", wanted);
}

static hm_status take_parameters(hm_json *metadata, training *made, hm_error **error) {
    made->hyperparameters = hm_json_take_any(metadata, "hyperparameters");
    return made->hyperparameters == NULL || made->hyperparameters->type == HM_JSON_OBJECT
               ? HM_OK
               : wrong(error, "hyperparameters", "an object");
}

static hm_status take_framework(hm_json *metadata, training *made, hm_error **error) {
    const hm_json *value = hm_json_take_any(metadata, "framework_version");
    made->framework = value;
    bool good = value == NULL || value->type == HM_JSON_STRING || value->type == HM_JSON_OBJECT;
    const hm_json *m = value != NULL && value->type == HM_JSON_OBJECT ? value->first : NULL;
    for (; m != NULL && good; m = m->next) {
        good = m->type == HM_JSON_STRING;
    }
    return good ? HM_OK
                : wrong(error, "framework_version", "a text, or an object of versions by name");
}

static hm_status take_members(hm_json *metadata, training *made, hm_error **error) {
    made->metadata = metadata;
    hm_status status = take_dataset(metadata, made, error);
    if (status == HM_OK) {
        status = take_parameters(metadata, made, error);
    }
    if (status == HM_OK) {
        status = take_framework(metadata, made, error);
    }
    return status == HM_OK ? take_times(metadata, made, error) : status;
}

/* ---- the statement -------------------------------------------------------------------------- */

/* What the statement is about: one signing, and what each of its signatures says of the model. */
typedef struct subjects {
    const hm_signing *signing;
    struct subject {
        uint8_t root[32];
        uint8_t model[32];
        const char *signature_name;
        uint8_t signature[32];
    } list[HM_PROVENANCE_SIGNATURES];
    size_t count;
} subjects;

static void write_subject(hm_json_writer *w, const char *name, const uint8_t *sha256,
                          const uint8_t *model) {
    hm_json_begin_object(w);
    hm_json_member(w, "name", name);
    hm_json_name(w, "digest");
    hm_json_begin_object(w);
    hm_json_member_hex(w, "sha256", sha256, 32);
    if (model != NULL) {
        hm_json_member_hex(w, HM_OMS_MODEL_DIGEST, model, 32);
    }
    hm_json_end_object(w);
    hm_json_end_object(w);
}

/*
 * The model as its signatures name it, with the model digest, which binds the names too; under the
 * name "." no name is signed. The signature files are there for tools that compare the SHA-256 of a
 * file, and know nothing of models.
 */
static void write_subjects(hm_json_writer *w, const subjects *about) {
    const hm_signing *signing = about->signing;
    hm_json_name(w, "subject");
    hm_json_begin_array(w);
    for (size_t i = 0; i < about->count; i++) {
        const struct subject *subject = &about->list[i];
        write_subject(w, signing->subject_name, subject->root,
                      signing->name_dot ? NULL : subject->model);
        write_subject(w, subject->signature_name, subject->signature, NULL);
    }
    hm_json_end_array(w);
}

static void write_dataset(hm_json_writer *w, const hm_json *value, hm_bytes name) {
    hm_auto_buf key = {0};
    hm_bytes algorithm = {0};
    hm_bytes hex = {0};
    (void)split_digest(value->text, &algorithm, &hex);
    hm_buf_add(&key, algorithm.data, algorithm.length);
    if (hm_buf_check(&key, NULL) != HM_OK) {
        w->out->failed = true;
        return;
    }
    hm_json_begin_object(w);
    hm_json_name(w, "name");
    hm_json_string(w, name);
    hm_json_name(w, "digest");
    hm_json_begin_object(w);
    hm_json_name(w, (const char *)key.data);
    hm_json_string(w, hex);
    hm_json_end_object(w);
    hm_json_end_object(w);
}

static void write_datasets(hm_json_writer *w, const hm_json *dataset) {
    if (dataset == NULL) {
        return;
    }
    hm_json_name(w, "resolvedDependencies");
    hm_json_begin_array(w);
    if (dataset->type == HM_JSON_STRING) {
        write_dataset(w, dataset, hm_bytes_text("dataset"));
    }
    const hm_json *m = dataset->type == HM_JSON_OBJECT ? dataset->first : NULL;
    for (; m != NULL; m = m->next) {
        write_dataset(w, m, m->name);
    }
    hm_json_end_array(w);
}

/* What has no place of its own is kept as it is, in one place. */
static void write_other_metadata(hm_json_writer *w, const hm_json *metadata) {
    bool begun = false;
    for (const hm_json *m = metadata->first; m != NULL; m = m->next) {
        if (!m->used && !begun) {
            hm_json_name(w, "metadata");
            hm_json_begin_object(w);
            begun = true;
        }
        if (!m->used) {
            hm_json_copy_member(w, m);
        }
    }
    if (begun) {
        hm_json_end_object(w);
    }
}

/* The builder's own affair, as SLSA has it: which of its keys it signs with. */
static void write_internal(hm_json_writer *w, uint64_t key_version) {
    if (key_version != 0) {
        hm_json_name(w, HM_PROVENANCE_INTERNAL);
        hm_json_begin_object(w);
        hm_json_member_number(w, HM_PROVENANCE_KEY_VERSION, key_version);
        hm_json_end_object(w);
    }
}

static void write_definition(hm_json_writer *w, const training *made, uint64_t key_version) {
    hm_json_name(w, HM_PROVENANCE_DEFINITION);
    hm_json_begin_object(w);
    hm_json_member(w, "buildType", HM_PROVENANCE_BUILD_TYPE);
    hm_json_name(w, "externalParameters");
    hm_json_begin_object(w);
    if (made->hyperparameters != NULL) {
        hm_json_copy_member(w, made->hyperparameters);
    }
    write_other_metadata(w, made->metadata);
    hm_json_end_object(w);
    write_internal(w, key_version);
    write_datasets(w, made->dataset);
    hm_json_end_object(w);
}

static void write_builder(hm_json_writer *w, const training *made, const hm_signing *signing,
                          const hm_signer *signer) {
    hm_json_name(w, "builder");
    hm_json_begin_object(w);
    if (signing->signer_id != NULL) {
        hm_json_member(w, "id", signing->signer_id);
    } else {
        hm_auto_buf id = {0};
        hm_buf_add_format(&id, "urn:hallmark:key:sha256:%s", signer->public_key->fingerprint);
        w->out->failed = w->out->failed || id.failed;
        hm_json_name(w, "id");
        hm_json_string(w, hm_buf_view(&id));
    }
    if (made->framework != NULL) {
        hm_json_name(w, "version");
        if (made->framework->type == HM_JSON_OBJECT) {
            hm_json_copy(w, made->framework);
        } else {
            hm_json_begin_object(w);
            hm_json_name(w, "framework");
            hm_json_copy(w, made->framework);
            hm_json_end_object(w);
        }
    }
    hm_json_end_object(w);
}

static void write_time(hm_json_writer *w, const char *name, const hm_buf *time) {
    if (time->length > 0) {
        hm_json_name(w, name);
        hm_json_string(w, hm_buf_view(time));
    }
}

static void write_details(hm_json_writer *w, const training *made, const hm_signing *signing,
                          const hm_signer *signer) {
    hm_json_name(w, "runDetails");
    hm_json_begin_object(w);
    write_builder(w, made, signing, signer);
    if (made->start.length > 0 || made->end.length > 0) {
        hm_json_name(w, "metadata");
        hm_json_begin_object(w);
        write_time(w, "startedOn", &made->start);
        write_time(w, "finishedOn", &made->end);
        hm_json_end_object(w);
    }
    hm_json_end_object(w);
}

/* All but the predicate's value. */
static void begin_statement(hm_json_writer *w, const subjects *about) {
    hm_json_begin_object(w);
    hm_json_member(w, "_type", HM_OMS_STATEMENT_TYPE);
    write_subjects(w, about);
    hm_json_member(w, "predicateType", HM_PROVENANCE_PREDICATE);
    hm_json_name(w, "predicate");
}

static void write_statement(hm_json_writer *w, const subjects *about, const training *made,
                            const hm_signer *signer) {
    begin_statement(w, about);
    hm_json_begin_object(w);
    write_definition(w, made, about->signing->key_version);
    write_details(w, made, about->signing, signer);
    hm_json_end_object(w);
    hm_json_end_object(w);
}

/*
 * Read back before it is signed: what a verifier would refuse (metadata nested too deep, say) is
 * never signed.
 */
static hm_status draft(const subjects *about, const hm_signer *signer, hm_buf *payload,
                       hm_error **error) {
    hm_auto_json doc = NULL;
    hm_auto_error cause = NULL;
    HM_CLEANUP(training_free) training made = {.metadata = NULL};
    HM_CLEANUP(hm_provenance_free) hm_provenance back = {0};
    hm_status status = hm_metadata_parse(about->signing->metadata, &doc, error);
    if (status == HM_OK) {
        status = take_members(hm_json_root(doc), &made, error);
    }
    if (status != HM_OK) {
        return status;
    }
    hm_json_writer w = {.out = payload};
    write_statement(&w, about, &made, signer);
    status = hm_buf_check(payload, &cause);
    if (status == HM_OK) {
        status = hm_provenance_read(hm_buf_view(payload), &back, &cause);
    }
    return status == HM_OK ? HM_OK : hm_error_as_usage(error, &cause);
}

hm_status hm_provenance_check(const hm_signing *signing, const hm_signer *signer,
                              hm_error **error) {
    const char *id = signing->signer_id;
    if (id != NULL && (*id == '\0' || !hm_utf8_valid(hm_bytes_text(id)))) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "the signer's id is %s",
                       *id == '\0' ? "empty" : "not UTF-8");
    }
    hm_auto_buf payload = {0};
    const subjects nothing_yet = {.signing = signing, .list = {{.signature_name = ""}}, .count = 1};
    return draft(&nothing_yet, signer, &payload, error);
}

static hm_status describe(const hm_provenance_signature *signature, struct subject *subject,
                          hm_error **error) {
    subject->signature_name = signature->name;
    hm_status status =
        hm_oms_root_digest(signature->manifest, HM_OMS_ORDER_NAME, subject->root, error);
    if (status == HM_OK) {
        status = hm_manifest_model_digest(signature->manifest, subject->model, error);
    }
    return status == HM_OK
               ? hm_digest_bytes(HM_HASH_SHA256, signature->content, subject->signature, error)
               : status;
}

static hm_status seal(const hm_buf *payload, hm_signer *signer, hm_buf *file, hm_error **error) {
    hm_status status = hm_oms_write_bundle(payload, signer, file, error);
    return status == HM_OK && file->length > HM_SIGNATURE_FILE_LIMIT
               ? hm_fail(error, HM_USAGE, HM_REASON_NONE,
                         "the training metadata makes the provenance file too large")
               : status;
}

static hm_status describe_all(const hm_provenance_signature *signatures, size_t count,
                              subjects *about, hm_error **error) {
    hm_status status = HM_OK;
    for (size_t i = 0; i < count && i < HM_PROVENANCE_SIGNATURES && status == HM_OK; i++) {
        status = describe(&signatures[i], &about->list[about->count++], error);
    }
    return status;
}

hm_status hm_provenance_carry(hm_bytes verified, const hm_signing *signing,
                              const hm_provenance_signature *signatures, size_t count,
                              hm_signer *signer, hm_buf *payload, hm_buf *file, hm_error **error) {
    hm_auto_json doc = NULL;
    subjects about = {.signing = signing};
    hm_status status = describe_all(signatures, count, &about, error);
    if (status == HM_OK) {
        status = hm_json_parse(verified, "the verified statement", &doc, error);
    }
    const hm_json *predicate = status == HM_OK ? hm_json_get(hm_json_root(doc), "predicate") : NULL;
    if (predicate == NULL || predicate->type != HM_JSON_OBJECT) {
        return status != HM_OK ? status : hm_oms_malformed(error, "there is no predicate");
    }
    hm_json_writer w = {.out = payload};
    begin_statement(&w, &about);
    hm_provenance_copy_predicate(&w, predicate, signer->key_version);
    hm_json_end_object(&w);
    status = hm_buf_check(payload, error);
    return status == HM_OK ? seal(payload, signer, file, error) : status;
}

hm_status hm_provenance_write(const hm_signing *signing, const hm_provenance_signature *signatures,
                              size_t count, hm_signer *signer, hm_buf *payload, hm_buf *file,
                              hm_error **error) {
    subjects about = {.signing = signing};
    hm_status status = describe_all(signatures, count, &about, error);
    if (status == HM_OK) {
        status = draft(&about, signer, payload, error);
    }
    return status == HM_OK ? seal(payload, signer, file, error) : status;
}
