/* tlsbaton_attach() under real handshakes: TLS 1.2 and 1.3, full and resumed, in this process and another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <openssl/ssl.h>
#include <sys/wait.h>
#include <time.h>

#include "client/handle.h"
#include "client/test-clock.h"
#include "client/test-server.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* The ID under which the server knows a client's session: in TLS 1.3 that is what the ticket is. */
static const unsigned char *server_id(SSL_SESSION *session, size_t *n_id)
{
	const unsigned char *id;
	unsigned n;

	if (SSL_SESSION_get_protocol_version(session) == TLS1_3_VERSION) {
		SSL_SESSION_get0_ticket(session, &id, n_id);
		return id;
	}
	id = SSL_SESSION_get_id(session, &n);
	*n_id = n;
	return id;
}

static int look_up(struct fixture *f, SSL_SESSION *session, int64_t *expires_s)
{
	unsigned char der[TLSBATON_DER_MAX];
	size_t n_id, n_der;
	const unsigned char *id = server_id(session, &n_id);

	return tlsbaton_session_get(f->baton, id, n_id, der, sizeof(der), &n_der, expires_s, NULL);
}

/* ---- Resumption ---- */

static void test_resumed_by_another_context(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session = NULL;

	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		server_open_contexts(f, versions[i]);
		assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
		assert_false(server_visit(f, &session));
		server_open_contexts(f, versions[i]);
		assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
		for (unsigned k = 0; k < 5; k++)
			assert_true(server_visit(f, &session));
		SSL_SESSION_free(session);
		session = NULL;
	}
	assert_int_equal(server_count(f).hits, 10);
	/* TLS 1.2: one for the full handshake. TLS 1.3: two for that, one for each resumption. */
	assert_int_equal(server_count(f).puts, 1 + 2 + 5);
}

static void test_the_tickets_of_a_handshake_wake_the_daemon_once(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session = NULL;

	server_start(f);
	server_open_contexts(f, TLS1_3_VERSION);
	assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
	for (unsigned i = 1; i <= 10; i++) {
		node_until(atomic_load(&f->baton->page->sleeping));
		assert_false(server_visit(f, &session));
		node_until(atomic_load(&f->node.control->n_notices) == 2ULL * i);
		assert_int_equal(atomic_load(&f->node.control->n_batches), i);
		SSL_SESSION_free(session);
		session = NULL;
	}
}

/* Its connection has no room for it, and ends: the first is not left behind in the ring. */
static void test_a_second_ticket_that_never_comes(void **state)
{
	struct fixture *f = *state;
	static const char filling[4096];
	SSL *server, *client;
	BIO *one, *two;

	server_start(f);
	server_open_contexts(f, TLS1_3_VERSION);
	assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
	server = SSL_new(f->server);
	client = SSL_new(f->client);
	assert_int_equal(BIO_new_bio_pair(&one, sizeof(filling), &two, sizeof(filling)), 1);
	SSL_set_bio(server, one, one);
	SSL_set_bio(client, two, two);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	assert_int_equal(SSL_do_handshake(client), -1);
	assert_int_equal(SSL_do_handshake(server), -1);
	assert_int_equal(SSL_do_handshake(client), 1);
	(void)BIO_write(one, filling, (int)BIO_ctrl_get_write_guarantee(one) - 40);
	node_until(atomic_load(&f->baton->page->sleeping));
	assert_int_equal(SSL_do_handshake(server), -1);
	assert_int_equal(server_count(f).puts, 1);
	assert_int_equal(atomic_load(&f->baton->page->sleeping), 1);
	SSL_free(server);
	SSL_free(client);
	node_until(atomic_load(&f->node.control->n_notices) == 1);
}

static void test_a_resumption_before_the_ack_has_a_gate(void **state)
{
	struct fixture *f = *state;

	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		struct tls_outcome made, resumed;

		server_open_contexts(f, versions[i]);
		assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
		atomic_store(&f->node.control->hold_acks, true);
		assert_int_equal(tls_connect(f->server, f->client, NULL, false, &made), 0);
		/* It has to be in the table here. */
		node_until(look_up(f, made.session, NULL) == 0);
		assert_int_equal(tls_connect(f->server, f->client, made.session, false, &resumed),
		                 0);
		assert_true(resumed.reused);
		assert_true(resumed.notice > made.notice);
		assert_int_equal(tlsbaton_gate_poll(f->baton, resumed.notice), TLSBATON_CLOSED);
		atomic_store(&f->node.control->hold_acks, false);
		assert_int_equal(tlsbaton_gate_wait(f->baton, resumed.notice), 0);
		SSL_SESSION_free(resumed.session);
		if (versions[i] == TLS1_2_VERSION) { /* and once it is acked, none */
			assert_int_equal(
			    tls_connect(f->server, f->client, made.session, false, &resumed), 0);
			assert_int_equal(resumed.notice, 0);
			SSL_SESSION_free(resumed.session);
		}
		SSL_SESSION_free(made.session);
	}
}

/* Runs in a child: a server process that was not there when the session was made. */
static int resume_elsewhere(struct fixture *f, int version, SSL_SESSION *session)
{
	struct tls_outcome outcome;

	f->server = tls_server_context(version, f->pkey, f->certificate);
	f->client = tls_client_context(version);
	if (tlsbaton_new(&f->baton, &f->options) != 0 || tlsbaton_attach(f->baton, f->server) != 0)
		return 1;
	if (tls_connect(f->server, f->client, session, false, &outcome) < 0)
		return 2;
	return outcome.reused ? 0 : 3;
}

static void test_resumed_by_another_process(void **state)
{
	struct fixture *f = *state;
	int status;

	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;
		pid_t pid;

		server_open_contexts(f, versions[i]);
		assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
		assert_false(server_visit(f, &session));
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			_exit(resume_elsewhere(f, versions[i], session));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		SSL_SESSION_free(session);
	}
}

static size_t n_appdata;

static int add_appdata(SSL *ssl, SSL_SESSION *session)
{
	static const unsigned char zeros[20000];

	(void)ssl;
	assert_int_equal(SSL_SESSION_set1_ticket_appdata(session, zeros, n_appdata), 1);
	return 0;
}

static void test_sizes_of_records(void **state)
{
	struct fixture *f = *state;
	const size_t sizes[] = {800, 1100, 5000, 16000, 17000};

	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		SSL_SESSION *session = NULL;
		int64_t expires_s;

		n_appdata = sizes[i];
		server_open_contexts(f, TLS1_2_VERSION);
		SSL_CTX_sess_set_new_cb(f->server, add_appdata);
		assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
		assert_false(server_visit(f, &session));
		/* Too long for a record: not shared, and that is all. */
		assert_int_equal(look_up(f, session, &expires_s),
		                 sizes[i] > 16384 ? TLSBATON_MISS : 0);
		SSL_SESSION_free(session);
	}
	assert_int_equal(server_count(f).lost, 1);
}

static void test_a_lifetime_does_not_grow_by_resumption(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session = NULL;
	int64_t first_s = 0, second_s = 0;

	server_start(f);
	server_open_contexts(f, TLS1_3_VERSION);
	assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
	assert_false(server_visit(f, &session));
	assert_int_equal(look_up(f, session, &first_s), 0);
	(void)test_clock_stop();
	for (unsigned i = 0; i < 2; i++) {
		test_clock_advance(100);
		assert_true(server_visit(f, &session));
		assert_int_equal(look_up(f, session, &second_s), 0);
		assert_int_equal(first_s, second_s);
	}
	test_clock_go_on();
	SSL_SESSION_free(session);
}

static int index_mark = -1;
static unsigned n_marked;

static int mark(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	assert_int_equal(SSL_SESSION_set_ex_data(session, index_mark, &n_marked), 1);
	return 0;
}

static void count_marked(const SSL *ssl, int where, int value)
{
	(void)value;
	if (where & SSL_CB_HANDSHAKE_DONE && SSL_session_reused(ssl) &&
	    SSL_SESSION_get_ex_data(SSL_get_session(ssl), index_mark))
		n_marked++;
}

static void test_a_session_made_here_is_not_parsed(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session = NULL;

	/* A mark on the object is not in the record. */
	server_start(f);
	index_mark = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	server_open_contexts(f, TLS1_2_VERSION);
	SSL_CTX_sess_set_new_cb(f->server, mark);
	SSL_CTX_set_info_callback(f->server, count_marked);
	assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
	assert_false(server_visit(f, &session));
	n_marked = 0;
	assert_true(server_visit(f, &session));
	assert_int_equal(n_marked, 1);
	/* An unclean end spoils the object, and not the session: the next is parsed from the record. */
	assert_true(server_visit_ending(f, &session, true));
	assert_int_equal(n_marked, 2);
	assert_true(server_visit(f, &session));
	assert_int_equal(n_marked, 2);
	SSL_SESSION_free(session);
}

/* ---- What is not shared ---- */

static void test_an_unclean_end_removes_nothing(void **state)
{
	struct fixture *f = *state;

	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;

		server_open_contexts(f, versions[i]);
		assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
		assert_false(server_visit_ending(f, &session, true));
		for (unsigned k = 0; k < 3; k++)
			assert_true(server_visit_ending(f, &session, true));
		SSL_SESSION_free(session);
	}
	assert_true(server_count(f).removals_ignored >= 8);
	assert_int_equal(server_count(f).removals, 0);
}

static void test_a_removal_is_honoured_at_once(void **state)
{
	struct fixture *f = *state;

	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;
		const unsigned char *id;
		uint64_t notice;
		size_t n_id;

		server_open_contexts(f, versions[i]);
		assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
		assert_false(server_visit(f, &session));
		assert_true(server_visit(f, &session));
		id = server_id(session, &n_id);
		assert_int_equal(tlsbaton_session_remove(f->baton, id, n_id, &notice), 0);
		assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
		assert_false(server_visit(f, &session));
		SSL_SESSION_free(session);
	}
}

static void test_a_compatibility_id_is_a_miss(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session = NULL;

	server_start(f);
	server_open_contexts(f, TLS1_2_VERSION);
	assert_int_equal(SSL_CTX_set_max_proto_version(f->client, TLS1_3_VERSION), 1);
	assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
	assert_false(server_visit(f, &session));
	assert_int_equal(server_count(f).misses, 1);
	assert_int_equal(server_count(f).puts, 1);
	SSL_SESSION_free(session);
}

static void test_without_a_daemon_handshakes_go_on(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(tlsbaton_new(&f->baton, &f->options), 0);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;

		server_open_contexts(f, versions[i]);
		assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
		assert_false(server_visit(f, &session));
		assert_false(server_visit(f, &session));
		SSL_SESSION_free(session);
	}
	assert_int_equal(server_count(f).lost, 0);
}

/* ---- Attaching ---- */

static unsigned n_new, n_get, n_removed;
static SSL_SESSION *own;

static int own_new(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	n_new++;
	SSL_SESSION_free(own);
	own = session;
	return 1; /* keeps the reference */
}

static SSL_SESSION *own_get(SSL *ssl, const unsigned char *id, int n_id, int *copy)
{
	(void)ssl;
	(void)id;
	(void)n_id;
	n_get++;
	*copy = 1;
	return own;
}

static void own_remove(SSL_CTX *ctx, SSL_SESSION *session)
{
	(void)ctx;
	(void)session;
	n_removed++;
}

static void test_callbacks_that_were_there_go_on(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session = NULL;
	uint64_t notice;

	server_start(f);
	server_open_contexts(f, TLS1_2_VERSION);
	SSL_CTX_sess_set_new_cb(f->server, own_new);
	SSL_CTX_sess_set_get_cb(f->server, own_get);
	SSL_CTX_sess_set_remove_cb(f->server, own_remove);
	assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
	assert_false(server_visit(f, &session));
	assert_int_equal(n_new, 1);
	assert_true(server_visit(f, &session));
	assert_int_equal(n_get, 0);
	/* After a miss theirs is asked, and believed. */
	assert_int_equal(
	    tlsbaton_session_remove(f->baton, SSL_SESSION_get_id(session, NULL), 32, &notice), 0);
	assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
	assert_true(server_visit(f, &session));
	assert_int_equal(n_get, 1);
	assert_int_equal(n_removed, 0);
	assert_true(server_visit_ending(f, &session, true));
	assert_int_equal(n_removed, 1);
	SSL_SESSION_free(session);
	SSL_SESSION_free(own);
	own = NULL;
}

static void test_attached_once(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(tlsbaton_new(&f->baton, &f->options), 0);
	server_open_contexts(f, TLS1_2_VERSION);
	assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
	assert_int_equal(tlsbaton_attach(f->baton, f->server), -EBUSY);
	assert_int_equal(SSL_CTX_get_session_cache_mode(f->server),
	                 SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
}

static void test_the_client_end_is_left_alone(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session = NULL;

	server_start(f);
	server_open_contexts(f, TLS1_2_VERSION);
	SSL_CTX_set_session_cache_mode(f->client, SSL_SESS_CACHE_BOTH);
	assert_int_equal(tlsbaton_attach(f->baton, f->client), 0);
	assert_int_equal(SSL_CTX_get_session_cache_mode(f->client),
	                 SSL_SESS_CACHE_BOTH | SSL_SESS_CACHE_NO_INTERNAL);
	assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
	/* The client's own callback has the session, the daemon only the server's. */
	assert_false(server_visit(f, &session));
	assert_non_null(session);
	assert_int_equal(server_count(f).puts, 1);
	assert_true(server_visit(f, &session));
	SSL_SESSION_free(session);
}

static void test_no_session_id_context(void **state)
{
	struct fixture *f = *state;

	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;

		server_open_contexts(f, versions[i]);
		SSL_CTX_set_session_id_context(f->server, NULL, 0);
		assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
		assert_false(server_visit(f, &session));
		/* Who asks for certificates makes a full handshake of it, not none. */
		SSL_CTX_set_verify(f->server, SSL_VERIFY_PEER, NULL);
		assert_false(server_visit(f, &session));
		SSL_SESSION_free(session);
	}
}

static SSL_CTX *by_name;

static int choose_by_name(SSL *ssl, int *alert, void *arg)
{
	(void)alert;
	(void)arg;
	SSL_set_SSL_CTX(ssl, by_name);
	return SSL_TLSEXT_ERR_OK;
}

static void test_another_context_chosen_by_name(void **state)
{
	struct fixture *f = *state;

	/* The session callbacks stay those of the first context, whatever the second is. Its sessions are shared
	 * once it is attached, too; before, it is not known what they were made under. */
	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;

		server_open_contexts(f, versions[i]);
		by_name = tls_server_context(versions[i], f->pkey, f->certificate);
		SSL_CTX_set_tlsext_servername_callback(f->server, choose_by_name);
		assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
		assert_false(server_visit(f, &session));
		assert_false(server_visit(f, &session));
		assert_int_equal(tlsbaton_attach(f->baton, by_name), 0);
		assert_false(server_visit(f, &session));
		assert_true(server_visit(f, &session));
		SSL_SESSION_free(session);
		SSL_CTX_free(by_name);
	}
}

static void test_no_notice_without_a_session(void **state)
{
	struct fixture *f = *state;
	SSL *ssl;

	server_open_contexts(f, TLS1_2_VERSION);
	ssl = SSL_new(f->server);
	assert_int_equal(tlsbaton_ssl_notice(ssl), 0);
	SSL_free(ssl);
	assert_int_equal(tlsbaton_new(&f->baton, &f->options), 0);
	assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
	ssl = SSL_new(f->server);
	assert_int_equal(tlsbaton_ssl_notice(ssl), 0);
	SSL_free(ssl);
}

#define T(f) cmocka_unit_test_setup_teardown(f, server_set_up, server_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_no_notice_without_a_session),
	    T(test_resumed_by_another_context),
	    T(test_the_tickets_of_a_handshake_wake_the_daemon_once),
	    T(test_a_second_ticket_that_never_comes),
	    T(test_a_resumption_before_the_ack_has_a_gate),
	    T(test_resumed_by_another_process),
	    T(test_sizes_of_records),
	    T(test_a_lifetime_does_not_grow_by_resumption),
	    T(test_a_session_made_here_is_not_parsed),
	    T(test_an_unclean_end_removes_nothing),
	    T(test_a_removal_is_honoured_at_once),
	    T(test_a_compatibility_id_is_a_miss),
	    T(test_without_a_daemon_handshakes_go_on),
	    T(test_callbacks_that_were_there_go_on),
	    T(test_attached_once),
	    T(test_the_client_end_is_left_alone),
	    T(test_no_session_id_context),
	    T(test_another_context_chosen_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
