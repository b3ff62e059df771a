/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hallmark.h
 * The public interface of libhallmark: sign machine-learning models, and verify them before use.
 *
 * Four nouns carry it: a *signer* signs, a *policy* says whom to believe, a *model* is a file or a
 * directory tree, a *report* says what was found or done.
 *
 * Conventions
 * - Objects are opaque, made by a function that stores them in its last-but-one parameter and ended
 *   by one that takes `T **` and clears it; ending NULL is allowed.
 * - Every function that can fail returns an ::hm_status and takes `hm_error **error` last. On
 *   failure it stores a new error there, which the caller frees with hm_error_free(). Passing NULL
 *   drops the details. `*error` must be NULL on entry.
 * - Parameter structs start with `size`, set by their `_INIT` macro, and are extended only at their
 *   end. Flags never use bit 0, and a set bit without a meaning is refused, so that a stray `true`
 *   changes nothing.
 * - A pointer returned by a getter lives until its object is changed or freed.
 * - Texts are UTF-8 except file names, which are the bytes the system uses.
 * - Threads: an object is used by one thread at a time; a policy that is no longer changed may be
 *   shared. The library keeps nothing in memory between calls, and nothing on disk but what
 *   hm_policy_add_keyring() remembers.
 */
#ifndef HALLMARK_H
#define HALLMARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HM_API __attribute__((visibility("default")))
#define HM_MUST_USE __attribute__((warn_unused_result))
#define HM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define HM_API
#define HM_MUST_USE
#define HM_PRINTF(fmt, args)
#endif

/*
 * Forks: a child of a process in whose threads no call was under way may call on. Otherwise it must
 * not, until it calls exec: libcrypto's locks may stay taken in it for ever.
 */

/** How a call ended. The values are the exit statuses of the `hallmark` program. */
typedef enum hm_status {
    HM_OK = 0,        /**< Done; of a verification: verified. */
    HM_REFUSED = 1,   /**< The model, its signature or its signer is not what it should be. */
    HM_USAGE = 2,     /**< The call itself is wrong: an option, a combination, a value. */
    HM_UNDECIDED = 3, /**< Could not be decided or done: I/O, an unreadable key, memory. */
    /** Not verified: there is no signature, and a policy file lets just that model pass without. */
    HM_LET_THROUGH = 4,
} hm_status;

/** Why something was refused. The words (hm_reason_word()) never change. */
typedef enum hm_reason {
    HM_REASON_NONE = 0,
    HM_REASON_UNSIGNED,         /**< `unsigned`: there is no signature. */
    HM_REASON_MALFORMED,        /**< `malformed`: the signature file breaks its format. */
    HM_REASON_BAD_SIGNATURE,    /**< `bad-signature`: it does not verify under the key. */
    HM_REASON_UNTRUSTED_SIGNER, /**< `untrusted-signer`: by nobody the policy believes. */
    HM_REASON_REVOKED_KEY,      /**< `revoked-key` */
    HM_REASON_EXPIRED,          /**< `expired`: outside a validity period. */
    HM_REASON_DIGEST_MISMATCH,  /**< `digest-mismatch`: content differs from what was signed. */
    HM_REASON_MISSING_FILE,     /**< `missing-file`: signed, but not there. */
    HM_REASON_EXTRA_FILE,       /**< `extra-file`: there, but not signed. */
    HM_REASON_PINNED_DIGEST_MISMATCH, /**< `pinned-digest-mismatch` */
    HM_REASON_UNSUPPORTED,            /**< `unsupported`: this method or thing is not handled. */
    HM_REASON_CHANGED_WHILE_READING, /**< `changed-while-reading`: a file moved under the reader. */
    HM_REASON_PROVENANCE, /**< `provenance`: it is missing, of another model, or not as demanded. */
    HM_REASON_ROLLBACK,   /**< `rollback`: older than, or not, what was seen before. */
} hm_reason;

/** The unchanging word of a reason, such as "bad-signature"; "" for ::HM_REASON_NONE. */
HM_API const char *hm_reason_word(hm_reason reason);

/** The library's version, such as "0.1.0". */
HM_API const char *hm_version(void);

/* ------------------------------------------------------------------------------------- errors */

/** Why a call failed. Owned by the caller. */
typedef struct hm_error hm_error;

HM_API hm_status hm_error_status(const hm_error *error);
HM_API hm_reason hm_error_reason(const hm_error *error);
/** One line: what failed, on what, and why. Free of control characters. */
HM_API const char *hm_error_message(const hm_error *error);
/** What to do about it, or "" when there is nothing to say. */
HM_API const char *hm_error_hint(const hm_error *error);
HM_API void hm_error_free(hm_error **error);

/** What this build consists of and would use here, for people: a `name: value` line each. */
HM_API HM_MUST_USE hm_status hm_build_info(char **text, hm_error **error);

/** Frees a text that the library handed over. */
HM_API void hm_text_free(char **text);

/**
 * Reads a time as a person writes it: "2026-01-05T20:31:07Z", "2026-01-05" (when that day begins),
 * both in UTC, or "90d", so many days from now.
 * @param time Seconds since 1970 UTC.
 */
HM_API HM_MUST_USE hm_status hm_time_from_text(const char *text, int64_t *time, hm_error **error);

/** Reads a span of time: "90s", "5m", "12h" or "7d". @param seconds At least 1. */
HM_API HM_MUST_USE hm_status hm_duration_from_text(const char *text, uint64_t *seconds,
                                                   hm_error **error);

/** Reads a size in bytes: a number, with K, M, G, T (or KiB, MiB, GiB, TiB) for powers of 1024. */
HM_API HM_MUST_USE hm_status hm_size_from_text(const char *text, uint64_t *bytes, hm_error **error);

/* ------------------------------------------------------------------------------------ process */

/**
 * Hardens the calling process before it handles private keys: no core dumps, no tracing by other
 * processes of the same user, and a locked, wiped heap for key material (where the limit on locked
 * memory allows). Process-wide, so left to the program to ask for; call it before other threads
 * start. Never fails: what cannot be had is done without.
 */
HM_API void hm_process_harden(void);

/* ------------------------------------------------------------------------------------- signer */

/**
 * Something that can sign: a private key in a PEM file, alone or in a keyring, in a PKCS#11 token
 * or in a key service.
 */
typedef struct hm_signer hm_signer;

/**
 * Asks for a passphrase. Writes at most `capacity` bytes to `buffer` and the number to `*length`.
 * @param what  What the passphrase is for, to be shown to a person.
 * @param again True when a new passphrase is being chosen and should be asked for twice.
 * @return False to give up. The library wipes `buffer`.
 */
typedef bool (*hm_passphrase_fn)(void *context, const char *what, bool again, char *buffer,
                                 size_t capacity, size_t *length);

typedef struct hm_signer_options {
    size_t size;
    uint64_t flags;              /**< None yet: 0. */
    hm_passphrase_fn passphrase; /**< NULL: an encrypted key cannot be opened. */
    void *passphrase_context;
} hm_signer_options;
#define HM_SIGNER_OPTIONS_INIT                                                                     \
    { .size = sizeof(hm_signer_options) }

/**
 * Opens a private key: PKCS#8 or traditional PEM, encrypted or not; EC on P-256, P-384 or P-521,
 * RSA of 2048 bits or more, or Ed25519.
 * The file must belong to the caller or root and give nothing to group and others; otherwise
 * ::HM_UNDECIDED with the `chmod` that mends it.
 *
 * Or a key in a token, named by a PKCS#11 URI (RFC 7512, `docs/pkcs11.md`). One private key must
 * fit. The PIN comes from the URI or from `options->passphrase`, and is tried once. The token's
 * module is loaded into the process, by p11-kit, until the signer is closed; a URI with
 * `module-path` says which code that is, so take none from strangers.
 *
 * Or a key in a service, by its URI (`docs/cloud-keys.md`): "awskms:///KEY" or
 * "azurekms://VAULT/KEY". The service is asked for the public key now, and for a signature by
 * hm_sign(); the environment says by which credentials. A service that is down or refuses:
 * ::HM_UNDECIDED.
 *
 * Of a keyring (hm_keyring_rotate()) it is the version that signs now. When that is revoked
 * or past its end, ::HM_REFUSED: there is no falling back to an older one.
 * @param key     Path of the file or of a keyring's directory, or the URI.
 * @param options May be NULL.
 */
HM_API HM_MUST_USE hm_status hm_signer_open(const char *key, const hm_signer_options *options,
                                            hm_signer **signer, hm_error **error);

/**
 * Adds the signer's certificate, so that `oms` signatures carry a chain in place of a bare key.
 * Each file is PEM and may hold several certificates, or is the PKCS#11 URI of one on a token.
 * The leaf's key must be the signer's.
 * @param leaf   File with the signer's certificate, and possibly more of the chain after it.
 * @param chain  Files with the certificates that lead to a root; a self-signed root among them is
 *               left out of signatures.
 */
HM_API HM_MUST_USE hm_status hm_signer_set_certificates(hm_signer *signer, const char *leaf,
                                                        const char *const *chain,
                                                        size_t chain_count, hm_error **error);

/** The key's algorithm, such as "ec-p256", "rsa-3072" or "ed25519". */
HM_API const char *hm_signer_algorithm(const hm_signer *signer);
/** Lower-case hex SHA-256 of the public key's DER SubjectPublicKeyInfo. */
HM_API const char *hm_signer_fingerprint(const hm_signer *signer);
/** The number of the key's version when it is of a keyring, else 0. */
HM_API uint64_t hm_signer_key_version(const hm_signer *signer);
/** Ends the signer, wipes the key and lets go of the token. */
HM_API void hm_signer_close(hm_signer **signer);

typedef struct hm_keygen_options {
    size_t size;
    uint64_t flags;              /**< ::HM_KEYGEN_PLAIN or 0. */
    const char *type;            /**< "ec-p256" (NULL too), "ec-p384", "ec-p521", "rsa-3072",
                                      "rsa-4096" or "ed25519". */
    hm_passphrase_fn passphrase; /**< Required unless ::HM_KEYGEN_PLAIN. */
    void *passphrase_context;
} hm_keygen_options;
#define HM_KEYGEN_OPTIONS_INIT                                                                     \
    { .size = sizeof(hm_keygen_options) }
#define HM_KEYGEN_PLAIN (UINT64_C(1) << 1) /**< Store the private key unencrypted. */

/**
 * Makes a key pair: `private_path` (PKCS#8 PEM, encrypted, mode 0600) and `public_path`
 * (SubjectPublicKeyInfo PEM, mode 0644). Never writes over an existing file; either both files
 * appear or neither.
 * @param private_path Or a PKCS#11 URI with a label (`object`): the pair is made in the token,
 *                     where the private key stays. The passphrase that is asked for is then its
 *                     PIN, and ::HM_KEYGEN_PLAIN has no place. A label or id that is there is an
 *                     error.
 * @param public_path NULL: `private_path` with a final `.pem` replaced by `.pub`, or with `.pub`
 *                    added; of a token: no file. If it cannot be written, the key is removed again.
 */
HM_API HM_MUST_USE hm_status hm_key_generate(const char *private_path, const char *public_path,
                                             const hm_keygen_options *options, hm_error **error);

/* ------------------------------------------------------------------------------------ keyring */

typedef struct hm_rotate_options {
    size_t size;
    uint64_t flags;              /**< ::HM_ROTATE_PLAIN, ::HM_ROTATE_REMOVE_OLD_PRIVATE or 0. */
    const char *type;            /**< As in ::hm_keygen_options. */
    hm_passphrase_fn passphrase; /**< Required unless ::HM_ROTATE_PLAIN. */
    void *passphrase_context;
    const char *signer;    /**< Whose keys they are. NULL: as before, at first the
                                      directory's name. Only the first rotation may set it. */
    const char *base_name; /**< Of the files; NULL: as before, at first "signing_key". */
    int64_t signs_from;    /**< When the new version begins to sign; 0: now. */
    int64_t not_after;     /**< Until when its signatures are believed; 0: no end. */
} hm_rotate_options;
#define HM_ROTATE_OPTIONS_INIT                                                                     \
    { .size = sizeof(hm_rotate_options) }
#define HM_ROTATE_PLAIN (UINT64_C(1) << 1) /**< Store the private key unencrypted. */
/** Overwrite and delete the private keys of all versions before the new one. */
#define HM_ROTATE_REMOVE_OLD_PRIVATE (UINT64_C(1) << 2)

/**
 * Makes the next version of the key in a keyring, a directory: `signing_key_v2.pem`,
 * `signing_key_v2.pub`, and the entry in `keyring.json` that makes them count. A missing or empty
 * directory gets version 1. At whatever point it is interrupted, the keyring is the old or the new
 * one. One at a time per keyring; a second caller waits some seconds, then ::HM_UNDECIDED.
 * @param version The new version's number; may be NULL.
 */
HM_API HM_MUST_USE hm_status hm_keyring_rotate(const char *keyring,
                                               const hm_rotate_options *options, uint64_t *version,
                                               hm_error **error);

/**
 * Records that a version is not to be believed any more. It no longer signs, from now on; verifiers
 * refuse it from `since` on, once they have a new export.
 * @param since  Seconds since 1970 UTC; 0: now. A version that is revoked already can only be
 *               revoked since an earlier time.
 * @param reason For people: one line of UTF-8.
 */
HM_API HM_MUST_USE hm_status hm_keyring_revoke(const char *keyring, uint64_t version, int64_t since,
                                               const char *reason, hm_error **error);

/**
 * Writes what verifiers need to know of a keyring (public keys, periods, revocations) as one file
 * that `admin` signs. Each export has the next number; see hm_policy_add_keyring().
 * @param admin   Not one of the keyring's own keys: whoever steals one of those must not be able to
 *                vouch for others.
 * @param path    A new file, or an older export, which is replaced.
 * @param expires Until when it may be used: seconds since 1970 UTC, after now.
 * @param number  The export's number; may be NULL.
 */
HM_API HM_MUST_USE hm_status hm_keyring_export(const char *keyring, hm_signer *admin,
                                               const char *path, int64_t expires, uint64_t *number,
                                               hm_error **error);

#define HM_DESCRIBE_JSON (UINT64_C(1) << 1) /**< As JSON; the schema is docs/keyring.schema.json. */
/** All versions of a keyring, for people or as JSON. Free with hm_text_free(). */
HM_API HM_MUST_USE hm_status hm_keyring_describe(const char *keyring, uint64_t flags, char **text,
                                                 hm_error **error);
/**
 * One key: algorithm, fingerprint, OMS hint and, of a keyring, what is recorded of it.
 * @param key     A keyring, or a public key as hm_policy_add_key() takes it.
 * @param version Of a keyring; 0: the one that signs now, or else the newest.
 */
HM_API HM_MUST_USE hm_status hm_key_describe(const char *key, uint64_t version, uint64_t flags,
                                             char **text, hm_error **error);

/* ------------------------------------------------------------------------------------- policy */

/** Whom to believe, and on what conditions. A new policy believes nobody. */
typedef struct hm_policy hm_policy;

HM_API HM_MUST_USE hm_status hm_policy_new(hm_policy **policy, hm_error **error);

/**
 * Believes a public key. PEM SubjectPublicKeyInfo, or PKCS#1 for RSA; text before the block is
 * passed over. A private key is refused. RSA under 2048 bits and other curves are refused.
 * A PKCS#11 URI names a public key or certificate on a token, which is read without a login.
 * Or the URI of a key in a service, as for hm_signer_open(), which is asked for the public key.
 */
HM_API HM_MUST_USE hm_status hm_policy_add_key(hm_policy *policy, const char *path,
                                               hm_error **error);

typedef struct hm_keyring_options {
    size_t size;
    uint64_t flags;       /**< None yet: 0. */
    const char *signer;   /**< Whose keyring it must be; NULL: anybody's whom the admin signs. */
    uint64_t min_version; /**< Older exports are refused; 0: no such bound. */
} hm_keyring_options;
#define HM_KEYRING_OPTIONS_INIT                                                                    \
    { .size = sizeof(hm_keyring_options) }

/**
 * Believes the keys of a keyring, and none that it revokes, as an export (hm_keyring_export()) says
 * it. ::HM_REFUSED when the export is not signed by the admin key (bad-signature), malformed,
 * expired at the policy's time, of another signer (untrusted-signer), or older than one that was
 * seen before, or another one of the same number (rollback). Set the policy's time first.
 *
 * The newest number seen of each admin key and signer is kept in `$HALLMARK_STATE_DIR`, else
 * /var/lib/hallmark for root, else `$XDG_STATE_HOME/hallmark` or ~/.local/state/hallmark. Where
 * that cannot be written: ::HM_UNDECIDED, unless `min_version` is given; that, and
 * `HALLMARK_STATE_DIR=none`, leaves a warning in reports.
 * @param admin_key As in hm_policy_add_key().
 * @param options   May be NULL.
 */
HM_API HM_MUST_USE hm_status hm_policy_add_keyring(hm_policy *policy, const char *file,
                                                   const char *admin_key,
                                                   const hm_keyring_options *options,
                                                   hm_error **error);

/**
 * Believes certificates that chain up to those in `path` (PEM, one or more; or the PKCS#11 URI of
 * one).
 */
HM_API HM_MUST_USE hm_status hm_policy_add_root(hm_policy *policy, const char *path,
                                                hm_error **error);

/** What of a certificate an identity is compared with. */
typedef enum hm_identity_kind {
    HM_IDENTITY_SUBJECT = 1,     /**< The subject as RFC 2253 text, such as "CN=ci,O=Acme". */
    HM_IDENTITY_SAN = 2,         /**< A subject alternative name, exact: an e-mail address, DNS name
                                      or URI, told apart by form, or by "email:", "DNS:" or "URI:"
                                      in front. */
    HM_IDENTITY_FINGERPRINT = 3, /**< Hex SHA-256 of the certificate's DER. */
    HM_IDENTITY_ORGANISATION = 4, /**< The one organisation (O) of the subject. */
} hm_identity_kind;

/**
 * Demands an identity of the leaf certificate. Several of one kind: any of them will do; of
 * different kinds: one of each is demanded. Has no meaning for bare keys, which are then refused.
 */
HM_API HM_MUST_USE hm_status hm_policy_require_identity(hm_policy *policy, hm_identity_kind kind,
                                                        const char *value, hm_error **error);

/** Demands a format ("oms", "sig-json", "manifest-json"); others are refused. */
HM_API HM_MUST_USE hm_status hm_policy_require_format(hm_policy *policy, const char *format,
                                                      hm_error **error);

/**
 * Judge certificates at the leaf's own start of validity, not now: an expired, perhaps long since
 * leaked key stays good for ever.
 */
#define HM_ALLOW_EXPIRED_CERTIFICATES (UINT64_C(1) << 1)
/** Accept a leaf with key usage digitalSignature but no extended key usage at all. */
#define HM_ALLOW_MISSING_EKU (UINT64_C(1) << 2)
/** Accept the bundles of model_signing 0.2.0, with their faulty encoding. */
#define HM_ALLOW_OMS_V0_2_0 (UINT64_C(1) << 3)
/** Accept `oms` signatures that list symbolic links to files inside the model. */
#define HM_ALLOW_SYMLINKS (UINT64_C(1) << 4)

/** Sets what is allowed beyond the default, replacing what was set before. */
HM_API HM_MUST_USE hm_status hm_policy_allow(hm_policy *policy, uint64_t flags, hm_error **error);

/** What is demanded of the provenance statement beside a signature. */
typedef enum hm_provenance_kind {
    HM_PROVENANCE_ANY = 1,     /**< That there is one. */
    HM_PROVENANCE_DATASET = 2, /**< A digest, "sha256:HEX", among what the training started from. */
    HM_PROVENANCE_BUILDER = 3, /**< The builder's id, exactly. */
} hm_provenance_kind;

/**
 * Demands provenance by whoever signed the model. Several datasets: each of them is demanded;
 * several builders: any of them will do. Either demands that there is a statement at all.
 * @param value NULL for ::HM_PROVENANCE_ANY.
 */
HM_API HM_MUST_USE hm_status hm_policy_require_provenance(hm_policy *policy,
                                                          hm_provenance_kind kind,
                                                          const char *value, hm_error **error);

/** Sets the time at which certificates are judged, in seconds since 1970 UTC. */
HM_API HM_MUST_USE hm_status hm_policy_set_time(hm_policy *policy, int64_t time, hm_error **error);

/**
 * Loads a policy file (`docs/policy.md`), with all keys and certificates that it names. Models are
 * then judged by its rules, and those that none is about are refused. Nothing can be added to such
 * a policy; only hm_policy_require_format() and hm_policy_set_time() work on it.
 * @return ::HM_UNDECIDED with FILE:LINE:COLUMN when the file cannot be read or is not right.
 */
HM_API HM_MUST_USE hm_status hm_policy_load(const char *path, hm_policy **policy, hm_error **error);

HM_API void hm_policy_free(hm_policy **policy);

/* ------------------------------------------------------------------------------------- report */

/** What a verification found, or what a signing or digest did. */
typedef struct hm_report hm_report;

/** ::HM_OK only when everything the report says was verified (or done). */
HM_API hm_status hm_report_status(const hm_report *report);
/** Why not, or ::HM_REASON_NONE. The first and gravest of possibly several findings. */
HM_API hm_reason hm_report_reason(const hm_report *report);
/** The report as JSON; the schema is `docs/report.schema.json`. Free with hm_text_free(). */
HM_API HM_MUST_USE hm_status hm_report_json(const hm_report *report, char **json, hm_error **error);

#define HM_TEXT_LIST (UINT64_C(1) << 1)   /**< Name every file, however many. */
#define HM_TEXT_COLOUR (UINT64_C(1) << 2) /**< For a terminal that shows colours. */
/** The report as text for a person. Foreign text in it is escaped. Free with hm_text_free(). */
HM_API HM_MUST_USE hm_status hm_report_text(const hm_report *report, uint64_t flags, char **text,
                                            hm_error **error);

/** Number of differences between what was signed and what is there. */
HM_API size_t hm_report_finding_count(const hm_report *report);
/** The reason of finding `index`. */
HM_API hm_reason hm_report_finding_reason(const hm_report *report, size_t index);
/** The file, or shard, of finding `index`. */
HM_API const char *hm_report_finding_name(const hm_report *report, size_t index);

/** Number of files verified (or signed). Zero unless the status is ::HM_OK. */
HM_API size_t hm_report_file_count(const hm_report *report);
/** Name of verified file `index`, relative to the model; of a single file, its own name. */
HM_API const char *hm_report_file_name(const hm_report *report, size_t index);
/** The model digest in hex (`docs/formats.md`), or "" when it was not computed. */
HM_API const char *hm_report_model_digest(const hm_report *report);
/** The OMS root digest in hex (`docs/formats.md`), or "" when it was not computed. */
HM_API const char *hm_report_root_digest(const hm_report *report);
/** The algorithm of the key that signed, such as "ec-p256"; "" when no believed key did. */
HM_API const char *hm_report_signer_algorithm(const hm_report *report);
/** The path of the signature file that was read or written, or "". */
HM_API const char *hm_report_signature_path(const hm_report *report);
/** The path of the second signature, of the shards, when a signing wrote two; else "". */
HM_API const char *hm_report_shards_signature_path(const hm_report *report);
/**
 * How many times as fast this model would be verified here, with as many threads, by shards of
 * ::HM_SHARD_SIZE_DEFAULT in place of whole files: an estimate from the sizes of its files. 0 when
 * they would do little for it: less than 2 times, a model under 1 GiB, or shards already.
 */
HM_API double hm_report_shards_speedup(const hm_report *report);
/** The path of the provenance file that was verified or written, or "". */
HM_API const char *hm_report_provenance_path(const hm_report *report);

/**
 * A report of a call that failed before it could make one, so that a program reads every outcome
 * in one form.
 * @param operation "sign", "verify", "digest", "inspect" or "resign".
 * @param model     The model's path, or NULL.
 */
HM_API HM_MUST_USE hm_status hm_report_from_error(const char *operation, const char *model,
                                                  const hm_error *cause, hm_report **report,
                                                  hm_error **error);

HM_API void hm_report_free(hm_report **report);

/* -------------------------------------------------------------------------------------- model */

/** A file or a directory tree, held open from hm_model_open() on. */
typedef struct hm_model hm_model;

/**
 * Opens a regular file or a directory. The path's last component must not be a symbolic link
 * unless it is written with a trailing slash and leads to a directory.
 */
HM_API HM_MUST_USE hm_status hm_model_open(const char *path, hm_model **model, hm_error **error);
HM_API void hm_model_close(hm_model **model);

/**
 * Called now and then from one thread while model bytes are read.
 * @return False to stop: the call ends with ::HM_UNDECIDED and leaves nothing behind.
 */
typedef bool (*hm_progress_fn)(void *context, uint64_t bytes_done, uint64_t bytes_total);

/**
 * A good shard size, in bytes: enough shards of one large file to keep all lanes of several cores
 * busy, few enough for small signatures. The specification (OMS 6.3.2) recommends 1,000,000,000,
 * but any size is good: the signature says it.
 */
#define HM_SHARD_SIZE_DEFAULT (UINT64_C(64) << 20)

typedef struct hm_sign_options {
    size_t size;
    uint64_t flags;            /**< HM_SIGN_... */
    const char *signature;     /**< Where to write; NULL: the format's default place. */
    const char *format;        /**< "oms" (NULL too), "sig-json" or "manifest-json". */
    const char *hash;          /**< "sha256" (NULL too), "blake2b", "blake3"; `oms` only. */
    uint64_t shard_size;       /**< Bytes per shard; 0: whole files. `oms` only. */
    const char *const *ignore; /**< Paths, relative to the model, that are left out; `oms` only. */
    size_t ignore_count;
    const char *signer_id;     /**< Who claims to sign; sig-json, manifest-json, and `oms` with
                                    metadata: the builder of the provenance statement. */
    uint64_t key_version;      /**< Recorded by `sig-json`, `manifest-json` (there unsigned) and
                                    provenance; 0: that of a keyring's key, otherwise none. */
    const char *metadata;      /**< JSON object with the training metadata: `sig-json` needs it,
                                    `oms` makes a provenance statement of it. */
    const char *metadata_file; /**< Where to read that from, when `metadata` is NULL. */
    unsigned jobs;             /**< Threads; 0: as many as the process may use. */
    hm_progress_fn progress;   /**< May be NULL. */
    void *progress_context;
    const char *shards_signature; /**< With ::HM_SIGN_FILES_AND_SHARDS: where to write that of the
                                       shards. NULL: `model.shards.sig` in a directory,
                                       `NAME.shards.sig` beside a file. */
    /**
     * Part files that hm_digest() wrote, in any order, to take all digests from: nothing of the
     * model is read. They must be all parts of one splitting, and the model must have the names,
     * sizes and modification times that they were made of. They are believed like this machine's
     * own reading. What `hash` and `shard_size` leave open is as in the parts. One model, `oms`
     * only.
     */
    const char *const *parts;
    size_t parts_count;
    /**
     * An older `oms` signature by the same signer: the digests of files that its record of file
     * states proves unchanged are taken over. The record lies beside it, with ".state" added to its
     * name; one is written for the new signature. Without a record everything is read. See
     * docs/reuse.md for what the proof does not see. One model, `oms` only.
     */
    const char *reuse;
    const char *provenance; /**< Where the provenance statement goes; NULL: beside the signature.
                                 Only with `oms` and metadata. */
} hm_sign_options;
#define HM_SIGN_OPTIONS_INIT                                                                       \
    { .size = sizeof(hm_sign_options) }
#define HM_SIGN_INCLUDE_GIT (UINT64_C(1) << 1)     /**< Sign .git and its like too. */
#define HM_SIGN_FOLLOW_SYMLINKS (UINT64_C(1) << 2) /**< Sign what links inside the model lead to. */
/** `oms`, single file: sign the name "." as model_signing does, not the file's. */
#define HM_SIGN_NAME_DOT (UINT64_C(1) << 3)
/**
 * `oms`: write two signatures, of whole files and of shards of `shard_size` bytes (not 0), after
 * reading the model once. Each leaves the other's file out.
 */
#define HM_SIGN_FILES_AND_SHARDS (UINT64_C(1) << 4)
/** With `parts`: whole files are demanded, where a `shard_size` of 0 would leave that open. */
#define HM_SIGN_FILES (UINT64_C(1) << 6)

/**
 * Signs models and writes one signature file, or two, whole or not at all; with `oms` and training
 * metadata also a provenance statement, signed by the same key, in a file of its own. A signature
 * of shards or a statement in its default place that would outlive the new signature is refused.
 * @param models  One model; several only for `manifest-json`, which then writes a bundle manifest
 *                (and needs `signature`).
 * @param report  What was signed, or why not; may be NULL.
 * @return ::HM_REFUSED when a model cannot be signed (a named pipe, a name that is not UTF-8, an
 *         empty model, a file that changes meanwhile), ::HM_USAGE when options do not fit the
 *         format or key, ::HM_UNDECIDED on I/O errors.
 */
HM_API HM_MUST_USE hm_status hm_sign(hm_model *const *models, size_t model_count, hm_signer *signer,
                                     const hm_sign_options *options, hm_report **report,
                                     hm_error **error);

typedef struct hm_verify_options {
    size_t size;
    uint64_t flags;            /**< HM_VERIFY_... */
    const char *signature;     /**< NULL: looked for in the default places; of two signatures by
                                    one signing, that of the shards is used. */
    const char *const *ignore; /**< Paths, relative to the model, not to be looked at. */
    size_t ignore_count;
    const char *expected_name; /**< The file name that the signature must carry (single files);
                                    NULL: the model's own. With a loaded policy also the name by
                                    which a rule is chosen, of a directory too. */
    unsigned jobs;
    hm_progress_fn progress;
    void *progress_context;
    const char *provenance; /**< The provenance statement; NULL: looked for beside the signature. */
    const char *const *signatures; /**< Several, in place of `signature`; a loaded policy only. */
    size_t signature_count;
} hm_verify_options;
#define HM_VERIFY_OPTIONS_INIT                                                                     \
    { .size = sizeof(hm_verify_options) }
#define HM_VERIFY_IGNORE_UNSIGNED (UINT64_C(1) << 1) /**< Unsigned files are listed, not refused. */
#define HM_VERIFY_FAIL_FAST (UINT64_C(1) << 2)       /**< Stop at the first difference. */
/**
 * Ignore nothing but the format's own defaults, the signature file, the provenance file, and
 * `model.sig` and `model.shards.sig` where the signature says that they were left out.
 */
#define HM_VERIFY_STRICT_PATHS (UINT64_C(1) << 3)
/** Ignore .git and its like only where the signature says so. */
#define HM_VERIFY_INCLUDE_GIT (UINT64_C(1) << 4)

/**
 * Verifies a model: the signature first, then every byte it covers.
 * @param report What was found, whatever the status (NULL only when memory ran out or the call
 *               itself was wrong); may be NULL if not wanted.
 * @return ::HM_OK only when the signature is by someone `policy` believes and the model is exactly
 *         what was signed. ::HM_REFUSED with a reason; ::HM_UNDECIDED when I/O failed.
 *
 * A provenance statement that lies beside the signature is verified too: it must be by the key that
 * signed the model, and of exactly this model; otherwise the model is refused.
 *
 * It does not say that the files are still the same afterwards: whoever can write to them can
 * change them the moment this returns.
 */
HM_API HM_MUST_USE hm_status hm_verify(hm_model *model, const hm_policy *policy,
                                       const hm_verify_options *options, hm_report **report,
                                       hm_error **error);

typedef struct hm_resign_options {
    size_t size;
    uint64_t flags; /**< None yet: 0. */
    unsigned jobs;  /**< Threads; 0: as many as the process may use. */
    hm_progress_fn progress;
    void *progress_context;
} hm_resign_options;
#define HM_RESIGN_OPTIONS_INIT                                                                     \
    { .size = sizeof(hm_resign_options) }

/**
 * Moves a model to another key: verifies it, and replaces its signature by one of `signer` over
 * just the digests that were verified; nothing is digested a second time. Every signature file
 * where the policy looks for one (or in a default place) must be good, and each is replaced in its
 * place, whole or not at all, in its own format, method and hash, with its ignored paths. A
 * provenance statement beside it is verified too, and its predicate goes unchanged into a new one.
 * Training metadata of `sig-json` is kept, and a signer's id that is not the old key's fingerprint.
 *
 * A model that is good by `signer` already, whatever the policy says of that key, is left as it is:
 * what was interrupted can be called again.
 * @param signer  A bare key: no certificates.
 * @param options May be NULL.
 * @param report  May be NULL.
 * @return ::HM_REFUSED when the policy does not believe a signature of the model, or something else
 *         than a signature (a pinned digest, a rule that lets unsigned models pass), when its rule
 *         wants several signers, when the policy revokes the new key, or when `signer` cannot sign
 *         in the format; ::HM_UNDECIDED on I/O errors. The old files are then as they were; of
 *         signatures in different formats, which are replaced one after the other, some may be new.
 */
HM_API HM_MUST_USE hm_status hm_resign(hm_model *model, const hm_policy *policy, hm_signer *signer,
                                       const hm_resign_options *options, hm_report **report,
                                       hm_error **error);

#define HM_POLICY_JSON (UINT64_C(1) << 1) /**< For programs. */
/** What a policy allows, in full. `flags`: ::HM_POLICY_JSON or 0. Free with hm_text_free(). */
HM_API HM_MUST_USE hm_status hm_policy_describe(const hm_policy *policy, uint64_t flags,
                                                char **text, hm_error **error);
/**
 * Which rule of a loaded policy hm_verify() would judge a model by, and why not by those before it.
 * Reads no content.
 * @param name As in hm_verify_options.expected_name; may be NULL.
 * @param text Set whether there is a rule or not. Free with hm_text_free().
 * @return ::HM_REFUSED untrusted-signer when there is no such rule.
 */
HM_API HM_MUST_USE hm_status hm_policy_explain(const hm_policy *policy, const hm_model *model,
                                               const char *name, uint64_t flags, char **text,
                                               hm_error **error);

typedef struct hm_digest_options {
    size_t size;
    uint64_t flags; /**< HM_DIGEST_... */
    const char *hash;
    uint64_t shard_size;
    const char *const *ignore;
    size_t ignore_count;
    unsigned jobs;
    hm_progress_fn progress;
    void *progress_context;
    /**
     * Digest one share of the model, `part` of `part_count` from 1, and write its digests to the
     * file `out`, which must not lie inside the model. The model's names and sizes alone decide
     * what is in a share. A signature in the default place of `oms` is left out. The report then
     * has neither model digest nor root digest. 0, 0 and NULL: all, and no file.
     */
    unsigned part, part_count;
    const char *out;
} hm_digest_options;
#define HM_DIGEST_OPTIONS_INIT                                                                     \
    { .size = sizeof(hm_digest_options) }
#define HM_DIGEST_INCLUDE_GIT (UINT64_C(1) << 1)
#define HM_DIGEST_FOLLOW_SYMLINKS (UINT64_C(1) << 2)
/** Root digest in the order of path components, as model_signing has it; it differs where names
 *  hold bytes below '/'. */
#define HM_DIGEST_PATH_ORDER (UINT64_C(1) << 3)

/** Digests a model as signing would: the model digest, the OMS root digest, every entry. */
HM_API HM_MUST_USE hm_status hm_digest(hm_model *model, const hm_digest_options *options,
                                       hm_report **report, hm_error **error);

/** Says what a signature file says. Nothing of it is verified, and the report marks it so. */
HM_API HM_MUST_USE hm_status hm_inspect(const char *signature, hm_report **report,
                                        hm_error **error);

/* ---------------------------------------------------------------------- configuration, events */

/** What a host is told once for all commands: store, policy, ledger, alerts (`docs/config.md`). */
typedef struct hm_config hm_config;

/**
 * Reads the configuration file: `path`, or NULL for what `HALLMARK_CONFIG` names, else
 * /etc/hallmark/config.yaml, else the defaults. `HALLMARK_STORE`, `HALLMARK_LEDGER` and
 * `HALLMARK_POLICY` stand above the file. The file must be one that only its owner can change, who
 * is the caller or root.
 * @return ::HM_UNDECIDED with FILE:LINE:COLUMN when it cannot be read or is not right.
 */
HM_API HM_MUST_USE hm_status hm_config_load(const char *path, hm_config **config, hm_error **error);
/**
 * Sets what a command line says, above file and environment.
 * @param name "store", "policy", "ledger", "log" ("json" or "none"), "group" or "checkpoint-key".
 */
HM_API HM_MUST_USE hm_status hm_config_set(hm_config *config, const char *name, const char *value,
                                           hm_error **error);
/** What is set by these names, or NULL. */
HM_API const char *hm_config_get(const hm_config *config, const char *name);
/**
 * What is in force. Secrets are not in it: of an address only what leads to the host, of a command
 * only the program.
 * @param flags ::HM_CONFIG_JSON or 0.
 * @param text  Free with hm_text_free().
 */
HM_API HM_MUST_USE hm_status hm_config_describe(const hm_config *config, uint64_t flags,
                                                char **text, hm_error **error);
#define HM_CONFIG_JSON (UINT64_C(1) << 1)
/** The seconds between two checks of a service, as configured; 0: nothing is said of it. */
HM_API uint64_t hm_config_check_every(const hm_config *config);
HM_API void hm_config_free(hm_config **config);

/** Where events go: the ledger, standard error, and alerts. */
typedef struct hm_recorder hm_recorder;

/**
 * Opens the ledger of a configuration for what happens outside the store: signing, verifying,
 * revoking. Without a ledger, alerts and log in the configuration everything that is recorded goes
 * nowhere.
 * @param config Must outlive the recorder.
 */
HM_API HM_MUST_USE hm_status hm_recorder_open(const hm_config *config, hm_recorder **recorder,
                                              hm_error **error);
/**
 * Records what a report of a signing or verification says: `signed`, `verified`, `refused`,
 * `undecided` or `let-through`; of a view that was opened, `loaded`: to be recorded once its bytes
 * were read. Nothing for reports of other operations.
 */
HM_API HM_MUST_USE hm_status hm_recorder_add_report(hm_recorder *recorder, const hm_report *report,
                                                    hm_error **error);
/**
 * Records a change to a keyring: `key-rotated` or `key-revoked`.
 * @param event  One of these words.
 * @param reason As told to hm_keyring_revoke(); may be NULL.
 */
HM_API HM_MUST_USE hm_status hm_recorder_add_key(hm_recorder *recorder, const char *event,
                                                 const char *keyring, uint64_t version,
                                                 const char *reason, hm_error **error);
/**
 * Tries to deliver what is yet to be delivered: once, and within bounded time. To be called when
 * the outcome has been told: alerts must not hold it up.
 * @param trouble What is left and why, one line, or NULL: nothing is lost, a later command tries
 *                again. Free with hm_text_free(). May be NULL.
 */
HM_API HM_MUST_USE hm_status hm_recorder_flush(hm_recorder *recorder, char **trouble,
                                               hm_error **error);
/** Does that unless it was done, and ends the recorder. */
HM_API void hm_recorder_close(hm_recorder **recorder);

typedef struct hm_log_options {
    size_t size;
    uint64_t flags;    /**< ::HM_LOG_JSON or 0. */
    int64_t since;     /**< Seconds since 1970 UTC; INT64_MIN: all. */
    const char *model; /**< Only events of it; NULL: of all. */
    const char *event; /**< Only events with this word; NULL: all. */
    uint64_t limit;    /**< The newest so many; 0: all. */
} hm_log_options;
#define HM_LOG_OPTIONS_INIT                                                                        \
    { .size = sizeof(hm_log_options), .since = INT64_MIN }
#define HM_LOG_JSON (UINT64_C(1) << 1) /**< One event per line, as it stands in the ledger. */

/** Takes a piece of text: whole lines. @return False to stop. */
typedef bool (*hm_text_fn)(void *context, const char *text, size_t length);

/** Reads the ledger of a configuration, oldest first. @param options May be NULL. */
HM_API HM_MUST_USE hm_status hm_log_read(const hm_config *config, const hm_log_options *options,
                                         hm_text_fn take, void *context, hm_error **error);

typedef struct hm_log_verify_options {
    size_t size;
    uint64_t flags;         /**< ::HM_LOG_JSON or 0. */
    const char *key;        /**< Public key that checkpoints are signed by; NULL: that of the
                                 configuration's checkpoint key. */
    const char *checkpoint; /**< A checkpoint kept elsewhere, which the ledger must contain; NULL:
                                 only what is in the ledger and in the configured file. */
} hm_log_verify_options;
#define HM_LOG_VERIFY_OPTIONS_INIT                                                                 \
    { .size = sizeof(hm_log_verify_options) }

/**
 * Verifies the ledger: every entry's digest and its link to the one before, every checkpoint, and
 * that nothing older than a checkpoint or than what was seen here before is missing.
 * @param text What was found, for people or as JSON. Free with hm_text_free(). May be NULL.
 * @return ::HM_REFUSED when an entry was changed, removed or moved.
 */
HM_API HM_MUST_USE hm_status hm_log_verify(const hm_config *config,
                                           const hm_log_verify_options *options, char **text,
                                           hm_error **error);
/**
 * Signs how far the ledger has come: number and digest of the newest entry.
 * @param path Where the checkpoint goes besides into the ledger, to be kept elsewhere; may be NULL.
 */
HM_API HM_MUST_USE hm_status hm_log_checkpoint(const hm_config *config, hm_signer *signer,
                                               const char *path, hm_error **error);

/* -------------------------------------------------------------------------------------- store */

/**
 * A directory with the versions of models that a host serves (`docs/store.md`). Nothing gets in
 * unverified. For each model, `models/NAME/current` leads to the version that is served.
 */
typedef struct hm_store hm_store;

/**
 * Opens the store of a configuration. What a command that was killed left half done is completed
 * by the next one that changes the same model.
 * With ::HM_STORE_READ and ::HM_STORE_CREATE a store that is not there counts as an empty one.
 * @param config Must outlive the store.
 * @return ::HM_USAGE when no store is named, or it is none; ::HM_UNDECIDED when others can write to
 *         it, or a newer program made it.
 */
HM_API HM_MUST_USE hm_status hm_store_open(const hm_config *config, uint64_t flags,
                                           hm_store **store, hm_error **error);
#define HM_STORE_CREATE                                                                            \
    (UINT64_C(1) << 1) /**< Make the directory a store if it is empty or absent. */
#define HM_STORE_READ (UINT64_C(1) << 2) /**< Only look: change nothing, take no lock. */
/** Tries to deliver alerts that are due, and ends the store. */
HM_API void hm_store_close(hm_store **store);

typedef struct hm_deploy_options {
    size_t size;
    uint64_t flags; /**< HM_DEPLOY_... */
    /** As in hm_verify_options; the places are those of the source. */
    const char *const *signatures;
    size_t signature_count;
    const char *provenance;
    const char *const *ignore;
    size_t ignore_count;
    unsigned jobs;
    hm_progress_fn progress;
    void *progress_context;
} hm_deploy_options;
#define HM_DEPLOY_OPTIONS_INIT                                                                     \
    { .size = sizeof(hm_deploy_options) }
#define HM_DEPLOY_DRY_RUN                                                                          \
    (UINT64_C(1) << 1) /**< Verify and say what would be done; write nothing. */
#define HM_DEPLOY_NO_SWITCH (UINT64_C(1) << 2) /**< Put it into the store; `current` stays. */
#define HM_DEPLOY_FULL (UINT64_C(1) << 3) /**< Read everything, even what is proven unchanged. */

/**
 * The gate: verifies a model while it copies it into the store, and only then makes it current.
 * The rule of the policy is chosen by `name` and by the path STORE/models/NAME/current, wherever
 * the source lies.
 * @param name   Of the model in the store: letters, digits, '.', '_', '-'; not beginning with '.'.
 * @param policy Loaded from a file, or made by calls.
 * What is there already, unchanged, is not read again; its signatures are judged anew.
 * @return ::HM_OK when it is current; ::HM_LET_THROUGH likewise, by a rule that lets it pass
 *         without a signature; ::HM_REFUSED: the old version is still current, and the copy in
 *         quarantine; ::HM_UNDECIDED: I/O errors, a full disk, somebody else who has the lock, a
 *         ledger that takes no events. A step that was begun is then completed by the next call.
 */
HM_API HM_MUST_USE hm_status hm_deploy(hm_store *store, hm_model *source, const char *name,
                                       const hm_policy *policy, const hm_deploy_options *options,
                                       hm_report **report, hm_error **error);

/**
 * Records that a command of the gate could not begin, since its policy cannot be loaded, or its
 * source or the store cannot be opened: `refused` when that is what the failure is, else
 * `undecided`. A mistake in a call (::HM_USAGE) is no event. What these calls themselves fail with,
 * they record; but not that they do not get a model's lock.
 * @param config   Must outlive the recorder.
 * @param name     Of the model in the store, or NULL: it is about no one model.
 * @param source   The model that was to be deployed, or NULL.
 * @param recorder Gets what alerts are delivered by: hm_recorder_flush(), when the outcome has been
 *                 told, and hm_recorder_close(). NULL when there was nothing to record.
 */
HM_API HM_MUST_USE hm_status hm_gate_record_failure(const hm_config *config, const char *name,
                                                    const char *source, const hm_error *failure,
                                                    hm_recorder **recorder, hm_error **error);

typedef struct hm_gate_options {
    size_t size;
    uint64_t flags; /**< Of hm_store_check(): ::HM_GATE_LEAVE_BAD, ::HM_GATE_ROUTINE; else 0. */
    const char *version; /**< hm_rollback(): to which; a digest or the beginning of one. NULL: to
                              the last known good before the current one. */
    unsigned jobs;
    hm_progress_fn progress;
    void *progress_context;
} hm_gate_options;
#define HM_GATE_OPTIONS_INIT                                                                       \
    { .size = sizeof(hm_gate_options) }
/** No version is good: `current` stays as it is, and says so loudly. */
#define HM_GATE_LEAVE_BAD (UINT64_C(1) << 1)
/**
 * hm_store_check(): one check of many. Of good verdicts on one version only the first of each day
 * is recorded; everything else is, always.
 */
#define HM_GATE_ROUTINE (UINT64_C(1) << 2)

/**
 * Makes an older version current, once it is verified again.
 * @param options May be NULL.
 * @return ::HM_REFUSED when it does not verify any more, ::HM_UNDECIDED also when there is no
 *         version to go back to.
 */
HM_API HM_MUST_USE hm_status hm_rollback(hm_store *store, const char *name, const hm_policy *policy,
                                         const hm_gate_options *options, hm_report **report,
                                         hm_error **error);
/**
 * Verifies what is current. A version that fails goes into quarantine, and another that verifies
 * takes its place: the last known good one, else the newest. Without one, or when the step cannot
 * be done, `current` is taken away.
 * A `current` that is not the store's own work has failed, too. The model is locked only when
 * something is to be done, not while it is read, unless others have replaced it twice meanwhile.
 * @param report Of the version that was current.
 * @return ::HM_REFUSED when it failed, whatever took its place, and while nothing is served;
 *         ::HM_UNDECIDED when that could not be found out: then nothing is changed.
 */
HM_API HM_MUST_USE hm_status hm_store_check(hm_store *store, const char *name,
                                            const hm_policy *policy, const hm_gate_options *options,
                                            hm_report **report, hm_error **error);
/** Names of the models in the store, sorted. Free with hm_store_names_free(). */
HM_API HM_MUST_USE hm_status hm_store_names(hm_store *store, char ***names, size_t *count,
                                            hm_error **error);
HM_API void hm_store_names_free(char ***names, size_t count);

#define HM_STORE_JSON (UINT64_C(1) << 1) /**< As JSON; the schema is docs/status.schema.json. */
/**
 * What is current, by whom, when it was last verified, what is in quarantine. Takes no lock.
 * @param name NULL: all models. One that cannot be looked at is in the status, not in the text.
 * @param text Free with hm_text_free().
 */
HM_API HM_MUST_USE hm_status hm_store_status(hm_store *store, const char *name, uint64_t flags,
                                             char **text, hm_error **error);
/**
 * What is in quarantine: all entries, or all that is known of one.
 * @param id As shown, or so much of its beginning as no other has; NULL: all.
 * @param flags ::HM_STORE_JSON (docs/status.schema.json) or 0.
 * @param text Free with hm_text_free().
 */
HM_API HM_MUST_USE hm_status hm_quarantine_describe(hm_store *store, const char *id, uint64_t flags,
                                                    char **text, hm_error **error);
/**
 * Deploys what is in quarantine, through the gate: it must verify now. A refused one stays there.
 */
HM_API HM_MUST_USE hm_status hm_quarantine_release(hm_store *store, const char *id,
                                                   const hm_policy *policy,
                                                   const hm_deploy_options *options,
                                                   hm_report **report, hm_error **error);
/** Deletes what is in quarantine; the ledger remembers it. */
HM_API HM_MUST_USE hm_status hm_quarantine_purge(hm_store *store, const char *id, hm_error **error);
/**
 * The same of all that is there since before `before`, in seconds since 1970 UTC. One that cannot
 * be purged keeps no other from it.
 * @param count How many were; may be NULL.
 */
HM_API HM_MUST_USE hm_status hm_quarantine_purge_older(hm_store *store, int64_t before,
                                                       size_t *count, hm_error **error);
/**
 * Removes versions beyond the newest `keep`, never the current one or the last known good. Whoever
 * has a file of one open can go on reading it.
 * @param name  NULL: of all models; one that fails keeps no other from it.
 * @param keep  At least 1; 0: as configured.
 * @param flags ::HM_STORE_JSON, ::HM_GC_DRY_RUN or 0.
 * @param text  What was removed, for people or as JSON. Free with hm_text_free(). May be NULL.
 */
HM_API HM_MUST_USE hm_status hm_store_gc(hm_store *store, const char *name, uint64_t keep,
                                         uint64_t flags, char **text, hm_error **error);

#define HM_GC_DRY_RUN (UINT64_C(1) << 2) /**< Say what would be removed; remove nothing. */

/* --------------------------------------------------------------------------------------- view */

/**
 * A verified model whose bytes nobody can change any more: each file is in sealed memory, filled by
 * the one reading that also digested it (`docs/verified-loading.md`). Several threads may use one
 * view at once. After a fork a child may go on reading what is mapped; it may call functions of the
 * view if no thread was in one of them at that moment.
 */
typedef struct hm_view hm_view;

typedef struct hm_view_options {
    size_t size;
    uint64_t flags; /**< None yet: 0. */
    /** Where signatures lie, and so on; may be NULL. Its number of threads is for reading contents
        as well; nothing of it is needed later. */
    const hm_verify_options *verify;
    uint64_t remember; /**< Bytes of verified shards that are kept in memory for hm_view_read(), but
                            at least one shard; 0: 256 MiB. */
} hm_view_options;
#define HM_VIEW_OPTIONS_INIT                                                                       \
    { .size = sizeof(hm_view_options) }

/** Of one call that reads contents. */
typedef struct hm_view_read_options {
    size_t size;
    uint64_t flags;          /**< ::HM_VIEW_UNTOUCHED or 0. */
    hm_progress_fn progress; /**< May be NULL. Stops this call, and no other thread's. */
    void *progress_context;
} hm_view_read_options;
#define HM_VIEW_READ_OPTIONS_INIT                                                                  \
    { .size = sizeof(hm_view_read_options) }

/**
 * The target is a private mapping of no file (mmap()), to which nothing was written yet: its memory
 * is taken from the system as it is filled, and given back when the call fails. ::HM_UNDECIDED
 * before anything is read when there is not as much.
 */
#define HM_VIEW_UNTOUCHED (UINT64_C(1) << 1)

/**
 * Verifies the signatures, which files there are, the sizes that shards state, and the statements
 * beside the signatures. Contents are read and verified when they are asked for, or all at once
 * where nothing less can be verified (a pinned model digest). Every signature that counts binds
 * every file: one that is good but of other content makes reading fail, also where hm_verify()
 * would have found enough others.
 * @param model  Must outlive the view.
 * @param policy Not needed afterwards.
 * @param report Its status is `opened` (hm_report_json()) while contents are not yet verified; its
 *               digests are those that were signed.
 * @return As hm_verify(), but never ::HM_LET_THROUGH: what has neither signature nor pin is
 *         ::HM_REFUSED unsigned, since nothing could tell its bytes from others.
 */
HM_API HM_MUST_USE hm_status hm_view_open(hm_model *model, const hm_policy *policy,
                                          const hm_view_options *options, hm_view **view,
                                          hm_report **report, hm_error **error);
HM_API size_t hm_view_count(const hm_view *view);
/** Name and size of file `index`; in the order of names. */
HM_API const char *hm_view_name(const hm_view *view, size_t index);
HM_API uint64_t hm_view_size(const hm_view *view, size_t index);
/** The index of a file, or SIZE_MAX. */
HM_API size_t hm_view_find(const hm_view *view, const char *name);
/** Whether parts of a file can be verified alone (hm_view_read()): the signature has shards. */
HM_API bool hm_view_lazy(const hm_view *view, size_t index);
/** Whether a file is in sealed memory by now. */
HM_API bool hm_view_loaded(const hm_view *view, size_t index);
/**
 * Whether bytes of a file are in memory by now, verified, so that hm_view_read() of them reads
 * nothing. Of others it may read a whole shard, or the whole file, however few are asked for. What
 * is remembered may be forgotten a moment later.
 */
HM_API bool hm_view_ready(hm_view *view, size_t index, uint64_t offset, uint64_t length);
/**
 * Reads and verifies files whole, each once, unless that was done.
 * @param indices NULL: all files.
 * @param options May be NULL.
 * @return ::HM_REFUSED digest-mismatch, pinned-digest-mismatch or changed-while-reading (another
 *         size or kind than at opening), naming the file and the shard: then none of these files is
 *         loaded. ::HM_UNDECIDED when it cannot be read, is stopped, or needs more memory than
 *         there is: that is found before reading, and the message says how much.
 */
HM_API HM_MUST_USE hm_status hm_view_load(hm_view *view, const size_t *indices, size_t count,
                                          const hm_view_read_options *options, hm_error **error);
/**
 * A new descriptor of a file's sealed memory, read-only, with an offset of its own and closed by
 * exec; the caller closes it. It may outlive the view. Loads the file if need be. Of small files,
 * which share memory, it is a sealed copy.
 */
HM_API HM_MUST_USE hm_status hm_view_fd(hm_view *view, size_t index, int *fd, hm_error **error);
/** A file's bytes, mapped read-only; they live as long as the view. Loads the file if need be. */
HM_API HM_MUST_USE hm_status hm_view_map(hm_view *view, size_t index, const void **data,
                                         uint64_t *length, hm_error **error);
/**
 * Copies bytes of a file to `target`, after verifying the shards that hold them; a shard is read
 * and verified once while it is remembered. Of a loaded file: from its memory. A file without
 * shards is loaded, but where all of it is asked for: that is read to `target` alone.
 * @param target  Memory that no other process can write to. Whole shards, and whole files, are
 *                digested there; it holds only what is verified, or zeros, when the call returns.
 * @param options May be NULL.
 * @return As hm_view_load(); ::HM_USAGE when the file ends before.
 */
HM_API HM_MUST_USE hm_status hm_view_read(hm_view *view, size_t index, uint64_t offset,
                                          void *target, size_t length,
                                          const hm_view_read_options *options, hm_error **error);
HM_API void hm_view_close(hm_view **view);

#ifdef __cplusplus
}
#endif

#endif
