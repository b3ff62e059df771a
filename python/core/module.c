/* SPDX-License-Identifier: Apache-2.0 */
#include "core.h"

#include "state.h"

HM_PY_FUNCTION(hm_py_build_info) {
    char *text = NULL;
    hm_error *error = NULL;
    (void)args;
    hm_status status = hm_build_info(&text, &error);
    return status == HM_OK ? hm_py_text_steal(&text) : hm_py_raise(module, status, &error, NULL);
}

HM_PY_FUNCTION(hm_py_time_from_text) {
    const char *text = NULL;
    int64_t seconds = 0;
    hm_error *error = NULL;
    if (!PyArg_ParseTuple(args, "s:time_from_text", &text)) {
        return NULL;
    }
    hm_status status = hm_time_from_text(text, &seconds, &error);
    return status == HM_OK ? PyLong_FromLongLong(seconds)
                           : hm_py_raise(module, status, &error, NULL);
}

HM_PY_FUNCTION(hm_py_process_harden) {
    (void)module;
    (void)args;
    hm_process_harden();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"_set_make_error", hm_py_set_make_error, METH_O, NULL},
    {"build_info", hm_py_build_info, METH_NOARGS, NULL},
    {"time_from_text", hm_py_time_from_text, METH_VARARGS, NULL},
    {"process_harden", hm_py_process_harden, METH_NOARGS, NULL},
    {"signer_open", hm_py_signer_open, METH_VARARGS, NULL},
    {"signer_set_certificates", hm_py_signer_set_certificates, METH_VARARGS, NULL},
    {"signer_describe", hm_py_signer_describe, METH_VARARGS, NULL},
    {"signer_close", hm_py_signer_close, METH_VARARGS, NULL},
    {"key_generate", hm_py_key_generate, METH_VARARGS, NULL},
    {"key_describe", hm_py_key_describe, METH_VARARGS, NULL},
    {"keyring_rotate", hm_py_keyring_rotate, METH_VARARGS, NULL},
    {"keyring_revoke", hm_py_keyring_revoke, METH_VARARGS, NULL},
    {"keyring_export", hm_py_keyring_export, METH_VARARGS, NULL},
    {"keyring_describe", hm_py_keyring_describe, METH_VARARGS, NULL},
    {"policy_new", hm_py_policy_new, METH_NOARGS, NULL},
    {"policy_load", hm_py_policy_load, METH_VARARGS, NULL},
    {"policy_add_key", hm_py_policy_add_key, METH_VARARGS, NULL},
    {"policy_add_root", hm_py_policy_add_root, METH_VARARGS, NULL},
    {"policy_add_keyring", hm_py_policy_add_keyring, METH_VARARGS, NULL},
    {"policy_require_identity", hm_py_policy_require_identity, METH_VARARGS, NULL},
    {"policy_require_format", hm_py_policy_require_format, METH_VARARGS, NULL},
    {"policy_require_provenance", hm_py_policy_require_provenance, METH_VARARGS, NULL},
    {"policy_allow", hm_py_policy_allow, METH_VARARGS, NULL},
    {"policy_set_time", hm_py_policy_set_time, METH_VARARGS, NULL},
    {"policy_describe", hm_py_policy_describe, METH_VARARGS, NULL},
    {"policy_explain", hm_py_policy_explain, METH_VARARGS, NULL},
    {"report_json", hm_py_report_json, METH_VARARGS, NULL},
    {"report_text", hm_py_report_text, METH_VARARGS, NULL},
    {"report_facts", hm_py_report_facts, METH_VARARGS, NULL},
    {"sign", hm_py_sign, METH_VARARGS, NULL},
    {"verify", hm_py_verify, METH_VARARGS, NULL},
    {"resign", hm_py_resign, METH_VARARGS, NULL},
    {"digest", hm_py_digest, METH_VARARGS, NULL},
    {"inspect", hm_py_inspect, METH_VARARGS, NULL},
    {"view_open", hm_py_view_open, METH_VARARGS, NULL},
    {"view_files", hm_py_view_files, METH_VARARGS, NULL},
    {"view_load", hm_py_view_load, METH_VARARGS, NULL},
    {"view_loaded", hm_py_view_loaded, METH_VARARGS, NULL},
    {"view_fd", hm_py_view_fd, METH_VARARGS, NULL},
    {"view_read", hm_py_view_read, METH_VARARGS, NULL},
    {"config_load", hm_py_config_load, METH_VARARGS, NULL},
    {"config_set", hm_py_config_set, METH_VARARGS, NULL},
    {"config_get", hm_py_config_get, METH_VARARGS, NULL},
    {"config_check_every", hm_py_config_check_every, METH_VARARGS, NULL},
    {"config_describe", hm_py_config_describe, METH_VARARGS, NULL},
    {"recorder_open", hm_py_recorder_open, METH_VARARGS, NULL},
    {"recorder_report", hm_py_recorder_report, METH_VARARGS, NULL},
    {"recorder_key", hm_py_recorder_key, METH_VARARGS, NULL},
    {"recorder_flush", hm_py_recorder_flush, METH_VARARGS, NULL},
    {"recorder_close", hm_py_recorder_close, METH_VARARGS, NULL},
    {"log_read", hm_py_log_read, METH_VARARGS, NULL},
    {"log_verify", hm_py_log_verify, METH_VARARGS, NULL},
    {"log_checkpoint", hm_py_log_checkpoint, METH_VARARGS, NULL},
    {"store_open", hm_py_store_open, METH_VARARGS, NULL},
    {"store_close", hm_py_store_close, METH_VARARGS, NULL},
    {"store_names", hm_py_store_names, METH_VARARGS, NULL},
    {"store_status", hm_py_store_status, METH_VARARGS, NULL},
    {"store_gc", hm_py_store_gc, METH_VARARGS, NULL},
    {"store_check", hm_py_store_check, METH_VARARGS, NULL},
    {"deploy", hm_py_deploy, METH_VARARGS, NULL},
    {"rollback", hm_py_rollback, METH_VARARGS, NULL},
    {"quarantine_describe", hm_py_quarantine_describe, METH_VARARGS, NULL},
    {"quarantine_release", hm_py_quarantine_release, METH_VARARGS, NULL},
    {"quarantine_purge", hm_py_quarantine_purge, METH_VARARGS, NULL},
    {"quarantine_purge_older", hm_py_quarantine_purge_older, METH_VARARGS, NULL},
    {0},
};

/* Flags and numbers of the header, so that there is no second list of their values. */
static const struct {
    const char *name;
    long value;
} constants[] = {
    {"OK", HM_OK},
    {"REFUSED", HM_REFUSED},
    {"USAGE", HM_USAGE},
    {"UNDECIDED", HM_UNDECIDED},
    {"LET_THROUGH", HM_LET_THROUGH},
    {"KEYGEN_PLAIN", HM_KEYGEN_PLAIN},
    {"ROTATE_PLAIN", HM_ROTATE_PLAIN},
    {"ROTATE_REMOVE_OLD_PRIVATE", HM_ROTATE_REMOVE_OLD_PRIVATE},
    {"DESCRIBE_JSON", HM_DESCRIBE_JSON},
    {"IDENTITY_SUBJECT", HM_IDENTITY_SUBJECT},
    {"IDENTITY_SAN", HM_IDENTITY_SAN},
    {"IDENTITY_FINGERPRINT", HM_IDENTITY_FINGERPRINT},
    {"IDENTITY_ORGANISATION", HM_IDENTITY_ORGANISATION},
    {"ALLOW_EXPIRED_CERTIFICATES", HM_ALLOW_EXPIRED_CERTIFICATES},
    {"ALLOW_MISSING_EKU", HM_ALLOW_MISSING_EKU},
    {"ALLOW_OMS_V0_2_0", HM_ALLOW_OMS_V0_2_0},
    {"ALLOW_SYMLINKS", HM_ALLOW_SYMLINKS},
    {"PROVENANCE_ANY", HM_PROVENANCE_ANY},
    {"PROVENANCE_DATASET", HM_PROVENANCE_DATASET},
    {"PROVENANCE_BUILDER", HM_PROVENANCE_BUILDER},
    {"TEXT_LIST", HM_TEXT_LIST},
    {"TEXT_COLOUR", HM_TEXT_COLOUR},
    {"SHARD_SIZE_DEFAULT", HM_SHARD_SIZE_DEFAULT},
    {"SIGN_INCLUDE_GIT", HM_SIGN_INCLUDE_GIT},
    {"SIGN_FOLLOW_SYMLINKS", HM_SIGN_FOLLOW_SYMLINKS},
    {"SIGN_NAME_DOT", HM_SIGN_NAME_DOT},
    {"SIGN_FILES_AND_SHARDS", HM_SIGN_FILES_AND_SHARDS},
    {"SIGN_FILES", HM_SIGN_FILES},
    {"VERIFY_IGNORE_UNSIGNED", HM_VERIFY_IGNORE_UNSIGNED},
    {"VERIFY_FAIL_FAST", HM_VERIFY_FAIL_FAST},
    {"VERIFY_STRICT_PATHS", HM_VERIFY_STRICT_PATHS},
    {"VERIFY_INCLUDE_GIT", HM_VERIFY_INCLUDE_GIT},
    {"POLICY_JSON", HM_POLICY_JSON},
    {"DIGEST_INCLUDE_GIT", HM_DIGEST_INCLUDE_GIT},
    {"DIGEST_FOLLOW_SYMLINKS", HM_DIGEST_FOLLOW_SYMLINKS},
    {"DIGEST_PATH_ORDER", HM_DIGEST_PATH_ORDER},
    {"CONFIG_JSON", HM_CONFIG_JSON},
    {"LOG_JSON", HM_LOG_JSON},
    {"STORE_CREATE", HM_STORE_CREATE},
    {"STORE_READ", HM_STORE_READ},
    {"STORE_JSON", HM_STORE_JSON},
    {"DEPLOY_DRY_RUN", HM_DEPLOY_DRY_RUN},
    {"DEPLOY_NO_SWITCH", HM_DEPLOY_NO_SWITCH},
    {"DEPLOY_FULL", HM_DEPLOY_FULL},
    {"GATE_LEAVE_BAD", HM_GATE_LEAVE_BAD},
    {"GATE_ROUTINE", HM_GATE_ROUTINE},
    {"GC_DRY_RUN", HM_GC_DRY_RUN},
    {"VIEW_UNTOUCHED", HM_VIEW_UNTOUCHED},
};

static int fill(PyObject *module) {
    int failed = PyModule_AddStringConstant(module, "VERSION", hm_version());
    failed |= PyModule_AddStringConstant(module, "POLICY_FILE", HM_POLICY_FILE);
    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]) && failed == 0; i++) {
        failed = PyModule_AddIntConstant(module, constants[i].name, constants[i].value);
    }
    return failed;
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
    const hm_py_state *state = PyModule_GetState(module);
    if (state != NULL) {
        Py_VISIT(state->make_error);
    }
    return 0;
}

static int clear(PyObject *module) {
    hm_py_state *state = PyModule_GetState(module);
    if (state != NULL) {
        Py_CLEAR(state->make_error);
    }
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)fill},
    {0},
};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "hallmark._core",
    .m_doc = "libhallmark, function by function; use the package hallmark.",
    .m_size = sizeof(hm_py_state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void) {
    return PyModuleDef_Init(&definition);
}
