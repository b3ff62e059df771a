/* SPDX-License-Identifier: Apache-2.0 */
#include "core.h"

static const char name[] = "hallmark.policy";

/* ---- its life ------------------------------------------------------------------------------- */

static void destroy(PyObject *capsule) {
    hm_py_policy *policy = PyCapsule_GetPointer(capsule, name);
    if (policy != NULL) {
        hm_policy_free(&policy->policy);
        PyMem_Free(policy);
    }
}

/* A capsule around nothing yet. */
static PyObject *new_capsule(hm_py_policy **made) {
    hm_py_policy *policy = PyMem_Calloc(1, sizeof(*policy));
    if (policy == NULL) {
        (void)PyErr_NoMemory();
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(policy, name, destroy);
    if (capsule == NULL) {
        PyMem_Free(policy);
        return NULL;
    }
    *made = policy;
    return capsule;
}

hm_py_policy *hm_py_policy_begin(PyObject *capsule) {
    hm_py_policy *policy = PyCapsule_GetPointer(capsule, name);
    if (policy != NULL) {
        policy->users++;
    }
    return policy;
}

void hm_py_policy_end(hm_py_policy *policy) {
    policy->users--;
}

/* For a change, which must be alone. */
static hm_py_policy *begin_change(PyObject *capsule) {
    hm_py_policy *policy = hm_py_policy_begin(capsule);
    if (policy != NULL && policy->users > 1) {
        hm_py_policy_end(policy);
        PyErr_SetString(PyExc_RuntimeError, "the policy is in use");
        return NULL;
    }
    return policy;
}

static PyObject *end_change(PyObject *module, hm_py_policy *policy, hm_status status,
                            hm_error **error) {
    hm_py_policy_end(policy);
    if (status != HM_OK) {
        return hm_py_raise(module, status, error, NULL);
    }
    Py_RETURN_NONE;
}

HM_PY_FUNCTION(hm_py_policy_new) {
    hm_py_policy *policy = NULL;
    hm_error *error = NULL;
    (void)args;
    PyObject *capsule = new_capsule(&policy);
    if (capsule == NULL) {
        return NULL;
    }
    hm_status status = hm_policy_new(&policy->policy, &error);
    if (status != HM_OK) {
        Py_DECREF(capsule);
        return hm_py_raise(module, status, &error, NULL);
    }
    return capsule;
}

HM_PY_FUNCTION(hm_py_policy_load) {
    const char *path = NULL;
    hm_py_policy *policy = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "O&:policy_load", hm_py_path, &path)) {
        return NULL;
    }
    PyObject *capsule = new_capsule(&policy);
    if (capsule == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_policy_load(path, &policy->policy, &error);
    Py_END_ALLOW_THREADS;
    if (status != HM_OK) {
        Py_DECREF(capsule);
        return hm_py_raise(module, status, &error, NULL);
    }
    return capsule;
}

/* ---- what it believes and demands ----------------------------------------------------------- */

typedef hm_status (*add_function)(hm_policy *policy, const char *path, hm_error **error);

static PyObject *add(PyObject *module, PyObject *args, add_function function) {
    PyObject *capsule;
    const char *path = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    hm_py_policy *policy =
        PyArg_ParseTuple(args, "OO&", &capsule, hm_py_path, &path) ? begin_change(capsule) : NULL;
    if (policy == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = function(policy->policy, path, &error);
    Py_END_ALLOW_THREADS;
    return end_change(module, policy, status, &error);
}

HM_PY_FUNCTION(hm_py_policy_add_key) {
    return add(module, args, hm_policy_add_key);
}

HM_PY_FUNCTION(hm_py_policy_add_root) {
    return add(module, args, hm_policy_add_root);
}

HM_PY_FUNCTION(hm_py_policy_add_keyring) {
    PyObject *capsule;
    const char *file = NULL;
    const char *admin_key = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    hm_keyring_options how = HM_KEYRING_OPTIONS_INIT;
    hm_py_policy *policy =
        PyArg_ParseTuple(args, "OO&O&zO&:policy_add_keyring", &capsule, hm_py_path, &file,
                         hm_py_path, &admin_key, &how.signer, hm_py_uint64, &how.min_version)
            ? begin_change(capsule)
            : NULL;
    if (policy == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_policy_add_keyring(policy->policy, file, admin_key, &how, &error);
    Py_END_ALLOW_THREADS;
    return end_change(module, policy, status, &error);
}

HM_PY_FUNCTION(hm_py_policy_require_identity) {
    PyObject *capsule;
    int kind = 0;
    const char *value = NULL;
    hm_error *error = NULL;
    hm_py_policy *policy =
        PyArg_ParseTuple(args, "Ois:policy_require_identity", &capsule, &kind, &value)
            ? begin_change(capsule)
            : NULL;
    if (policy == NULL) {
        return NULL;
    }
    hm_status status =
        hm_policy_require_identity(policy->policy, (hm_identity_kind)kind, value, &error);
    return end_change(module, policy, status, &error);
}

HM_PY_FUNCTION(hm_py_policy_require_format) {
    PyObject *capsule;
    const char *format = NULL;
    hm_error *error = NULL;
    hm_py_policy *policy = PyArg_ParseTuple(args, "Os:policy_require_format", &capsule, &format)
                               ? begin_change(capsule)
                               : NULL;
    if (policy == NULL) {
        return NULL;
    }
    hm_status status = hm_policy_require_format(policy->policy, format, &error);
    return end_change(module, policy, status, &error);
}

HM_PY_FUNCTION(hm_py_policy_require_provenance) {
    PyObject *capsule;
    int kind = 0;
    const char *value = NULL;
    hm_error *error = NULL;
    hm_py_policy *policy =
        PyArg_ParseTuple(args, "Oiz:policy_require_provenance", &capsule, &kind, &value)
            ? begin_change(capsule)
            : NULL;
    if (policy == NULL) {
        return NULL;
    }
    hm_status status =
        hm_policy_require_provenance(policy->policy, (hm_provenance_kind)kind, value, &error);
    return end_change(module, policy, status, &error);
}

HM_PY_FUNCTION(hm_py_policy_allow) {
    PyObject *capsule;
    uint64_t flags = 0;
    hm_error *error = NULL;
    hm_py_policy *policy =
        PyArg_ParseTuple(args, "OO&:policy_allow", &capsule, hm_py_uint64, &flags)
            ? begin_change(capsule)
            : NULL;
    if (policy == NULL) {
        return NULL;
    }
    return end_change(module, policy, hm_policy_allow(policy->policy, flags, &error), &error);
}

HM_PY_FUNCTION(hm_py_policy_set_time) {
    PyObject *capsule;
    long long seconds = 0;
    hm_error *error = NULL;
    hm_py_policy *policy = PyArg_ParseTuple(args, "OL:policy_set_time", &capsule, &seconds)
                               ? begin_change(capsule)
                               : NULL;
    if (policy == NULL) {
        return NULL;
    }
    return end_change(module, policy, hm_policy_set_time(policy->policy, seconds, &error), &error);
}

/* ---- what it says --------------------------------------------------------------------------- */

HM_PY_FUNCTION(hm_py_policy_describe) {
    PyObject *capsule;
    uint64_t flags = 0;
    char *text = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    hm_py_policy *policy =
        PyArg_ParseTuple(args, "OO&:policy_describe", &capsule, hm_py_uint64, &flags)
            ? hm_py_policy_begin(capsule)
            : NULL;
    if (policy == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_policy_describe(policy->policy, flags, &text, &error);
    Py_END_ALLOW_THREADS;
    hm_py_policy_end(policy);
    return status == HM_OK ? hm_py_text_steal(&text) : hm_py_raise(module, status, &error, NULL);
}

/* The text of hm_policy_explain(), of which there is one where no rule fits, too. */
HM_PY_FUNCTION(hm_py_policy_explain) {
    PyObject *capsule;
    const char *path = NULL;
    const char *called = NULL;
    uint64_t flags = 0;
    hm_model *model = NULL;
    char *text = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    hm_py_policy *policy = PyArg_ParseTuple(args, "OO&O&O&:policy_explain", &capsule, hm_py_path,
                                            &path, hm_py_path, &called, hm_py_uint64, &flags)
                               ? hm_py_policy_begin(capsule)
                               : NULL;
    if (policy == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_model_open(path, &model, &error);
    if (status == HM_OK) {
        status = hm_policy_explain(policy->policy, model, called, flags, &text, &error);
    }
    hm_model_close(&model);
    Py_END_ALLOW_THREADS;
    hm_py_policy_end(policy);
    if (text == NULL) {
        return hm_py_raise(module, status, &error, NULL);
    }
    hm_error_free(&error);
    return hm_py_text_steal(&text);
}
