/* SPDX-License-Identifier: Apache-2.0 */
/* The files that the AWS tools share: ~/.aws/credentials and ~/.aws/config. */
#include "key/aws.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_LIMIT ((size_t)1 << 20)

/* A pass over one file. */
typedef struct profile_reader {
    const char *name;
    bool config;
    bool inside; /* the profile's section */
    bool failed; /* memory ran out */
    hm_aws_profile found;
} profile_reader;

void hm_aws_profile_free(hm_aws_profile *profile) {
    hm_buf_free(&profile->id);
    hm_buf_free(&profile->secret);
    hm_buf_free(&profile->token);
    free(profile->region);
    free(profile->role_arn);
    free(profile->token_file);
    free(profile->unsupported);
    *profile = (hm_aws_profile){.region = NULL};
}

static void reader_free(profile_reader *reader) {
    hm_aws_profile_free(&reader->found);
}

/* ---- lines ---------------------------------------------------------------------------------- */

static bool is_space(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\r';
}

static hm_bytes trim(hm_bytes text) {
    while (text.length > 0 && is_space(text.data[text.length - 1])) {
        text.length--;
    }
    while (text.length > 0 && is_space(text.data[0])) {
        text.data++;
        text.length--;
    }
    return text;
}

/* A comment begins at a line's start, or in a value behind a space. */
static hm_bytes without_comment(hm_bytes value) {
    for (size_t i = 1; i < value.length; i++) {
        if ((value.data[i] == '#' || value.data[i] == ';') && is_space(value.data[i - 1])) {
            value.length = i;
        }
    }
    return trim(value);
}

/* "[NAME]"; in the config file "[profile NAME]", but "[default]". */
static bool section_is(const profile_reader *reader, hm_bytes section) {
    static const char prefix[] = "profile";
    const size_t length = sizeof prefix - 1;
    section = trim(section);
    if (reader->config && section.length > length && memcmp(section.data, prefix, length) == 0 &&
        is_space(section.data[length])) {
        section = trim(hm_bytes_of(section.data + length, section.length - length));
    } else if (reader->config && strcmp(reader->name, "default") != 0) {
        return false;
    }
    return hm_bytes_equal_text(section, reader->name);
}

static void set_text(profile_reader *reader, char **place, hm_bytes value) {
    free(*place);
    *place = hm_strndup((const char *)value.data, value.length);
    reader->failed |= *place == NULL;
}

static void set_secret(profile_reader *reader, hm_buf *place, hm_bytes value) {
    hm_buf_free(place);
    hm_buf_add(place, value.data, value.length);
    reader->failed |= place->failed;
}

/* Ways to credentials that a profile may have and that are not followed here. */
static bool is_unsupported(hm_bytes name) {
    static const char *const names[] = {"credential_process", "source_profile", "credential_source",
                                        "sso_session",        "sso_start_url",  "login_session"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (hm_bytes_equal_text(name, names[i])) {
            return true;
        }
    }
    return false;
}

static void set(profile_reader *reader, hm_bytes name, hm_bytes value) {
    hm_aws_profile *found = &reader->found;
    if (hm_bytes_equal_text(name, "aws_access_key_id")) {
        set_secret(reader, &found->id, value);
    } else if (hm_bytes_equal_text(name, "aws_secret_access_key")) {
        set_secret(reader, &found->secret, value);
    } else if (hm_bytes_equal_text(name, "aws_session_token")) {
        set_secret(reader, &found->token, value);
    } else if (hm_bytes_equal_text(name, "region")) {
        set_text(reader, &found->region, value);
    } else if (hm_bytes_equal_text(name, "role_arn")) {
        set_text(reader, &found->role_arn, value);
    } else if (hm_bytes_equal_text(name, "web_identity_token_file")) {
        set_text(reader, &found->token_file, value);
    } else if (is_unsupported(name)) {
        set_text(reader, &found->unsupported, name);
    }
}

static bool read_line(profile_reader *reader, hm_bytes line) {
    bool indented = line.length > 0 && is_space(line.data[0]);
    hm_bytes text = trim(line);
    if (text.length == 0 || text.data[0] == '#' || text.data[0] == ';') {
        return true;
    }
    if (text.data[0] == '[') {
        text = without_comment(text);
        reader->inside = text.data[text.length - 1] == ']' &&
                         section_is(reader, hm_bytes_of(text.data + 1, text.length - 2));
        return text.data[text.length - 1] == ']';
    }
    const uint8_t *equals = memchr(text.data, '=', text.length);
    if (indented) { /* part of a nested setting above */
        return true;
    }
    if (equals == NULL || equals == text.data) {
        return false;
    }
    size_t length = (size_t)(equals - text.data);
    if (reader->inside) {
        set(reader, trim(hm_bytes_of(text.data, length)),
            without_comment(hm_bytes_of(equals + 1, text.length - length - 1)));
    }
    return true;
}

/* ---- files ---------------------------------------------------------------------------------- */

static void give_text(char **to, char **from) {
    if (*to == NULL) {
        *to = *from;
        *from = NULL;
    }
}

/* Id, secret and token come from one file: halves of two pairs would make none. */
static void merge(hm_aws_profile *to, hm_aws_profile *from) {
    if (to->id.length == 0 && to->secret.length == 0) {
        hm_buf kept[3] = {to->id, to->secret, to->token};
        to->id = from->id;
        to->secret = from->secret;
        to->token = from->token;
        from->id = kept[0];
        from->secret = kept[1];
        from->token = kept[2];
    }
    give_text(&to->region, &from->region);
    give_text(&to->role_arn, &from->role_arn);
    give_text(&to->token_file, &from->token_file);
    give_text(&to->unsupported, &from->unsupported);
}

hm_status hm_aws_profile_parse(hm_bytes file, const char *what, bool config, const char *name,
                               hm_aws_profile *profile, hm_error **error) {
    HM_CLEANUP(reader_free)
    profile_reader reader = {.name = name, .config = config};
    if (file.length > 0 && memchr(file.data, '\0', file.length) != NULL) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "%s is no text", what);
    }
    for (size_t at = 0, number = 1; at < file.length; number++) {
        const uint8_t *start = file.data + at;
        const uint8_t *end = memchr(start, '\n', file.length - at);
        size_t length = end != NULL ? (size_t)(end - start) : file.length - at;
        if (!read_line(&reader, hm_bytes_of(start, length))) {
            return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                           "%s: line %zu is neither a section nor a setting", what, number);
        }
        at += length + 1;
    }
    if (reader.failed) {
        return hm_fail_memory(error);
    }
    merge(profile, &reader.found);
    return HM_OK;
}

/* A file that is not there says nothing; one that cannot be read might have. */
static hm_status load(const char *path, bool config, hm_aws_profile *profile, hm_error **error) {
    hm_auto_buf file = {.data = NULL};
    hm_auto_error cause = NULL;
    if (path == NULL || (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))) {
        return HM_OK;
    }
    if (hm_read_file(path, FILE_LIMIT, &file, &cause) != HM_OK) {
        return hm_fail(error, HM_UNDECIDED, HM_REASON_NONE, "cannot read AWS credentials: %s",
                       hm_error_message(cause));
    }
    return hm_aws_profile_parse(hm_buf_view(&file), path, config, hm_aws_profile_name(), profile,
                                error);
}

static char *place(const char *variable, const char *name) {
    const char *path = hm_remote_variable(variable);
    const char *home = hm_remote_variable("HOME");
    if (path != NULL) {
        return hm_strdup(path);
    }
    return home != NULL ? hm_textf("%s/.aws/%s", home, name) : NULL;
}

const char *hm_aws_profile_name(void) {
    const char *name = hm_remote_variable("AWS_PROFILE");
    return name != NULL ? name : "default";
}

hm_status hm_aws_profile_load(hm_aws_profile *profile, hm_error **error) {
    hm_auto_free char *credentials = place("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    hm_auto_free char *config = place("AWS_CONFIG_FILE", "config");
    hm_status status = load(credentials, false, profile, error);
    return status == HM_OK ? load(config, true, profile, error) : status;
}
