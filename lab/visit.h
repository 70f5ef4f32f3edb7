/*
 * A visit: one client connects, does a handshake (offering its session if it keeps one), asks for a file,
 * reads the answer and leaves. Several visits may run at once, one thread each; a client has one at a time.
 */
#ifndef TLSBATON_LAB_VISIT_H
#define TLSBATON_LAB_VISIT_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <openssl/ssl.h>

#include "util/macro.h"

/* How a client leaves once it has its answer. */
enum visit_leave {
	VISIT_LEAVE_CLEAN, /* close_notify, then FIN */
	VISIT_LEAVE_FIN,   /* FIN without close_notify */
	VISIT_LEAVE_RESET, /* RST in the middle of the answer */
};

struct visit_plan {
	struct sockaddr_in server;
	const char *path;
	enum visit_leave leave;
	unsigned timeout_ms; /* of a whole visit */
	SSL_CTX *ctx;        /* from visit_ctx_new() */
	atomic_bool stop;    /* set: visits under way are cut off */
};

struct client {
	/* Owned: a copy of the last session that came with a byte of an answer, which is what the gate vouches
	 * for; NULL: none. A session of a visit that gave no answer is dropped. */
	SSL_SESSION *kept;
	bool answered; /* has received a byte of an answer, ever */
};

struct visit_result {
	bool offered, resumed; /* meaningful after a handshake */
	bool handshaken;
	char node;         /* the node that answered, by the first byte of the file; 0: nobody */
	const char *error; /* what went wrong, in words; NULL: nothing. Static. */
};

/* A context for clients of this TLS version (TLS1_2_VERSION, TLS1_3_VERSION) that keep their sessions
 * themselves. NULL when OpenSSL has no memory. */
SSL_CTX *visit_ctx_new(int version) MUST_CHECK;

/* Does one visit and says how it went. */
void visit(const struct visit_plan *plan, struct client *client, struct visit_result *out);

#endif
