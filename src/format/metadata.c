/* SPDX-License-Identifier: Apache-2.0 */
/* Training metadata as the caller hands it in; as it is the caller's own, errors are ::HM_USAGE. */
#include "format/format.h"

static const char metadata_text[] = "the training metadata";

hm_status hm_error_as_usage(hm_error **error, hm_error **cause) {
    if (hm_error_status(*cause) != HM_REFUSED) {
        return hm_error_move(error, cause);
    }
    return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s", hm_error_message(*cause));
}

hm_status hm_metadata_parse(const char *text, hm_json_doc **doc, hm_error **error) {
    hm_auto_error cause = NULL;
    if (hm_json_parse(hm_bytes_text(text), metadata_text, doc, &cause) != HM_OK) {
        return hm_error_as_usage(error, &cause);
    }
    const hm_json *root = hm_json_root(*doc);
    if (root->type != HM_JSON_OBJECT) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s must be an object, not %s",
                       metadata_text, hm_json_type_name(root->type));
    }
    return HM_OK;
}

hm_status hm_metadata_take(hm_json *metadata, const char *name, const char *other_name,
                           hm_json **value, hm_error **error) {
    hm_json *other = other_name != NULL ? hm_json_take_any(metadata, other_name) : NULL;
    *value = hm_json_take_any(metadata, name);
    if (*value != NULL && other != NULL) {
        return hm_fail(error, HM_USAGE, HM_REASON_NONE, "%s: \"%s\" and \"%s\" are the same field",
                       metadata_text, name, other_name);
    }
    *value = *value != NULL ? *value : other;
    return HM_OK;
}
