/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Hallmark writes for its own later use: the digests of one machine's part of a model, and the
 * states of files at the time they were signed. docs/formats.md has both to the byte.
 */
#ifndef HM_FORMAT_RECORDS_H
#define HM_FORMAT_RECORDS_H

#include "format/format.h"

/* ---- parts ---------------------------------------------------------------------------------- */

/* A file of a part, as it was when its ranges were digested. */
typedef struct hm_part_file {
    char *mtime; /* hm_entry_mtime() */
    uint64_t size;
} hm_part_file;

/* The digests of one share of a model. Nobody signed it. */
typedef struct hm_part {
    unsigned part, part_count;
    bool follow;
    char **ignore; /* sorted */
    size_t ignore_count, ignore_capacity;
    size_t tree_files;
    uint64_t tree_bytes;
    uint8_t tree_digest[32]; /* hm_tree_digest() of everything there was, in this share or not */
    hm_manifest manifest;    /* sorted */
    hm_part_file *files;     /* per item; while writing it is taken from `tree` instead */
    size_t file_capacity;
} hm_part;

/* ::HM_OK when the file calls itself one, ::HM_REFUSED when not. */
HM_MUST_USE hm_status hm_part_recognise(hm_bytes file, hm_error **error);
/* ::HM_REFUSED malformed; `what` names the file. `part` must be zeroed, and freed in any case. */
HM_MUST_USE hm_status hm_part_parse(hm_bytes text, const char *what, hm_part *part,
                                    hm_error **error);
HM_MUST_USE hm_status hm_part_write(const hm_part *part, const hm_tree *tree, hm_buf *out,
                                    hm_error **error);
void hm_part_free(hm_part *part);

/* ---- states --------------------------------------------------------------------------------- */

/* Files whose content the signature digested and whose state tells every later change. */
typedef struct hm_state_record {
    uint8_t signature[32]; /* SHA-256 of the signature file */
    struct hm_file_record {
        char *name;
        char *state; /* hm_entry_state() */
    } * files;       /* sorted by name */
    size_t count, capacity;
} hm_state_record;

/* Where the record of a signature lies. Newly allocated. */
char *hm_state_path(const char *signature);
/* ::HM_OK when the file calls itself one, ::HM_REFUSED when not. */
HM_MUST_USE hm_status hm_state_recognise(hm_bytes file, hm_error **error);
/*
 * Reads a record and checks its signature under `key` before anything of it is used. ::HM_REFUSED
 * malformed or bad-signature. `record` must be zeroed, and freed in any case.
 */
HM_MUST_USE hm_status hm_state_parse(hm_bytes file, const char *what, const hm_pubkey *key,
                                     hm_state_record *record, hm_error **error);
/* What stands under the signature: parsed by hm_state_parse() once that is good. */
HM_MUST_USE hm_status hm_state_parse_payload(hm_bytes payload, const char *what,
                                             hm_state_record *record, hm_error **error);
HM_MUST_USE hm_status hm_state_write(const hm_state_record *record, hm_signer *signer, hm_buf *out,
                                     hm_error **error);
HM_MUST_USE hm_status hm_state_add(hm_state_record *record, hm_bytes name, hm_bytes state,
                                   hm_error **error);
/* The state recorded for a file, or NULL. */
const char *hm_state_find(const hm_state_record *record, const char *name);
void hm_state_free(hm_state_record *record);

#endif
