/* SPDX-License-Identifier: Apache-2.0 */
#include "core.h"

#include <limits.h>
#include <string.h>

/* ---- arguments ------------------------------------------------------------------------------ */

static const char *path_of(PyObject *object) {
    char *bytes = NULL;
    if (!PyBytes_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "bytes are wanted");
        return NULL;
    }
    /* Without a place for the length a NUL inside is an error. */
    return PyBytes_AsStringAndSize(object, &bytes, NULL) == 0 ? bytes : NULL;
}

int hm_py_path(PyObject *object, void *path) {
    const char **target = path;
    *target = NULL;
    if (object == Py_None) {
        return 1;
    }
    *target = path_of(object);
    return *target != NULL;
}

void hm_py_texts_free(hm_py_texts *texts) {
    PyMem_Free(texts->list);
    *texts = (hm_py_texts){0};
}

int hm_py_texts_take(PyObject *object, void *texts) {
    hm_py_texts *target = texts;
    if (object == NULL) { /* another argument failed */
        hm_py_texts_free(target);
        return 1;
    }
    Py_ssize_t count = PyTuple_Check(object) ? PyTuple_Size(object) : -1;
    if (count < 0) {
        PyErr_SetString(PyExc_TypeError, "a tuple of bytes is wanted");
        return 0;
    }
    hm_py_texts taken = {.list = PyMem_Calloc((size_t)count + 1, sizeof(char *))};
    if (taken.list == NULL) {
        PyErr_NoMemory();
        return 0;
    }
    for (; taken.count < (size_t)count; taken.count++) {
        taken.list[taken.count] = path_of(PyTuple_GetItem(object, (Py_ssize_t)taken.count));
        if (taken.list[taken.count] == NULL) {
            hm_py_texts_free(&taken);
            return 0;
        }
    }
    *target = taken;
    return Py_CLEANUP_SUPPORTED;
}

int hm_py_uint64(PyObject *object, void *value) {
    unsigned long long number = PyLong_AsUnsignedLongLong(object);
    if (PyErr_Occurred() != NULL) {
        return 0;
    }
    *(uint64_t *)value = number;
    return 1;
}

int hm_py_unsigned(PyObject *object, void *value) {
    uint64_t number = 0;
    if (!hm_py_uint64(object, &number)) {
        return 0;
    }
    if (number > UINT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "the number is too large");
        return 0;
    }
    *(unsigned *)value = (unsigned)number;
    return 1;
}

/* ---- results -------------------------------------------------------------------------------- */

PyObject *hm_py_text(const char *text) {
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

PyObject *hm_py_text_steal(char **text) {
    PyObject *result = hm_py_text(*text != NULL ? *text : "");
    hm_text_free(text);
    return result;
}
