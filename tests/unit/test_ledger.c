/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger from within: who may make it, when a checkpoint is due, what the chain says. */
#include "record/chain.h"
#include "record/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];
static char path[96];
static char key[96];

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/hm-ledger-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/ledger.db", folder);
    snprintf(key, sizeof key, "%s/key.pem", folder);
    hm_keygen_options how = HM_KEYGEN_OPTIONS_INIT;
    how.flags = HM_KEYGEN_PLAIN;
    return hm_key_generate(key, NULL, &how, NULL) == HM_OK ? 0 : -1;
}

static int tear_down(void **state) {
    static const char *const names[] = {"ledger.db", "key.pem", "key.pub", "kept"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s/%s", folder, names[i]);
        unlink(name);
    }
    return rmdir(folder);
}

static void append(hm_ledger *ledger, size_t count) {
    for (size_t i = 0; i < count; i++) {
        hm_auto_event event = {.host = NULL};
        const hm_event *one[] = {&event};
        assert_int_equal(hm_event_init(&event, HM_EVENT_VERIFIED, NULL), HM_OK);
        assert_int_equal(hm_ledger_append(ledger, one, 1, NULL), HM_OK);
    }
}

static void test_only_who_may_makes_it(void **state) {
    hm_auto_ledger ledger = NULL;
    hm_auto_error error = NULL;
    (void)state;
    assert_int_equal(hm_ledger_open(path, 0, &ledger, NULL), HM_UNDECIDED);
    assert_int_equal(hm_ledger_open(path, HM_LEDGER_READ, &ledger, NULL), HM_UNDECIDED);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(hm_ledger_open(path, HM_LEDGER_CREATE, &ledger, &error), HM_OK);
    assert_int_equal(hm_ledger_ready(ledger, &error), HM_OK);
    assert_string_equal(hm_ledger_place(ledger), path);
    hm_ledger_close(&ledger);
    assert_int_equal(hm_ledger_open(path, HM_LEDGER_READ, &ledger, &error), HM_OK);
    hm_auto_event event = {.host = NULL};
    const hm_event *one[] = {&event};
    assert_int_equal(hm_event_init(&event, HM_EVENT_SIGNED, NULL), HM_OK);
    assert_int_equal(hm_ledger_append(ledger, one, 1, &error), HM_UNDECIDED);
    assert_int_equal(hm_ledger_ready(ledger, NULL), HM_UNDECIDED);
}

static void test_where_it_is(void **state) {
    hm_auto_ledger ledger = NULL;
    hm_auto_error error = NULL;
    hm_config config = {.store = NULL};
    (void)state;
    assert_int_equal(hm_ledger_open_configured(&config, HM_LEDGER_CREATE, &ledger, &error), HM_OK);
    assert_null(ledger);
    config.store = folder;
    assert_int_equal(hm_ledger_open_configured(&config, HM_LEDGER_CREATE, &ledger, &error), HM_OK);
    assert_string_equal(hm_ledger_place(ledger), path);
    hm_ledger_close(&ledger);
    config.ledger = (char *)(uintptr_t) "sqlite:/none/x";
    assert_int_equal(hm_ledger_open_configured(&config, 0, &ledger, &error), HM_UNDECIDED);
    assert_null(ledger);
}

/* One event that cannot be written, and none of them is there. */
static void test_all_or_none(void **state) {
    hm_auto_ledger ledger = NULL;
    hm_auto_event good = {.host = NULL}, bad = {.host = NULL};
    const hm_event *both[] = {&good, &bad};
    hm_ledger_head head;
    (void)state;
    assert_int_equal(hm_ledger_open(path, HM_LEDGER_CREATE, &ledger, NULL), HM_OK);
    assert_int_equal(hm_event_init(&good, HM_EVENT_SIGNED, NULL), HM_OK);
    assert_int_equal(hm_event_init(&bad, HM_EVENT_SIGNED, NULL), HM_OK);
    bad.time = -5;
    assert_int_not_equal(hm_ledger_append(ledger, both, 2, NULL), HM_OK);
    assert_int_equal(hm_ledger_find_head(ledger, &head, NULL), HM_OK);
    assert_int_equal(head.sequence, 0);
    assert_int_equal(hm_ledger_append(ledger, both, 1, NULL), HM_OK);
    assert_int_equal(hm_ledger_append(ledger, both, 0, NULL), HM_OK);
    assert_int_equal(hm_ledger_find_head(ledger, &head, NULL), HM_OK);
    assert_int_equal(head.sequence, 1);
}

static bool due(hm_ledger *ledger, uint64_t every) {
    bool answer = false;
    assert_int_equal(hm_ledger_checkpoint_due(ledger, every, &answer, NULL), HM_OK);
    return answer;
}

static void test_when_a_checkpoint_is_due(void **state) {
    hm_auto_ledger ledger = NULL;
    HM_CLEANUP(hm_signer_close) hm_signer *signer = NULL;
    char kept[96];
    (void)state;
    snprintf(kept, sizeof kept, "%s/kept", folder);
    assert_int_equal(hm_signer_open(key, NULL, &signer, NULL), HM_OK);
    assert_int_equal(hm_ledger_open(path, HM_LEDGER_CREATE, &ledger, NULL), HM_OK);
    assert_false(due(ledger, 1));
    append(ledger, 2);
    assert_true(due(ledger, 1));
    assert_true(due(ledger, 2));
    assert_false(due(ledger, 3));
    assert_int_equal(hm_ledger_checkpoint(ledger, signer, kept, NULL), HM_OK);
    assert_false(due(ledger, 1));
    append(ledger, 3);
    assert_true(due(ledger, 3));
    assert_false(due(ledger, 4));
    assert_int_equal(hm_ledger_checkpoint(ledger, signer, kept, NULL), HM_OK);
    assert_false(due(ledger, 1));
}

static hm_status count_finding(void *context, int64_t sequence, const char *text,
                               hm_error **error) {
    (void)sequence;
    (void)text;
    (void)error;
    ++*(int *)context;
    return HM_OK;
}

static void test_the_chain_from_its_middle(void **state) {
    hm_auto_ledger ledger = NULL;
    hm_auto_entries page = {.list = NULL};
    hm_entry_query all = {.after = 0};
    int findings = 0;
    (void)state;
    assert_int_equal(hm_ledger_open(path, HM_LEDGER_CREATE, &ledger, NULL), HM_OK);
    append(ledger, 4);
    assert_int_equal(hm_ledger_read(ledger, &all, &page, NULL), HM_OK);
    assert_int_equal(page.count, 4);
    hm_chain chain = {.sequence = 2, .find = count_finding, .context = &findings};
    memcpy(chain.digest, page.list[1].digest, sizeof chain.digest);
    assert_int_equal(hm_chain_follow(&chain, ledger, NULL), HM_OK);
    assert_int_equal(findings, 0);
    assert_int_equal(chain.sequence, 4);
    assert_int_equal(chain.entries, 2);
    assert_string_equal(chain.digest, page.list[3].digest);
    hm_chain other = {.sequence = 2, .find = count_finding, .context = &findings};
    memcpy(other.digest, page.list[0].digest, sizeof other.digest);
    assert_int_equal(hm_chain_follow(&other, ledger, NULL), HM_OK);
    assert_int_equal(findings, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_who_may_makes_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_where_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_all_or_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_when_a_checkpoint_is_due, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_chain_from_its_middle, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
