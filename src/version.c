/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "digest/digest.h"
#include "key/key.h"
#include "net/http.h"
#include "record/ledger.h"

#include <openssl/crypto.h>

const char *hm_version(void) {
    return HM_VERSION;
}

hm_status hm_build_info(char **text, hm_error **error) {
    hm_auto_buf out = {0};
    hm_buf_add_format(&out, "libcrypto: %s\n", OpenSSL_version(OPENSSL_VERSION));
    hm_http_describe(&out);
    hm_digest_describe(&out);
    hm_pkcs11_describe(&out);
    hm_ledger_describe(&out);
    hm_status status = hm_buf_check(&out, error);
    *text = status == HM_OK ? hm_buf_steal_text(&out) : NULL;
    return status;
}
