/*
 * A program with session callbacks of its own and both ends of its connections, for test-program.sh: what it is told with
 * the preload library in it must be what it is told without.
 *
 * Usage: own-callbacks SCENARIO 1.2|1.3 CERTIFICATE-AND-KEY.  Two connections, the second with the session of the first,
 * from a client context to a server context:
 *   two     each is only that
 *   one     they are the same
 *   late    the server's callbacks are set after the first connection
 *   off     the server has SSL_SESS_CACHE_OFF
 *   asks    the server asks for certificates and has no session ID context
 *   other   only the server of the second connection does
 *   name    the server changes to another context, which has no callbacks, when it hears the client's server name
 *   threads N_THREADS at once do the same, with a client context each: the server's is in nobody's hands before; `first` and
 *           `second` are sums
 *   greets  the server calls nothing but SSL_write(), which makes the handshake on its way
 * Prints one line: whether the second one resumed, how often the server's and the client's new-session callback were called, how
 * often the server was asked for a session, and whether callbacks and cache mode of the client's context are as they were.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <openssl/ssl.h>

#define N_THREADS 8

static atomic_int n_new_server, n_new_client, n_get;
static _Thread_local SSL_SESSION *session; /* the client's */

static int on_new(SSL *ssl, SSL_SESSION *made)
{
	if (SSL_is_server(ssl)) {
		n_new_server++;
		return 0;
	}
	n_new_client++;
	SSL_SESSION_free(session);
	session = made;
	return 1;
}

static SSL_SESSION *on_get(SSL *ssl, const unsigned char *id, int n_id, int *copy)
{
	(void)ssl, (void)id, (void)n_id, (void)copy;
	n_get++;
	return NULL;
}

static void set_callbacks(SSL_CTX *ctx)
{
	SSL_CTX_sess_set_new_cb(ctx, on_new);
	SSL_CTX_sess_set_get_cb(ctx, on_get);
}

/* `pem` is NULL for a client. */
static SSL_CTX *make(int version, const char *pem)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());

	if (!ctx || !SSL_CTX_set_min_proto_version(ctx, version) ||
	    !SSL_CTX_set_max_proto_version(ctx, version))
		return NULL;
	if (pem && (SSL_CTX_use_certificate_file(ctx, pem, SSL_FILETYPE_PEM) != 1 ||
	            SSL_CTX_use_PrivateKey_file(ctx, pem, SSL_FILETYPE_PEM) != 1))
		return NULL;
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_BOTH);
	return ctx;
}

static int choose(SSL *ssl, int *alert, void *arg)
{
	(void)alert;
	SSL_set_SSL_CTX(ssl, arg);
	return SSL_TLSEXT_ERR_OK;
}

/* Goes on until neither end has anything to do. True: both are there, and a byte came through. */
static bool talk(SSL *server, SSL *client, bool greets)
{
	char byte = 0;
	int n = 0;

	for (int i = 0; i < 20 && n <= 0; i++) {
		(void)SSL_do_handshake(client);
		if (greets || SSL_is_init_finished(server))
			n = SSL_write(server, "x", 1);
		else
			(void)SSL_do_handshake(server);
	}
	return n == 1 && SSL_read(client, &byte, 1) == 1 && byte == 'x';
}

/* 1 when it resumed, 0 when it did not, -1 when it failed. */
static int connect_once(SSL_CTX *server_ctx, SSL_CTX *client_ctx, bool greets)
{
	SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);
	BIO *one, *two;
	int r = -1;

	if (!server || !client || BIO_new_bio_pair(&one, 65536, &two, 65536) != 1)
		return -1;
	SSL_set_bio(server, one, one);
	SSL_set_bio(client, two, two);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	SSL_set_tlsext_host_name(client, "localhost");
	if (session)
		(void)SSL_set_session(client, session);
	if (talk(server, client, greets))
		r = SSL_session_reused(client);
	(void)SSL_shutdown(client);
	(void)SSL_shutdown(server);
	SSL_free(client);
	SSL_free(server);
	return r;
}

struct run {
	pthread_t thread;
	pthread_barrier_t *barrier;
	SSL_CTX *server, *client;
	int first, second;
};

static void *run(void *arg)
{
	struct run *run = arg;

	(void)pthread_barrier_wait(run->barrier);
	run->first = connect_once(run->server, run->client, false);
	run->second = connect_once(run->server, run->client, false);
	return NULL;
}

static bool run_threads(SSL_CTX *server, int version, int *first, int *second)
{
	struct run runs[N_THREADS];
	pthread_barrier_t barrier;

	*first = *second = 0;
	if (pthread_barrier_init(&barrier, NULL, N_THREADS) != 0)
		return false;
	for (int i = 0; i < N_THREADS; i++) {
		runs[i] = (struct run){
		    .barrier = &barrier, .server = server, .client = make(version, NULL)};
		set_callbacks(runs[i].client);
		if (pthread_create(&runs[i].thread, NULL, run, &runs[i]) != 0)
			return false;
	}
	for (int i = 0; i < N_THREADS; i++) {
		(void)pthread_join(runs[i].thread, NULL);
		*first += runs[i].first;
		*second += runs[i].second;
	}
	return true;
}

int main(int argc, char **argv)
{
	const char *scenario = argc == 4 ? argv[1] : "";
	const int version =
	    argc == 4 && strcmp(argv[2], "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
	const bool greets = strcmp(scenario, "greets") == 0, late = strcmp(scenario, "late") == 0;
	SSL_CTX *server, *client, *other, *second;
	int first, r;
	bool same;

	if (argc != 4)
		return 2;
	server = make(version, argv[3]);
	other = make(version, argv[3]);
	client = strcmp(scenario, "one") == 0 ? server : make(version, NULL);
	if (!server || !client || !other)
		return 1;
	second = strcmp(scenario, "other") == 0 ? other : server;
	set_callbacks(client);
	if (!late)
		set_callbacks(server);
	if (strcmp(scenario, "off") == 0)
		SSL_CTX_set_session_cache_mode(server, SSL_SESS_CACHE_OFF);
	if (strcmp(scenario, "asks") == 0 || strcmp(scenario, "other") == 0)
		SSL_CTX_set_verify(second, SSL_VERIFY_PEER, NULL);
	if (strcmp(scenario, "name") == 0) {
		SSL_CTX_set_tlsext_servername_callback(server, choose);
		SSL_CTX_set_tlsext_servername_arg(server, other);
	}
	if (strcmp(scenario, "threads") == 0) {
		if (!run_threads(server, version, &first, &r))
			return 1;
	} else {
		first = connect_once(server, client, greets);
		if (late)
			set_callbacks(server);
		r = connect_once(second, client, greets);
	}
	same = SSL_CTX_sess_get_new_cb(client) == on_new &&
	       SSL_CTX_sess_get_get_cb(client) == on_get &&
	       SSL_CTX_get_session_cache_mode(client) == SSL_SESS_CACHE_BOTH;
	printf("first=%d second=%d new_server=%d new_client=%d get=%d client_as_it_was=%d\n", first,
	       r, n_new_server, n_new_client, n_get, same);
	return 0;
}
