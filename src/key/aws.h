/* SPDX-License-Identifier: Apache-2.0 */
/* AWS as far as its KMS needs it: who we are (credentials), and how a request is signed. */
#ifndef HM_AWS_H
#define HM_AWS_H

#include "key/remote.h"

/* ---- profiles: the files that the AWS tools share ------------------------------------------- */

typedef struct hm_aws_profile {
    hm_buf id;
    hm_buf secret;
    hm_buf token;
    char *region;
    char *role_arn;
    char *token_file;  /* web_identity_token_file */
    char *unsupported; /* the name of a setting that gives credentials in a way not known here */
} hm_aws_profile;

/*
 * Adds what a file says of profile `name`. `config`: it is the config file, whose sections are
 * called "profile NAME". What is there already is kept: the credentials file is read first.
 * A line that is none: ::HM_UNDECIDED with its number, never its text.
 */
HM_MUST_USE hm_status hm_aws_profile_parse(hm_bytes file, const char *what, bool config,
                                           const char *name, hm_aws_profile *profile,
                                           hm_error **error);
/* The profile that AWS_PROFILE names, or "default", from both files where they are. */
HM_MUST_USE hm_status hm_aws_profile_load(hm_aws_profile *profile, hm_error **error);
const char *hm_aws_profile_name(void);
void hm_aws_profile_free(hm_aws_profile *profile);

/* ---- credentials ---------------------------------------------------------------------------- */

typedef struct hm_aws_credentials {
    hm_buf id;
    hm_buf secret;
    hm_buf token;       /* empty: none */
    const char *source; /* for messages: "the environment" */
} hm_aws_credentials;

/* The first source that has any; see docs/cloud-keys.md. ::HM_UNDECIDED when none has. */
HM_MUST_USE hm_status hm_aws_credentials_find(const char *region, hm_aws_credentials *credentials,
                                              hm_error **error);
void hm_aws_credentials_free(hm_aws_credentials *credentials);

/* The credentials in the JSON of a metadata service. */
HM_MUST_USE hm_status hm_aws_credentials_parse(hm_bytes json, const char *service,
                                               hm_aws_credentials *credentials, hm_error **error);

/* From the environment, the profile or, on an EC2 instance, its metadata. Newly allocated. */
HM_MUST_USE hm_status hm_aws_region_find(char **region, hm_error **error);
/* "eu-central-1". It becomes part of a host name, so nothing else will do. */
bool hm_aws_region_valid(const char *region);

/* Base URL of a service: as the environment has it for `variable`, or the public one. */
char *hm_aws_endpoint(const char *service, const char *variable, const char *region);

/* ---- STS ------------------------------------------------------------------------------------ */

/* The credentials in an answer to AssumeRoleWithWebIdentity. */
HM_MUST_USE hm_status hm_aws_sts_parse(hm_bytes xml, hm_aws_credentials *credentials,
                                       hm_error **error);
/* Code and message of a refusal; both are views into `xml`, empty when it has none. */
void hm_aws_sts_parse_error(hm_bytes xml, hm_bytes *code, hm_bytes *message);
HM_MUST_USE hm_status hm_aws_sts_assume(const char *role, const char *token_file,
                                        const char *region, hm_aws_credentials *credentials,
                                        hm_error **error);

/* ---- signing of requests (Signature Version 4) ---------------------------------------------- */

typedef struct hm_aws_call {
    const char *method;
    const char *path;  /* as in the URL */
    const char *query; /* canonical already; "" */
    const char *region;
    const char *service;
    int64_t time;                    /* seconds since 1970 */
    const char *const (*headers)[2]; /* lower-case name and value; without x-amz-security-token */
    size_t header_count;
    hm_bytes body;
} hm_aws_call;

enum { HM_AWS_HEADERS = 8 };

/* "20260105T203107Z", for the x-amz-date header. `text` has room for 17. */
HM_MUST_USE bool hm_aws_date(int64_t time, char *text);
/* The value of the Authorization header. A session token is among what is signed. */
HM_MUST_USE hm_status hm_aws_sigv4(const hm_aws_call *call, const hm_aws_credentials *credentials,
                                   hm_buf *authorization, hm_error **error);

/* ---- KMS ------------------------------------------------------------------------------------ */

/* The public key in an answer to GetPublicKey. ::HM_USAGE when the key is not one that signs. */
HM_MUST_USE hm_status hm_aws_kms_parse_key(hm_bytes json, const char *what, hm_pubkey **key,
                                           hm_error **error);
/* The signature in an answer to Sign. */
HM_MUST_USE hm_status hm_aws_kms_parse_signature(hm_bytes json, hm_buf *signature,
                                                 hm_error **error);

#endif
