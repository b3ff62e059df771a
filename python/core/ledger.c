/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger: what was recorded, and whether it still says so. */
#include "core.h"

#include <string.h>

/* ---- read ----------------------------------------------------------------------------------- */

typedef struct read_call {
    hm_py_call call;
    const hm_config *config;
    hm_log_options how;
    char *text;
    size_t length, capacity;
} read_call;

static bool reserve(read_call *c, size_t more) {
    if (more <= c->capacity - c->length) {
        return true;
    }
    if (more > SIZE_MAX / 2 - c->length) {
        return false;
    }
    size_t capacity = (c->length + more) * 2;
    char *text = realloc(c->text, capacity);
    if (text != NULL) {
        c->text = text;
        c->capacity = capacity;
    }
    return text != NULL;
}

static bool take(void *context, const char *text, size_t length) {
    read_call *c = context;
    if (atomic_load(&c->call.stop) || !reserve(c, length)) {
        return false;
    }
    memcpy(c->text + c->length, text, length);
    c->length += length;
    return true;
}

static void read_work(hm_py_call *call) {
    read_call *c = (read_call *)call; /* its first member */
    call->status = hm_log_read(c->config, &c->how, take, c, &call->error);
}

static PyObject *read_run(PyObject *module, read_call *c) {
    c->call.work = read_work;
    if (!hm_py_run(&c->call, Py_None)) {
        hm_error_free(&c->call.error);
        return NULL;
    }
    if (c->call.status != HM_OK) {
        return hm_py_raise(module, c->call.status, &c->call.error, NULL);
    }
    return PyBytes_FromStringAndSize(c->text, (Py_ssize_t)c->length);
}

HM_PY_FUNCTION(hm_py_log_read) {
    PyObject *capsule;
    PyObject *result = NULL;
    long long since = 0;
    read_call *c = PyMem_Calloc(1, sizeof(*c));
    if (c == NULL) {
        return PyErr_NoMemory();
    }
    c->how = (hm_log_options)HM_LOG_OPTIONS_INIT;
    hm_py_config *config =
        PyArg_ParseTuple(args, "OO&LzzO&:log_read", &capsule, hm_py_uint64, &c->how.flags, &since,
                         &c->how.model, &c->how.event, hm_py_uint64, &c->how.limit)
            ? hm_py_config_begin(capsule)
            : NULL;
    if (config != NULL) {
        c->how.since = since;
        c->config = config->config;
        result = read_run(module, c);
        hm_py_config_end(config);
    }
    free(c->text);
    PyMem_Free(c);
    return result;
}

/* ---- verify --------------------------------------------------------------------------------- */

/* (text, exception or None): what was found is told of a ledger that was refused, too. */
HM_PY_FUNCTION(hm_py_log_verify) {
    PyObject *capsule;
    char *text = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    hm_log_verify_options how = HM_LOG_VERIFY_OPTIONS_INIT;
    hm_py_config *config =
        PyArg_ParseTuple(args, "OO&O&O&:log_verify", &capsule, hm_py_uint64, &how.flags, hm_py_path,
                         &how.key, hm_py_path, &how.checkpoint)
            ? hm_py_config_begin(capsule)
            : NULL;
    if (config == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_log_verify(config->config, &how, &text, &error);
    Py_END_ALLOW_THREADS;
    hm_py_config_end(config);
    if (status != HM_OK && text == NULL) {
        return hm_py_raise(module, status, &error, NULL);
    }
    PyObject *shown = hm_py_text_steal(&text);
    PyObject *why = shown != NULL ? hm_py_exception_new(module, status, &error) : NULL;
    PyObject *result = why != NULL ? PyTuple_Pack(2, shown, why) : NULL;
    hm_error_free(&error);
    Py_XDECREF(shown);
    Py_XDECREF(why);
    return result;
}

/* ---- sign ----------------------------------------------------------------------------------- */

HM_PY_FUNCTION(hm_py_log_checkpoint) {
    PyObject *capsule;
    PyObject *signer_capsule;
    const char *path = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "OOO&:log_checkpoint", &capsule, &signer_capsule, hm_py_path,
                          &path)) {
        return NULL;
    }
    hm_py_config *config = hm_py_config_begin(capsule);
    hm_py_signer *signer = config != NULL ? hm_py_signer_begin(signer_capsule) : NULL;
    if (signer != NULL) {
        Py_BEGIN_ALLOW_THREADS;
        status = hm_log_checkpoint(config->config, signer->signer, path, &error);
        Py_END_ALLOW_THREADS;
    }
    if (config != NULL) {
        hm_py_config_end(config);
    }
    if (signer == NULL || !hm_py_signer_end(signer)) {
        hm_error_free(&error);
        return NULL;
    }
    if (status != HM_OK) {
        return hm_py_raise(module, status, &error, NULL);
    }
    Py_RETURN_NONE;
}
