/* What a server's policy towards clients is, in a number: policy.c has the essay. Nothing here blocks or logs; any
 * thread. */
#ifndef TLSBATON_CLIENT_POLICY_H
#define TLSBATON_CLIENT_POLICY_H

#include <stdint.h>
#include <openssl/ssl.h>

#include "util/macro.h"

#define POLICY_BYTES 32 /* of a fingerprint: SHA-256 */

/*
 * The fingerprint of what decides whom `ctx` lets in. Equal configurations have equal ones, in any process on
 * any node; no secret goes in. Takes some 50 us, the first in a process 300, and about 1 us for each certificate
 * in the trust store: once a context. `ctx` is not changed. Returns 0 or -ENOMEM.
 */
int policy_fingerprint(SSL_CTX *ctx, uint8_t out[POLICY_BYTES]) MUST_CHECK;

/* Where `ctx` looks for whom to trust; borrowed. */
X509_STORE *policy_store(SSL_CTX *ctx);

#endif
