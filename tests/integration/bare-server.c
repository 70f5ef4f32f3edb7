/*
 * A plain OpenSSL server that leaves its sessions to OpenSSL and calls tlsbaton_attach(): what a server
 * without a cache of its own looks like. It answers each connection with a body whose first line is
 * its node's name, and waits at the gate before the first byte.
 *
 * Prints "ready" when it listens and, at the first byte on standard input, its counters as JSON.
 * Usage: bare-server WORKER-SOCKET PORT NODE 1.2|1.3 CERTIFICATE KEY
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "tlsbaton.h"
#include "util/macro.h"

#define N_THREADS 8
#define BODY_BYTES 51200

struct server {
	tlsbaton *baton;
	SSL_CTX *ctx;
	int listener;
	const char *node;
};

static void log_line(void *arg, int level, const char *message)
{
	(void)arg, (void)level;
	fprintf(stderr, "bare-server: %s\n", message);
}

static void answer(struct server *server, SSL *ssl)
{
	static const char head[] =
	    "HTTP/1.1 200 OK\r\nContent-Length: 51200\r\nConnection: close\r\n\r\n";
	char body[BODY_BYTES], request[4096];

	if (SSL_accept(ssl) != 1 || SSL_read(ssl, request, sizeof(request)) <= 0)
		return;
	memset(body, 'x', sizeof(body));
	body[0] = server->node[0];
	/* A deadline that passes is counted by the library; the client is answered all the same. */
	if (tlsbaton_gate_wait(server->baton, tlsbaton_ssl_notice(ssl)) < 0)
		return;
	if (SSL_write(ssl, head, sizeof(head) - 1) > 0 && SSL_write(ssl, body, sizeof(body)) > 0)
		(void)SSL_shutdown(ssl);
}

static void *serve(void *arg)
{
	const struct timeval patience = {.tv_sec = 5};
	struct server *server = arg;

	for (;;) {
		_cleanup_(closep) int fd = accept(server->listener, NULL, NULL);
		SSL *ssl;

		if (fd < 0)
			continue;
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		ssl = SSL_new(server->ctx);
		if (ssl && SSL_set_fd(ssl, fd))
			answer(server, ssl);
		SSL_free(ssl); /* without close_notify from the client: OpenSSL drops the session */
	}
	return NULL;
}

static int listen_on(const char *port)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0 &&
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0 && listen(fd, 256) == 0)
		return fd;
	closep(&fd);
	return -errno;
}

static int setup(struct server *server, char **argv)
{
	struct tlsbaton_options options = {
	    .size = sizeof(options),
	    .socket_path = argv[1],
	    .log = log_line,
	};
	int version = strcmp(argv[4], "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;

	server->node = argv[3];
	server->ctx = SSL_CTX_new(TLS_server_method());
	if (!server->ctx || !SSL_CTX_set_min_proto_version(server->ctx, version) ||
	    !SSL_CTX_set_max_proto_version(server->ctx, version) ||
	    SSL_CTX_use_certificate_file(server->ctx, argv[5], SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_PrivateKey_file(server->ctx, argv[6], SSL_FILETYPE_PEM) != 1)
		return -EINVAL;
	SSL_CTX_set_options(server->ctx, SSL_OP_NO_TICKET);
	if (tlsbaton_new(&server->baton, &options) < 0 ||
	    tlsbaton_attach(server->baton, server->ctx) < 0)
		return -EINVAL;
	server->listener = listen_on(argv[2]);
	return server->listener < 0 ? server->listener : 0;
}

int main(int argc, char **argv)
{
	struct server server = {0};
	struct tlsbaton_counters counters;
	pthread_t threads[N_THREADS];
	int r;

	if (argc != 7)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	r = setup(&server, argv);
	for (size_t i = 0; i < N_THREADS && r == 0; i++)
		r = -pthread_create(&threads[i], NULL, serve, &server);
	if (r < 0) {
		fprintf(stderr, "bare-server: %s\n", strerror(-r));
		return 1;
	}
	puts("ready");
	fflush(stdout);
	(void)getchar();
	tlsbaton_count(server.baton, &counters);
	printf("{\"puts\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"hits\":%" PRIu64 ",\"misses\":%" PRIu64
	       ",\"removals\":%" PRIu64 ",\"removals_ignored\":%" PRIu64 "}\n",
	       counters.puts, counters.lost, counters.hits, counters.misses, counters.removals,
	       counters.removals_ignored);
	fflush(stdout);
	_exit(0); /* the threads are in accept(2) */
}
