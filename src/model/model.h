/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model: what is on disk (tree), and what was promised or found (manifest).
 * Knows no signature and no key. Paths are hostile: a tree is walked and opened with descriptors,
 * beneath its root.
 */
#ifndef HM_MODEL_H
#define HM_MODEL_H

#include "base/base.h"
#include "digest/digest.h"

#include <sys/stat.h>

/* ---- names ---------------------------------------------------------------------------------- */

/*
 * True when `name` is a path as manifests hold it: relative, '/' between components, none of them
 * empty, "." or "..", no NUL, valid UTF-8 (formats.md, OMS enumeration and names).
 */
bool hm_name_valid(hm_bytes name);

/* Why a path is not looked at. */
typedef enum hm_ignore_source {
    HM_IGNORED_DEFAULT, /* .git and its like at the top level */
    HM_IGNORED_SIGNED,  /* listed in the signature */
    HM_IGNORED_CALLER,
    HM_IGNORED_SIGNATURE,  /* the signature file itself */
    HM_IGNORED_PROVENANCE, /* the provenance file beside it, which has a signature of its own */
} hm_ignore_source;
const char *hm_ignore_source_name(hm_ignore_source source);

enum { HM_IGNORE_LIMIT = 4096 }; /* rules; far more than anyone lists by hand */

/* Paths to leave out, sorted; each covers itself and what lies beneath it. */
typedef struct hm_ignore {
    struct hm_ignore_rule {
        char *path;
        hm_ignore_source source;
    } * rules;
    size_t count;
    size_t capacity;
} hm_ignore;

/* `path` must be hm_name_valid(), else ::HM_REFUSED malformed. Adding a rule twice is harmless. */
HM_MUST_USE hm_status hm_ignore_add(hm_ignore *ignore, const char *path, hm_ignore_source source,
                                    hm_error **error);
HM_MUST_USE hm_status hm_ignore_add_git(hm_ignore *ignore, hm_error **error);
/* The rule that covers `path`, or NULL. */
const struct hm_ignore_rule *hm_ignore_match(const hm_ignore *ignore, const char *path);
void hm_ignore_free(hm_ignore *ignore);

/* ---- tree ----------------------------------------------------------------------------------- */

typedef enum hm_entry_kind {
    HM_ENTRY_FILE,
    HM_ENTRY_LINKED_FILE, /* a link to a regular file inside the root, to be read through it */
    HM_ENTRY_SYMLINK,     /* any other link: not read */
    HM_ENTRY_SPECIAL,     /* named pipe, socket, device: never opened */
} hm_entry_kind;

typedef struct hm_entry {
    char *name; /* relative to the root; of a single-file model, the file's own name */
    hm_entry_kind kind;
    const char *kind_text; /* for people: "named pipe", "symbolic link to a directory" */
    /* What it was when it was found; opening compares. */
    uint64_t size;
    uint64_t device, inode;
    int64_t mtime_sec, ctime_sec;
    uint32_t mtime_nsec, ctime_nsec;
    bool from_copy; /* it is, or was, read from its copy; see hm_tree_copy */
} hm_entry;

/*
 * Where the bytes of a tree's files go while they are digested: the bytes that were digested are
 * then the bytes that are there, with no second reading in between. A file that was copied whole is
 * read from its copy ever after. Called from several threads at once, never for one file at once.
 */
typedef struct hm_tree_copy {
    void *context;
    /* Opens the copy of a file that was copied whole, for reading; `*fd` -1: there is none. */
    hm_status (*reopen)(void *context, const hm_entry *entry, int *fd, hm_error **error);
    /* Makes a copy, empty, and opens it for writing; one that did not become whole is replaced. */
    hm_status (*create)(void *context, const hm_entry *entry, int *fd, hm_error **error);
    /* Ends its writing. Not `whole`: its bytes belong to no one content. */
    hm_status (*finish)(void *context, const hm_entry *entry, int fd, bool whole, hm_error **error);
} hm_tree_copy;

struct hm_model {
    char *path; /* as the caller wrote it, for messages */
    char *name; /* its last component */
    int fd;     /* the directory; of a single-file model, the directory that holds it */
    bool is_file;
    uint64_t device, inode; /* of the single file */
};

/* Bytes of a path inside a model; the depth that it allows is what a walk takes time for. */
enum { HM_PATH_LIMIT = 8192 };

typedef struct hm_tree {
    const hm_model *model;
    bool follow;
    const hm_tree_copy *copy; /* NULL: the bytes go nowhere */
    hm_entry *entries;        /* sorted by name, bytewise; no directories */
    size_t count, capacity;
    struct hm_hole { /* paths that exist and were left out */
        char *path;
        hm_ignore_source source;
    } * holes;
    size_t hole_count, hole_capacity;
} hm_tree;

/*
 * Walks a model. Nothing is judged here: links and special files are listed as such, names that are
 * not valid too. `follow`: a link to a regular file inside the root becomes HM_ENTRY_LINKED_FILE.
 * I/O errors, unreadable directories included: ::HM_UNDECIDED.
 */
HM_MUST_USE hm_status hm_tree_walk(const hm_model *model, const hm_ignore *ignore, bool follow,
                                   hm_tree *tree, hm_error **error);
/*
 * Adds a path that the walk left out, if something other than a directory is there. Call
 * hm_tree_sort() after the last.
 */
HM_MUST_USE hm_status hm_tree_add(hm_tree *tree, const char *name, hm_error **error);
void hm_tree_sort(hm_tree *tree);
const hm_entry *hm_tree_find(const hm_tree *tree, const char *name);
/* The modification time, "SECONDS.NANOSECONDS". Newly allocated; NULL when memory runs out. */
char *hm_entry_mtime(const hm_entry *entry);
/*
 * "SIZE DEVICE INODE MTIME CTIME": two that are equal are of one file that, as far as its file
 * system tells, was not written to in between. Newly allocated; NULL when memory runs out.
 */
char *hm_entry_state(const hm_entry *entry);
/*
 * True when writing to the file from now on is bound to change its state: nobody has it open for
 * writing, its change time is so old that no later one can be equal, and its file system is one
 * that keeps that time. False wherever that is in doubt. `kept`: the state is that of an earlier
 * time at which this was found; then only the file system is looked at.
 */
bool hm_entry_settled(const hm_tree *tree, const hm_entry *entry, bool kept);
/* SHA-256 over the names and sizes of all files, and their sum. 32 bytes. */
HM_MUST_USE hm_status hm_tree_digest(const hm_tree *tree, uint64_t *bytes, uint8_t *digest,
                                     hm_error **error);
/* The engine's view of a tree: file numbers are indices into `entries`. */
hm_source hm_tree_source(hm_tree *tree);
void hm_tree_free(hm_tree *tree);
/* Is it still what was found? */
bool hm_entry_same(const hm_entry *entry, const struct stat *st);

/*
 * What to call a file of the model, or a part of one ("NAME:0:100"), in messages: "NAME in MODEL"
 * of a directory, and its path of a single file. Newly allocated; NULL: memory.
 */
char *hm_model_member(const hm_model *model, const char *label);
/* "cannot ACT" it, by errno. */
hm_status hm_model_fail_member(const hm_model *model, const char *label, const char *act,
                               hm_error **error);

/*
 * `path` relative to the model when it lies inside, else NULL: by descriptors' identity, not text.
 * For a signature file that may not exist yet only its directory has to.
 */
HM_MUST_USE hm_status hm_model_relative(const hm_model *model, const char *path, char **relative,
                                        hm_error **error);

/*
 * Where the model really lies: absolute, without links, as the kernel knows the descriptor, not as
 * the caller wrote it. ::HM_UNDECIDED when nobody can tell.
 */
HM_MUST_USE hm_status hm_model_real_path(const hm_model *model, char **path, hm_error **error);

/* ---- manifest ------------------------------------------------------------------------------- */

typedef enum hm_method {
    HM_METHOD_FILES = 1,
    HM_METHOD_SHARDS,
} hm_method;
const char *hm_method_name(hm_method method);

#define HM_SIZE_UNKNOWN UINT64_MAX

/* A file's, or shard's, digest. */
typedef struct hm_item {
    char *name;     /* of the file */
    uint64_t start; /* of a shard; 0 with files */
    uint64_t end;   /* exclusive; with files the size, or HM_SIZE_UNKNOWN when only promised */
    uint8_t digest[HM_DIGEST_MAX];
} hm_item;

/* How it was made, and a list of digests sorted by (name, start), each there once. */
typedef struct hm_manifest {
    hm_method method;
    hm_hash hash;
    uint64_t shard_size; /* with shards */
    hm_item *items;
    size_t count, capacity;
} hm_manifest;

HM_MUST_USE hm_status hm_manifest_add(hm_manifest *manifest, const char *name, size_t name_length,
                                      uint64_t start, uint64_t end, const uint8_t *digest,
                                      hm_error **error);
/* Sorts; false when an item is there twice, which `*twice` then points to. */
bool hm_manifest_sort(hm_manifest *manifest, const hm_item **twice);
/* The order of items, by name and then by start; and the item at that place, or NULL. */
int hm_item_compare(const hm_item *a, const hm_item *b);
const hm_item *hm_manifest_find(const hm_manifest *manifest, const char *name, uint64_t start);
void hm_manifest_free(hm_manifest *manifest);
/* "name", or "name:start:end" for a shard, as OMS writes it. Newly allocated. */
char *hm_item_label(const hm_manifest *manifest, const hm_item *item);

/*
 * The model digest: SHA-256 over method, algorithm, names, sizes and digests, to be recomputed by a
 * shell script (docs/formats.md). Needs known sizes. 32 bytes.
 */
HM_MUST_USE hm_status hm_manifest_model_digest(const hm_manifest *manifest, uint8_t *digest,
                                               hm_error **error);
/* The same of a single file as if it were called `name`; NULL: as it is called. */
HM_MUST_USE hm_status hm_manifest_model_digest_as(const hm_manifest *manifest, const char *name,
                                                  uint8_t *digest, hm_error **error);

typedef struct hm_measure_options {
    hm_method method;
    hm_hash hash;
    uint64_t shard_size;
    hm_manifest *shards; /* with HM_METHOD_FILES: gets the shards' digests too, of the same bytes */
    unsigned jobs;
    const hm_manifest *promised; /* stop at the first digest that differs from it; or NULL */
    bool stop_on_change;
    /*
     * Digests that need not be computed: what is in it is taken over, and not read. Whoever gives
     * it has proven that they are those of this tree. NULL: none.
     */
    const hm_manifest *known;
    unsigned part, part_count; /* digest the share `part`, from 1, of so many; 0: all */
    hm_progress_fn progress;
    void *progress_context;
} hm_measure_options;

/* What became of a wanted file. */
typedef enum hm_file_state {
    HM_FILE_UNREAD, /* reading stopped before its end */
    HM_FILE_READ,
    HM_FILE_CHANGED, /* while it was read: its items belong to no one content and are left out */
    HM_FILE_SPARED,  /* nothing of it was to be read: it is known, or in other shares */
} hm_file_state;

#define HM_RANGE_LIMIT ((size_t)16 << 20) /* ranges of one model */

enum { HM_PART_LIMIT = 65536 }; /* shares that one model is split into */

/* Shards of a file of that size: its items in a manifest. */
uint64_t hm_shard_count(uint64_t size, uint64_t shard_size);
/* Where the range of a file ends that starts at `start`. */
uint64_t hm_range_end(uint64_t size, uint64_t start, const hm_measure_options *options);

/*
 * Splits ranges into shares that take about the same time to digest: the share of each, from 0. The
 * same lengths in the same order are always split in the same way.
 */
HM_MUST_USE hm_status hm_share_ranges(const hm_range *ranges, size_t count, unsigned shares,
                                      unsigned *owners, hm_error **error);

/*
 * Digests the entries of a tree for which `wanted[i]` (all regular ones when NULL) into a sorted
 * manifest. With shards every zero-byte file gives one item with start = end = 0, so that nothing
 * found is without an item. `states` has an element per entry; only files that were read whole and
 * unchanged have items. No byte is read twice, `options->shards` or not.
 */
HM_MUST_USE hm_status hm_manifest_measure(hm_tree *tree, const bool *wanted,
                                          const hm_measure_options *options, hm_manifest *manifest,
                                          hm_file_state *states, hm_error **error);

#endif
