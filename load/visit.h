/*
 * One visit: a connection, a handshake that offers the user's session, a request, its answer, and the end of the connection.
 * Nothing blocks. visit_step() is called when the socket may have become ready, and again as long as it reports
 * something other than VISIT_WAITS; it knows no clock and counts nothing but bytes: who calls it does.
 */
#ifndef TLSBATON_LOAD_VISIT_H
#define TLSBATON_LOAD_VISIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <openssl/ssl.h>

#include "answer.h"
#include "failure.h"
#include "options.h"
#include "target.h"
#include "users.h"

#define VISIT_BUFFER_BYTES 16384

/* What all visits share. */
struct visit_env {
	const struct options *options;
	const struct target *target;
	SSL_CTX *ctx; /* whose new-session callback is visit_on_session() */
	int epoll;
	unsigned next_source;
	uint64_t n_bytes; /* of answers, head and body, since the start */
	char buffer[VISIT_BUFFER_BYTES];
};

enum visit_event {
	VISIT_WAITS,      /* for its socket */
	VISIT_MORE,       /* there may be more to read: call again, when others had their turn */
	VISIT_HANDSHAKEN, /* `resumed` is known */
	VISIT_ANSWERED,   /* the whole answer is there; what is left is the connection's end */
	VISIT_FAILED,     /* `failure` says how */
	VISIT_OVER,       /* after VISIT_ANSWERED: the connection has ended */
};

enum visit_state { VISIT_HANDSHAKE, VISIT_REQUEST, VISIT_ANSWER, VISIT_DRAIN, VISIT_ENDED };

struct visit {
	TAILQ_ENTRY(visit) link;       /* the caller's: visits under way by planned start */
	TAILQ_ENTRY(visit) ready_link; /* the caller's: visits that reported VISIT_MORE */
	bool ready;                    /* the caller's: it is among those */
	unsigned i_visit;              /* the caller's: the user's i-th, from 0 */
	struct visit_env *env;
	struct user *user;  /* borrowed: stays until the visit is freed */
	uint32_t i_user;    /* the caller's */
	int64_t planned_us; /* the caller's */
	int fd;
	SSL *ssl;
	enum visit_state state;
	uint32_t events;            /* what epoll watches; 0: not registered */
	bool offered;               /* it had a session to offer */
	const SSL_SESSION *session; /* borrowed from ssl, to compare only: what it offered */
	bool handshaken, resumed, answered;
	uint8_t generation; /* of the session that it offered */
	struct answer answer;
	struct failure failure;
};

/* Makes a visit and begins to connect. Returns 0, or -ENOMEM. Whatever else goes wrong is what the first
 * visit_step() reports. */
int visit_new(struct visit **out, struct visit_env *env, struct user *user) MUST_CHECK;
/* Closes the connection, as cleanly as it still can without waiting. May be NULL. */
void visit_free(struct visit *visit);

enum visit_event visit_step(struct visit *visit) MUST_CHECK;

/* Fails the visit for its time being over. Call visit_step() no more. */
void visit_time_out(struct visit *visit);

/* OpenSSL's new-session callback: the user keeps a copy. */
int visit_on_session(SSL *ssl, SSL_SESSION *session);

#endif
