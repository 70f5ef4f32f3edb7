/* The part of a session that says under which policy it was made: policy.c has the reasons. Nothing here blocks or
 * logs; any thread that owns the session. */
#ifndef TLSBATON_CLIENT_BINDING_H
#define TLSBATON_CLIENT_BINDING_H

#include <stdbool.h>
#include <stdint.h>
#include <openssl/ssl.h>

#include "util/macro.h"

#define POLICY_BOUND_BYTES 16 /* of a fingerprint, as sessions carry it */
#define POLICY_NAME_MAX 255 /* bytes of a server name (RFC 1035, 2.3.4, and OpenSSL's own limit) */

/* What a session is bound to. */
struct binding {
	uint8_t policy
	    [POLICY_BOUND_BYTES]; /* of the context that the client's name led to; all zero: of none */
	uint8_t verify_mode;      /* SSL_get_verify_mode(3) of the connection */
	int64_t expires_s;   /* seconds since 1970: the end of it and of all that comes from it */
	uint8_t n_name;      /* 0: the client gave none */
	const uint8_t *name; /* in lower case; borrowed */
};

/* Out: what `session` is bound to; `name` points into it. False: to nothing. */
bool binding_read(SSL_SESSION *session, struct binding *out) MUST_CHECK;

/* Binds `session`, in place of what it was bound to. What its application keeps in it stays, in front.
 * Returns 0 or -ENOMEM. */
int binding_write(SSL_SESSION *session, const struct binding *binding) MUST_CHECK;

/* When the client's certificate in `session` ends, in seconds since 1970; INT64_MAX without one. */
int64_t binding_certificate_ends(SSL_SESSION *session);

/*
 * The server name in the ClientHello that `ssl` is at, in lower case: of use in the callbacks that OpenSSL calls
 * while it looks for a session. Out: `name`. Returns its length; 0: there is none.
 */
size_t binding_hello_name(SSL *ssl, uint8_t name[POLICY_NAME_MAX]);

/* The same of a handshake that has gone beyond. */
size_t binding_ssl_name(const SSL *ssl, uint8_t name[POLICY_NAME_MAX]);

#endif
