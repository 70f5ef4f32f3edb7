/* For tests of attached contexts: a node, a handle, and handshakes with a server that uses it. */
#ifndef TLSBATON_CLIENT_TEST_SERVER_H
#define TLSBATON_CLIENT_TEST_SERVER_H

#include "client/test-node.h"
#include "client/test-tls.h"
#include "tlsbaton.h"

struct fixture {
	struct node node;
	struct tlsbaton_options options;
	tlsbaton *baton;
	EVP_PKEY *pkey;
	X509 *certificate;
	SSL_CTX *server, *client;
};

/* For cmocka: `*state` is a struct fixture with a node that does not run yet. */
int server_set_up(void **state);
int server_tear_down(void **state);
void server_start(struct fixture *f); /* the node, in a process, and the handle */
/* New contexts for one TLS version, not attached. */
void server_open_contexts(struct fixture *f, int version);
void server_close_contexts(struct fixture *f);

/* Connects; true if it was a resumption. `*session` is given to the server, and replaced by what it gives. */
bool server_visit_ending(struct fixture *f, SSL_SESSION **session, bool unclean);
bool server_visit(struct fixture *f, SSL_SESSION **session);
struct tlsbaton_counters server_count(struct fixture *f);

#endif
