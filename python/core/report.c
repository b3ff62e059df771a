/* SPDX-License-Identifier: Apache-2.0 */
#include "core.h"

static const char name[] = "hallmark.report";

static void destroy(PyObject *capsule) {
    hm_report *report = PyCapsule_GetPointer(capsule, name);
    hm_report_free(&report);
}

PyObject *hm_py_report_new(hm_report **report) {
    PyObject *capsule = PyCapsule_New(*report, name, destroy);
    if (capsule == NULL) {
        hm_report_free(report);
    }
    *report = NULL;
    return capsule;
}

const hm_report *hm_py_report_of(PyObject *capsule) {
    return PyCapsule_GetPointer(capsule, name);
}

HM_PY_FUNCTION(hm_py_report_json) {
    PyObject *capsule;
    hm_error *error = NULL;
    char *text = NULL;
    hm_status status = HM_UNDECIDED;
    const hm_report *report =
        PyArg_ParseTuple(args, "O:report_json", &capsule) ? hm_py_report_of(capsule) : NULL;
    if (report == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_report_json(report, &text, &error);
    Py_END_ALLOW_THREADS;
    return status == HM_OK ? hm_py_text_steal(&text) : hm_py_raise(module, status, &error, NULL);
}

HM_PY_FUNCTION(hm_py_report_text) {
    PyObject *capsule;
    uint64_t flags = 0;
    hm_error *error = NULL;
    char *text = NULL;
    hm_status status = HM_UNDECIDED;
    const hm_report *report =
        PyArg_ParseTuple(args, "OO&:report_text", &capsule, hm_py_uint64, &flags)
            ? hm_py_report_of(capsule)
            : NULL;
    if (report == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_report_text(report, flags, &text, &error);
    Py_END_ALLOW_THREADS;
    return status == HM_OK ? hm_py_text_steal(&text) : hm_py_raise(module, status, &error, NULL);
}

/* What the JSON does not say, or, of paths that are not UTF-8, not exactly. */
HM_PY_FUNCTION(hm_py_report_facts) {
    PyObject *capsule;
    (void)module;
    const hm_report *report =
        PyArg_ParseTuple(args, "O:report_facts", &capsule) ? hm_py_report_of(capsule) : NULL;
    if (report == NULL) {
        return NULL;
    }
    return Py_BuildValue("(yyyd)", hm_report_signature_path(report),
                         hm_report_shards_signature_path(report), hm_report_provenance_path(report),
                         hm_report_shards_speedup(report));
}
