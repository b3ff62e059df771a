/* SPDX-License-Identifier: Apache-2.0 */
#include "core.h"

#include "state.h"

PyObject *hm_py_set_make_error(PyObject *module, PyObject *function) {
    hm_py_state *state = PyModule_GetState(module);
    PyObject *before = state->make_error;
    Py_INCREF(function);
    state->make_error = function;
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

/* What make_error makes of it; a new reference. */
static PyObject *make(PyObject *make_error, hm_status status, const hm_error *error,
                      PyObject *report) {
    PyObject *message = hm_py_text(hm_error_message(error));
    PyObject *hint = hm_py_text(hm_error_hint(error));
    PyObject *exception = NULL;
    if (message != NULL && hint != NULL) {
        exception =
            PyObject_CallFunction(make_error, "isOOO", (int)status,
                                  hm_reason_word(hm_error_reason(error)), message, hint, report);
    }
    Py_XDECREF(message);
    Py_XDECREF(hint);
    return exception;
}

static PyObject *report_or_none(hm_report **report) {
    if (*report != NULL) {
        return hm_py_report_new(report);
    }
    Py_INCREF(Py_None);
    return Py_None;
}

PyObject *hm_py_raise(PyObject *module, hm_status status, hm_error **error, hm_report **report) {
    const hm_py_state *state = PyModule_GetState(module);
    hm_report *none = NULL;
    if (*error == NULL || state->make_error == NULL) {
        PyErr_NoMemory(); /* the library could not even make an error */
    } else {
        PyObject *found = report_or_none(report != NULL ? report : &none);
        PyObject *exception = found != NULL ? make(state->make_error, status, *error, found) : NULL;
        if (exception != NULL) {
            PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        }
        Py_XDECREF(exception);
        Py_XDECREF(found);
    }
    hm_error_free(error);
    if (report != NULL) {
        hm_report_free(report);
    }
    return NULL;
}

PyObject *hm_py_exception_new(PyObject *module, hm_status status, hm_error **error) {
    const hm_py_state *state = PyModule_GetState(module);
    PyObject *exception = NULL;
    if (status == HM_OK) {
        exception = Py_None;
        Py_INCREF(exception);
    } else if (*error == NULL || state->make_error == NULL) {
        PyErr_NoMemory();
    } else {
        exception = make(state->make_error, status, *error, Py_None);
    }
    hm_error_free(error);
    return exception;
}

void hm_py_exception_take(hm_py_exception *exception) {
    if (exception->type == NULL) {
        PyErr_Fetch(&exception->type, &exception->value, &exception->traceback);
    } else { /* the first one tells why */
        PyErr_Clear();
    }
}

bool hm_py_exception_raise(hm_py_exception *exception) {
    bool there = exception->type != NULL;
    if (there) {
        PyErr_Restore(exception->type, exception->value, exception->traceback);
    }
    *exception = (hm_py_exception){0};
    return there;
}
