/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Provenance: an in-toto statement with SLSA's predicate, in a bundle of its own beside a
 * signature. It says how a model came to be; the signature stays what says what the model is.
 */
#ifndef HM_PROVENANCE_FORMAT_H
#define HM_PROVENANCE_FORMAT_H

#include "format/format.h"

#define HM_PROVENANCE_PREDICATE "https://slsa.dev/provenance/v1"
#define HM_PROVENANCE_BUILD_TYPE "urn:hallmark:build-type:training:v1"
#define HM_PROVENANCE_DEFINITION "buildDefinition"
#define HM_PROVENANCE_INTERNAL "internalParameters"
#define HM_PROVENANCE_KEY_VERSION "keyVersion" /* of the key that signs, among those */

/* Something that a statement is about: its digests, as far as they are those of models. */
typedef struct hm_provenance_subject {
    uint8_t root[32]; /* "sha256" */
    bool has_root;
    uint8_t model[32]; /* "hallmarkModelV1" */
    bool has_model;
} hm_provenance_subject;

typedef struct hm_provenance {
    hm_provenance_subject *subjects;
    size_t subject_count, subject_capacity;
    char *builder;
    uint64_t key_version; /* which its key has by its own word; 0: it says nothing of that */
    char **dependencies;  /* every digest of every one of them: "sha256:<hex>" */
    size_t dependency_count, dependency_capacity;
    hm_statements stated; /* what the predicate says, member by member */
} hm_provenance;

/*
 * Where the provenance beside a signature lies by default: the same for the signatures of whole
 * files and of shards. Newly allocated.
 */
HM_MUST_USE hm_status hm_provenance_default_path(const char *signature, char **path,
                                                 hm_error **error);

/*
 * Takes the file apart, as hm_envelope_parse() does. A file that holds no such bundle is
 * ::HM_REFUSED malformed.
 */
HM_MUST_USE hm_status hm_provenance_parse(hm_bytes file, const char *what, hm_envelope *envelope,
                                          hm_error **error);
/* Whether a bundle's payload calls itself provenance; nothing else of it is looked at. */
HM_MUST_USE hm_status hm_provenance_recognise(const hm_envelope *envelope, bool *recognised,
                                              hm_error **error);
/* Reads the signed text. Only to be asked once its signature is good, or by who says it is not. */
HM_MUST_USE hm_status hm_provenance_read(hm_bytes payload, hm_provenance *provenance,
                                         hm_error **error);
void hm_provenance_free(hm_provenance *provenance);

/*
 * What is wrong with the training metadata, found before any model byte is read: ::HM_USAGE.
 * `signing->manifest` is not looked at.
 */
HM_MUST_USE hm_status hm_provenance_check(const hm_signing *signing, const hm_signer *signer,
                                          hm_error **error);
/* A signature of the model: what it lists, its file's base name and content. */
typedef struct hm_provenance_signature {
    const hm_manifest *manifest;
    const char *name;
    hm_bytes content;
} hm_provenance_signature;
enum { HM_PROVENANCE_SIGNATURES = 2 };
/*
 * The provenance of a model that was just signed, once or twice. `payload` gets the statement,
 * `file` the bundle around it.
 */
HM_MUST_USE hm_status hm_provenance_write(const hm_signing *signing,
                                          const hm_provenance_signature *signatures, size_t count,
                                          hm_signer *signer, hm_buf *payload, hm_buf *file,
                                          hm_error **error);

/*
 * The same by another key, of a model that has new signatures: the predicate of a verified
 * statement about the model as `signatures` have it. In a predicate of Hallmark's own kind the
 * key's number becomes that of `signer`; everything else is unchanged.
 */
HM_MUST_USE hm_status hm_provenance_carry(hm_bytes verified, const hm_signing *signing,
                                          const hm_provenance_signature *signatures, size_t count,
                                          hm_signer *signer, hm_buf *payload, hm_buf *file,
                                          hm_error **error);

/* Whether a buildDefinition is of Hallmark's own kind: only there keyVersion is the key's. */
bool hm_provenance_is_training(const hm_json *definition);
/* The predicate, signed by a key of that number; 0: it has none. */
void hm_provenance_copy_predicate(hm_json_writer *w, const hm_json *predicate,
                                  uint64_t key_version);

/* Whether "ALGORITHM:HEX" is the digest of something, as statements and policies write it. */
bool hm_provenance_digest_valid(hm_bytes text, size_t *algorithm_length);

#endif
