/* SPDX-License-Identifier: Apache-2.0 */
/* Verified views. What they hand out is a descriptor or a copy: memory is mapped in Python. */
#include "core.h"

#include <string.h>

#define SMALL ((uint64_t)1 << 20) /* bytes */

static const char name[] = "hallmark.view";

typedef struct view_object {
    hm_model *model;
    hm_view *view;
    PyObject *policy; /* the capsule */
    PyObject *path;   /* of the model: bytes */
} view_object;

/* ---- its life ------------------------------------------------------------------------------- */

static void destroy(PyObject *capsule) {
    view_object *object = PyCapsule_GetPointer(capsule, name);
    if (object != NULL) {
        hm_view_close(&object->view);
        hm_model_close(&object->model);
        Py_XDECREF(object->policy);
        Py_XDECREF(object->path);
        PyMem_Free(object);
    }
}

static PyObject *new_capsule(view_object **made) {
    view_object *object = PyMem_Calloc(1, sizeof(*object));
    if (object == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *capsule = PyCapsule_New(object, name, destroy);
    if (capsule == NULL) {
        PyMem_Free(object);
        return NULL;
    }
    *made = object;
    return capsule;
}

static view_object *view_of(PyObject *capsule) {
    return PyCapsule_GetPointer(capsule, name);
}

/* Raises, with a report: contents are verified here, and a refusal must be one that is recorded. */
static PyObject *failed(PyObject *module, const view_object *object, hm_status status,
                        hm_error **error) {
    const char *path = object->path != NULL ? PyBytes_AsString(object->path) : NULL;
    hm_report *report = NULL;
    hm_error *second = NULL;
    if (*error != NULL && hm_report_from_error("verify", path, *error, &report, &second) != HM_OK) {
        hm_error_free(&second); /* the first one is told, without a report */
    }
    return hm_py_raise(module, status, error, &report);
}

/* ---- open ----------------------------------------------------------------------------------- */

typedef struct open_call {
    hm_py_call call;
    view_object *object;
    const char *path;
    hm_py_texts ignore, signatures;
    const hm_policy *policy;
    hm_verify_options verify;
} open_call;

static void open_work(hm_py_call *call) {
    open_call *c = (open_call *)call; /* its first member */
    view_object *object = c->object;
    hm_view_options how = HM_VIEW_OPTIONS_INIT;
    how.verify = &c->verify;
    hm_status status = hm_model_open(c->path, &object->model, &call->error);
    if (status == HM_OK) {
        status = hm_view_open(object->model, c->policy, &how, &object->view, &call->report,
                              &call->error);
    }
    call->status = status;
}

static bool open_parse(PyObject *args, open_call *c, PyObject **policy, PyObject **progress) {
    hm_verify_options *how = &c->verify;
    return PyArg_ParseTuple(args, "O&OO&O&O&O&O&O&O:view_open", hm_py_path, &c->path, policy,
                            hm_py_uint64, &how->flags, hm_py_texts_take, &c->signatures,
                            hm_py_texts_take, &c->ignore, hm_py_path, &how->expected_name,
                            hm_py_unsigned, &how->jobs, hm_py_path, &how->provenance, progress);
}

/* (status, report), or NULL with an exception. */
static PyObject *open_run(PyObject *module, open_call *c, PyObject *capsule, PyObject *progress) {
    hm_py_policy *policy = hm_py_policy_begin(capsule);
    if (policy == NULL) {
        return NULL;
    }
    Py_INCREF(capsule);
    c->object->policy = capsule;
    c->object->path = PyBytes_FromString(c->path);
    if (c->object->path == NULL) {
        hm_py_policy_end(policy);
        return NULL;
    }
    c->policy = policy->policy;
    if (c->signatures.count == 1) {
        c->verify.signature = c->signatures.list[0];
    } else {
        c->verify.signatures = c->signatures.list;
        c->verify.signature_count = c->signatures.count;
    }
    c->verify.ignore = c->ignore.list;
    c->verify.ignore_count = c->ignore.count;
    c->verify.progress = hm_py_progress;
    c->verify.progress_context = &c->call;
    c->call.work = open_work;
    bool ran = hm_py_run(&c->call, progress);
    hm_py_policy_end(policy);
    return hm_py_outcome(module, &c->call, ran, "verify", c->path);
}

/* (status, report, view); the view is None when the model was only let through. */
static PyObject *open_result(PyObject *outcome, PyObject *capsule, const view_object *object) {
    PyObject *status = PyTuple_GetItem(outcome, 0);
    PyObject *report = PyTuple_GetItem(outcome, 1);
    return status != NULL && report != NULL
               ? PyTuple_Pack(3, status, report, object->view != NULL ? capsule : Py_None)
               : NULL;
}

HM_PY_FUNCTION(hm_py_view_open) {
    PyObject *policy;
    PyObject *progress;
    PyObject *result = NULL;
    open_call *c = PyMem_Calloc(1, sizeof(*c));
    if (c == NULL) {
        return PyErr_NoMemory();
    }
    c->verify = (hm_verify_options)HM_VERIFY_OPTIONS_INIT;
    PyObject *capsule = new_capsule(&c->object);
    if (capsule != NULL && open_parse(args, c, &policy, &progress)) {
        PyObject *outcome = open_run(module, c, policy, progress);
        result = outcome != NULL ? open_result(outcome, capsule, c->object) : NULL;
        Py_XDECREF(outcome);
        hm_py_texts_free(&c->ignore);
        hm_py_texts_free(&c->signatures);
    }
    Py_XDECREF(capsule);
    PyMem_Free(c);
    return result;
}

/* ---- what there is -------------------------------------------------------------------------- */

static PyObject *file_of(const hm_view *view, size_t index) {
    return Py_BuildValue("(yKN)", hm_view_name(view, index),
                         (unsigned long long)hm_view_size(view, index),
                         PyBool_FromLong(hm_view_lazy(view, index)));
}

/* (name, size, lazy) of every file. */
HM_PY_FUNCTION(hm_py_view_files) {
    PyObject *capsule;
    (void)module;
    const view_object *object =
        PyArg_ParseTuple(args, "O:view_files", &capsule) ? view_of(capsule) : NULL;
    if (object == NULL) {
        return NULL;
    }
    size_t count = hm_view_count(object->view);
    PyObject *files = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; files != NULL && i < count; i++) {
        PyObject *file = file_of(object->view, i);
        if (file == NULL || PyTuple_SetItem(files, (Py_ssize_t)i, file) != 0) {
            Py_DECREF(files);
            files = NULL;
        }
    }
    return files;
}

/* ---- calls that read contents --------------------------------------------------------------- */

static hm_view_read_options told(hm_py_call *call) {
    hm_view_read_options how = HM_VIEW_READ_OPTIONS_INIT;
    how.progress = hm_py_progress;
    how.progress_context = call;
    return how;
}

/* None, or NULL with an exception. */
static PyObject *run(PyObject *module, const view_object *object, hm_py_call *call,
                     PyObject *progress) {
    if (!hm_py_run(call, progress)) {
        hm_error_free(&call->error);
        return NULL;
    }
    if (call->status != HM_OK) {
        return failed(module, object, call->status, &call->error);
    }
    Py_RETURN_NONE;
}

/* ---- load ----------------------------------------------------------------------------------- */

typedef struct load_call {
    hm_py_call call;
    view_object *object;
    size_t *indices;
    size_t count;
} load_call;

static void load_work(hm_py_call *call) {
    load_call *c = (load_call *)call;
    const hm_view_read_options how = told(call);
    call->status = hm_view_load(c->object->view, c->indices, c->count, &how, &call->error);
}

/* An index beyond the last is the caller's mistake, which the library need not see. */
static bool take_index(PyObject *object, const hm_view *view, size_t *index) {
    uint64_t number = 0;
    if (!hm_py_uint64(object, &number)) {
        return false;
    }
    if (number >= hm_view_count(view)) {
        PyErr_SetString(PyExc_IndexError, "no such file");
        return false;
    }
    *index = (size_t)number;
    return true;
}

static bool take_indices(PyObject *tuple, load_call *c) {
    Py_ssize_t count = PyTuple_Check(tuple) ? PyTuple_Size(tuple) : -1;
    if (count < 0) {
        PyErr_SetString(PyExc_TypeError, "a tuple of numbers is wanted");
        return false;
    }
    c->count = (size_t)count;
    c->indices = PyMem_Calloc(c->count + 1, sizeof(*c->indices));
    if (c->indices == NULL) {
        (void)PyErr_NoMemory();
        return false;
    }
    for (size_t i = 0; i < c->count; i++) {
        if (!take_index(PyTuple_GetItem(tuple, (Py_ssize_t)i), c->object->view, &c->indices[i])) {
            return false;
        }
    }
    return true;
}

HM_PY_FUNCTION(hm_py_view_load) {
    PyObject *capsule;
    PyObject *indices;
    PyObject *progress;
    PyObject *result = NULL;
    load_call *c = PyMem_Calloc(1, sizeof(*c));
    if (c == NULL) {
        return PyErr_NoMemory();
    }
    if (PyArg_ParseTuple(args, "OOO:view_load", &capsule, &indices, &progress)) {
        c->object = view_of(capsule);
        if (c->object != NULL && take_indices(indices, c)) {
            c->call.work = load_work;
            result = run(module, c->object, &c->call, progress);
        }
    }
    PyMem_Free(c->indices);
    PyMem_Free(c);
    return result;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

/* (view, index) */
static const view_object *take_file(PyObject *args, size_t *index) {
    PyObject *capsule;
    PyObject *number;
    const view_object *object =
        PyArg_ParseTuple(args, "OO", &capsule, &number) ? view_of(capsule) : NULL;
    return object != NULL && take_index(number, object->view, index) ? object : NULL;
}

HM_PY_FUNCTION(hm_py_view_loaded) {
    size_t index = 0;
    (void)module;
    const view_object *object = take_file(args, &index);
    return object != NULL ? PyBool_FromLong(hm_view_loaded(object->view, index)) : NULL;
}

/* A descriptor, which is the caller's. */
HM_PY_FUNCTION(hm_py_view_fd) {
    size_t index = 0;
    int fd = -1;
    hm_error *error = NULL;
    const view_object *object = take_file(args, &index);
    if (object == NULL) {
        return NULL;
    }
    hm_status status = hm_view_fd(object->view, index, &fd, &error);
    return status == HM_OK ? PyLong_FromLong(fd) : failed(module, object, status, &error);
}

typedef struct read_call {
    hm_py_call call;
    view_object *object;
    size_t index;
    uint64_t offset, address, length, flags;
} read_call;

static void read_work(hm_py_call *call) {
    const read_call *c = (const read_call *)call;
    hm_view_read_options how = told(call);
    how.flags = c->flags;
    call->status =
        hm_view_read(c->object->view, c->index, c->offset, (unsigned char *)(uintptr_t)c->address,
                     (size_t)c->length, &how, &call->error);
}

/* What is only copied is so fast that nobody wants to stop it: no thread. */
static bool is_small(const read_call *c) {
    return c->length < SMALL && hm_view_ready(c->object->view, c->index, c->offset, c->length);
}

static PyObject *read_small(PyObject *module, read_call *c) {
    Py_BEGIN_ALLOW_THREADS;
    read_work(&c->call);
    Py_END_ALLOW_THREADS;
    if (c->call.status != HM_OK) {
        return failed(module, c->object, c->call.status, &c->call.error);
    }
    Py_RETURN_NONE;
}

/*
 * Reads into memory that the caller holds, given by its address: what takes a buffer of an object
 * is in the limited API only from 3.11 on.
 */
HM_PY_FUNCTION(hm_py_view_read) {
    PyObject *capsule;
    PyObject *number;
    PyObject *progress;
    PyObject *result = NULL;
    read_call *c = PyMem_Calloc(1, sizeof(*c));
    if (c == NULL) {
        return PyErr_NoMemory();
    }
    if (PyArg_ParseTuple(args, "OOO&O&O&O&O:view_read", &capsule, &number, hm_py_uint64, &c->offset,
                         hm_py_uint64, &c->address, hm_py_uint64, &c->length, hm_py_uint64,
                         &c->flags, &progress)) {
        c->object = view_of(capsule);
        if (c->object != NULL && take_index(number, c->object->view, &c->index)) {
            c->call.work = read_work;
            result =
                is_small(c) ? read_small(module, c) : run(module, c->object, &c->call, progress);
        }
    }
    PyMem_Free(c);
    return result;
}
