/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the formats sig-json and manifest-json have in common: RSA-PSS over the SHA-256 of single
 * files, written by Python.
 */
#ifndef HM_RSA_JSON_H
#define HM_RSA_JSON_H

#include "format/format.h"

/* True of the plain name of a file: no directory part in anybody's spelling. */
bool hm_rsa_json_name_valid(hm_bytes name);

/* Refuses keys, certificates and options that neither format has a place for. */
HM_MUST_USE hm_status hm_rsa_json_check(const char *format, const hm_signing *signing,
                                        const hm_signer *signer, hm_error **error);

/* The digest that is to be signed, in hex. `hex` has room for 65. */
HM_MUST_USE hm_status hm_rsa_json_digest(const hm_signing *signing, char *hex, hm_error **error);

/* Who claims to sign: what the caller says, else "sha256:" and the key's fingerprint. */
void hm_rsa_json_write_signer(hm_json_writer *w, const char *name, const hm_signing *signing,
                              const hm_signer *signer);

/* Python's isoformat() of a time in UTC, "2026-01-05T20:31:07+00:00". */
void hm_rsa_json_write_time(hm_json_writer *w, const char *name, int64_t time);

/* Promises a file of that name with a SHA-256 written as `hex`; `what` holds `member`. */
HM_MUST_USE hm_status hm_rsa_json_promise(hm_promise *promise, hm_bytes name, hm_bytes hex,
                                          const char *what, const char *member, hm_error **error);

/* Adds a member of the file under its own name, escaped, behind `prefix`. */
HM_MUST_USE hm_status hm_rsa_json_state(hm_statements *statements, const char *prefix,
                                        const hm_json *member, hm_error **error);

#endif
