/* SPDX-License-Identifier: Apache-2.0 */
/* Which provenance statements belong to a verification, and what is asked of them. */
#include "provenance.h"
#include "verify.h"

#include <stdlib.h>
#include <string.h>

/* The keys whose signatures counted. Newly allocated, the texts are the claims'. */
static const char **counted_keys(const hm_verification *job, size_t *count) {
    const char **keys = hm_alloc(job->claim_count, sizeof(char *));
    *count = 0;
    for (size_t i = 0; keys != NULL && i < job->claim_count; i++) {
        const hm_claim *claim = job->claims[i];
        if (job->rule == NULL || claim->counted) {
            keys[(*count)++] = claim->fingerprint;
        }
    }
    return keys;
}

/* Whether an earlier claim looks for its statement in the same place. */
static bool is_repeated(const hm_verification *job, size_t index) {
    const char *path = job->claims[index]->provenance;
    for (size_t i = 0; i < index; i++) {
        const char *other = job->claims[i]->provenance;
        if (other != NULL && strcmp(other, path) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_demanded(const hm_verification *job) {
    return hm_provenance_demanded(&job->policy->provenance) ||
           (job->rule != NULL && hm_provenance_demanded(&job->rule->provenance)) ||
           job->options->provenance != NULL;
}

static hm_status refuse_missing(const hm_verification *job, hm_error **error) {
    (void)hm_fail(error, HM_REFUSED, HM_REASON_PROVENANCE,
                  "there is no provenance of %s, and it is demanded", job->model->path);
    hm_error_add_hint(error, "`hallmark sign --metadata` writes it beside the signature");
    return HM_REFUSED;
}

hm_status hm_verify_provenances(hm_verification *job, const hm_claim *told, hm_report *report,
                                hm_error **error) {
    hm_policy terms = *job->policy;
    hm_provenance_query query = {
        .policy = &terms,
        .named = is_demanded(job),
        .signed_name = told->signed_name,
        .payload = job->statement,
    };
    hm_auto_free const char **keys = counted_keys(job, &query.fingerprint_count);
    if (keys == NULL) {
        return hm_fail_memory(error);
    }
    query.fingerprints = keys;
    if (job->rule != NULL) {
        terms.allow = job->rule->allow;
        query.allowed = job->rule->allowed;
        query.demand = &job->rule->provenance;
    }
    size_t good = 0;
    const char *place = NULL;
    hm_status status = HM_OK;
    for (size_t i = job->claim_count; i-- > 0 && status == HM_OK;) {
        query.path = job->claims[i]->provenance;
        if (query.path == NULL || is_repeated(job, i)) {
            continue;
        }
        place = query.path;
        query.file = &job->claims[i]->provenance_file;
        if (hm_path_taken(place)) {
            status = hm_provenance_verify(&query, report, error);
            good += status == HM_OK ? 1 : 0;
        }
    }
    if (status != HM_OK || good > 0 || !is_demanded(job)) {
        return status;
    }
    query.path = place;
    query.file = NULL;
    return place != NULL ? hm_provenance_verify(&query, report, error) : refuse_missing(job, error);
}
