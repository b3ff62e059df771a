/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format: signature files, bytes to meaning and back. A format is one file and one row in the
 * table. Opens no model file, believes nobody.
 *
 * Reading has two steps, so that nothing of a signed text is used before its signature was
 * checked: hm_envelope_parse() says what was signed, how and by whom it claims to be;
 * hm_envelope_promise() reads the signed text itself.
 */
#ifndef HM_FORMAT_H
#define HM_FORMAT_H

#include "base/base.h"
#include "base/json.h"
#include "key/key.h"
#include "model/model.h"

#define HM_SIGNATURE_FILE_LIMIT ((size_t)64 << 20) /* bytes of a signature file */

/* What a file says of its signer, to be held against the policy. None of it is proof. */
typedef enum hm_material {
    HM_MATERIAL_NONE,     /* nothing: the key is the caller's affair */
    HM_MATERIAL_KEY,      /* perhaps a hint at a key */
    HM_MATERIAL_CHAIN,    /* certificates, leaf first */
    HM_MATERIAL_SIGSTORE, /* keyless: not supported */
} hm_material;

/* A named piece of what a signature file says, value as JSON text. */
typedef struct hm_statement {
    char *name;
    char *json;
} hm_statement;

typedef struct hm_statements {
    hm_statement *list;
    size_t count, capacity;
} hm_statements;
/* `value` NULL is left out. Texts are JSON-escaped here. */
HM_MUST_USE hm_status hm_statements_add(hm_statements *statements, const char *name,
                                        const hm_json *value, hm_error **error);
HM_MUST_USE hm_status hm_statements_add_text(hm_statements *statements, const char *name,
                                             const char *text, hm_error **error);
/* Of what is signed byte for byte: the name escaped behind `prefix`, the value as it is spelled. */
HM_MUST_USE hm_status hm_statements_add_member(hm_statements *statements, const char *prefix,
                                               const hm_json *member, hm_error **error);
void hm_statements_free(hm_statements *statements);

typedef struct hm_format hm_format;

/* One signature over one message. Most formats have one; a bundle manifest has one per artifact. */
typedef struct hm_signed_part {
    hm_buf message; /* the exact bytes under the signature */
    hm_buf signature;
} hm_signed_part;

/* A signature file, taken apart but not believed. */
typedef struct hm_envelope {
    const hm_format *format;
    hm_json_doc *doc;
    hm_scheme scheme;
    hm_signed_part *parts;
    size_t part_count;
    hm_material material;
    char *key_hint;               /* of HM_MATERIAL_KEY; NULL when there is none */
    STACK_OF(X509) *certificates; /* of HM_MATERIAL_CHAIN */
    hm_buf payload;               /* the signed text, when it stands encoded in the file */
    bool oms_v020;                /* needs HM_ALLOW_OMS_V0_2_0 */
    hm_statements claimed;        /* what no signature covers */
} hm_envelope;

/* What the signed text promises. Only to be asked of an envelope whose signatures are good. */
typedef struct hm_promise {
    hm_manifest manifest;
    bool names_unsigned; /* the signature covers contents but not names */
    bool single_dot;     /* one item named ".", standing for a single-file model */
    bool file_only;      /* the format signs single files: a directory model is no match */
    bool file_set;       /* several single files that stand beside the signature file; whether
                                 they belong together is not signed */
    bool allow_symlinks;
    hm_ignore ignore;         /* signed ignore paths */
    bool git_ignored;         /* the format ignores .git and its like */
    uint8_t model_digest[32]; /* of the whole found manifest, when the signature carries it */
    bool has_model_digest;
    hm_statements stated; /* signed, but the signer's own words */
} hm_promise;

/* What is to be signed. */
typedef struct hm_signing {
    const hm_manifest *manifest; /* of a single-file model: one file, by its name */
    const char *subject_name;    /* base name of the model */
    const char *model_path;      /* as the caller wrote it */
    bool single_file;
    bool name_dot;
    bool allow_symlinks;
    const hm_ignore *ignore; /* to be recorded */
    const char *signer_id;   /* may be NULL */
    uint64_t key_version;    /* 0: none */
    const char *metadata;    /* may be NULL */
    int64_t time;
} hm_signing;

struct hm_format {
    const char *name;
    const char *title;  /* for people */
    bool directories;   /* signs directory trees */
    bool hashes;        /* lets the signer choose hash and shards */
    bool several;       /* signs several models into one file */
    bool provenance;    /* training metadata goes into a provenance statement beside it */
    bool ec_only;       /* its specification knows EC keys only */
    bool key_version;   /* records the version of the key */
    const char *suffix; /* NULL: `.sig` rule, see hm_format_default_path() */
    hm_scheme scheme;
    bool (*recognise)(const hm_json *root);
    hm_status (*parse)(hm_envelope *envelope, hm_json *root, hm_error **error);
    hm_status (*promise)(hm_envelope *envelope, hm_promise *promise, hm_error **error);
    /* Checks options before any model byte is read; `signing->manifest` may be NULL here. */
    hm_status (*check)(const hm_signing *signing, const hm_signer *signer, hm_error **error);
    /* Builds the file for `count` models (one unless `several`). */
    hm_status (*write)(const hm_signing *signings, size_t count, bool bundle, hm_signer *signer,
                       hm_buf *file, hm_error **error);
    /* Whether writing over `existing` (parsed) would destroy the signature of something else. */
    hm_status (*may_replace)(const hm_json *existing, const hm_signing *signings, size_t count,
                             hm_error **error); /* NULL: always */
};

extern const hm_format hm_format_oms;
extern const hm_format hm_format_sig_json;
extern const hm_format hm_format_manifest_json;

/* The format of that name, or NULL. */
const hm_format *hm_format_find(const char *name);
/* The formats in turn; NULL behind the last. And their names: "oms, sig-json, manifest-json". */
const hm_format *hm_format_at(size_t index);
char *hm_format_names(void); /* newly allocated */

/* Reads a signature file's bytes. ::HM_REFUSED malformed or unsupported. `what` names it. */
HM_MUST_USE hm_status hm_envelope_parse(hm_bytes file, const char *what, hm_envelope *envelope,
                                        hm_error **error);
HM_MUST_USE hm_status hm_envelope_promise(hm_envelope *envelope, hm_promise *promise,
                                          hm_error **error);
/* Room for `count` parts; to be called once. */
HM_MUST_USE hm_status hm_envelope_parts(hm_envelope *envelope, size_t count, hm_error **error);
void hm_envelope_free(hm_envelope *envelope);
void hm_promise_free(hm_promise *promise);

/* Where a format's signature of the model at `path` lies by default. Newly allocated. */
HM_MUST_USE hm_status hm_format_default_path(const hm_format *format, const char *path,
                                             bool is_directory, char **signature, hm_error **error);

/* Where the second signature goes, of shards, when one signing writes two. Newly allocated. */
HM_MUST_USE hm_status hm_format_shards_path(const char *path, bool is_directory, char **signature,
                                            hm_error **error);

/* ---- shared by the formats ------------------------------------------------------------------ */

/* Python's json.dumps(value, sort_keys=True). */
HM_MUST_USE hm_status hm_canonical_json(const hm_json *value, hm_buf *out, hm_error **error);

/* The caller's training metadata: a JSON object. Whatever else it is: ::HM_USAGE. */
HM_MUST_USE hm_status hm_metadata_parse(const char *text, hm_json_doc **doc, hm_error **error);
/* The member, which may go by another name too (or NULL) but not by both; NULL: there is none. */
HM_MUST_USE hm_status hm_metadata_take(hm_json *metadata, const char *name, const char *other_name,
                                       hm_json **value, hm_error **error);
/* hm_error_move() for what was found in a text of the caller's own: ::HM_REFUSED is ::HM_USAGE. */
HM_MUST_USE hm_status hm_error_as_usage(hm_error **error, hm_error **cause);

/* The orders in which resources are listed, which the root digest depends on. */
typedef enum hm_oms_order {
    HM_OMS_ORDER_NAME, /* by name as text, as the specification has it (6.4) */
    HM_OMS_ORDER_PATH, /* by path components, then offsets, as the model_signing tool has it */
} hm_oms_order;

/* Root digest of a manifest (OMS 6.5). It binds contents only. 32 bytes. */
HM_MUST_USE hm_status hm_oms_root_digest(const hm_manifest *manifest, hm_oms_order order,
                                         uint8_t *digest, hm_error **error);

#endif
