/* Sessions that this process made or parsed lately: recent.c says why. Thread-safe; never blocks. */
#ifndef TLSBATON_CLIENT_RECENT_H
#define TLSBATON_CLIENT_RECENT_H

#include <stdbool.h>

#include <openssl/ssl.h>

#include "util/macro.h"

struct recent;

int recent_new(struct recent **out) MUST_CHECK; /* 0 or -ENOMEM */
void recent_free(struct recent *recent);        /* NULL is fine */

/* Remembers `session` (a reference is taken) until it expires or a newer one needs its place. */
void recent_put(struct recent *recent, SSL_SESSION *session, int64_t expires_s, int64_t now_s);

/* Of TLS 1.3 (RFC 8446, C.4): nothing is to be remembered of one that is in use. */
bool recent_is_for_one_use(const SSL_SESSION *session);

/* Returns the session of that ID, a reference that is the caller's, or NULL; one for one use is forgotten with that. The
 * caller has made sure that the session lives. */
SSL_SESSION *recent_get(struct recent *recent, const unsigned char *id, size_t n_id, int64_t now_s);

/* Forgets the session of that ID: it lives no more. */
void recent_drop(struct recent *recent, const unsigned char *id, size_t n_id);

/* Around fork(2). */
void recent_lock_all(struct recent *recent);
void recent_unlock_all(struct recent *recent);

#endif
