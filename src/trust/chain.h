/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the trust room, and by nobody else. */
#ifndef HM_TRUST_CHAIN_H
#define HM_TRUST_CHAIN_H

#include "trust/trust.h"

/*
 * ::HM_OK only when the first of `certificates` leads to one of the signer's roots, may sign
 * models, and is of an identity that is demanded of the signer. Its key is then in `*key`, and what
 * it says is in `who`. `allow`: the policy's HM_ALLOW_... flags.
 */
HM_MUST_USE hm_status hm_chain_judge(const hm_trusted_signer *signer, uint64_t allow,
                                     STACK_OF(X509) *certificates, hm_signer_identity *who,
                                     hm_pubkey **key, hm_error **error);

/* What is demanded of who the leaf is. ::HM_REFUSED untrusted-signer. */
HM_MUST_USE hm_status hm_identity_check(const hm_trusted_signer *signer, X509 *leaf,
                                        hm_error **error);
/* Takes down something that a person should know of, although it was let pass. */
HM_MUST_USE hm_status hm_identity_warn(hm_signer_identity *who, hm_error **error,
                                       const char *format, ...) HM_PRINTF(3, 4);

#endif
