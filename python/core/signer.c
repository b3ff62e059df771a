/* SPDX-License-Identifier: Apache-2.0 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

static const char name[] = "hallmark.signer";

/* ---- passphrases ---------------------------------------------------------------------------- */

/* Copies what the function returned: bytes, or None to give up. False after an exception too. */
static bool take_passphrase(PyObject *answer, char *buffer, size_t capacity, size_t *length) {
    char *bytes = NULL;
    Py_ssize_t count = 0;
    if (answer == NULL || answer == Py_None ||
        PyBytes_AsStringAndSize(answer, &bytes, &count) != 0) {
        return false;
    }
    if ((size_t)count > capacity) {
        PyErr_SetString(PyExc_ValueError, "the passphrase is too long");
        return false;
    }
    memcpy(buffer, bytes, (size_t)count);
    *length = (size_t)count;
    return true;
}

void hm_py_leave(hm_py_signer *signer) {
    signer->caller = PyEval_SaveThread();
}

void hm_py_enter(hm_py_signer *signer) {
    PyEval_RestoreThread(signer->caller);
}

bool hm_py_ask_passphrase(void *context, const char *what, bool again, char *buffer,
                          size_t capacity, size_t *length) {
    hm_py_signer *signer = context;
    hm_py_enter(signer);
    PyObject *subject = PyUnicode_DecodeFSDefault(what);
    PyObject *answer =
        subject != NULL && signer->ask != NULL
            ? PyObject_CallFunction(signer->ask, "OO", subject, again ? Py_True : Py_False)
            : NULL;
    bool done = take_passphrase(answer, buffer, capacity, length);
    if (PyErr_Occurred() != NULL) {
        hm_py_exception_take(&signer->raised);
    }
    Py_XDECREF(answer);
    Py_XDECREF(subject);
    hm_py_leave(signer);
    return done;
}

/* ---- its life ------------------------------------------------------------------------------- */

/* An open signer asks no more, and who was asked may know the passphrase. */
static void forget(hm_py_signer *signer) {
    PyObject *ask = signer->ask;
    signer->ask = NULL;
    Py_XDECREF(ask);
}

static void destroy(PyObject *capsule) {
    hm_py_signer *signer = PyCapsule_GetPointer(capsule, name);
    if (signer != NULL) {
        hm_signer_close(&signer->signer);
        forget(signer);
        PyMem_Free(signer);
    }
}

static PyObject *new_capsule(PyObject *ask, hm_py_signer **made) {
    hm_py_signer *signer = PyMem_Calloc(1, sizeof(*signer));
    if (signer == NULL) {
        (void)PyErr_NoMemory();
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(signer, name, destroy);
    if (capsule == NULL) {
        PyMem_Free(signer);
        return NULL;
    }
    if (ask != Py_None) {
        Py_INCREF(ask);
        signer->ask = ask;
    }
    *made = signer;
    return capsule;
}

static hm_py_signer *begin(PyObject *capsule) {
    hm_py_signer *signer = PyCapsule_GetPointer(capsule, name);
    if (signer != NULL && signer->busy) {
        PyErr_SetString(PyExc_RuntimeError, "the signer is in use");
        return NULL;
    }
    if (signer != NULL) {
        signer->busy = true;
    }
    return signer;
}

hm_py_signer *hm_py_signer_begin(PyObject *capsule) {
    hm_py_signer *signer = begin(capsule);
    if (signer != NULL && signer->signer == NULL) {
        signer->busy = false;
        PyErr_SetString(PyExc_ValueError, "the signer is closed");
        return NULL;
    }
    return signer;
}

bool hm_py_signer_end(hm_py_signer *signer) {
    signer->busy = false;
    return !hm_py_exception_raise(&signer->raised);
}

/* ---- functions ------------------------------------------------------------------------------ */

HM_PY_FUNCTION(hm_py_signer_open) {
    const char *key = NULL;
    PyObject *ask;
    hm_py_signer *signer = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "O&O:signer_open", hm_py_path, &key, &ask)) {
        return NULL;
    }
    PyObject *capsule = new_capsule(ask, &signer);
    if (capsule == NULL) {
        return NULL;
    }
    hm_signer_options how = HM_SIGNER_OPTIONS_INIT;
    how.passphrase = signer->ask != NULL ? hm_py_ask_passphrase : NULL;
    how.passphrase_context = signer;
    hm_py_leave(signer);
    status = hm_signer_open(key, &how, &signer->signer, &error);
    hm_py_enter(signer);
    forget(signer);
    if (!hm_py_exception_raise(&signer->raised) && status == HM_OK) {
        return capsule;
    }
    if (PyErr_Occurred() == NULL) {
        (void)hm_py_raise(module, status, &error, NULL);
    }
    hm_error_free(&error);
    Py_DECREF(capsule);
    return NULL;
}

HM_PY_FUNCTION(hm_py_signer_set_certificates) {
    PyObject *capsule;
    const char *leaf = NULL;
    hm_py_texts chain = {0};
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "OO&O&:signer_set_certificates", &capsule, hm_py_path, &leaf,
                          hm_py_texts_take, &chain)) {
        return NULL;
    }
    hm_py_signer *signer = hm_py_signer_begin(capsule);
    if (signer == NULL) {
        hm_py_texts_free(&chain);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_signer_set_certificates(signer->signer, leaf, chain.list, chain.count, &error);
    Py_END_ALLOW_THREADS;
    hm_py_texts_free(&chain);
    if (!hm_py_signer_end(signer)) {
        hm_error_free(&error);
        return NULL;
    }
    if (status != HM_OK) {
        return hm_py_raise(module, status, &error, NULL);
    }
    Py_RETURN_NONE;
}

HM_PY_FUNCTION(hm_py_signer_describe) {
    PyObject *capsule;
    (void)module;
    hm_py_signer *signer =
        PyArg_ParseTuple(args, "O:signer_describe", &capsule) ? hm_py_signer_begin(capsule) : NULL;
    if (signer == NULL) {
        return NULL;
    }
    PyObject *facts = Py_BuildValue("(ssK)", hm_signer_algorithm(signer->signer),
                                    hm_signer_fingerprint(signer->signer),
                                    (unsigned long long)hm_signer_key_version(signer->signer));
    signer->busy = false;
    return facts;
}

HM_PY_FUNCTION(hm_py_signer_close) {
    PyObject *capsule;
    (void)module;
    hm_py_signer *signer =
        PyArg_ParseTuple(args, "O:signer_close", &capsule) ? begin(capsule) : NULL;
    if (signer == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    hm_signer_close(&signer->signer);
    Py_END_ALLOW_THREADS;
    signer->busy = false;
    Py_RETURN_NONE;
}
