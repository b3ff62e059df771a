/* SPDX-License-Identifier: Apache-2.0 */
/* What is demanded of provenance, and whether a statement meets it. */
#include "trust/trust.h"

#include <string.h>

/* ---- demands -------------------------------------------------------------------------------- */

void hm_provenance_demand_free(hm_provenance_demand *demand) {
    hm_text_list_free(&demand->datasets, demand->dataset_count);
    hm_text_list_free(&demand->builders, demand->builder_count);
    *demand = (hm_provenance_demand){.required = false};
}

static hm_status add_text(char ***list, size_t *count, size_t *capacity, const char *text,
                          hm_error **error) {
    hm_auto_free char *copy = hm_strdup(text);
    if (copy == NULL || !hm_grow(list, *count, capacity, sizeof(char *))) {
        return hm_fail_memory(error);
    }
    (*list)[(*count)++] = copy;
    copy = NULL;
    return HM_OK;
}

static hm_status add_dataset(hm_provenance_demand *demand, const char *value, hm_error **error) {
    size_t length;
    if (!hm_provenance_digest_valid(hm_bytes_text(value), &length)) {
        hm_status status = hm_fail(error, HM_USAGE, HM_REASON_NONE,
                                   "\"%s\" is not the digest of a dataset", value);
        hm_error_add_hint(error, "write it as sha256: and 64 lower-case hex digits");
        return status;
    }
    return add_text(&demand->datasets, &demand->dataset_count, &demand->dataset_capacity, value,
                    error);
}

hm_status hm_provenance_demand_add(hm_provenance_demand *demand, hm_provenance_kind kind,
                                   const char *value, hm_error **error) {
    if ((value != NULL) != (kind != HM_PROVENANCE_ANY) || (value != NULL && *value == '\0')) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "what is demanded of provenance cannot be empty");
    }
    hm_status status = HM_OK;
    switch (kind) {
    case HM_PROVENANCE_ANY: break;
    case HM_PROVENANCE_DATASET: status = add_dataset(demand, value, error); break;
    case HM_PROVENANCE_BUILDER:
        status = add_text(&demand->builders, &demand->builder_count, &demand->builder_capacity,
                          value, error);
        break;
    default:
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "demands of kind %d are not known",
                       (int)kind);
    }
    demand->required = demand->required || status == HM_OK;
    return status;
}

hm_status hm_policy_require_provenance(hm_policy *policy, hm_provenance_kind kind,
                                       const char *value, hm_error **error) {
    if (policy == NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE,
                       "hm_policy_require_provenance: an argument is missing");
    }
    return hm_provenance_demand_add(&policy->provenance, kind, value, error);
}

bool hm_provenance_demanded(const hm_provenance_demand *demand) {
    return demand != NULL &&
           (demand->required || demand->dataset_count > 0 || demand->builder_count > 0);
}

/* ---- the check ------------------------------------------------------------------------------ */

static bool holds(char *const *list, size_t count, const char *text) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i], text) == 0) {
            return true;
        }
    }
    return false;
}

hm_status hm_provenance_demand_check(const hm_provenance_demand *demand,
                                     const hm_provenance *provenance, const char *what,
                                     hm_error **error) {
    for (size_t i = 0; i < demand->dataset_count; i++) {
        if (!holds(provenance->dependencies, provenance->dependency_count, demand->datasets[i])) {
            hm_status status =
                hm_fail(error, HM_REFUSED, HM_REASON_PROVENANCE,
                        "the provenance %s does not name the dataset %s that is demanded", what,
                        demand->datasets[i]);
            hm_error_add_hint(error, "`hallmark inspect` shows what it names");
            return status;
        }
    }
    if (demand->builder_count > 0 &&
        !holds(demand->builders, demand->builder_count, provenance->builder)) {
        return hm_fail(error, HM_REFUSED, HM_REASON_PROVENANCE,
                       "the provenance %s is of the builder \"%s\", which is not one that is "
                       "demanded",
                       what, provenance->builder);
    }
    return HM_OK;
}
