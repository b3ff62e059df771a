/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trust: "do we believe this?" Policies, certificate chains, identities. Uses formats only as
 * envelopes; opens no model.
 */
#ifndef HM_TRUST_H
#define HM_TRUST_H

#include "base/base.h"
#include "format/format.h"
#include "format/provenance.h"
#include "key/key.h"

#define HM_ALLOW_ALL_FLAGS                                                                         \
    (HM_ALLOW_EXPIRED_CERTIFICATES | HM_ALLOW_MISSING_EKU | HM_ALLOW_OMS_V0_2_0 | HM_ALLOW_SYMLINKS)

/*
 * A key that is believed, and when. A bare signature carries no time that could be trusted, so the
 * period is that in which the key's signatures are accepted, whenever they were made.
 */
typedef struct hm_trusted_key {
    hm_pubkey *key;
    uint64_t version;   /* 0: none */
    int64_t not_before; /* HM_TIME_ALWAYS: no bound */
    int64_t not_after;  /* inclusive; HM_TIME_NEVER: no bound */
} hm_trusted_key;

/* Somebody who may sign: by any of the keys, or by certificate under any of the roots. */
typedef struct hm_trusted_signer {
    char *name; /* NULL: whoever the caller named by key or root */
    hm_trusted_key *keys;
    size_t key_count, key_capacity;
    STACK_OF(X509) *roots; /* NULL: none */
    struct hm_identity {
        hm_identity_kind kind;
        char *value;
    } * identities;
    size_t identity_count, identity_capacity;
    size_t party; /* of a policy file: the same for names that keys tie together */
} hm_trusted_signer;

/* A key that nobody believes any more, whoever's it is and whatever else is said of it. */
typedef struct hm_revocation {
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1]; /* of the public key */
    int64_t since;
    char *reason; /* may be NULL */
} hm_revocation;

/* What is demanded of the provenance statement beside a signature. */
typedef struct hm_provenance_demand {
    bool required;
    char **datasets; /* "sha256:<hex>": each must be among the resolved dependencies */
    size_t dataset_count, dataset_capacity;
    char **builders; /* builder ids: any of them will do */
    size_t builder_count, builder_capacity;
} hm_provenance_demand;
void hm_provenance_demand_free(hm_provenance_demand *demand);
/* Adds a demand. ::HM_USAGE when a dataset is no "ALGORITHM:HEX", or a value is empty. */
HM_MUST_USE hm_status hm_provenance_demand_add(hm_provenance_demand *demand,
                                               hm_provenance_kind kind, const char *value,
                                               hm_error **error);
bool hm_provenance_demanded(const hm_provenance_demand *demand);
/* ::HM_OK only when a verified statement is all that is demanded. `what` names it. */
HM_MUST_USE hm_status hm_provenance_demand_check(const hm_provenance_demand *demand,
                                                 const hm_provenance *provenance, const char *what,
                                                 hm_error **error);

/* ---- rules ---------------------------------------------------------------------------------- */

typedef struct hm_texts {
    char **list;
    size_t count, capacity;
} hm_texts;
HM_MUST_USE hm_status hm_texts_add(hm_texts *texts, const char *text, hm_error **error);
void hm_texts_free(hm_texts *texts);

/*
 * Patterns: `*` and `?` within a component, `[a-z]`, `[!x]`, and, as a whole component of a path,
 * `**` for any number of components (at the end: for one or more). Anchored at both ends. A text
 * that is not UTF-8, or holds control characters, is matched by no pattern at all, so that nobody
 * gets from one rule into a laxer one by the bytes of a name.
 */
/* NULL when the pattern is sound; else why it is not. */
const char *hm_pattern_fault(const char *pattern, bool is_path);
bool hm_pattern_match_name(const char *pattern, const char *name);
/* `path`: absolute, real. */
bool hm_pattern_match_path(const char *pattern, const char *path);

/* How a digest that the policy states is computed. */
typedef enum hm_pin_kind {
    HM_PIN_NONE,
    HM_PIN_FILE,  /* SHA-256 of the content of a model that is a single file */
    HM_PIN_FILES, /* the same of every file of a model, by name */
    HM_PIN_MODEL, /* the model digest */
} hm_pin_kind;
const char *hm_pin_kind_name(hm_pin_kind kind);

typedef struct hm_pin {
    char *name;         /* of HM_PIN_FILES */
    uint8_t digest[32]; /* SHA-256, whatever the kind */
} hm_pin;

/* What is demanded of the models that the patterns fit. */
typedef struct hm_rule {
    size_t line;     /* in the file */
    hm_texts names;  /* patterns; none: any name */
    hm_texts paths;  /* likewise */
    bool *allowed;   /* per signer of the policy; NULL: no signature is demanded */
    uint64_t needed; /* signatures by distinct signers; 0: none is demanded */
    const hm_format *format;
    hm_texts signatures; /* where they lie, relative to the model; "{name}" is its name */
    hm_pin_kind pin_kind;
    hm_pin *pins;
    size_t pin_count, pin_capacity;
    hm_hash pin_hash; /* of HM_PIN_MODEL: how files are digested, and in what pieces */
    uint64_t pin_shard_size;
    bool warn_unsigned;
    uint64_t allow;
    hm_provenance_demand provenance;
} hm_rule;

struct hm_policy {
    hm_trusted_signer *signers; /* the first is the one without a name */
    size_t signer_count, signer_capacity;
    hm_revocation *revocations;
    size_t revocation_count, revocation_capacity;
    hm_provenance_demand provenance; /* of every model */
    const hm_format *format;         /* NULL: any */
    uint64_t allow;
    int64_t time;
    bool time_set;
    char **warnings; /* of how it was made: what every report that rests on it has to say */
    size_t warning_count, warning_capacity;
    char *path; /* of the file it was loaded from; NULL: made by calls, and without rules */
    hm_rule *rules;
    size_t rule_count, rule_capacity;
};

/* hm_policy_load() of bytes; `path` names them, and its folder is where relative paths begin. */
HM_MUST_USE hm_status hm_policy_parse(hm_bytes text, const char *path, hm_policy **policy,
                                      hm_error **error);
/* `*rule` stays good until the next one is added. */
HM_MUST_USE hm_status hm_policy_add_rule(hm_policy *policy, hm_rule **rule, hm_error **error);
void hm_rule_free(hm_rule *rule);
typedef enum hm_rule_fit {
    HM_RULE_FITS,
    HM_RULE_OTHER_NAME,
    HM_RULE_OTHER_PATH,
} hm_rule_fit;
hm_rule_fit hm_rule_fits(const hm_rule *rule, const char *name, const char *path);
/* The first rule that fits, or NULL. */
const hm_rule *hm_policy_choose(const hm_policy *policy, const char *name, const char *path);

/* Adds a signer without keys; `*signer` stays good until the next one is added. */
HM_MUST_USE hm_status hm_policy_add_signer(hm_policy *policy, const char *name,
                                           hm_trusted_signer **signer, hm_error **error);
/* Takes `*key` over. A key that the signer has already is freed, and its first period stays. */
HM_MUST_USE hm_status hm_trusted_signer_add_key(hm_trusted_signer *signer, hm_pubkey **key,
                                                const hm_trusted_key *period, hm_error **error);
HM_MUST_USE hm_status hm_trusted_signer_add_root(hm_trusted_signer *signer, const char *path,
                                                 hm_error **error);
HM_MUST_USE hm_status hm_trusted_signer_require_identity(hm_trusted_signer *signer,
                                                         hm_identity_kind kind, const char *value,
                                                         hm_error **error);
/*
 * Adds what an export of a keyring says, for this signer, whose name it must bear if he has one;
 * see hm_policy_add_keyring().
 */
HM_MUST_USE hm_status hm_trusted_signer_add_keyring(hm_policy *policy, hm_trusted_signer *signer,
                                                    const char *file, const char *admin_key,
                                                    const hm_keyring_options *options,
                                                    hm_error **error);
/* `fingerprint` in lower-case hex. */
HM_MUST_USE hm_status hm_policy_revoke(hm_policy *policy, const char *fingerprint, int64_t since,
                                       const char *reason, hm_error **error);

/* Who signed, once that is proven. */
typedef struct hm_signer_identity {
    char *name;           /* in the policy; NULL: it has none */
    uint64_t key_version; /* as the policy has it; 0: none */
    bool by_certificate;
    char *algorithm;                               /* "ec-p256" */
    const char *scheme_text;                       /* "ECDSA P-256 SHA-256" */
    char fingerprint[2 * HM_FINGERPRINT_SIZE + 1]; /* of the public key */
    /* By certificate only: */
    char *subject, *issuer;   /* RFC 2253 */
    char **alternative_names; /* "email:a@b", "URI:https://...", "DNS:x" */
    size_t alternative_name_count;
    char certificate_fingerprint[2 * HM_FINGERPRINT_SIZE + 1];
    int64_t not_before, not_after;
    int64_t judged_at;
    bool genuine; /* signed by an allowed signer; also when refused since the key is withdrawn */
    char **authorities; /* fingerprints of the public keys that the leaf leads to, root included */
    size_t authority_count, authority_capacity;
    char **warnings; /* what was let pass by an option, or could not be compared */
    size_t warning_count, warning_capacity;
} hm_signer_identity;

/*
 * ::HM_OK only when every signature in the envelope is good under one key of one signer that the
 * policy believes. Fills `who`. `allowed`: per signer of the policy whether it counts here; NULL:
 * all do. `now`: the time at which keys and certificates are judged unless the policy sets another;
 * below 0 it is not known.
 */
HM_MUST_USE hm_status hm_trust_judge_among(const hm_policy *policy, const bool *allowed,
                                           const hm_envelope *envelope, int64_t now,
                                           hm_signer_identity *who, hm_error **error);
/* The same among all signers. */
HM_MUST_USE hm_status hm_trust_judge(const hm_policy *policy, const hm_envelope *envelope,
                                     int64_t now, hm_signer_identity *who, hm_error **error);
/* The same among the signers of a rule, on its conditions. */
HM_MUST_USE hm_status hm_rule_judge(const hm_policy *policy, const hm_rule *rule,
                                    const hm_envelope *envelope, int64_t now,
                                    hm_signer_identity *who, hm_error **error);
/* Names that share a key become one party, and so do those that a third one ties together. */
void hm_policy_tie_parties(hm_policy *policy);
/*
 * Whether two signers found may be one and the same: by name, by key, or by party. For a threshold
 * they count once.
 */
bool hm_policy_same_party(const hm_policy *policy, const hm_signer_identity *a,
                          const hm_signer_identity *b);
void hm_signer_identity_free(hm_signer_identity *who);

/* Takes down what a leaf certificate says of its holder. Believes nothing of it. */
HM_MUST_USE hm_status hm_identity_describe(X509 *leaf, hm_signer_identity *who, hm_error **error);
/* The subject as RFC 2253 text. Newly allocated. */
HM_MUST_USE hm_status hm_certificate_name(const X509_NAME *name, char **text, hm_error **error);

#endif
