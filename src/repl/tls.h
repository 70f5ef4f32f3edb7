/*
 * TLS between daemons: 1.3 only, both sides proved, by a group key or by certificates; see tls.c
 * for why nothing else can succeed.
 */
#ifndef TLSBATON_REPL_TLS_H
#define TLSBATON_REPL_TLS_H

#include <stdbool.h>
#include <openssl/ssl.h>

#include "repl/repl.h"

struct tls;

/* Copies what it needs from `config`. `error` says in words what failed. Returns 0, -EINVAL,
 * -ENOMEM. */
int tls_new(struct tls **out, const struct repl_config *config, char *error,
            size_t error_size) MUST_CHECK;
void tls_free(struct tls *tls); /* wipes the group key; NULL is fine */

enum tls_outcome {
	TLS_OUT_OF_DATE = 1, /* by this machine's clock */
};

/* What peers with the same authority would say to our certificate, if they know us as `node`. -EINVAL: they refuse it.
 * Then, and with TLS_OUT_OF_DATE, `text` says why and what to do. 0 for a group key. */
int tls_check(const struct tls *tls, const char *node, char *text, size_t text_size) MUST_CHECK;

/* Whether it is a group key, not certificates. */
bool tls_has_key(const struct tls *tls) MUST_CHECK;

/* Whether who proves membership by `a` does so by `b`: the same group key, or the same authority. */
bool tls_same_trust(const struct tls *a, const struct tls *b) MUST_CHECK;

/* A connection's TLS state on the non-blocking socket `fd` (borrowed), or NULL (no memory). */
SSL *tls_dial(struct tls *tls, int fd) MUST_CHECK;
SSL *tls_accept(struct tls *tls, int fd) MUST_CHECK;

/* After the handshake: whether the other side proved what this configuration asks for. */
bool tls_proved(const struct tls *tls, SSL *ssl) MUST_CHECK;

/* Whether the other side may call itself `node`: with certificates, theirs must say so. */
bool tls_may_be(const struct tls *tls, SSL *ssl, const char *node) MUST_CHECK;

/* Whether the last of OpenSSL's pending errors means that one side does not take the other for what it should
 * be: not that the connection broke. */
bool tls_is_refusal(void) MUST_CHECK;

/* Takes OpenSSL's pending errors off this thread's queue and puts the last into words. */
void tls_take_error(char *text, size_t text_size);

#endif
