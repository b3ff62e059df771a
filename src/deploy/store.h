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
#include "record/recorder.h"
#include "report.h"
#include "verify.h"

enum {
    HM_STORE_FORMAT = 1,         /* of store.json, version.json, state.json, journal.json */
    HM_STORE_NAME_LIMIT = 128,   /* bytes of a model's name */
    HM_STORE_ID_SIZE = 12,       /* hex digits of a staging directory's and quarantine entry's id */
    HM_VERSION_DIGITS = 64,      /* hex digits of a version's name */
    HM_STORE_HISTORY_LIMIT = 512 /* activations that are remembered */
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

/* Whether it can be the name of a model in the store. */
bool hm_store_name_valid(const char *name);
HM_MUST_USE hm_status hm_store_check_name(const char *name, hm_error **error);
/* An id that nothing in the store has. `id` has room for HM_STORE_ID_SIZE + 1. */
HM_MUST_USE hm_status hm_store_new_id(const hm_store *store, char *id, hm_error **error);
/* Where something beneath the store is, as an absolute path. Newly allocated. */
char *hm_store_path(const hm_store *store, const char *relative);
/*
 * Reads a file beneath the store; `*there` false: there is none. JSON that is not right, or of a
 * newer program: ::HM_UNDECIDED.
 */
HM_MUST_USE hm_status hm_store_read_json(const hm_store *store, const char *relative,
                                         const char *format_member, hm_json_doc **doc, bool *there,
                                         hm_error **error);
/* Removes a file, link or whole directory beneath the store, read-only or not, if it is there. */
HM_MUST_USE hm_status hm_store_remove(const hm_store *store, const char *relative,
                                      hm_error **error);
/* Whether something is there. */
bool hm_store_taken(const hm_store *store, const char *relative);
/* fsync() of a directory beneath the store. */
HM_MUST_USE hm_status hm_store_sync(const hm_store *store, const char *relative, hm_error **error);
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

void hm_stored_free(hm_stored *version);
#define hm_auto_stored HM_CLEANUP(hm_stored_free) hm_stored
HM_MUST_USE hm_status hm_stored_write(const hm_stored *version, hm_buf *out, hm_error **error);
/* `relative`: the version's directory beneath the store. `digest` NULL: whatever it is. */
HM_MUST_USE hm_status hm_stored_read(const hm_store *store, const char *relative,
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
HM_MUST_USE hm_status hm_slot_state_note(hm_slot_state *state, const char *version, int64_t time,
                                         bool good, hm_error **error);
const hm_verdict *hm_slot_state_verdict(const hm_slot_state *state, const char *version);

typedef struct hm_slot {
    hm_store *store;
    char *name;
    char *relative; /* "models/NAME" */
    int lock;       /* -1: only looked at */
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
void hm_slot_close(hm_slot *slot);
#define hm_auto_slot HM_CLEANUP(hm_slot_close) hm_slot

/* Path beneath the store of a version's directory. Newly allocated; NULL: memory. */
char *hm_slot_version_path(const hm_slot *slot, const char *digest);
/* "STORE/models/NAME/current": by it, and by the name, the policy's rule is chosen. */
char *hm_slot_rule_path(const hm_slot *slot);

typedef struct hm_stored_list {
    hm_stored *list; /* newest first */
    size_t count, capacity;
} hm_stored_list;
void hm_stored_list_free(hm_stored_list *versions);
/* Versions whose version.json cannot be read are passed over, and counted in `*unreadable`. */
HM_MUST_USE hm_status hm_slot_versions(const hm_slot *slot, hm_stored_list *versions,
                                       size_t *unreadable, hm_error **error);
/* The version that a person means: a digest or the beginning of one, of 4 digits at least. */
HM_MUST_USE hm_status hm_slot_find_version(const hm_slot *slot, const char *text,
                                           hm_stored *version, hm_error **error);
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
/* Whether, as far as their file system tells, its files are as they were when it was deployed. */
HM_MUST_USE hm_status hm_stored_intact(const hm_slot *slot, const hm_stored *version, bool *intact,
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
HM_MUST_USE hm_status hm_held_read(const hm_store *store, const char *id, hm_held *held,
                                   hm_error **error);
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
    /* 1. A staged version becomes versions/DIGEST; one that is there takes its place. */
    char *staged; /* NULL: none; ends in "staging-ID", and its version.json bears that id */
    char install[HM_VERSION_DIGITS + 1];
    /* 2. `current` is made to lead to a version, or taken away; state.json remembers it. */
    bool switches;
    char to[HM_VERSION_DIGITS + 1]; /* "": taken away */
    hm_event_kind kind;             /* of the activation */
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

/* ---- the gate ------------------------------------------------------------------------------- */

/* A copy under way, in models/NAME/staging-ID. */
typedef struct hm_stage {
    const hm_slot *slot;
    char id[HM_STORE_ID_SIZE + 1];
    char *relative; /* "models/NAME/staging-ID" */
    int fd;         /* of its model/ */
    mode_t file_mode, directory_mode;
    hm_tree_copy copy; /* to be given to a verification */
} hm_stage;
HM_MUST_USE hm_status hm_stage_open(const hm_slot *slot, hm_stage *stage, hm_error **error);
/* Removes what was not installed. */
void hm_stage_close(hm_stage *stage);
#define hm_auto_stage HM_CLEANUP(hm_stage_close) hm_stage

/* hm_deploy() of what is in quarantine as well: `entry` is removed by the same plan. */
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

#endif
