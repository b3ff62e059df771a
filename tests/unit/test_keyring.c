/* SPDX-License-Identifier: Apache-2.0 */
/* Keyrings: times, texts, keyring.json, which version signs; policies that believe an export. */
#include "key/keyring.h"
#include "trust/keyring_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define A_KEY "0000000000000000000000000000000000000000000000000000000000000001"
#define B_KEY "0000000000000000000000000000000000000000000000000000000000000002"

/* ---- times and texts ------------------------------------------------------------------------ */

static void test_times_are_read(void **state) {
    static const struct {
        const char *text;
        int64_t time;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-01-05T20:31:07Z", 1767645067},
        {"2024-02-29T23:59:59Z", 1709251199},
        {"9999-12-31T23:59:59Z", 253402300799},
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t time = -1;
        assert_true(hm_time_parse(hm_bytes_text(good[i].text), &time));
        assert_int_equal(time, good[i].time);
    }
}

static void test_other_spellings_of_times_are_refused(void **state) {
    static const char *const bad[] = {
        "",
        "2026-01-05",
        "2026-01-05T20:31:07",
        "2026-01-05T20:31:07z",
        "2026-01-05 20:31:07Z",
        "2026-01-05T20:31:07.0Z",
        "2026-01-05T20:31:07+00:00",
        " 2026-01-05T20:31:07Z",
        "2026-01-05T20:31:07Z ",
        "2026-02-29T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "+026-01-05T20:31:07Z",
        "2026-1-005T20:31:07Z",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t time = 4711;
        assert_false(hm_time_parse(hm_bytes_text(bad[i]), &time));
        assert_int_equal(time, 4711);
    }
}

static void test_times_of_people(void **state) {
    int64_t time = 0;
    (void)state;
    assert_int_equal(setenv("HALLMARK_TIME", "1000000", 1), 0);
    assert_int_equal(hm_time_from_text("90d", &time, NULL), HM_OK);
    assert_int_equal(time, 1000000 + 90 * 86400);
    assert_int_equal(hm_time_from_text("2026-01-05", &time, NULL), HM_OK);
    assert_int_equal(time, 1767571200);
    static const char *const bad[] = {"",     "d",      "90",      "90h", "-1d",
                                      "1.5d", "36501d", "999999d", "90dd"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(hm_time_from_text(bad[i], &time, NULL), HM_USAGE);
    }
    assert_int_equal(setenv("HALLMARK_TIME", "soon", 1), 0);
    assert_int_equal(hm_time_from_text("90d", &time, NULL), HM_USAGE);
    assert_int_equal(unsetenv("HALLMARK_TIME"), 0);
}

static void test_lines_of_text(void **state) {
    (void)state;
    char longest[HM_KEYRING_TEXT_LIMIT + 2];
    memset(longest, 'x', sizeof longest);
    longest[HM_KEYRING_TEXT_LIMIT + 1] = '\0';
    assert_false(hm_keyring_text_valid(hm_bytes_text(longest)));
    longest[HM_KEYRING_TEXT_LIMIT] = '\0';
    assert_true(hm_keyring_text_valid(hm_bytes_text(longest)));
    assert_true(hm_keyring_text_valid(hm_bytes_text("Acme \xc3\xbc training")));
    static const char *const bad[] = {"",     "a\nb", "\x1b[1m", "\xff", "\xe2\x80\xae",
                                      "a\\b", "\x7f"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(hm_keyring_text_valid(hm_bytes_text(bad[i])));
    }
    assert_false(hm_keyring_text_valid(hm_bytes_of("a\0b", 3)));
    assert_true(hm_keyring_base_valid(hm_bytes_text("signing_key-2.x")));
    static const char *const not_base[] = {"",   ".x",  "_x",       "-x", "a/b",
                                           "..", "a b", "\xc3\xbc", "a*"};
    for (size_t i = 0; i < sizeof not_base / sizeof not_base[0]; i++) {
        assert_false(hm_keyring_base_valid(hm_bytes_text(not_base[i])));
    }
    assert_false(hm_keyring_base_valid(hm_bytes_of("a\0b", 3)));
}

/* ---- which version signs -------------------------------------------------------------------- */

static hm_keyring_entry entry_of(uint64_t version, int64_t from, const char *fingerprint) {
    hm_keyring_entry entry = {.version = version,
                              .created = HM_TIME_ALWAYS,
                              .signs_from = from,
                              .not_after = HM_TIME_NEVER,
                              .algorithm = hm_strdup("ec-p256")};
    memcpy(entry.fingerprint, fingerprint, sizeof entry.fingerprint);
    assert_non_null(entry.algorithm);
    return entry;
}

static void fill(hm_keyring *ring, int64_t first, int64_t second) {
    hm_keyring_entry one = entry_of(1, first, A_KEY), two = entry_of(2, second, B_KEY);
    ring->signer = hm_strdup("acme");
    ring->base = hm_strdup("key");
    assert_int_equal(hm_keyring_add(ring, &one, NULL), HM_OK);
    assert_int_equal(hm_keyring_add(ring, &two, NULL), HM_OK);
}

static void test_the_newest_that_has_begun_signs(void **state) {
    (void)state;
    hm_auto_keyring ring = {.path = NULL};
    fill(&ring, 100, 200);
    assert_null(hm_keyring_signing(&ring, 99));
    assert_int_equal(hm_keyring_signing(&ring, 100)->version, 1);
    assert_int_equal(hm_keyring_signing(&ring, 199)->version, 1);
    assert_int_equal(hm_keyring_signing(&ring, 200)->version, 2);
    assert_string_equal(hm_keyring_status(&ring, &ring.entries[0], 200), "old");
    assert_string_equal(hm_keyring_status(&ring, &ring.entries[1], 199), "coming");
    assert_string_equal(hm_keyring_status(&ring, &ring.entries[1], 200), "signing");
    ring.entries[1].not_after = 300;
    assert_string_equal(hm_keyring_status(&ring, &ring.entries[1], 300), "signing");
    assert_string_equal(hm_keyring_status(&ring, &ring.entries[1], 301), "expired");
    ring.entries[1].revoked = true;
    ring.entries[1].reason = hm_strdup("x");
    assert_string_equal(hm_keyring_status(&ring, &ring.entries[1], 301), "revoked");
    assert_int_equal(hm_keyring_signing(&ring, 301)->version, 2); /* no stepping back */
}

static void test_an_emergency_overtakes_what_is_to_come(void **state) {
    (void)state;
    hm_auto_keyring ring = {.path = NULL};
    fill(&ring, 500, 200);
    assert_int_equal(hm_keyring_signing(&ring, 300)->version, 2);
    assert_int_equal(hm_keyring_signing(&ring, 600)->version, 2);
}

static void test_what_is_written_is_read(void **state) {
    (void)state;
    hm_auto_keyring ring = {.path = NULL}, again = {.path = NULL};
    hm_auto_buf first = {0}, second = {0};
    fill(&ring, HM_TIME_ALWAYS, 1767645067);
    ring.exports = HM_KEYRING_NUMBER_LIMIT;
    ring.entries[0].revoked = true;
    ring.entries[0].revoked_since = 0;
    ring.entries[0].reason = hm_strdup("lost \"it\"");
    ring.entries[1].not_after = 253402300799;
    assert_int_equal(hm_keyring_print(&ring, &first, NULL), HM_OK);
    assert_int_equal(hm_keyring_parse(hm_buf_view(&first), "x", &again, NULL), HM_OK);
    assert_int_equal(again.entries[0].signs_from, HM_TIME_ALWAYS);
    assert_string_equal(again.entries[0].reason, "lost \"it\"");
    assert_int_equal(hm_keyring_print(&again, &second, NULL), HM_OK);
    assert_true(hm_bytes_equal(hm_buf_view(&first), hm_buf_view(&second)));
}

/* ---- policies ------------------------------------------------------------------------------- */

static char folder[64];

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/hallmark-keyring-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    return setenv("HALLMARK_STATE_DIR", folder, 1);
}

static int tear_down(void **state) {
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return unsetenv("HALLMARK_STATE_DIR") | system(command);
}

static const char *in_folder(const char *name) {
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static hm_signer *make_admin(void) {
    hm_keygen_options how = HM_KEYGEN_OPTIONS_INIT;
    hm_signer *admin = NULL;
    how.flags = HM_KEYGEN_PLAIN;
    assert_int_equal(hm_key_generate(in_folder("admin.pem"), NULL, &how, NULL), HM_OK);
    assert_int_equal(hm_signer_open(in_folder("admin.pem"), NULL, &admin, NULL), HM_OK);
    return admin;
}

static void make_export(int64_t expires) {
    hm_rotate_options how = HM_ROTATE_OPTIONS_INIT;
    hm_signer *admin = make_admin();
    uint64_t number = 0;
    how.flags = HM_ROTATE_PLAIN;
    how.signer = "acme";
    assert_int_equal(hm_keyring_rotate(in_folder("ring"), &how, NULL, NULL), HM_OK);
    assert_int_equal(hm_keyring_rotate(in_folder("ring"), &how, NULL, NULL), HM_OK);
    assert_int_equal(hm_keyring_revoke(in_folder("ring"), 1, 1767645067, "lost", NULL), HM_OK);
    assert_int_equal(hm_keyring_export(in_folder("ring"), admin, in_folder("file"), expires,
                                       &number, NULL),
                     HM_OK);
    assert_int_equal(number, 1);
    hm_signer_close(&admin);
}

/* Keys are believed no longer than the export that speaks for them. */
static void test_a_policy_takes_an_export_up(void **state) {
    (void)state;
    hm_policy *policy = NULL;
    const int64_t expires = 253402300799;
    make_export(expires);
    assert_int_equal(hm_policy_new(&policy, NULL), HM_OK);
    assert_int_equal(hm_policy_add_keyring(policy, in_folder("file"), in_folder("admin.pub"), NULL,
                                           NULL),
                     HM_OK);
    const hm_trusted_signer *signer = &policy->signers[0];
    assert_int_equal(signer->key_count, 2);
    assert_int_equal(signer->keys[1].version, 2);
    assert_int_equal(signer->keys[1].not_after, expires);
    assert_int_equal(policy->revocation_count, 1);
    assert_string_equal(policy->revocations[0].fingerprint, signer->keys[0].key->fingerprint);
    assert_string_equal(policy->revocations[0].reason, "lost");
    assert_int_equal(policy->revocations[0].since, 1767645067);
    assert_int_equal(policy->warning_count, 0);
    hm_policy_free(&policy);
}

static hm_reason refusal(hm_policy *policy, hm_trusted_signer *signer) {
    hm_auto_error error = NULL;
    assert_int_equal(hm_trusted_signer_add_keyring(policy, signer, in_folder("file"),
                                                   in_folder("admin.pub"), NULL, &error),
                     HM_REFUSED);
    assert_int_equal(signer->key_count, 0);
    return hm_error_reason(error);
}

static void test_a_named_signer_takes_only_his_own(void **state) {
    (void)state;
    hm_policy *policy = NULL;
    hm_trusted_signer *other = NULL, *acme = NULL;
    make_export(253402300799);
    assert_int_equal(hm_policy_new(&policy, NULL), HM_OK);
    assert_int_equal(hm_policy_add_signer(policy, "other", &other, NULL), HM_OK);
    assert_int_equal(refusal(policy, other), HM_REASON_UNTRUSTED_SIGNER);
    assert_int_equal(hm_policy_add_signer(policy, "acme", &acme, NULL), HM_OK);
    assert_int_equal(hm_trusted_signer_add_keyring(policy, acme, in_folder("file"),
                                                   in_folder("admin.pub"), NULL, NULL),
                     HM_OK);
    hm_policy_free(&policy);
}

static void test_the_policys_time_counts(void **state) {
    (void)state;
    hm_policy *policy = NULL;
    const int64_t expires = hm_time_now() + 1000;
    make_export(expires);
    assert_int_equal(hm_policy_new(&policy, NULL), HM_OK);
    assert_int_equal(hm_policy_set_time(policy, expires + 1, NULL), HM_OK);
    assert_int_equal(refusal(policy, &policy->signers[0]), HM_REASON_EXPIRED);
    assert_int_equal(hm_policy_set_time(policy, expires, NULL), HM_OK);
    assert_int_equal(hm_policy_add_keyring(policy, in_folder("file"), in_folder("admin.pub"), NULL,
                                           NULL),
                     HM_OK);
    hm_policy_free(&policy);
}

static void test_wrong_calls(void **state) {
    (void)state;
    hm_policy *policy = NULL;
    hm_keyring_options odd = HM_KEYRING_OPTIONS_INIT;
    hm_rotate_options how = HM_ROTATE_OPTIONS_INIT;
    char *text = NULL;
    assert_int_equal(hm_policy_new(&policy, NULL), HM_OK);
    assert_int_equal(hm_policy_add_keyring(NULL, "x", "y", NULL, NULL), HM_USAGE);
    assert_int_equal(hm_policy_add_keyring(policy, NULL, "y", NULL, NULL), HM_USAGE);
    assert_int_equal(hm_policy_add_keyring(policy, "x", NULL, NULL, NULL), HM_USAGE);
    odd.flags = 1;
    assert_int_equal(hm_policy_add_keyring(policy, "x", "y", &odd, NULL), HM_USAGE);
    assert_int_equal(hm_keyring_rotate(in_folder("r"), NULL, NULL, NULL), HM_USAGE);
    assert_int_equal(hm_keyring_rotate(in_folder("r"), &how, NULL, NULL), HM_USAGE);
    how.flags = 1 | HM_ROTATE_PLAIN;
    assert_int_equal(hm_keyring_rotate(in_folder("r"), &how, NULL, NULL), HM_USAGE);
    assert_int_equal(access(in_folder("r"), F_OK), -1);
    assert_int_equal(hm_keyring_revoke(NULL, 1, 0, "x", NULL), HM_USAGE);
    assert_int_equal(hm_keyring_revoke("x", 0, 0, "x", NULL), HM_USAGE);
    assert_int_equal(hm_keyring_export("x", NULL, "y", 1, NULL, NULL), HM_USAGE);
    assert_int_equal(hm_keyring_describe("x", 1, &text, NULL), HM_USAGE);
    assert_int_equal(hm_key_describe(NULL, 0, 0, &text, NULL), HM_USAGE);
    hm_policy_free(&policy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_are_read),
        cmocka_unit_test(test_other_spellings_of_times_are_refused),
        cmocka_unit_test(test_times_of_people),
        cmocka_unit_test(test_lines_of_text),
        cmocka_unit_test(test_the_newest_that_has_begun_signs),
        cmocka_unit_test(test_an_emergency_overtakes_what_is_to_come),
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test_setup_teardown(test_a_policy_takes_an_export_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_named_signer_takes_only_his_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_policys_time_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_calls, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("keyring", tests, NULL, NULL);
}
