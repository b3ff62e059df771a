/* SPDX-License-Identifier: Apache-2.0 */
/* Key pairs and keyrings. */
#include "core.h"

/* Raises what the passphrase function raised, or else the library's error. */
static PyObject *failed(PyObject *module, hm_status status, hm_error **error, hm_py_signer *asked) {
    if (asked != NULL && hm_py_exception_raise(&asked->raised)) {
        hm_error_free(error);
        return NULL;
    }
    return hm_py_raise(module, status, error, NULL);
}

HM_PY_FUNCTION(hm_py_key_generate) {
    const char *private_path = NULL;
    const char *public_path = NULL;
    PyObject *ask;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    hm_py_signer asked = {0};
    hm_keygen_options how = HM_KEYGEN_OPTIONS_INIT;
    if (!PyArg_ParseTuple(args, "O&O&zOO&:key_generate", hm_py_path, &private_path, hm_py_path,
                          &public_path, &how.type, &ask, hm_py_uint64, &how.flags)) {
        return NULL;
    }
    asked.ask = ask; /* borrowed: the arguments live longer than the call */
    how.passphrase = ask != Py_None ? hm_py_ask_passphrase : NULL;
    how.passphrase_context = &asked;
    hm_py_leave(&asked);
    status = hm_key_generate(private_path, public_path, &how, &error);
    hm_py_enter(&asked);
    if (status != HM_OK) {
        return failed(module, status, &error, &asked);
    }
    Py_RETURN_NONE;
}

HM_PY_FUNCTION(hm_py_key_describe) {
    const char *key = NULL;
    uint64_t version = 0;
    uint64_t flags = 0;
    char *text = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "O&O&O&:key_describe", hm_py_path, &key, hm_py_uint64, &version,
                          hm_py_uint64, &flags)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_key_describe(key, version, flags, &text, &error);
    Py_END_ALLOW_THREADS;
    return status == HM_OK ? hm_py_text_steal(&text) : failed(module, status, &error, NULL);
}

HM_PY_FUNCTION(hm_py_keyring_describe) {
    const char *keyring = NULL;
    uint64_t flags = 0;
    char *text = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "O&O&:keyring_describe", hm_py_path, &keyring, hm_py_uint64,
                          &flags)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_keyring_describe(keyring, flags, &text, &error);
    Py_END_ALLOW_THREADS;
    return status == HM_OK ? hm_py_text_steal(&text) : failed(module, status, &error, NULL);
}

HM_PY_FUNCTION(hm_py_keyring_rotate) {
    const char *keyring = NULL;
    PyObject *ask;
    long long signs_from = 0;
    long long not_after = 0;
    uint64_t version = 0;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    hm_py_signer asked = {0};
    hm_rotate_options how = HM_ROTATE_OPTIONS_INIT;
    if (!PyArg_ParseTuple(args, "O&zOO&zzLL:keyring_rotate", hm_py_path, &keyring, &how.type, &ask,
                          hm_py_uint64, &how.flags, &how.signer, &how.base_name, &signs_from,
                          &not_after)) {
        return NULL;
    }
    asked.ask = ask;
    how.passphrase = ask != Py_None ? hm_py_ask_passphrase : NULL;
    how.passphrase_context = &asked;
    how.signs_from = signs_from;
    how.not_after = not_after;
    hm_py_leave(&asked);
    status = hm_keyring_rotate(keyring, &how, &version, &error);
    hm_py_enter(&asked);
    return status == HM_OK ? PyLong_FromUnsignedLongLong(version)
                           : failed(module, status, &error, &asked);
}

HM_PY_FUNCTION(hm_py_keyring_revoke) {
    const char *keyring = NULL;
    uint64_t version = 0;
    long long since = 0;
    const char *reason = NULL;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "O&O&Ls:keyring_revoke", hm_py_path, &keyring, hm_py_uint64,
                          &version, &since, &reason)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_keyring_revoke(keyring, version, since, reason, &error);
    Py_END_ALLOW_THREADS;
    if (status != HM_OK) {
        return failed(module, status, &error, NULL);
    }
    Py_RETURN_NONE;
}

HM_PY_FUNCTION(hm_py_keyring_export) {
    const char *keyring = NULL;
    const char *path = NULL;
    PyObject *capsule;
    long long expires = 0;
    uint64_t number = 0;
    hm_error *error = NULL;
    hm_status status = HM_UNDECIDED;
    if (!PyArg_ParseTuple(args, "O&OO&L:keyring_export", hm_py_path, &keyring, &capsule, hm_py_path,
                          &path, &expires)) {
        return NULL;
    }
    hm_py_signer *admin = hm_py_signer_begin(capsule);
    if (admin == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    status = hm_keyring_export(keyring, admin->signer, path, expires, &number, &error);
    Py_END_ALLOW_THREADS;
    if (!hm_py_signer_end(admin)) {
        hm_error_free(&error);
        return NULL;
    }
    return status == HM_OK ? PyLong_FromUnsignedLongLong(number)
                           : failed(module, status, &error, NULL);
}
