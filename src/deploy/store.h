/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deploy: the store, and the gate into it. docs/store.md says what lies where.
 *
 * Whatever changes a model's place in the store is a plan: worked out with nothing yet changed,
 * written to journal.json as a whole, carried out step by step. Each step can be done again, so a
 * command that was killed is completed by whoever opens the place next; what was killed before its
 * journal was written leaves nothing but a staging directory, which is removed.
 */
#ifndef HM_STORE_H
#define HM_STORE_H

#include "config/config.h"
#include "collect.h"
#include "record/recorder.h"
#include "report.h"
#include "verify.h"

enum {
    HM_STORE_FORMAT = 1,       /* of store.json, version.json, state.json, journal.json */
    HM_STORE_NAME_LIMIT = 128, /* bytes of a model's name */
    HM_STORE_TRIES = 3,        /* to read what others replace meanwhile */
    HM_STORE_ID_SIZE = 12,     /* hex digits of a staging directory's and quarantine entry's id */
    HM_VERSION_DIGITS = 64,    /* hex digits of a version's name */
    HM_STORE_HISTORY_LIMIT = 512, /* activations that are remembered */
    HM_VERSION_LIMIT = 1000000    /* files, or shards, of a version */
};
#define HM_STORE_FILE_LIMIT ((size_t)256 << 20) /* bytes of one of the store's own files */

struct hm_store {
    const hm_config *config;
    char *path;            /* absolute, without links */
    int fd;                /* -1: there is none, and nothing is to be made (a dry run) */
    hm_recorder *recorder; /* NULL with ::HM_STORE_READ */
    uint64_t flags;
    bool made;    /* by this call of hm_store_open() */
    bool grouped; /* versions are for one group only */
    gid_t group;
};

/* Whether nobody but the caller and root can change what lies in the store's directory. */
HM_MUST_USE hm_status hm_store_check_directory(const char *path, hm_error **error);
/* Whether it can be the name of a model in the store. */
bool hm_store_name_valid(const char *name);
HM_MUST_USE hm_status hm_store_check_name(const char *name, hm_error **error);
/* An id that nothing in the store has. `id` has room for HM_STORE_ID_SIZE + 1. */
HM_MUST_USE hm_status hm_store_new_id(const hm_store *store, char *id, hm_error **error);
/* A path as others can find it again, if it can be told; else as it is written. Newly allocated. */
char *hm_store_found(const char *path);
/* Where something beneath the store is, as an absolute path. Newly allocated. */
char *hm_store_path(const hm_store *store, const char *relative);
/*
 * Reads a file beneath the store; `*there` false: there is none. JSON that is not right, or of a
 * newer program: ::HM_UNDECIDED.
 */
HM_MUST_USE hm_status hm_store_read_json(const hm_store *store, const char *relative,
                                         const char *format_member, hm_json_doc **doc, bool *there,
                                         hm_error **error);
/* Likewise; `*newer`: it is of a newer program, which is no failure. */
HM_MUST_USE hm_status hm_store_read_any_json(const hm_store *store, const char *relative,
                                             const char *format_member, hm_json_doc **doc,
                                             bool *there, bool *newer, hm_error **error);
/* One of the store's own files is of a newer program: ::HM_UNDECIDED, with a hint. */
hm_status hm_store_fail_newer(const hm_store *store, const char *relative, hm_error **error);
/* Removes a file, link or whole directory beneath the store, read-only or not, if it is there. */
HM_MUST_USE hm_status hm_store_remove(const hm_store *store, const char *relative,
                                      hm_error **error);
/* A directory beneath the store and all those in it, each before those that it holds. */
HM_MUST_USE hm_status hm_store_directories(const hm_store *store, const char *relative,
                                           hm_texts *paths, hm_error **error);
/* Whether something is there. */
bool hm_store_taken(const hm_store *store, const char *relative);
/* fsync() of a directory beneath the store. */
HM_MUST_USE hm_status hm_store_sync(const hm_store *store, const char *relative, hm_error **error);
/* One of the store's own files is not what it should be: ::HM_UNDECIDED, with a hint. */
hm_status hm_store_fail_damaged(const hm_store *store, const char *relative, const char *why,
                                hm_error **error);
/* Names in a directory beneath the store, sorted; none when there is no such directory. */
HM_MUST_USE hm_status hm_store_list(const hm_store *store, const char *relative, hm_texts *names,
                                    hm_error **error);

/* ---- versions ------------------------------------------------------------------------------- */

/* A file of a version. */
typedef struct hm_stored_file {
    char *name;         /* relative to the version's model/ */
    char *state;        /* hm_entry_state() once it was written */
    char *source_state; /* of the file it was copied from, if that was settled; else NULL */
} hm_stored_file;

/* A signature or provenance file of a version. */
typedef struct hm_stored_proof {
    char *name;        /* relative to the version's model/ */
    char digest[65];   /* SHA-256 of its bytes, in hex */
    bool is_signature; /* else provenance */
} hm_stored_proof;

/* version.json: a version in the store. */
typedef struct hm_stored {
    char digest[HM_VERSION_DIGITS + 1]; /* its name */
    char id[HM_STORE_ID_SIZE + 1]; /* of the staging directory that it was made in: tells it from
                                      another copy of the same model */
    bool newer; /* its record is of a newer program, and says more than can be read here */
    int64_t deployed;
    char *source;     /* path that it was copied from */
    bool let_through; /* not verified */
    char *signer; /* by the policy's name, else the key's fingerprint; NULL: pinned, or nobody */
    char *fingerprint;
    uint64_t key_version;
    char *file; /* the single file's name; NULL: the model is a directory */
    uint64_t file_count, byte_count;
    hm_manifest manifest;  /* what the digest is of */
    hm_stored_file *files; /* sorted by name; proofs are among them */
    size_t count, capacity;
    hm_stored_proof *proofs; /* in the order in which they were judged */
    size_t proof_count, proof_capacity;
} hm_stored;

struct hm_proofs;
void hm_stored_free(hm_stored *version);
#define hm_auto_stored HM_CLEANUP(hm_stored_free) hm_stored
HM_MUST_USE hm_status hm_stored_write(const hm_stored *version, hm_buf *out, hm_error **error);
/* `relative`: the version's directory beneath the store. `digest` NULL: whatever it is. */
HM_MUST_USE hm_status hm_stored_read(const hm_store *store, const char *relative,
                                     const char *digest, hm_stored *version, hm_error **error);
/*
 * Likewise, also of a newer program, which hm_stored_read() refuses: every format keeps the members
 * of the first one, so that what a version is made of can be verified whatever its number.
 */
HM_MUST_USE hm_status hm_stored_read_any(const hm_store *store, const char *relative,
                                         const char *digest, hm_stored *version, hm_error **error);

/* ---- a model's place ------------------------------------------------------------------------ */

/* One activation, as state.json remembers it. */
typedef struct hm_activation {
    hm_event_kind kind;                   /* activated, rolled-back or deactivated */
    char version[HM_VERSION_DIGITS + 1];  /* "": none */
    char previous[HM_VERSION_DIGITS + 1]; /* "": none */
    int64_t time;
    char *user;
} hm_activation;

/* When a version was last verified in full, and whether it was found good. */
typedef struct hm_verdict {
    char version[HM_VERSION_DIGITS + 1];
    int64_t time;
    bool good;
} hm_verdict;

typedef struct hm_slot_state {
    hm_activation *history; /* oldest first */
    size_t count, capacity;
    hm_verdict *verdicts;
    size_t verdict_count, verdict_capacity;
} hm_slot_state;
void hm_slot_state_free(hm_slot_state *state);
HM_MUST_USE hm_status hm_slot_state_add(hm_slot_state *state, hm_activation *activation,
                                        hm_error **error);
HM_MUST_USE hm_status hm_slot_state_note(hm_slot_state *state, const char *version, int64_t time,
                                         bool good, hm_error **error);
/*
 * The step that said last what is current, or NULL; `current` may have been taken away or bent
 * since.
 */
const hm_activation *hm_slot_state_last(const hm_slot_state *state);
const hm_verdict *hm_slot_state_verdict(const hm_slot_state *state, const char *version);

typedef struct hm_slot {
    hm_store *store;
    char *name;
    char *relative; /* "models/NAME" */
    int lock;       /* -1: only looked at */
    bool ready;     /* it was opened, not only to be looked at */
    bool exists;
    bool interrupted; /* only looked at, and a step is under way or was interrupted */
    char current[HM_VERSION_DIGITS + 1]; /* what `current` leads to; "": nothing */
    bool strange;                        /* `current` is there, and not as this program makes it */
    hm_slot_state state;
} hm_slot;

/*
 * A model's place. Without ::HM_SLOT_READ it is made if need be, locked (::HM_UNDECIDED names who
 * has the lock), and what a killed command left half done is completed.
 */
HM_MUST_USE hm_status hm_slot_open(hm_store *store, const char *name, uint64_t flags, hm_slot *slot,
                                   hm_error **error);
#define HM_SLOT_READ (UINT64_C(1) << 1)     /* only look, without the lock */
#define HM_SLOT_EXISTING (UINT64_C(1) << 2) /* ::HM_USAGE when the store knows no such model */
#define HM_SLOT_FORGET (UINT64_C(1) << 3)   /* a state.json that cannot be read counts as none */
/* Whether the command that opened it wrote a step down that it did not complete. */
bool hm_slot_has_plan(const hm_slot *slot);
void hm_slot_close(hm_slot *slot);
#define hm_auto_slot HM_CLEANUP(hm_slot_close) hm_slot

/* Path beneath the store of a version's directory. Newly allocated; NULL: memory. */
char *hm_slot_version_path(const hm_slot *slot, const char *digest);
/* "STORE/models/NAME/current": by it, and by the name, the policy's rule is chosen. */
char *hm_slot_rule_path(const hm_slot *slot);

typedef struct hm_stored_list {
    hm_stored *list; /* newest first */
    size_t count, capacity;
    size_t newer; /* versions that are not in the list: their records are of a newer program */
} hm_stored_list;
void hm_stored_list_free(hm_stored_list *versions);
/*
 * Versions whose version.json cannot be read, or is of a newer program, are passed over, and
 * counted in `*unreadable`.
 */
HM_MUST_USE hm_status hm_slot_versions(const hm_slot *slot, hm_stored_list *versions,
                                       size_t *unreadable, hm_error **error);
/* The version that a person means: a digest or the beginning of one, of 4 digits at least. */
HM_MUST_USE hm_status hm_slot_find_version(const hm_slot *slot, const char *text,
                                           hm_stored *version, hm_error **error);
/* Whether what lies there is still the copy that was read as `version`: nobody has replaced it. */
bool hm_slot_holds(const hm_slot *slot, const hm_stored *version);
/* Whether it was current, and somebody rolled back from it or found it bad since. */
bool hm_slot_was_left(const hm_slot *slot, const char *digest);
/*
 * What a rollback would lead to: the version that was current last before the one that is, that is
 * still there, and that nobody rolled back from or found bad since. "" when there is none.
 */
HM_MUST_USE hm_status hm_slot_last_good(const hm_slot *slot, char *digest, hm_error **error);

/*
 * Verifies a version where it lies, as the policy wants it now: signatures, every byte, that its
 * model digest is its name, and that nothing is there but what was put there. Fills `report`, whose
 * operation stays. ::HM_LET_THROUGH when its rule lets it pass unsigned and its digest is right.
 */
HM_MUST_USE hm_status hm_stored_verify(const hm_slot *slot, const hm_stored *version,
                                       const hm_policy *policy, const hm_gate_options *options,
                                       hm_report *report, hm_error **error);
/* Whether its bytes, and those of its signature files, are those that were deployed; reads all. */
HM_MUST_USE hm_status hm_stored_same(const hm_slot *slot, const hm_stored *version,
                                     const hm_gate_options *options, bool *same, hm_error **error);
/* Whether these are the signature and provenance files that it has. */
bool hm_stored_proofs_same(const hm_stored *version, const struct hm_proofs *proofs);
/* Whether, as far as their file system tells, its files are as they were when it was deployed. */
HM_MUST_USE hm_status hm_stored_intact(const hm_slot *slot, const hm_stored *version, bool *intact,
                                       hm_error **error);

/*
 * `*cause` left it undecided whether the current version is good. ::HM_REFUSED when that is because
 * somebody spoiled it: what it is made of is gone, of another kind, or not to be read by its owner.
 */
HM_MUST_USE hm_status hm_slot_judge_spoiled(const hm_slot *slot, hm_error **cause,
                                            hm_error **error);

/* ---- quarantine ----------------------------------------------------------------------------- */

/* entry.json in quarantine/ID; what is held lies beside it, in held/. */
typedef struct hm_held {
    char id[HM_STORE_ID_SIZE + 1];
    char *model;  /* name in the store */
    char *source; /* where it came from: the path of what was to be deployed, or of the version */
    char *digest; /* the version it was, or NULL */
    hm_reason reason;
    char *message;
    char event[2 * HM_EVENT_ID_SIZE + 1]; /* of its `quarantined` */
    int64_t since;
    bool content; /* the model itself is held, in held/model: not only its signature files */
    bool refused; /* refused on its way in, not found bad in the store */
    char *file;   /* the single file's name in held/model; NULL: it is a directory */
    uint64_t byte_count;
} hm_held;
void hm_held_free(hm_held *held);
#define hm_auto_held HM_CLEANUP(hm_held_free) hm_held
HM_MUST_USE hm_status hm_held_write(const hm_held *held, hm_buf *out, hm_error **error);
/* Of an entry's object; `what` names it in errors, which are ::HM_REFUSED malformed. */
HM_MUST_USE hm_status hm_held_parse(hm_json *root, const char *what, hm_held *held,
                                    hm_error **error);
HM_MUST_USE hm_status hm_held_read(const hm_store *store, const char *id, hm_held *held,
                                   hm_error **error);
/* Whether there is an entry of this id, be it that it cannot be read. */
bool hm_held_there(const hm_store *store, const char *id);
/* Ids of all entries, sorted. */
HM_MUST_USE hm_status hm_held_list(const hm_store *store, hm_texts *ids, hm_error **error);
/* Bytes that refused models take in quarantine. */
HM_MUST_USE hm_status hm_held_bytes(const hm_store *store, uint64_t *bytes, hm_error **error);

/* ---- plans ---------------------------------------------------------------------------------- */

/*
 * What is to be done to a model's place, in this order. All paths are beneath the store.
 */
typedef struct hm_plan {
    char id[HM_STORE_ID_SIZE + 1]; /* of the staging name that what is removed gets first */
    int64_t time;
    /* 1. A staged version becomes versions/DIGEST; one that is there takes its place. */
    char *staged; /* NULL: none; ends in "staging-ID", and its version.json bears that id */
    char install[HM_VERSION_DIGITS + 1];
    /* 2. `current` is made to lead to a version, or taken away; state.json remembers it. */
    bool switches;
    char to[HM_VERSION_DIGITS + 1];   /* "": taken away */
    char from[HM_VERSION_DIGITS + 1]; /* what it led to before */
    hm_event_kind kind;               /* of the activation */
    /* 3. Something goes into quarantine. */
    hm_held *held;   /* NULL: nothing; owned */
    char *held_path; /* what goes there: a version's directory, or a staging directory that step 1
                        has put an old version into; NULL: there is only entry.json */
    /* 4. state.json notes when a version was verified, and whether it was good. */
    hm_verdict *verdicts;
    size_t verdict_count, verdict_capacity;
    /* 5. The events are recorded. */
    hm_events events;
    /* 6. What is no longer wanted is removed. */
    hm_texts removed;
} hm_plan;
void hm_plan_free(hm_plan *plan);
#define hm_auto_plan HM_CLEANUP(hm_plan_free) hm_plan
/* As the journal has it. */
HM_MUST_USE hm_status hm_plan_write(const hm_plan *plan, hm_buf *out, hm_error **error);
HM_MUST_USE hm_status hm_plan_parse(hm_json *root, const char *what, hm_plan *plan,
                                    hm_error **error);
/* Does it: what is done already is left as it is. */
HM_MUST_USE hm_status hm_plan_do(hm_slot *slot, hm_plan *plan, hm_error **error);
HM_MUST_USE hm_status hm_plan_init(const hm_slot *slot, hm_plan *plan, hm_error **error);
HM_MUST_USE hm_status hm_plan_add_verdict(hm_plan *plan, const char *version, int64_t time,
                                          bool good, hm_error **error);
HM_MUST_USE hm_status hm_plan_remove(hm_plan *plan, const char *relative, hm_error **error);
/*
 * An event of this slot; the caller may fill in more, and the plan owns it. `version`, `report` and
 * `cause` may be NULL: the digest; who signed; why.
 */
HM_MUST_USE hm_status hm_plan_add_event(const hm_slot *slot, hm_plan *plan, hm_event_kind kind,
                                        const char *digest, const hm_report *report,
                                        const hm_error *cause, hm_event **event, hm_error **error);
/*
 * Puts something into quarantine by the plan, with its event. `path`: see held_path. `report` gets
 * the entry's id.
 */
HM_MUST_USE hm_status hm_plan_hold(const hm_slot *slot, hm_plan *plan, const char *path,
                                   const char *source, const char *digest, const hm_error *cause,
                                   hm_report *report, hm_held **held, hm_error **error);
/*
 * Writes the journal and does it all. Once the journal is written the plan is carried out, be it by
 * a later command: a failure after that says so.
 */
HM_MUST_USE hm_status hm_slot_carry_out(hm_slot *slot, hm_plan *plan, hm_error **error);
/* The journal that is there, if any, is carried out; what else was left behind is removed. */
HM_MUST_USE hm_status hm_slot_recover(hm_slot *slot, hm_error **error);
HM_MUST_USE hm_status hm_slot_state_read(const hm_slot *slot, hm_slot_state *state,
                                         hm_error **error);
HM_MUST_USE hm_status hm_slot_state_write(const hm_slot *slot, const hm_slot_state *state,
                                          hm_error **error);
/* Makes `current` lead to a version ("": nothing), in one step. */
HM_MUST_USE hm_status hm_slot_point(hm_slot *slot, const char *digest, hm_error **error);

/*
 * A command that has the model's lock gets no further: that is recorded, unless a plan is written
 * down by now that will do so. `source` may be NULL. Returns the failure's status; the failure
 * then says, too, if it could not be recorded.
 */
hm_status hm_slot_record_failure(const hm_slot *slot, const char *source, hm_error **failure);
/* Puts into a failure's message that it could not be recorded, and why. Returns its status. */
hm_status hm_failure_unrecorded(hm_error **failure, const hm_error *why);

/* ---- the gate ------------------------------------------------------------------------------- */

/* A copy under way, in models/NAME/staging-ID. */
typedef struct hm_stage {
    const hm_slot *slot;
    char id[HM_STORE_ID_SIZE + 1];
    char *relative; /* "models/NAME/staging-ID" */
    int fd;         /* of its model/ */
    mode_t file_mode, directory_mode;
    bool together;     /* small files are synced all at once, when it is sealed */
    hm_tree_copy copy; /* to be given to a verification */
} hm_stage;
HM_MUST_USE hm_status hm_stage_open(const hm_slot *slot, hm_stage *stage, hm_error **error);
/* Removes what was not installed. */
void hm_stage_close(hm_stage *stage);
#define hm_auto_stage HM_CLEANUP(hm_stage_close) hm_stage

/* A file beside the copied ones, read-only like them. ::HM_REFUSED when the model has one there. */
HM_MUST_USE hm_status hm_stage_add(hm_stage *stage, const char *name, hm_bytes content,
                                   hm_error **error);
/* Leaves only the files of these manifests, each of which must have been copied whole. */
HM_MUST_USE hm_status hm_stage_keep(hm_stage *stage, const hm_manifest *const *found, size_t count,
                                    hm_error **error);
/* Makes directories read-only, drops empty ones, and brings everything to the disk. */
HM_MUST_USE hm_status hm_stage_seal(hm_stage *stage, hm_error **error);
/* What is in it, with its files' states. `model` must outlive the tree. */
HM_MUST_USE hm_status hm_stage_walk(const hm_stage *stage, hm_model *model, hm_tree *tree,
                                    hm_error **error);

/* Signature and provenance files that counted in a verification, and their places in a version. */
typedef struct hm_proofs {
    hm_stored_proof *list;
    const hm_buf **content; /* per proof; the claims' own */
    size_t count, capacity, content_capacity;
} hm_proofs;
void hm_proofs_free(hm_proofs *proofs);
/* `all`: also what did not count, as far as it was read; for quarantine. */
HM_MUST_USE hm_status hm_proofs_collect(const hm_verification *job, const hm_claim *told,
                                        const hm_report *report, bool all, hm_proofs *proofs,
                                        hm_error **error);

/* One run of the verification of something that wants to get in. */
typedef struct hm_attempt {
    hm_verify_options how;
    hm_verification job;
    hm_claim *told;
    hm_collection collection; /* of a model that is let through: nothing else measured it */
    hm_report *report;
    hm_status verdict;
    hm_error *cause;                    /* of a verdict that is not ::HM_OK */
    char digest[HM_VERSION_DIGITS + 1]; /* "" unless it may get in */
} hm_attempt;
void hm_attempt_free(hm_attempt *attempt);
/* The manifest that the digest is of. */
const hm_manifest *hm_attempt_manifest(const hm_attempt *attempt);

/* hm_deploy(), also of what is in quarantine: `entry` is then removed by the same plan. */
typedef struct hm_gate_call {
    hm_store *store;
    hm_model *source;
    const char *name;
    const hm_policy *policy;
    const hm_deploy_options *options;
    const hm_held *entry;   /* NULL: none */
    hm_operation operation; /* of the report */
} hm_gate_call;
HM_MUST_USE hm_status hm_gate_deploy(const hm_gate_call *call, hm_report **report,
                                     hm_error **error);

/* Verifies, with the bytes that are read going to `copy` and those of `known` not read at all. */
HM_MUST_USE hm_status hm_attempt_run(const hm_gate_call *call, const hm_slot *slot,
                                     const hm_tree_copy *copy, const hm_stored *known,
                                     hm_attempt *attempt, hm_error **error);
/* The version that, as far as its files' states tell, the source was deployed as; or NULL. */
const hm_stored *hm_attempt_recall(const hm_model *source, const hm_stored_list *versions);

/* Makes a version of what is staged. */
HM_MUST_USE hm_status hm_version_build(const hm_gate_call *call, const hm_attempt *attempt,
                                       const hm_proofs *proofs, hm_stage *stage, hm_error **error);
/* Puts what is left of a refused model into quarantine, or only its signature files. */
HM_MUST_USE hm_status hm_refused_hold(const hm_gate_call *call, const hm_slot *slot,
                                      const hm_attempt *attempt, hm_stage *stage, hm_plan *plan,
                                      hm_error **error);

#endif
