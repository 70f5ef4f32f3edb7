#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "client/test-server.h"

int server_set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	node_init(&f->node);
	f->options = (struct tlsbaton_options){
	    .size = sizeof(f->options),
	    .socket_path = f->node.socket_path,
	    .connect_ms = 5000,
	};
	assert_int_equal(tls_credentials(TLS_KEY_ECDSA, &f->pkey, &f->certificate), 0);
	*state = f;
	return 0;
}

void server_close_contexts(struct fixture *f)
{
	SSL_CTX_free(f->server);
	SSL_CTX_free(f->client);
	f->server = f->client = NULL;
}

int server_tear_down(void **state)
{
	struct fixture *f = *state;

	server_close_contexts(f);
	tlsbaton_free(f->baton);
	EVP_PKEY_free(f->pkey);
	X509_free(f->certificate);
	node_deinit(&f->node);
	free(f);
	return 0;
}

void server_open_contexts(struct fixture *f, int version)
{
	server_close_contexts(f);
	f->server = tls_server_context(version, f->pkey, f->certificate);
	f->client = tls_client_context(version);
	assert_non_null(f->server);
	assert_non_null(f->client);
}

void server_start(struct fixture *f)
{
	node_start(&f->node);
	assert_int_equal(tlsbaton_new(&f->baton, &f->options), 0);
}

bool server_visit_ending(struct fixture *f, SSL_SESSION **session, bool unclean)
{
	struct tls_outcome outcome;

	assert_int_equal(tls_connect(f->server, f->client, *session, unclean, &outcome), 0);
	assert_int_equal(tlsbaton_gate_wait(f->baton, outcome.notice), 0);
	if (outcome.session) {
		SSL_SESSION_free(*session);
		*session = outcome.session;
	}
	return outcome.reused;
}

bool server_visit(struct fixture *f, SSL_SESSION **session)
{
	return server_visit_ending(f, session, false);
}

struct tlsbaton_counters server_count(struct fixture *f)
{
	struct tlsbaton_counters counters;

	tlsbaton_count(f->baton, &counters);
	return counters;
}
