/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that read models. What a call takes and what becomes of it lie together on the heap. */
#include "core.h"

/* ---- sign ----------------------------------------------------------------------------------- */

typedef struct sign_call {
    hm_py_call call;
    hm_py_texts paths, ignore, parts;
    hm_signer *signer;
    hm_sign_options how;
} sign_call;

static void sign_work(hm_py_call *call) {
    sign_call *c = (sign_call *)call; /* its first member */
    hm_model **models = calloc(c->paths.count, sizeof(*models));
    hm_status status = models != NULL ? HM_OK : HM_UNDECIDED;
    for (size_t i = 0; i < c->paths.count && status == HM_OK; i++) {
        status = hm_model_open(c->paths.list[i], &models[i], &call->error);
    }
    if (status == HM_OK) {
        status = hm_sign(models, c->paths.count, c->signer, &c->how, &call->report, &call->error);
    }
    for (size_t i = 0; models != NULL && i < c->paths.count; i++) {
        hm_model_close(&models[i]);
    }
    free(models);
    call->status = status;
}

static bool sign_parse(PyObject *args, sign_call *c, PyObject **signer, PyObject **progress) {
    hm_sign_options *how = &c->how;
    return PyArg_ParseTuple(args, "O&OO&O&zzO&O&zO&zO&O&O&O&O&O&O:sign", hm_py_texts_take,
                            &c->paths, signer, hm_py_uint64, &how->flags, hm_py_path,
                            &how->signature, &how->format, &how->hash, hm_py_uint64,
                            &how->shard_size, hm_py_texts_take, &c->ignore, &how->signer_id,
                            hm_py_uint64, &how->key_version, &how->metadata, hm_py_path,
                            &how->metadata_file, hm_py_unsigned, &how->jobs, hm_py_path,
                            &how->shards_signature, hm_py_texts_take, &c->parts, hm_py_path,
                            &how->reuse, hm_py_path, &how->provenance, progress);
}

static PyObject *sign_run(PyObject *module, sign_call *c, PyObject *capsule, PyObject *progress) {
    hm_py_signer *signer = hm_py_signer_begin(capsule);
    if (signer == NULL) {
        return NULL;
    }
    c->signer = signer->signer;
    c->how.ignore = c->ignore.list;
    c->how.ignore_count = c->ignore.count;
    c->how.parts = c->parts.list;
    c->how.parts_count = c->parts.count;
    c->how.progress = hm_py_progress;
    c->how.progress_context = &c->call;
    c->call.work = sign_work;
    bool ran = hm_py_run(&c->call, progress);
    ran = hm_py_signer_end(signer) && ran;
    return hm_py_outcome(module, &c->call, ran, "sign",
                         c->paths.count > 0 ? c->paths.list[0] : NULL);
}

HM_PY_FUNCTION(hm_py_sign) {
    PyObject *signer;
    PyObject *progress;
    PyObject *result = NULL;
    sign_call *c = PyMem_Calloc(1, sizeof(*c));
    if (c == NULL) {
        return PyErr_NoMemory();
    }
    c->how = (hm_sign_options)HM_SIGN_OPTIONS_INIT;
    if (sign_parse(args, c, &signer, &progress)) {
        result = sign_run(module, c, signer, progress);
        hm_py_texts_free(&c->paths);
        hm_py_texts_free(&c->ignore);
        hm_py_texts_free(&c->parts);
    }
    PyMem_Free(c);
    return result;
}

/* ---- verify --------------------------------------------------------------------------------- */

typedef struct verify_call {
    hm_py_call call;
    const char *path;
    hm_py_texts ignore, signatures;
    const hm_policy *policy;
    hm_verify_options how;
} verify_call;

static void verify_work(hm_py_call *call) {
    verify_call *c = (verify_call *)call;
    hm_model *model = NULL;
    hm_status status = hm_model_open(c->path, &model, &call->error);
    if (status == HM_OK) {
        status = hm_verify(model, c->policy, &c->how, &call->report, &call->error);
    }
    hm_model_close(&model);
    call->status = status;
}

static bool verify_parse(PyObject *args, verify_call *c, PyObject **policy, PyObject **progress) {
    hm_verify_options *how = &c->how;
    return PyArg_ParseTuple(args, "O&OO&O&O&O&O&O&O:verify", hm_py_path, &c->path, policy,
                            hm_py_uint64, &how->flags, hm_py_texts_take, &c->signatures,
                            hm_py_texts_take, &c->ignore, hm_py_path, &how->expected_name,
                            hm_py_unsigned, &how->jobs, hm_py_path, &how->provenance, progress);
}

static PyObject *verify_run(PyObject *module, verify_call *c, PyObject *capsule,
                            PyObject *progress) {
    hm_py_policy *policy = hm_py_policy_begin(capsule);
    if (policy == NULL) {
        return NULL;
    }
    c->policy = policy->policy;
    if (c->signatures.count == 1) {
        c->how.signature = c->signatures.list[0];
    } else {
        c->how.signatures = c->signatures.list;
        c->how.signature_count = c->signatures.count;
    }
    c->how.ignore = c->ignore.list;
    c->how.ignore_count = c->ignore.count;
    c->how.progress = hm_py_progress;
    c->how.progress_context = &c->call;
    c->call.work = verify_work;
    bool ran = hm_py_run(&c->call, progress);
    hm_py_policy_end(policy);
    return hm_py_outcome(module, &c->call, ran, "verify", c->path);
}

HM_PY_FUNCTION(hm_py_verify) {
    PyObject *policy;
    PyObject *progress;
    PyObject *result = NULL;
    verify_call *c = PyMem_Calloc(1, sizeof(*c));
    if (c == NULL) {
        return PyErr_NoMemory();
    }
    c->how = (hm_verify_options)HM_VERIFY_OPTIONS_INIT;
    if (verify_parse(args, c, &policy, &progress)) {
        result = verify_run(module, c, policy, progress);
        hm_py_texts_free(&c->ignore);
        hm_py_texts_free(&c->signatures);
    }
    PyMem_Free(c);
    return result;
}

/* ---- resign --------------------------------------------------------------------------------- */

typedef struct resign_call {
    hm_py_call call;
    const char *path;
    const hm_policy *policy;
    hm_signer *signer;
    hm_resign_options how;
} resign_call;

static void resign_work(hm_py_call *call) {
    resign_call *c = (resign_call *)call;
    hm_model *model = NULL;
    hm_status status = hm_model_open(c->path, &model, &call->error);
    if (status == HM_OK) {
        status = hm_resign(model, c->policy, c->signer, &c->how, &call->report, &call->error);
    }
    hm_model_close(&model);
    call->status = status;
}

static PyObject *resign_run(PyObject *module, resign_call *c, PyObject *policy_capsule,
                            PyObject *signer_capsule, PyObject *progress) {
    hm_py_signer *signer = hm_py_signer_begin(signer_capsule);
    if (signer == NULL) {
        return NULL;
    }
    hm_py_policy *policy = hm_py_policy_begin(policy_capsule);
    if (policy == NULL) {
        signer->busy = false;
        return NULL;
    }
    c->signer = signer->signer;
    c->policy = policy->policy;
    c->how.progress = hm_py_progress;
    c->how.progress_context = &c->call;
    c->call.work = resign_work;
    bool ran = hm_py_run(&c->call, progress);
    hm_py_policy_end(policy);
    ran = hm_py_signer_end(signer) && ran;
    return hm_py_outcome(module, &c->call, ran, "resign", c->path);
}

HM_PY_FUNCTION(hm_py_resign) {
    PyObject *policy;
    PyObject *signer;
    PyObject *progress;
    PyObject *result = NULL;
    resign_call *c = PyMem_Calloc(1, sizeof(*c));
    if (c == NULL) {
        return PyErr_NoMemory();
    }
    c->how = (hm_resign_options)HM_RESIGN_OPTIONS_INIT;
    if (PyArg_ParseTuple(args, "O&OOO&O:resign", hm_py_path, &c->path, &policy, &signer,
                         hm_py_unsigned, &c->how.jobs, &progress)) {
        result = resign_run(module, c, policy, signer, progress);
    }
    PyMem_Free(c);
    return result;
}

/* ---- digest --------------------------------------------------------------------------------- */

typedef struct digest_call {
    hm_py_call call;
    const char *path;
    hm_py_texts ignore;
    hm_digest_options how;
} digest_call;

static void digest_work(hm_py_call *call) {
    digest_call *c = (digest_call *)call;
    hm_model *model = NULL;
    hm_status status = hm_model_open(c->path, &model, &call->error);
    if (status == HM_OK) {
        status = hm_digest(model, &c->how, &call->report, &call->error);
    }
    hm_model_close(&model);
    call->status = status;
}

static bool digest_parse(PyObject *args, digest_call *c, PyObject **progress) {
    hm_digest_options *how = &c->how;
    return PyArg_ParseTuple(args, "O&O&zO&O&O&O&O&O&O:digest", hm_py_path, &c->path, hm_py_uint64,
                            &how->flags, &how->hash, hm_py_uint64, &how->shard_size,
                            hm_py_texts_take, &c->ignore, hm_py_unsigned, &how->jobs,
                            hm_py_unsigned, &how->part, hm_py_unsigned, &how->part_count,
                            hm_py_path, &how->out, progress);
}

HM_PY_FUNCTION(hm_py_digest) {
    PyObject *progress;
    PyObject *result = NULL;
    digest_call *c = PyMem_Calloc(1, sizeof(*c));
    if (c == NULL) {
        return PyErr_NoMemory();
    }
    c->how = (hm_digest_options)HM_DIGEST_OPTIONS_INIT;
    if (digest_parse(args, c, &progress)) {
        c->how.ignore = c->ignore.list;
        c->how.ignore_count = c->ignore.count;
        c->how.progress = hm_py_progress;
        c->how.progress_context = &c->call;
        c->call.work = digest_work;
        bool ran = hm_py_run(&c->call, progress);
        result = hm_py_outcome(module, &c->call, ran, "digest", c->path);
        hm_py_texts_free(&c->ignore);
    }
    PyMem_Free(c);
    return result;
}

/* ---- inspect -------------------------------------------------------------------------------- */

HM_PY_FUNCTION(hm_py_inspect) {
    const char *path = NULL;
    hm_py_call call = {.status = HM_UNDECIDED};
    if (!PyArg_ParseTuple(args, "O&:inspect", hm_py_path, &path)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    call.status = hm_inspect(path, &call.report, &call.error);
    Py_END_ALLOW_THREADS;
    return hm_py_outcome(module, &call, true, "inspect", NULL);
}
