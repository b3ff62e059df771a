/* SPDX-License-Identifier: Apache-2.0 */
/* The store. What a call takes and what becomes of it lie together on the heap. */
#include "core.h"

static const char name[] = "hallmark.store";

typedef struct store_object {
    hm_store *store; /* NULL: closed */
    hm_py_config *config;
    PyObject *capsule; /* the configuration's */
    bool busy;
} store_object;

/* ---- its life ------------------------------------------------------------------------------- */

static void forget_config(store_object *object) {
    if (object->capsule != NULL) {
        hm_py_config_end(object->config);
    }
    Py_CLEAR(object->capsule);
}

static void destroy(PyObject *capsule) {
    store_object *object = PyCapsule_GetPointer(capsule, name);
    if (object != NULL) {
        hm_store_close(&object->store);
        forget_config(object);
        PyMem_Free(object);
    }
}

static PyObject *new_capsule(store_object **made) {
    store_object *object = PyMem_Calloc(1, sizeof(*object));
    if (object == NULL) {
        (void)PyErr_NoMemory();
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(object, name, destroy);
    if (capsule == NULL) {
        PyMem_Free(object);
        return NULL;
    }
    *made = object;
    return capsule;
}

static store_object *begin(PyObject *capsule) {
    store_object *object = PyCapsule_GetPointer(capsule, name);
    if (object != NULL && object->busy) {
        PyErr_SetString(PyExc_RuntimeError, "the store is in use");
        return NULL;
    }
    if (object != NULL) {
        object->busy = true;
    }
    return object;
}

static store_object *begin_open(PyObject *capsule) {
    store_object *object = begin(capsule);
    if (object != NULL && object->store == NULL) {
        object->busy = false;
        PyErr_SetString(PyExc_ValueError, "the store is closed");
        return NULL;
    }
    return object;
}

HM_PY_FUNCTION(hm_py_store_open) {
    PyObject *config;
    uint64_t flags = 0;
    store_object *object = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "OO&:store_open", &config, hm_py_uint64, &flags)) {
        return NULL;
    }
    PyObject *capsule = new_capsule(&object);
    if (capsule == NULL) {
        return NULL;
    }
    object->config = hm_py_config_begin(config);
    if (object->config == NULL) {
        Py_DECREF(capsule);
        return NULL;
    }
    Py_INCREF(config);
    object->capsule = config;
    Py_BEGIN_ALLOW_THREADS;
    status = hm_store_open(object->config->config, flags, &object->store, &error);
    Py_END_ALLOW_THREADS;
    if (status != HM_OK) {
        Py_DECREF(capsule);
        return hm_py_raise(module, status, &error, NULL);
    }
    return capsule;
}

/* May take a while: alerts are delivered. */
HM_PY_FUNCTION(hm_py_store_close) {
    PyObject *capsule;
    (void)module;
    store_object *object =
        PyArg_ParseTuple(args, "O:store_close", &capsule) ? begin(capsule) : NULL;
    if (object == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    hm_store_close(&object->store);
    Py_END_ALLOW_THREADS;
    forget_config(object);
    object->busy = false;
    Py_RETURN_NONE;
}

/* ---- what there is -------------------------------------------------------------------------- */

static PyObject *names_tuple(char **names, size_t count) {
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *each = hm_py_text(names[i]);
        if (each == NULL || PyTuple_SetItem(tuple, (Py_ssize_t)i, each) != 0) {
            Py_DECREF(tuple);
            tuple = NULL;
        }
    }
    return tuple;
}

HM_PY_FUNCTION(hm_py_store_names) {
    PyObject *capsule;
    char **names = NULL;
    size_t count = 0;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    store_object *object =
        PyArg_ParseTuple(args, "O:store_names", &capsule) ? begin_open(capsule) : NULL;
    if (object == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_store_names(object->store, &names, &count, &error);
    Py_END_ALLOW_THREADS;
    object->busy = false;
    if (status != HM_OK) {
        return hm_py_raise(module, status, &error, NULL);
    }
    PyObject *tuple = names_tuple(names, count);
    hm_store_names_free(&names, count);
    return tuple;
}

typedef hm_status (*describe_function)(hm_store *store, const char *which, uint64_t flags,
                                       char **text, hm_error **error);

static PyObject *describe(PyObject *module, PyObject *args, describe_function function) {
    PyObject *capsule;
    const char *which = NULL;
    uint64_t flags = 0;
    char *text = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    store_object *object =
        PyArg_ParseTuple(args, "OO&O&", &capsule, hm_py_path, &which, hm_py_uint64, &flags)
            ? begin_open(capsule)
            : NULL;
    if (object == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = function(object->store, which, flags, &text, &error);
    Py_END_ALLOW_THREADS;
    object->busy = false;
    if (status != HM_OK) {
        hm_text_free(&text);
        return hm_py_raise(module, status, &error, NULL);
    }
    return hm_py_text_steal(&text);
}

HM_PY_FUNCTION(hm_py_store_status) {
    return describe(module, args, hm_store_status);
}

HM_PY_FUNCTION(hm_py_quarantine_describe) {
    return describe(module, args, hm_quarantine_describe);
}

/* ---- what goes ------------------------------------------------------------------------------ */

HM_PY_FUNCTION(hm_py_store_gc) {
    PyObject *capsule;
    const char *which = NULL;
    uint64_t keep = 0;
    uint64_t flags = 0;
    char *text = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    store_object *object = PyArg_ParseTuple(args, "OO&O&O&:store_gc", &capsule, hm_py_path, &which,
                                            hm_py_uint64, &keep, hm_py_uint64, &flags)
                               ? begin_open(capsule)
                               : NULL;
    if (object == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_store_gc(object->store, which, keep, flags, &text, &error);
    Py_END_ALLOW_THREADS;
    object->busy = false;
    if (status != HM_OK) {
        hm_text_free(&text);
        return hm_py_raise(module, status, &error, NULL);
    }
    return hm_py_text_steal(&text);
}

HM_PY_FUNCTION(hm_py_quarantine_purge) {
    PyObject *capsule;
    const char *id = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    store_object *object =
        PyArg_ParseTuple(args, "Os:quarantine_purge", &capsule, &id) ? begin_open(capsule) : NULL;
    if (object == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_quarantine_purge(object->store, id, &error);
    Py_END_ALLOW_THREADS;
    object->busy = false;
    if (status != HM_OK) {
        return hm_py_raise(module, status, &error, NULL);
    }
    Py_RETURN_NONE;
}

HM_PY_FUNCTION(hm_py_quarantine_purge_older) {
    PyObject *capsule;
    long long before = 0;
    size_t count = 0;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    store_object *object = PyArg_ParseTuple(args, "OL:quarantine_purge_older", &capsule, &before)
                               ? begin_open(capsule)
                               : NULL;
    if (object == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_quarantine_purge_older(object->store, before, &count, &error);
    Py_END_ALLOW_THREADS;
    object->busy = false;
    return status == HM_OK ? PyLong_FromSize_t(count) : hm_py_raise(module, status, &error, NULL);
}

/* ---- through the gate ----------------------------------------------------------------------- */

typedef struct gate_call {
    hm_py_call call;
    hm_store *store;
    const hm_policy *policy;
    const char *operation;
    const char *source; /* of a deployment */
    const char *which;  /* the model, or the entry of the quarantine */
    hm_py_texts signatures, ignore;
    hm_deploy_options deploy;
    hm_gate_options gate;
} gate_call;

static gate_call *new_call(const char *operation, void (*work)(hm_py_call *call)) {
    gate_call *c = PyMem_Calloc(1, sizeof(*c));
    if (c == NULL) {
        (void)PyErr_NoMemory();
        return NULL;
    }
    c->deploy = (hm_deploy_options)HM_DEPLOY_OPTIONS_INIT;
    c->deploy.progress = hm_py_progress;
    c->deploy.progress_context = &c->call;
    c->gate = (hm_gate_options)HM_GATE_OPTIONS_INIT;
    c->gate.progress = hm_py_progress;
    c->gate.progress_context = &c->call;
    c->operation = operation;
    c->call.work = work;
    return c;
}

static PyObject *run(PyObject *module, gate_call *c, PyObject *store_capsule,
                     PyObject *policy_capsule, PyObject *progress) {
    store_object *object = begin_open(store_capsule);
    if (object == NULL) {
        return NULL;
    }
    hm_py_policy *policy = hm_py_policy_begin(policy_capsule);
    if (policy == NULL) {
        object->busy = false;
        return NULL;
    }
    c->store = object->store;
    c->policy = policy->policy;
    bool ran = hm_py_run(&c->call, progress);
    hm_py_policy_end(policy);
    object->busy = false;
    return hm_py_outcome(module, &c->call, ran, c->operation,
                         c->source != NULL ? c->source : c->which);
}

static void deploy_work(hm_py_call *call) {
    gate_call *c = (gate_call *)call; /* its first member */
    hm_model *model = NULL;
    hm_status status = hm_model_open(c->source, &model, &call->error);
    if (status == HM_OK) {
        status = hm_deploy(c->store, model, c->which, c->policy, &c->deploy, &call->report,
                           &call->error);
    }
    hm_model_close(&model);
    call->status = status;
}

HM_PY_FUNCTION(hm_py_deploy) {
    PyObject *store;
    PyObject *policy;
    PyObject *progress;
    PyObject *result = NULL;
    gate_call *c = new_call("deploy", deploy_work);
    if (c == NULL) {
        return NULL;
    }
    hm_deploy_options *how = &c->deploy;
    if (PyArg_ParseTuple(args, "OO&sOO&O&O&O&O&O:deploy", &store, hm_py_path, &c->source, &c->which,
                         &policy, hm_py_uint64, &how->flags, hm_py_texts_take, &c->signatures,
                         hm_py_path, &how->provenance, hm_py_texts_take, &c->ignore, hm_py_unsigned,
                         &how->jobs, &progress)) {
        how->signatures = c->signatures.list;
        how->signature_count = c->signatures.count;
        how->ignore = c->ignore.list;
        how->ignore_count = c->ignore.count;
        result = run(module, c, store, policy, progress);
        hm_py_texts_free(&c->signatures);
        hm_py_texts_free(&c->ignore);
    }
    PyMem_Free(c);
    return result;
}

static void release_work(hm_py_call *call) {
    gate_call *c = (gate_call *)call;
    call->status = hm_quarantine_release(c->store, c->which, c->policy, &c->deploy, &call->report,
                                         &call->error);
}

HM_PY_FUNCTION(hm_py_quarantine_release) {
    PyObject *store;
    PyObject *policy;
    PyObject *progress;
    PyObject *result = NULL;
    gate_call *c = new_call("release", release_work);
    if (c == NULL) {
        return NULL;
    }
    if (PyArg_ParseTuple(args, "OsOO&O&O:quarantine_release", &store, &c->which, &policy,
                         hm_py_uint64, &c->deploy.flags, hm_py_unsigned, &c->deploy.jobs,
                         &progress)) {
        result = run(module, c, store, policy, progress);
    }
    PyMem_Free(c);
    return result;
}

static void rollback_work(hm_py_call *call) {
    gate_call *c = (gate_call *)call;
    call->status =
        hm_rollback(c->store, c->which, c->policy, &c->gate, &call->report, &call->error);
}

static void check_work(hm_py_call *call) {
    gate_call *c = (gate_call *)call;
    call->status =
        hm_store_check(c->store, c->which, c->policy, &c->gate, &call->report, &call->error);
}

static PyObject *pass(PyObject *module, PyObject *args, const char *operation,
                      void (*work)(hm_py_call *call)) {
    PyObject *store;
    PyObject *policy;
    PyObject *progress;
    PyObject *result = NULL;
    gate_call *c = new_call(operation, work);
    if (c == NULL) {
        return NULL;
    }
    if (PyArg_ParseTuple(args, "OsOO&zO&O", &store, &c->which, &policy, hm_py_uint64,
                         &c->gate.flags, &c->gate.version, hm_py_unsigned, &c->gate.jobs,
                         &progress)) {
        result = run(module, c, store, policy, progress);
    }
    PyMem_Free(c);
    return result;
}

HM_PY_FUNCTION(hm_py_rollback) {
    return pass(module, args, "rollback", rollback_work);
}

HM_PY_FUNCTION(hm_py_store_check) {
    return pass(module, args, "check", check_work);
}
