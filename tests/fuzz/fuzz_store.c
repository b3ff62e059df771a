/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's own files, which somebody else may have written to: version.json, state.json,
 * journal.json and entry.json. What is taken of them names nothing outside its place, and is the
 * same after it was written and read.
 */
#include "deploy/store.h"
#include "fuzz.h"

#include <fcntl.h>

/* A store of one model, in which the input is each of the files in turn. */
static char folder[] = "/tmp/hallmark-fuzz-XXXXXX";
static const char *const folders[] = {"models", "models/m", "quarantine",
                                      "quarantine/0123456789ab"};
enum { FOLDERS = sizeof(folders) / sizeof(folders[0]) };
static char name[] = "m";
static char relative[] = "models/m";
static struct hm_store store = {.path = folder, .fd = -1};
static hm_slot slot = {.store = &store, .name = name, .relative = relative, .lock = -1};

static void remove_store(void) {
    for (size_t i = FOLDERS; i-- > 0;) {
        (void)unlinkat(store.fd, folders[i], AT_REMOVEDIR);
    }
    (void)rmdir(folder);
    hm_fd_close(&store.fd);
}

static void make_store(void) {
    if (store.fd >= 0) {
        return;
    }
    FUZZ_CHECK(mkdtemp(folder) != NULL);
    store.fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < FOLDERS; i++) {
        FUZZ_CHECK(mkdirat(store.fd, folders[i], 0700) == 0);
    }
    FUZZ_CHECK(atexit(remove_store) == 0);
}

static void put(const char *path, hm_bytes input) {
    hm_auto_fd fd = openat(store.fd, path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0 && write(fd, input.data, input.length) == (ssize_t)input.length);
}

static bool is_hex(const char *text, size_t digits) {
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

static bool is_single(const char *file) {
    return file == NULL || (strchr(file, '/') == NULL && !fuzz_leads_outside(file));
}

/* ---- version.json --------------------------------------------------------------------------- */

static void check_version(const hm_stored *version) {
    FUZZ_CHECK(is_hex(version->digest, HM_VERSION_DIGITS) && is_hex(version->id, HM_STORE_ID_SIZE));
    FUZZ_CHECK(is_single(version->file));
    for (size_t i = 0; i < version->count; i++) {
        FUZZ_CHECK(!fuzz_leads_outside(version->files[i].name));
    }
    for (size_t i = 0; i < version->proof_count; i++) {
        FUZZ_CHECK(!fuzz_leads_outside(version->proofs[i].name));
        FUZZ_CHECK(is_hex(version->proofs[i].digest, 64));
    }
}

static void fuzz_version(hm_bytes input) {
    static const char path[] = "models/m/version.json";
    hm_auto_error error = NULL;
    hm_auto_stored version = {.source = NULL};
    hm_auto_stored again = {.source = NULL};
    hm_auto_buf text = {0};
    hm_auto_buf twice = {0};
    put(path, input);
    hm_status status = hm_stored_read(&store, relative, NULL, &version, &error);
    fuzz_outcome(status, &error);
    if (status == HM_OK) {
        check_version(&version);
        FUZZ_CHECK(hm_stored_write(&version, &text, &error) == HM_OK);
        put(path, hm_buf_view(&text));
        FUZZ_CHECK(hm_stored_read(&store, relative, version.digest, &again, &error) == HM_OK);
        FUZZ_CHECK(hm_stored_write(&again, &twice, &error) == HM_OK);
        FUZZ_CHECK(hm_bytes_equal(hm_buf_view(&text), hm_buf_view(&twice)));
    }
    (void)unlinkat(store.fd, path, 0);
}

/* ---- state.json ----------------------------------------------------------------------------- */

static bool is_version_or_none(const char *text) {
    return text[0] == '\0' || is_hex(text, HM_VERSION_DIGITS);
}

static void fuzz_slot_state(hm_bytes input) {
    static const char path[] = "models/m/state.json";
    hm_auto_error error = NULL;
    hm_slot_state state = {0};
    put(path, input);
    hm_status status = hm_slot_state_read(&slot, &state, &error);
    fuzz_outcome(status, &error);
    for (size_t i = 0; i < state.count && status == HM_OK; i++) {
        FUZZ_CHECK(is_version_or_none(state.history[i].version));
        FUZZ_CHECK(is_version_or_none(state.history[i].previous));
    }
    for (size_t i = 0; i < state.verdict_count && status == HM_OK; i++) {
        FUZZ_CHECK(is_version_or_none(state.verdicts[i].version));
    }
    FUZZ_CHECK(state.count <= HM_STORE_HISTORY_LIMIT);
    hm_slot_state_free(&state);
    (void)unlinkat(store.fd, path, 0);
}

/* ---- entry.json and journal.json ------------------------------------------------------------ */

static void check_held(const hm_held *held) {
    FUZZ_CHECK(is_hex(held->id, HM_STORE_ID_SIZE) && is_single(held->file));
}

static void fuzz_held(hm_bytes input) {
    static const char path[] = "quarantine/0123456789ab/entry.json";
    hm_auto_error error = NULL;
    hm_auto_held held = {.model = NULL};
    put(path, input);
    hm_status status = hm_held_read(&store, "0123456789ab", &held, &error);
    fuzz_outcome(status, &error);
    if (status == HM_OK) {
        check_held(&held);
    }
    (void)unlinkat(store.fd, path, 0);
}

static hm_status parse_plan(hm_bytes input, hm_plan *plan, hm_error **error) {
    hm_auto_json doc = NULL;
    hm_status status = hm_json_parse(input, "journal", &doc, error);
    if (status == HM_OK && hm_json_root(doc)->type != HM_JSON_OBJECT) {
        return hm_fail(error, HM_REFUSED, HM_REASON_MALFORMED, "no object");
    }
    return status == HM_OK ? hm_plan_parse(hm_json_root(doc), "journal", plan, error) : status;
}

static void check_plan(const hm_plan *plan) {
    FUZZ_CHECK(plan->staged == NULL || !fuzz_leads_outside(plan->staged));
    FUZZ_CHECK(plan->held_path == NULL || !fuzz_leads_outside(plan->held_path));
    FUZZ_CHECK(is_version_or_none(plan->install) && is_version_or_none(plan->to));
    for (size_t i = 0; i < plan->removed.count; i++) {
        FUZZ_CHECK(!fuzz_leads_outside(plan->removed.list[i]));
    }
    if (plan->held != NULL) {
        check_held(plan->held);
    }
}

static void fuzz_journal(hm_bytes input) {
    hm_auto_error error = NULL;
    hm_auto_plan plan = {.staged = NULL};
    hm_auto_plan again = {.staged = NULL};
    hm_auto_buf text = {0};
    hm_auto_buf twice = {0};
    hm_status status = parse_plan(input, &plan, &error);
    fuzz_verdict(status, &error);
    if (status == HM_OK) {
        check_plan(&plan);
        FUZZ_CHECK(hm_plan_write(&plan, &text, &error) == HM_OK);
        FUZZ_CHECK(parse_plan(hm_buf_view(&text), &again, &error) == HM_OK);
        FUZZ_CHECK(hm_plan_write(&again, &twice, &error) == HM_OK);
        FUZZ_CHECK(hm_bytes_equal(hm_buf_view(&text), hm_buf_view(&twice)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hm_bytes input = hm_bytes_of(data, size);
    make_store();
    fuzz_version(input);
    fuzz_slot_state(input);
    fuzz_held(input);
    fuzz_journal(input);
    return 0;
}
