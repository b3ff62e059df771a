/* SPDX-License-Identifier: Apache-2.0 */
#include "record/ledger_backend.h"

static hm_status open_none(hm_ledger *ledger, const char *where, uint64_t flags, hm_error **error) {
    (void)ledger;
    (void)where;
    (void)flags;
    (void)hm_fail(error, HM_UNDECIDED, HM_REASON_NONE,
                  "cannot reach the ledger: this Hallmark was built without PostgreSQL");
    hm_error_add_hint(error, "install libpq-dev and build again with -Dpostgresql=enabled");
    return HM_UNDECIDED;
}

const hm_ledger_backend hm_ledger_backend_postgres = {.name = "PostgreSQL", .open = open_none};
