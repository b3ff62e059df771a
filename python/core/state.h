/* SPDX-License-Identifier: Apache-2.0 */
/* What the module keeps: the function that makes exceptions of the library's errors. */
#ifndef HM_PY_STATE_H
#define HM_PY_STATE_H

typedef struct hm_py_state {
    PyObject *make_error; /* (status, reason, message, hint, report) -> an exception */
} hm_py_state;

#endif
