/* SPDX-License-Identifier: Apache-2.0 */
#include "format/format.h"

#include <string.h>

void hm_dsse_pae(const char *payload_type, hm_bytes payload, hm_buf *out) {
    hm_buf_add_format(out, "DSSEv1 %zu %s %zu ", strlen(payload_type), payload_type,
                      payload.length);
    hm_buf_add(out, payload.data, payload.length);
}
