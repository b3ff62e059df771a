/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON for signed data. The reader is stricter than RFC 8259 asks for and keeps what libraries
 * lose: the text of every number, and a bound on memory. It refuses duplicate member names, byte
 * order marks, invalid UTF-8, lone surrogates, NaN and its like, and nesting beyond
 * HM_JSON_DEPTH. The writer emits one spelling.
 */
#ifndef HM_JSON_H
#define HM_JSON_H

#include "base/base.h"

enum { HM_JSON_DEPTH = 128 };               /* arrays and objects inside each other */
enum { HM_JSON_MAX_DIGITS = 4300 };         /* of an integer; Python reads no longer ones */
#define HM_JSON_MAX_NODES ((size_t)2 << 20) /* values in one document */

typedef enum hm_json_type {
    HM_JSON_NULL,
    HM_JSON_BOOL,
    HM_JSON_NUMBER,
    HM_JSON_STRING,
    HM_JSON_ARRAY,
    HM_JSON_OBJECT,
} hm_json_type;

/* A value. Read-only but for `used`. Lives as long as its document. */
typedef struct hm_json hm_json;
struct hm_json {
    hm_json_type type;
    bool truth;     /* of a BOOL */
    bool used;      /* taken by one of the hm_json_take functions */
    hm_bytes text;  /* STRING: decoded, NUL behind it; NUMBER: the token as written */
    hm_bytes name;  /* decoded member name, when this value is a member; NUL behind it */
    size_t count;   /* children of an ARRAY or OBJECT */
    hm_json *first; /* first child */
    hm_json *next;  /* next sibling */
};

typedef struct hm_json_doc hm_json_doc;

/*
 * Reads one document. `what` names the source in errors, which are ::HM_REFUSED malformed and say
 * the byte offset.
 */
HM_MUST_USE hm_status hm_json_parse(hm_bytes text, const char *what, hm_json_doc **doc,
                                    hm_error **error);
hm_json *hm_json_root(const hm_json_doc *doc);
void hm_json_free(hm_json_doc **doc);
#define hm_auto_json HM_CLEANUP(hm_json_free) hm_json_doc *

/* The member, or NULL. */
hm_json *hm_json_get(const hm_json *object, const char *name);
/*
 * The members in the order of their names, bytewise (for UTF-8 the order of code points). Newly
 * allocated; NULL when memory runs out.
 */
const hm_json **hm_json_sort_members(const hm_json *object);
/* The word for a type in messages: "a string", "an object". */
const char *hm_json_type_name(hm_json_type type);

/*
 * Typed access for readers of formats: the member must exist and have the type, else malformed.
 * Each marks the member as used. `what` names the object in errors, such as "bundle".
 */
HM_MUST_USE hm_status hm_json_take(hm_json *object, const char *what, const char *name,
                                   hm_json_type type, hm_json **member, hm_error **error);
HM_MUST_USE hm_status hm_json_take_text(hm_json *object, const char *what, const char *name,
                                        hm_bytes *text, hm_error **error);
/* Bytes as padded base64; appended to `out`. */
HM_MUST_USE hm_status hm_json_take_base64(hm_json *object, const char *what, const char *name,
                                          hm_base64_rule rule, hm_buf *out, hm_error **error);
/* An integer from `least` to 2^53. */
HM_MUST_USE hm_status hm_json_take_integer(hm_json *object, const char *what, const char *name,
                                           uint64_t least, uint64_t *number, hm_error **error);
/* `size` bytes as hexadecimal digits of either case; `hex`, with its NUL, gets the lower one. */
HM_MUST_USE hm_status hm_json_take_hex(hm_json *object, const char *what, const char *name,
                                       size_t size, char *hex, hm_error **error);
/* A time as hm_buf_add_time() writes it, or null, which stands for `none`. */
HM_MUST_USE hm_status hm_json_take_time(hm_json *object, const char *what, const char *name,
                                        int64_t none, int64_t *time, hm_error **error);
/* Marks a member as used if it is there, of whatever type; NULL when it is not. */
hm_json *hm_json_take_any(hm_json *object, const char *name);
/* Refuses members that nobody took. */
HM_MUST_USE hm_status hm_json_refuse_rest(const hm_json *object, const char *what,
                                          hm_error **error);
/*
 * A number that is an integer from 0 to 2^53, in any spelling of an integral value: "8", "8.0",
 * "1e9". False for all else.
 */
bool hm_json_integer(const hm_json *value, uint64_t *number);

/* ---- writing -------------------------------------------------------------------------------- */

/* Appends a text in quotes; see hm_json_writer and hm_json_string(). */
void hm_json_quote(hm_buf *out, hm_bytes text, bool ascii);

typedef struct hm_json_writer {
    hm_buf *out;
    unsigned indent; /* spaces per level; 0: one line, no spaces */
    bool ascii;      /* \u escapes for everything outside ASCII (strings must be UTF-8) */
    unsigned depth;
    bool after_value; /* a comma is due before the next value */
    bool after_name;
} hm_json_writer;

void hm_json_begin_object(hm_json_writer *w);
void hm_json_end_object(hm_json_writer *w);
void hm_json_begin_array(hm_json_writer *w);
void hm_json_end_array(hm_json_writer *w);
void hm_json_name(hm_json_writer *w, const char *name);
/* Bytes that are not UTF-8 become U+FFFD, one for each: only displayed data may take that path. */
void hm_json_string(hm_json_writer *w, hm_bytes text);
void hm_json_text(hm_json_writer *w, const char *text);
void hm_json_bool(hm_json_writer *w, bool truth);
void hm_json_null(hm_json_writer *w);
void hm_json_number(hm_json_writer *w, uint64_t number);
/* A copy of a value that was read, numbers in their own spelling. */
void hm_json_copy(hm_json_writer *w, const hm_json *value);
/* The same of a member, with its name. */
void hm_json_copy_member(hm_json_writer *w, const hm_json *member);
/* Name and value in one. */
void hm_json_member(hm_json_writer *w, const char *name, const char *text);
void hm_json_member_number(hm_json_writer *w, const char *name, uint64_t number);
void hm_json_member_bool(hm_json_writer *w, const char *name, bool truth);
/* null for HM_TIME_ALWAYS and HM_TIME_NEVER. */
void hm_json_member_time(hm_json_writer *w, const char *name, int64_t time);
void hm_json_member_hex(hm_json_writer *w, const char *name, const uint8_t *data, size_t length);

#endif
