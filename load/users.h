/*
 * The users: what each keeps between its visits, which is little more than its session.
 *
 * A session is kept as its DER, without the server's certificate. That is some 130 bytes for a TLS 1.2 session ID, against
 * several KiB for an SSL_SESSION with a parsed certificate, so that 100,000 waiting users take some 20 MB; it is
 * also a true copy, which nothing that befalls the connection it came from can spoil: OpenSSL's client marks a session
 * as unusable when its connection ends badly, and the next visit would then look like a miss of the server.
 * A resumption does not need the certificate.
 *
 * Users live in chunks in the order of arrival; a chunk goes when its last user has.
 */
#ifndef TLSBATON_LOAD_USERS_H
#define TLSBATON_LOAD_USERS_H

#include <stdbool.h>
#include <stdint.h>
#include <openssl/ssl.h>

#include "util/macro.h"

struct user {
	unsigned char *session; /* owned DER, a secret; NULL: none */
	uint32_t n_session;
	uint8_t generation; /* changes with the session */
	uint8_t n_open;     /* visits under way */
	uint8_t n_ended;    /* visits over */
};

struct users;

/* Room for `n_users`, each of whom makes `n_visits` (up to 255). Returns 0 or -ENOMEM. */
int users_new(struct users **out, uint32_t n_users, unsigned n_visits) MUST_CHECK;
/* Wipes and frees what is left. May be NULL. */
void users_free(struct users *users);

/* The user, who is made at its first mention. NULL: no memory, or its visits are all over. Borrowed, until
 * users_visit_end() says that its last is over. */
struct user *users_get(struct users *users, uint32_t i) MUST_CHECK;

/* Around each visit. The last end frees the user, with its session wiped. */
void users_visit_begin(struct users *users, uint32_t i);
void users_visit_end(struct users *users, uint32_t i);

/* How many users have been here, will come again and have no visit under way. */
uint64_t users_n_waiting(const struct users *users);

/* Keeps a copy of the session, which stays the caller's, instead of the one that the user had. Returns 0; -ENOMEM:
 * the user keeps what it had; -EINVAL: OpenSSL cannot encode it, the same. */
int user_keep_session(struct user *user, const SSL_SESSION *session) MUST_CHECK;
/* Wipes and forgets the session. */
void user_drop_session(struct user *user);
/* The session, parsed; the caller owns it. NULL: it has none, or no memory. */
SSL_SESSION *user_get_session(const struct user *user) MUST_CHECK;

#endif
