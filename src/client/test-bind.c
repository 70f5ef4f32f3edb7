/*
 * Who may resume where, in real handshakes: two virtual servers behind one listener, one of which asks for a client's
 * certificate, with sessions by ID, in TLS 1.3, and in stateless tickets of both versions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <time.h>

#include "client/test-clock.h"
#include "client/test-node.h"
#include "client/test-tls.h"
#include "tlsbaton.h"

static const struct kind {
	const char *name;
	int version;
	bool stateless;
} kinds[] = {
    {"TLS 1.2, by ID", TLS1_2_VERSION, false},
    {"TLS 1.3", TLS1_3_VERSION, false},
    {"TLS 1.2, by ticket", TLS1_2_VERSION, true},
    {"TLS 1.3, by stateless ticket", TLS1_3_VERSION, true},
};

/* An alias of the open one, and one that may lead to either. */
#define OPEN "open.example"
#define ALIAS "alias.example"
#define STRICT "strict.example"

struct fixture {
	struct node node;
	tlsbaton *baton;
	EVP_PKEY *pkey;
	X509 *certificate;
	SSL_CTX *open, *strict, *client;
	bool alias_is_strict;
	uint8_t ticket_keys[80];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct tlsbaton_options options = {.size = sizeof(options), .connect_ms = 5000};

	node_init(&f->node);
	/* A server that has tickets off keeps its sessions in the table all the same. */
	f->node.tickets.resumption = TICKET_BOTH;
	node_start(&f->node);
	options.socket_path = f->node.socket_path;
	assert_int_equal(tlsbaton_new(&f->baton, &options), 0);
	assert_int_equal(tls_credentials(TLS_KEY_ECDSA, &f->pkey, &f->certificate), 0);
	*state = f;
	return 0;
}

static void close_contexts(struct fixture *f)
{
	SSL_CTX_free(f->open);
	SSL_CTX_free(f->strict);
	SSL_CTX_free(f->client);
	f->open = f->strict = f->client = NULL;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	test_clock_go_on();
	close_contexts(f);
	tlsbaton_free(f->baton);
	EVP_PKEY_free(f->pkey);
	X509_free(f->certificate);
	node_deinit(&f->node);
	free(f);
	return 0;
}

/* As nginx does it. */
static int choose(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct fixture *f = arg;
	SSL_CTX *ctx = f->open;

	(void)alert;
	if (name &&
	    (strcasecmp(name, STRICT) == 0 || (strcasecmp(name, ALIAS) == 0 && f->alias_is_strict)))
		ctx = f->strict;
	SSL_set_SSL_CTX(ssl, ctx);
	SSL_set_verify(ssl, SSL_CTX_get_verify_mode(ctx), SSL_CTX_get_verify_callback(ctx));
	return SSL_TLSEXT_ERR_OK;
}

static void configure(struct fixture *f, SSL_CTX *ctx, const struct kind *kind)
{
	assert_non_null(ctx);
	if (kind->stateless)
		SSL_CTX_clear_options(ctx, SSL_OP_NO_TICKET);
	assert_int_equal(
	    SSL_CTX_set_tlsext_ticket_keys(ctx, f->ticket_keys, sizeof(f->ticket_keys)), 1);
}

static void make_contexts(struct fixture *f, const struct kind *kind)
{
	close_contexts(f);
	f->open = tls_server_context(kind->version, f->pkey, f->certificate);
	configure(f, f->open, kind);
	SSL_CTX_set_tlsext_servername_callback(f->open, choose);
	SSL_CTX_set_tlsext_servername_arg(f->open, f);
	f->strict = tls_server_context(kind->version, f->pkey, f->certificate);
	configure(f, f->strict, kind);
	SSL_CTX_set_verify(f->strict, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(f->strict), f->certificate), 1);
	f->client = tls_client_context(kind->version);
	assert_int_equal(SSL_CTX_use_certificate(f->client, f->certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(f->client, f->pkey), 1);
}

static void attach_contexts(struct fixture *f)
{
	assert_int_equal(tlsbaton_attach(f->baton, f->open), 0);
	assert_int_equal(tlsbaton_attach(f->baton, f->strict), 0);
}

static void open_contexts(struct fixture *f, const struct kind *kind)
{
	make_contexts(f, kind);
	attach_contexts(f);
}

/* Connects, with a copy of `session`, which OpenSSL's client spoils. It has no regard for the lifetime that it was
 * told: what has ended the server must refuse. */
static int try(struct fixture *f, const char *name, SSL_SESSION *session, struct tls_outcome *out)
{
	SSL_SESSION *copy = session ? SSL_SESSION_dup(session) : NULL;
	int r;

	if (copy)
		SSL_SESSION_set_time(copy, time(NULL));
	tls_client_name(f->client, name);
	r = tls_connect(f->open, f->client, copy, false, out);
	SSL_SESSION_free(copy);
	return r;
}

/* The session that it was given goes into `made`, the caller's to free, if that is not NULL. */
static struct tls_outcome visit(struct fixture *f, const char *name, SSL_SESSION *session,
                                SSL_SESSION **made)
{
	struct tls_outcome outcome;

	assert_int_equal(try(f, name, session, &outcome), 0);
	assert_int_equal(tlsbaton_gate_wait(f->baton, outcome.notice), 0);
	if (made)
		*made = outcome.session;
	else
		SSL_SESSION_free(outcome.session);
	return outcome;
}

static uint64_t n_refused(struct fixture *f)
{
	struct tlsbaton_counters counters;

	tlsbaton_count(f->baton, &counters);
	return counters.refused_policy;
}

/* Stateless tickets that resumed. */
static uint64_t n_opened(struct fixture *f)
{
	struct tlsbaton_counters counters;

	tlsbaton_count(f->baton, &counters);
	return counters.tickets_opened;
}

/* ---- One node ---- */

static void test_resumed_where_it_was_made(void **state)
{
	static const char *const names[] = {OPEN, STRICT, NULL};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		open_contexts(f, &kinds[i]);
		for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
			const uint64_t before = n_opened(f);
			SSL_SESSION *session;

			assert_false(visit(f, names[k], NULL, &session).reused);
			if (!visit(f, names[k], session, NULL).reused)
				fail_msg("%s at %s", kinds[i].name, names[k] ? names[k] : "none");
			assert_int_equal(n_opened(f) - before, kinds[i].stateless);
			SSL_SESSION_free(session);
		}
	}
	assert_int_equal(n_refused(f), 0);
}

static void test_refused_at_another_name(void **state)
{
	/* At another policy's, and at one of the same policy. A name is the same in capitals. */
	static const struct {
		const char *made, *offered;
		bool honoured;
	} tries[] = {
	    {OPEN, STRICT, false}, {STRICT, OPEN, false},        {OPEN, ALIAS, false},
	    {OPEN, NULL, false},   {NULL, OPEN, false},          {NULL, STRICT, false},
	    {STRICT, NULL, false}, {OPEN, "Open.EXAMPLE", true},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		open_contexts(f, &kinds[i]);
		for (size_t k = 0; k < ARRAY_SIZE(tries); k++) {
			uint64_t before = n_refused(f);
			SSL_SESSION *session;

			assert_false(visit(f, tries[k].made, NULL, &session).reused);
			if (visit(f, tries[k].offered, session, NULL).reused != tries[k].honoured)
				fail_msg("%s, try %zu", kinds[i].name, k);
			assert_int_equal(n_refused(f) > before, !tries[k].honoured);
			SSL_SESSION_free(session);
		}
	}
}

static void test_a_name_that_leads_elsewhere_now(void **state)
{
	struct fixture *f = *state;
	struct tls_outcome outcome;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;

		f->alias_is_strict = false;
		open_contexts(f, &kinds[i]);
		assert_false(visit(f, ALIAS, NULL, &session).reused);
		assert_true(visit(f, ALIAS, session, NULL).reused);
		/* Nothing is served under the wrong policy: it is too late for a full handshake. */
		f->alias_is_strict = true;
		assert_int_equal(try(f, ALIAS, session, &outcome), -EPROTO);
		/* Next time it is known. */
		assert_false(visit(f, ALIAS, session, NULL).reused);
		SSL_SESSION_free(session);
	}
	assert_true(n_refused(f) >= 2 * ARRAY_SIZE(kinds));
}

static int choose_strict(SSL *ssl, int *alert, void *arg)
{
	struct fixture *f = arg;

	(void)alert;
	SSL_set_SSL_CTX(ssl, f->strict);
	return SSL_TLSEXT_ERR_OK;
}

static void test_a_client_without_a_name(void **state)
{
	struct fixture *f = *state;

	/* Made where that leads elsewhere. Where it does not it is refused in time, though nobody was there before. */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;

		open_contexts(f, &kinds[i]);
		SSL_CTX_set_tlsext_servername_callback(f->open, choose_strict);
		assert_false(visit(f, NULL, NULL, &session).reused);
		assert_true(visit(f, NULL, session, NULL).reused);
		open_contexts(f, &kinds[i]);
		assert_false(visit(f, NULL, session, NULL).reused);
		SSL_SESSION_free(session);
	}
	assert_int_equal(n_refused(f), ARRAY_SIZE(kinds));
}

static unsigned n_info;

static void count_info(const SSL *ssl, int where, int value)
{
	(void)ssl;
	(void)value;
	if (where & SSL_CB_HANDSHAKE_DONE)
		n_info++;
}

static void test_a_server_sees_its_own_info_callbacks(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		open_contexts(f, &kinds[i]);
		SSL_CTX_set_info_callback(f->open, count_info);
		n_info = 0;
		(void)visit(f, OPEN, NULL, &session);
		assert_int_equal(n_info, 1);
		assert_true(visit(f, OPEN, session, NULL).reused);
		assert_int_equal(n_info, 2);
		SSL_SESSION_free(session);
	}
}

static int choose_early(SSL *ssl, int *alert, void *arg)
{
	struct fixture *f = arg;

	(void)alert;
	SSL_set_SSL_CTX(ssl, f->alias_is_strict ? f->strict : f->open);
	return SSL_CLIENT_HELLO_SUCCESS;
}

static void test_a_context_that_is_chosen_early(void **state)
{
	struct fixture *f = *state;

	/* As Apache does it: then a session is refused in time. */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;

		f->alias_is_strict = false;
		open_contexts(f, &kinds[i]);
		SSL_CTX_set_client_hello_cb(f->open, choose_early, f);
		assert_false(visit(f, ALIAS, NULL, &session).reused);
		assert_true(visit(f, ALIAS, session, NULL).reused);
		f->alias_is_strict = true;
		assert_false(visit(f, ALIAS, session, NULL).reused);
		SSL_SESSION_free(session);
	}
}

static int choose_with_certificate(SSL *ssl, void *arg)
{
	struct fixture *f = arg;

	SSL_set_SSL_CTX(ssl, f->alias_is_strict ? f->strict : f->open);
	return 1;
}

static void test_a_context_that_is_chosen_with_the_certificate(void **state)
{
	struct fixture *f = *state;
	struct tls_outcome outcome;

	/* Which OpenSSL does not ask for at a resumption: found out once, and then refused in time, again and again. */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;

		f->alias_is_strict = true;
		open_contexts(f, &kinds[i]);
		SSL_CTX_set_tlsext_servername_callback(f->open, NULL);
		SSL_CTX_set_cert_cb(f->open, choose_with_certificate, f);
		assert_false(visit(f, ALIAS, NULL, &session).reused);
		assert_int_equal(try(f, ALIAS, session, &outcome), -EPROTO);
		for (unsigned k = 0; k < 3; k++) {
			SSL_SESSION_free(session);
			assert_false(visit(f, ALIAS, NULL, &session).reused);
			assert_false(visit(f, ALIAS, session, NULL).reused);
		}
		SSL_SESSION_free(session);
		/* Where all names stay in one context they resume, also when that comes to be so later. */
		f->alias_is_strict = false;
		assert_false(visit(f, OPEN, NULL, &session).reused);
		assert_true(visit(f, OPEN, session, NULL).reused);
		SSL_SESSION_free(session);
		assert_false(visit(f, ALIAS, NULL, &session).reused);
		assert_true(visit(f, ALIAS, session, NULL).reused);
		SSL_SESSION_free(session);
	}
}

static int ask_at_connection(SSL *ssl, int *alert, void *arg)
{
	(void)alert;
	SSL_set_verify(ssl, *(int *)arg, NULL);
	return SSL_TLSEXT_ERR_OK;
}

static void test_a_mode_that_is_set_at_the_connection(void **state)
{
	struct fixture *f = *state;
	struct tls_outcome outcome;
	int mode;

	/* The contexts are the same. A connection that asks for no more than the session had is fine. */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;

		make_contexts(f, &kinds[i]);
		SSL_CTX_set_tlsext_servername_callback(f->open, ask_at_connection);
		SSL_CTX_set_tlsext_servername_arg(f->open, &mode);
		assert_int_equal(
		    X509_STORE_add_cert(SSL_CTX_get_cert_store(f->open), f->certificate), 1);
		attach_contexts(f);
		mode = SSL_VERIFY_PEER;
		assert_false(visit(f, OPEN, NULL, &session).reused);
		assert_true(visit(f, OPEN, session, NULL).reused);
		mode = SSL_VERIFY_NONE;
		assert_true(visit(f, OPEN, session, NULL).reused);
		SSL_SESSION_free(session);
		assert_false(visit(f, OPEN, NULL, &session).reused);
		mode = SSL_VERIFY_PEER;
		assert_int_equal(try(f, OPEN, session, &outcome), -EPROTO);
		/* Next time it is known. */
		assert_false(visit(f, OPEN, session, NULL).reused);
		SSL_SESSION_free(session);
	}
}

static int trust_at_connection(SSL *ssl, int *alert, void *arg)
{
	X509_STORE *store = *(X509_STORE **)arg;

	(void)alert;
	if (store)
		assert_int_equal(SSL_set1_verify_cert_store(ssl, store), 1);
	return SSL_TLSEXT_ERR_OK;
}

static void test_a_trust_store_that_is_set_at_the_connection(void **state)
{
	struct fixture *f = *state;
	X509_STORE *store, *own = X509_STORE_new();
	struct tls_outcome outcome;

	/* What it makes is honoured nowhere, and it honours nothing. */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;

		open_contexts(f, &kinds[i]);
		SSL_CTX_set_tlsext_servername_callback(f->open, trust_at_connection);
		SSL_CTX_set_tlsext_servername_arg(f->open, &store);
		store = own;
		assert_false(visit(f, OPEN, NULL, &session).reused);
		assert_false(visit(f, OPEN, session, NULL).reused);
		SSL_SESSION_free(session);
		store = NULL;
		assert_false(visit(f, OPEN, NULL, &session).reused);
		assert_true(visit(f, OPEN, session, NULL).reused);
		store = own;
		assert_int_equal(try(f, OPEN, session, &outcome), -EPROTO);
		assert_false(visit(f, OPEN, session, NULL).reused);
		SSL_SESSION_free(session);
		/* The context's own, which it would have had anyway. */
		store = SSL_CTX_get_cert_store(f->open);
		assert_false(visit(f, OPEN, NULL, &session).reused);
		assert_true(visit(f, OPEN, session, NULL).reused);
		SSL_SESSION_free(session);
	}
	X509_STORE_free(own);
}

static void test_certificates_asked_for_without_an_id_context(void **state)
{
	struct fixture *f = *state;

	/* OpenSSL would give a ticket, and end the handshake over it. */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;

		make_contexts(f, &kinds[i]);
		SSL_CTX_set_session_id_context(f->open, NULL, 0);
		SSL_CTX_set_verify(f->open, SSL_VERIFY_PEER, NULL);
		assert_int_equal(
		    X509_STORE_add_cert(SSL_CTX_get_cert_store(f->open), f->certificate), 1);
		attach_contexts(f);
		assert_false(visit(f, OPEN, NULL, &session).reused);
		assert_false(visit(f, OPEN, session, NULL).reused);
		SSL_SESSION_free(session);
	}
}

static void test_what_is_configured_late(void **state)
{
	struct fixture *f = *state;

	/* Attached, and only then asking for certificates: what was made before is not honoured after. */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;

		open_contexts(f, &kinds[i]);
		assert_int_equal(
		    X509_STORE_add_cert(SSL_CTX_get_cert_store(f->open), f->certificate), 1);
		assert_false(visit(f, NULL, NULL, &session).reused);
		SSL_CTX_set_verify(f->open, SSL_VERIFY_PEER, NULL);
		assert_false(visit(f, NULL, session, NULL).reused);
		SSL_SESSION_free(session);
		assert_false(visit(f, NULL, NULL, &session).reused);
		assert_true(visit(f, NULL, session, NULL).reused);
		SSL_SESSION_free(session);
	}
}

/* ---- Another configuration ---- */

static void test_a_node_that_differs(void **state)
{
	struct fixture *f = *state;

	/* The same names; there, the trust store has one more. */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;
		EVP_PKEY *pkey;
		X509 *another;

		assert_int_equal(tls_credentials(TLS_KEY_ECDSA, &pkey, &another), 0);
		open_contexts(f, &kinds[i]);
		assert_false(visit(f, STRICT, NULL, &session).reused);
		open_contexts(f, &kinds[i]);
		assert_true(visit(f, STRICT, session, NULL).reused);
		make_contexts(f, &kinds[i]);
		assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(f->strict), another),
		                 1);
		attach_contexts(f);
		assert_false(visit(f, STRICT, session, NULL).reused);
		SSL_SESSION_free(session);
		EVP_PKEY_free(pkey);
		X509_free(another);
	}
}

static void test_tickets_from_before(void **state)
{
	struct fixture *f = *state;

	/* Made under the group's keys, by a server whose sessions nobody binds. */
	for (size_t i = 2; i < ARRAY_SIZE(kinds); i++) {
		const uint64_t before = n_refused(f);
		SSL_SESSION *session, *newer;

		make_contexts(f, &kinds[i]);
		assert_int_equal(tlsbaton_attach_tickets(f->baton, f->open), 0);
		assert_false(visit(f, OPEN, NULL, &session).reused);
		attach_contexts(f);
		/* The client gets a new one. */
		assert_false(visit(f, OPEN, session, &newer).reused);
		assert_int_equal(n_refused(f), before + 1);
		assert_true(visit(f, OPEN, newer, NULL).reused);
		SSL_SESSION_free(session);
		SSL_SESSION_free(newer);
	}
}

/* ---- Lifetimes ---- */

static void test_an_end_is_inherited(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const time_t made_s = test_clock_stop();
		SSL_SESSION *session, *next;

		open_contexts(f, &kinds[i]);
		assert_int_equal(visit(f, OPEN, NULL, &session).expires_s, made_s + 300);
		for (long left_s = 200; left_s > 0; left_s -= 100) {
			struct tls_outcome outcome;

			test_clock_advance(100);
			outcome = visit(f, OPEN, session, &next);
			assert_true(outcome.reused);
			assert_int_equal(outcome.expires_s, made_s + 300);
			if (!next) /* TLS 1.2 */
				continue;
			if (kinds[i].version == TLS1_3_VERSION)
				assert_int_equal(SSL_SESSION_get_ticket_lifetime_hint(next),
				                 left_s);
			SSL_SESSION_free(session);
			session = next;
		}
		SSL_SESSION_free(session);
	}
}

static void test_an_end_is_kept(void **state)
{
	struct fixture *f = *state;

	/* Each resumption in between would have made it live on, and each renewed ticket. */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const uint64_t before = n_opened(f);
		SSL_SESSION *session, *next;

		(void)test_clock_stop();
		open_contexts(f, &kinds[i]);
		(void)visit(f, OPEN, NULL, &session);
		for (unsigned s = 0; s < 299; s += 23) {
			assert_true(visit(f, OPEN, session, &next).reused);
			if (next) {
				SSL_SESSION_free(session);
				session = next;
			}
			test_clock_advance(23);
		}
		assert_int_equal(n_opened(f) - before, kinds[i].stateless ? 13 : 0);
		assert_true(visit(f, OPEN, session, NULL).reused);
		test_clock_advance(1);
		assert_false(visit(f, OPEN, session, NULL).reused);
		SSL_SESSION_free(session);
	}
}

/* The client's certificate, which it signed itself, ends in `s` seconds. Returns when. */
static int64_t set_end(struct fixture *f, long s)
{
	X509 *before = f->certificate;
	struct tm ends;

	/* Another object: OpenSSL keeps at each what it found out about it. */
	f->certificate = X509_dup(before);
	X509_free(before);
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(f->certificate), s));
	assert_true(X509_sign(f->certificate, f->pkey, EVP_sha256()) > 0);
	assert_int_equal(ASN1_TIME_to_tm(X509_get0_notAfter(f->certificate), &ends), 1);
	return timegm(&ends);
}

static int accept_all(int ok, X509_STORE_CTX *store)
{
	(void)ok;
	X509_STORE_CTX_set_error(store, X509_V_OK);
	return 1;
}

static void test_a_certificate_ends_a_session(void **state)
{
	struct fixture *f = *state;
	const int64_t ends_s = set_end(f, 100);

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;

		open_contexts(f, &kinds[i]);
		assert_int_equal(visit(f, STRICT, NULL, &session).expires_s, ends_s);
		assert_true(SSL_SESSION_get_ticket_lifetime_hint(session) <= 100);
		assert_int_equal(visit(f, STRICT, session, NULL).expires_s, ends_s);
		/* Not shown there. */
		SSL_SESSION_free(session);
		assert_true(visit(f, OPEN, NULL, NULL).expires_s > ends_s);
	}
	/* A server that takes certificates that have ended checks each of them anew. */
	(void)set_end(f, -10);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;

		make_contexts(f, &kinds[i]);
		SSL_CTX_set_verify(f->strict, SSL_VERIFY_PEER, accept_all);
		attach_contexts(f);
		assert_false(visit(f, STRICT, NULL, &session).reused);
		assert_false(visit(f, STRICT, session, NULL).reused);
		SSL_SESSION_free(session);
	}
}

/* ---- Servers with a cache of their own ---- */

static SSL_SESSION *cached;

static int cache_new(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(cached);
	cached = SSL_SESSION_dup(session);
	return 0;
}

static SSL_SESSION *cache_get(SSL *ssl, const unsigned char *id, int n_id, int *copy)
{
	unsigned n;
	const unsigned char *own = cached ? SSL_SESSION_get_id(cached, &n) : NULL;

	(void)ssl;
	*copy = 0;
	return own && n == (unsigned)n_id && memcmp(own, id, n) == 0 ? SSL_SESSION_dup(cached)
	                                                             : NULL;
}

static void test_a_guarded_cache(void **state)
{
	struct fixture *f = *state;
	struct tlsbaton_counters counters;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		SSL_SESSION *session;

		make_contexts(f, &kinds[i]);
		SSL_CTX_sess_set_new_cb(f->open, cache_new);
		SSL_CTX_sess_set_get_cb(f->open, cache_get);
		assert_int_equal(tlsbaton_guard(f->baton, f->open), 0);
		assert_int_equal(tlsbaton_guard(f->baton, f->strict), 0);
		assert_int_equal(tlsbaton_attach(f->baton, f->open), -EBUSY);
		assert_false(visit(f, OPEN, NULL, &session).reused);
		assert_true(visit(f, OPEN, session, NULL).reused);
		if (kinds[i].version == TLS1_3_VERSION) { /* it holds one session */
			SSL_SESSION_free(session);
			assert_false(visit(f, OPEN, NULL, &session).reused);
		}
		assert_false(visit(f, STRICT, session, NULL).reused);
		SSL_SESSION_free(session);
	}
	tlsbaton_count(f->baton, &counters);
	assert_int_equal(counters.puts + counters.stateless + counters.hits, 0);
	SSL_SESSION_free(cached);
	cached = NULL;
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_resumed_where_it_was_made),
	    T(test_refused_at_another_name),
	    T(test_a_name_that_leads_elsewhere_now),
	    T(test_a_client_without_a_name),
	    T(test_a_server_sees_its_own_info_callbacks),
	    T(test_a_context_that_is_chosen_early),
	    T(test_a_context_that_is_chosen_with_the_certificate),
	    T(test_a_mode_that_is_set_at_the_connection),
	    T(test_a_trust_store_that_is_set_at_the_connection),
	    T(test_certificates_asked_for_without_an_id_context),
	    T(test_what_is_configured_late),
	    T(test_a_node_that_differs),
	    T(test_tickets_from_before),
	    T(test_an_end_is_inherited),
	    T(test_an_end_is_kept),
	    T(test_a_certificate_ends_a_session),
	    T(test_a_guarded_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
