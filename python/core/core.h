/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core: the public header for Python, function by function, against the limited API of 3.9. What a
 * Python programmer sees is python/hallmark, which checks arguments and gives results their form.
 *
 * Objects of the library are capsules. Every function takes and returns plain values, tuples of
 * bytes and capsules, and either returns or raises what make_error of the module makes of an error.
 * The interpreter's lock is given back around every call into the library.
 */
#ifndef HM_PY_CORE_H
#define HM_PY_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "hallmark.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- values: converters for PyArg_Parse's "O&" ----------------------------------------------- */

/* bytes without NUL, or None. What is stored lives as long as the argument. */
int hm_py_path(PyObject *object, void *path);

/* A tuple of bytes as the array of C texts that the library takes. */
typedef struct hm_py_texts {
    const char **list;
    size_t count;
} hm_py_texts;
int hm_py_texts_take(PyObject *object, void *texts);
void hm_py_texts_free(hm_py_texts *texts);

int hm_py_uint64(PyObject *object, void *value);
int hm_py_unsigned(PyObject *object, void *value);

/* Text of the library: UTF-8, or U+FFFD where it is not. */
PyObject *hm_py_text(const char *text);
/* The same, freed. */
PyObject *hm_py_text_steal(char **text);

/* ---- errors ---------------------------------------------------------------------------------- */

PyObject *hm_py_set_make_error(PyObject *module, PyObject *function);
/* Raises, and frees both. `report` may be NULL. Returns NULL. */
PyObject *hm_py_raise(PyObject *module, hm_status status, hm_error **error, hm_report **report);
/* The exception that it would raise, None for ::HM_OK; a new reference. Frees the error. */
PyObject *hm_py_exception_new(PyObject *module, hm_status status, hm_error **error);

/* An exception that waits until it can be raised in the thread that called. */
typedef struct hm_py_exception {
    PyObject *type, *value, *traceback;
} hm_py_exception;
void hm_py_exception_take(hm_py_exception *exception);
/* Raises it, if there is one. */
bool hm_py_exception_raise(hm_py_exception *exception);

/* ---- objects --------------------------------------------------------------------------------- */

/* A signer, and whom it asks for a passphrase while it is opened. */
typedef struct hm_py_signer {
    hm_signer *signer;     /* NULL: closed */
    PyObject *ask;         /* NULL: nobody */
    PyThreadState *caller; /* who opens it, while the lock is given back */
    hm_py_exception raised;
    bool busy;
} hm_py_signer;
/* Begins a use, which excludes every other. NULL, and an exception, when there is one already. */
hm_py_signer *hm_py_signer_begin(PyObject *capsule);
/* Ends it. False when the passphrase function raised, with its exception. */
bool hm_py_signer_end(hm_py_signer *signer);

/* A policy may be used by many, as long as nobody changes it. */
typedef struct hm_py_policy {
    hm_policy *policy;
    size_t users;
} hm_py_policy;
hm_py_policy *hm_py_policy_begin(PyObject *capsule);
void hm_py_policy_end(hm_py_policy *policy);

/* Takes the report over. */
PyObject *hm_py_report_new(hm_report **report);
/* A finished report is only ever read, so by many at a time if need be. */
const hm_report *hm_py_report_of(PyObject *capsule);

/* A configuration likewise; whoever holds on to it is a user for as long. */
typedef struct hm_py_config {
    hm_config *config;
    size_t users;
} hm_py_config;
hm_py_config *hm_py_config_begin(PyObject *capsule);
void hm_py_config_end(hm_py_config *config);

/*
 * A passphrase function for the library; its context is an hm_py_signer. The library asks in the
 * thread that called it, which has given back the interpreter's lock by hm_py_leave().
 */
bool hm_py_ask_passphrase(void *context, const char *what, bool again, char *buffer,
                          size_t capacity, size_t *length);
void hm_py_leave(hm_py_signer *signer);
void hm_py_enter(hm_py_signer *signer);

/* ---- long calls ------------------------------------------------------------------------------ */

/*
 * A call that reads models. It runs in a thread of its own, while the calling one looks after
 * signals and tells of progress: workers of the library never wait for the interpreter, and Ctrl-C
 * is seen however they are occupied. On the heap: a daemon thread may be ended in the middle of its
 * wait when the interpreter exits.
 */
typedef struct hm_py_call {
    void (*work)(struct hm_py_call *call); /* sets the next three */
    hm_status status;
    hm_error *error;
    hm_report *report;
    /* What follows is hm_py_run()'s. */
    atomic_bool stop;
    atomic_uint_fast64_t done, total;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool finished;
} hm_py_call;
/* For the options' `progress`; the context is the call. */
bool hm_py_progress(void *context, uint64_t done, uint64_t total);
/*
 * Runs it. `progress` is None or takes (done, total). False, with an exception, when that or a
 * signal handler raised, or there is no thread; the library's call has then ended all the same.
 */
bool hm_py_run(hm_py_call *call, PyObject *progress);
/*
 * (status, report), or raises. `ran`: what hm_py_run() returned. Frees error and report.
 * `operation` and `model` are for the report of a call that ended before it could make one.
 */
PyObject *hm_py_outcome(PyObject *module, hm_py_call *call, bool ran, const char *operation,
                        const char *model);

/* ---- functions of the module ----------------------------------------------------------------- */

#define HM_PY_FUNCTION(name) PyObject *name(PyObject *module, PyObject *args)
HM_PY_FUNCTION(hm_py_build_info);
HM_PY_FUNCTION(hm_py_time_from_text);
HM_PY_FUNCTION(hm_py_process_harden);
HM_PY_FUNCTION(hm_py_signer_open);
HM_PY_FUNCTION(hm_py_signer_set_certificates);
HM_PY_FUNCTION(hm_py_signer_describe);
HM_PY_FUNCTION(hm_py_signer_close);
HM_PY_FUNCTION(hm_py_key_generate);
HM_PY_FUNCTION(hm_py_key_describe);
HM_PY_FUNCTION(hm_py_keyring_rotate);
HM_PY_FUNCTION(hm_py_keyring_revoke);
HM_PY_FUNCTION(hm_py_keyring_export);
HM_PY_FUNCTION(hm_py_keyring_describe);
HM_PY_FUNCTION(hm_py_policy_new);
HM_PY_FUNCTION(hm_py_policy_load);
HM_PY_FUNCTION(hm_py_policy_add_key);
HM_PY_FUNCTION(hm_py_policy_add_root);
HM_PY_FUNCTION(hm_py_policy_add_keyring);
HM_PY_FUNCTION(hm_py_policy_require_identity);
HM_PY_FUNCTION(hm_py_policy_require_format);
HM_PY_FUNCTION(hm_py_policy_require_provenance);
HM_PY_FUNCTION(hm_py_policy_allow);
HM_PY_FUNCTION(hm_py_policy_set_time);
HM_PY_FUNCTION(hm_py_policy_describe);
HM_PY_FUNCTION(hm_py_policy_explain);
HM_PY_FUNCTION(hm_py_report_json);
HM_PY_FUNCTION(hm_py_report_text);
HM_PY_FUNCTION(hm_py_report_facts);
HM_PY_FUNCTION(hm_py_sign);
HM_PY_FUNCTION(hm_py_verify);
HM_PY_FUNCTION(hm_py_resign);
HM_PY_FUNCTION(hm_py_digest);
HM_PY_FUNCTION(hm_py_inspect);
HM_PY_FUNCTION(hm_py_view_open);
HM_PY_FUNCTION(hm_py_view_files);
HM_PY_FUNCTION(hm_py_view_load);
HM_PY_FUNCTION(hm_py_view_loaded);
HM_PY_FUNCTION(hm_py_view_fd);
HM_PY_FUNCTION(hm_py_view_read);
HM_PY_FUNCTION(hm_py_config_load);
HM_PY_FUNCTION(hm_py_config_set);
HM_PY_FUNCTION(hm_py_config_get);
HM_PY_FUNCTION(hm_py_config_check_every);
HM_PY_FUNCTION(hm_py_config_describe);
HM_PY_FUNCTION(hm_py_recorder_open);
HM_PY_FUNCTION(hm_py_recorder_report);
HM_PY_FUNCTION(hm_py_recorder_key);
HM_PY_FUNCTION(hm_py_recorder_flush);
HM_PY_FUNCTION(hm_py_recorder_close);
HM_PY_FUNCTION(hm_py_log_read);
HM_PY_FUNCTION(hm_py_log_verify);
HM_PY_FUNCTION(hm_py_log_checkpoint);
HM_PY_FUNCTION(hm_py_store_open);
HM_PY_FUNCTION(hm_py_store_close);
HM_PY_FUNCTION(hm_py_store_names);
HM_PY_FUNCTION(hm_py_store_status);
HM_PY_FUNCTION(hm_py_store_gc);
HM_PY_FUNCTION(hm_py_store_check);
HM_PY_FUNCTION(hm_py_deploy);
HM_PY_FUNCTION(hm_py_rollback);
HM_PY_FUNCTION(hm_py_quarantine_describe);
HM_PY_FUNCTION(hm_py_quarantine_release);
HM_PY_FUNCTION(hm_py_quarantine_purge);
HM_PY_FUNCTION(hm_py_quarantine_purge_older);

#endif
