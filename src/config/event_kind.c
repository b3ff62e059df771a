/* SPDX-License-Identifier: Apache-2.0 */
#include "config/event_kind.h"

static const char *const words[HM_EVENT_KIND_COUNT] = {
    [HM_EVENT_SIGNED] = "signed",
    [HM_EVENT_VERIFIED] = "verified",
    [HM_EVENT_REFUSED] = "refused",
    [HM_EVENT_UNDECIDED] = "undecided",
    [HM_EVENT_LET_THROUGH] = "let-through",
    [HM_EVENT_DEPLOYED] = "deployed",
    [HM_EVENT_REPAIRED] = "repaired",
    [HM_EVENT_ACTIVATED] = "activated",
    [HM_EVENT_ROLLED_BACK] = "rolled-back",
    [HM_EVENT_DEACTIVATED] = "deactivated",
    [HM_EVENT_QUARANTINED] = "quarantined",
    [HM_EVENT_RELEASED] = "released",
    [HM_EVENT_PURGED] = "purged",
    [HM_EVENT_REMOVED] = "removed",
    [HM_EVENT_KEY_ROTATED] = "key-rotated",
    [HM_EVENT_KEY_REVOKED] = "key-revoked",
    [HM_EVENT_ALERT_FAILED] = "alert-failed",
    [HM_EVENT_LOADED] = "loaded",
};

const char *hm_event_word(hm_event_kind kind) {
    return kind > 0 && kind < HM_EVENT_KIND_COUNT ? words[kind] : "";
}

bool hm_event_from_word(hm_bytes word, hm_event_kind *kind) {
    for (unsigned i = 1; i < HM_EVENT_KIND_COUNT; i++) {
        if (hm_bytes_equal_text(word, words[i])) {
            *kind = (hm_event_kind)i;
            return true;
        }
    }
    return false;
}
