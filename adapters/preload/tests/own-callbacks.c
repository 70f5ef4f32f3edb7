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
 *   early   the server's first call is SSL_read_early_data(), and it answers what it has read by then; nothing else
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

/* True: both ends are there, and early data, which the client sends if it has a session, was answered. */
static bool talk_early(SSL *server, SSL *client)
{
	const bool sends = session && SSL_SESSION_get_max_early_data(session) > 0;
	bool answered = false, finished = false;
	char byte = 0;
	size_t n;
	int r;

	if (sends && SSL_write_early_data(client, "e", 1, &n) != 1)
		return false;
	for (int i = 0; i < 20; i++) {
		if (!finished) {
			r = SSL_read_early_data(server, &byte, 1, &n);
			if (r == SSL_READ_EARLY_DATA_SUCCESS && n == 1)
				answered = SSL_write_early_data(server, "x", 1, &n) == 1;
			finished = r == SSL_READ_EARLY_DATA_FINISH;
		} else {
			(void)SSL_do_handshake(server);
		}
		(void)SSL_do_handshake(client);
		byte = SSL_read(client, &byte, 1) == 1 ? byte : 0;
		if (byte == 'x')
			break;
	}
	return SSL_is_init_finished(client) && answered == sends && (byte == 'x') == sends;
}

/* 1 when it resumed, 0 when it did not, -1 when it failed. */
static int connect_once(SSL_CTX *server_ctx, SSL_CTX *client_ctx, const char *scenario)
{
	const bool early = strcmp(scenario, "early") == 0, greets = strcmp(scenario, "greets") == 0;
	SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);
	BIO *one, *two;
	int r = -1;

	if (!server || !client || BIO_new_bio_pair(&one, 65536, &two, 65536) != 1)
		return -1;
	SSL_set_bio(server, one, one);
	SSL_set_bio(client, two, two);
	if (!early)
		SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	SSL_set_tlsext_host_name(client, "localhost");
	if (session)
		(void)SSL_set_session(client, session);
	if (early ? talk_early(server, client) : talk(server, client, greets))
		r = SSL_session_reused(client);
	(void)SSL_shutdown(client);
	(void)SSL_shutdown(server);
	SSL_free(client);
	SSL_free(server);
	return r;
}

/* Until the session of the first connection is where the second looks for it: no gate was waited for in between. */
static int connect_until_resumed(SSL_CTX *server_ctx, SSL_CTX *client_ctx, const char *scenario)
{
	SSL_SESSION *const first = session;
	int r = -1;

	for (int i = 0; i < 1000 && r != 1; i++) {
		if (session != first)
			SSL_SESSION_free(session);
		session = first;
		if (first)
			SSL_SESSION_up_ref(first);
		r = connect_once(server_ctx, client_ctx, scenario);
	}
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
	run->first = connect_once(run->server, run->client, "threads");
	run->second = connect_once(run->server, run->client, "threads");
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
	const bool late = strcmp(scenario, "late") == 0;
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
	if (strcmp(scenario, "early") == 0) {
		/* OpenSSL looks for replays in its own cache only, which is not used. */
		SSL_CTX_set_options(server, SSL_OP_NO_ANTI_REPLAY);
		SSL_CTX_set_max_early_data(server, 1024);
	}
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
		first = connect_once(server, client, scenario);
		if (late)
			set_callbacks(server);
		r = strcmp(scenario, "early") == 0 ? connect_until_resumed(second, client, scenario)
		                                   : connect_once(second, client, scenario);
	}
	same = SSL_CTX_sess_get_new_cb(client) == on_new &&
	       SSL_CTX_sess_get_get_cb(client) == on_get &&
	       SSL_CTX_get_session_cache_mode(client) == SSL_SESS_CACHE_BOTH;
	printf("first=%d second=%d new_server=%d new_client=%d get=%d client_as_it_was=%d\n", first,
	       r, n_new_server, n_new_client, n_get, same);
	return 0;
}
