/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations, and recorders, which write down what is done outside the store. */
#include "core.h"

static const char config_name[] = "hallmark.config";
static const char recorder_name[] = "hallmark.recorder";

/* ---- configurations ------------------------------------------------------------------------- */

static void destroy_config(PyObject *capsule) {
    hm_py_config *config = PyCapsule_GetPointer(capsule, config_name);
    if (config != NULL) {
        hm_config_free(&config->config);
        PyMem_Free(config);
    }
}

static PyObject *new_config(hm_py_config **made) {
    hm_py_config *config = PyMem_Calloc(1, sizeof(*config));
    if (config == NULL) {
        (void)PyErr_NoMemory();
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(config, config_name, destroy_config);
    if (capsule == NULL) {
        PyMem_Free(config);
        return NULL;
    }
    *made = config;
    return capsule;
}

hm_py_config *hm_py_config_begin(PyObject *capsule) {
    hm_py_config *config = PyCapsule_GetPointer(capsule, config_name);
    if (config != NULL) {
        config->users++;
    }
    return config;
}

void hm_py_config_end(hm_py_config *config) {
    config->users--;
}

HM_PY_FUNCTION(hm_py_config_load) {
    const char *path = NULL;
    hm_py_config *config = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "O&:config_load", hm_py_path, &path)) {
        return NULL;
    }
    PyObject *capsule = new_config(&config);
    if (capsule == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_config_load(path, &config->config, &error);
    Py_END_ALLOW_THREADS;
    if (status != HM_OK) {
        Py_DECREF(capsule);
        return hm_py_raise(module, status, &error, NULL);
    }
    return capsule;
}

/* Stores and recorders read it as they go, so it must not change under them. */
HM_PY_FUNCTION(hm_py_config_set) {
    PyObject *capsule;
    const char *name = NULL;
    const char *value = NULL;
    hm_error *error = NULL;
    hm_py_config *config =
        PyArg_ParseTuple(args, "OsO&:config_set", &capsule, &name, hm_py_path, &value)
            ? hm_py_config_begin(capsule)
            : NULL;
    if (config == NULL) {
        return NULL;
    }
    hm_status status = HM_USAGE;
    if (config->users > 1) {
        PyErr_SetString(PyExc_RuntimeError, "the configuration is in use");
    } else {
        status = hm_config_set(config->config, name, value, &error);
    }
    hm_py_config_end(config);
    if (PyErr_Occurred() != NULL) {
        return NULL;
    }
    if (status != HM_OK) {
        return hm_py_raise(module, status, &error, NULL);
    }
    Py_RETURN_NONE;
}

HM_PY_FUNCTION(hm_py_config_get) {
    PyObject *capsule;
    const char *name = NULL;
    (void)module;
    const hm_py_config *config = PyArg_ParseTuple(args, "Os:config_get", &capsule, &name)
                                     ? PyCapsule_GetPointer(capsule, config_name)
                                     : NULL;
    return config != NULL ? Py_BuildValue("y", hm_config_get(config->config, name)) : NULL;
}

HM_PY_FUNCTION(hm_py_config_check_every) {
    PyObject *capsule;
    (void)module;
    const hm_py_config *config = PyArg_ParseTuple(args, "O:config_check_every", &capsule)
                                     ? PyCapsule_GetPointer(capsule, config_name)
                                     : NULL;
    return config != NULL ? PyLong_FromUnsignedLongLong(hm_config_check_every(config->config))
                          : NULL;
}

HM_PY_FUNCTION(hm_py_config_describe) {
    PyObject *capsule;
    uint64_t flags = 0;
    char *text = NULL;
    hm_error *error = NULL;
    const hm_py_config *config =
        PyArg_ParseTuple(args, "OO&:config_describe", &capsule, hm_py_uint64, &flags)
            ? PyCapsule_GetPointer(capsule, config_name)
            : NULL;
    if (config == NULL) {
        return NULL;
    }
    hm_status status = hm_config_describe(config->config, flags, &text, &error);
    return status == HM_OK ? hm_py_text_steal(&text) : hm_py_raise(module, status, &error, NULL);
}

/* ---- recorders ------------------------------------------------------------------------------ */

typedef struct recorder_object {
    hm_recorder *recorder; /* NULL: closed */
    hm_py_config *config;
    PyObject *capsule; /* the configuration's */
    bool busy;
} recorder_object;

static void end_recorder(recorder_object *object) {
    if (object->capsule != NULL) {
        hm_py_config_end(object->config);
    }
    Py_CLEAR(object->capsule);
}

static void destroy_recorder(PyObject *capsule) {
    recorder_object *object = PyCapsule_GetPointer(capsule, recorder_name);
    if (object != NULL) {
        hm_recorder_close(&object->recorder);
        end_recorder(object);
        PyMem_Free(object);
    }
}

static PyObject *new_recorder(recorder_object **made) {
    recorder_object *object = PyMem_Calloc(1, sizeof(*object));
    if (object == NULL) {
        (void)PyErr_NoMemory();
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(object, recorder_name, destroy_recorder);
    if (capsule == NULL) {
        PyMem_Free(object);
        return NULL;
    }
    *made = object;
    return capsule;
}

static recorder_object *begin(PyObject *capsule) {
    recorder_object *object = PyCapsule_GetPointer(capsule, recorder_name);
    if (object != NULL && object->busy) {
        PyErr_SetString(PyExc_RuntimeError, "the recorder is in use");
        return NULL;
    }
    if (object != NULL) {
        object->busy = true;
    }
    return object;
}

static recorder_object *begin_open(PyObject *capsule) {
    recorder_object *object = begin(capsule);
    if (object != NULL && object->recorder == NULL) {
        object->busy = false;
        PyErr_SetString(PyExc_ValueError, "the recorder is closed");
        return NULL;
    }
    return object;
}

static PyObject *end(PyObject *module, recorder_object *object, hm_status status,
                     hm_error **error) {
    object->busy = false;
    if (status != HM_OK) {
        return hm_py_raise(module, status, error, NULL);
    }
    Py_RETURN_NONE;
}

HM_PY_FUNCTION(hm_py_recorder_open) {
    PyObject *config;
    recorder_object *object = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "O:recorder_open", &config)) {
        return NULL;
    }
    PyObject *capsule = new_recorder(&object);
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
    status = hm_recorder_open(object->config->config, &object->recorder, &error);
    Py_END_ALLOW_THREADS;
    if (status != HM_OK) {
        Py_DECREF(capsule);
        return hm_py_raise(module, status, &error, NULL);
    }
    return capsule;
}

HM_PY_FUNCTION(hm_py_recorder_report) {
    PyObject *capsule;
    PyObject *report_capsule;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "OO:recorder_report", &capsule, &report_capsule)) {
        return NULL;
    }
    const hm_report *report = hm_py_report_of(report_capsule);
    recorder_object *object = report != NULL ? begin_open(capsule) : NULL;
    if (object == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_recorder_add_report(object->recorder, report, &error);
    Py_END_ALLOW_THREADS;
    return end(module, object, status, &error);
}

HM_PY_FUNCTION(hm_py_recorder_key) {
    PyObject *capsule;
    const char *event = NULL;
    const char *keyring = NULL;
    const char *reason = NULL;
    uint64_t version = 0;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    recorder_object *object =
        PyArg_ParseTuple(args, "OsO&O&z:recorder_key", &capsule, &event, hm_py_path, &keyring,
                         hm_py_uint64, &version, &reason)
            ? begin_open(capsule)
            : NULL;
    if (object == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_recorder_add_key(object->recorder, event, keyring, version, reason, &error);
    Py_END_ALLOW_THREADS;
    return end(module, object, status, &error);
}

/* What could not be delivered, and why; or None. */
HM_PY_FUNCTION(hm_py_recorder_flush) {
    PyObject *capsule;
    char *trouble = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    recorder_object *object =
        PyArg_ParseTuple(args, "O:recorder_flush", &capsule) ? begin_open(capsule) : NULL;
    if (object == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_recorder_flush(object->recorder, &trouble, &error);
    Py_END_ALLOW_THREADS;
    PyObject *none = end(module, object, status, &error);
    if (none == NULL || trouble == NULL) {
        hm_text_free(&trouble);
        return none;
    }
    Py_DECREF(none);
    return hm_py_text_steal(&trouble);
}

HM_PY_FUNCTION(hm_py_recorder_close) {
    PyObject *capsule;
    (void)module;
    recorder_object *object =
        PyArg_ParseTuple(args, "O:recorder_close", &capsule) ? begin(capsule) : NULL;
    if (object == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    hm_recorder_close(&object->recorder);
    Py_END_ALLOW_THREADS;
    end_recorder(object);
    object->busy = false;
    Py_RETURN_NONE;
}
