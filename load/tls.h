/* The context that all visits share. */
#ifndef TLSBATON_LOAD_TLS_H
#define TLSBATON_LOAD_TLS_H

#include <openssl/ssl.h>

#include "options.h"
#include "target.h"

struct tls {
	SSL_CTX *ctx;
	unsigned char
	    *verified; /* owned DER of the last server certificate whose chain was found good */
	int n_verified;
};

/* Makes the context; on_session is OpenSSL's new-session callback. `tls` must stay where it is. Returns 0, or < 0 with the
 * option that is wrong, and why, in `error`. */
int tls_init(struct tls *tls, const struct options *options, const struct target *target,
             int (*on_session)(SSL *, SSL_SESSION *), char *error, size_t n_error) MUST_CHECK;
void tls_deinit(struct tls *tls);

/* The server name to ask for; NULL: none, since the host is an address. Borrowed. */
const char *tls_server_name(const struct options *options, const struct target *target);

#endif
