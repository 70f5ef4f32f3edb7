/*
 * Replication between two nodes, each a process of its own with a table of its own, over TLS on
 * loopback; and beside it, in the same run, what a plain TLS 1.3 stream does with the same bytes
 * (OpenSSL, one blocking socket, no tlsbaton): the limit that this machine sets.
 *
 *  - sessions_per_s: one side puts as fast as it is taken, until `sessions` are stored at the
 *    other; plain: 64 KiB writes of as many bytes.
 *  - send_cpu_us, store_cpu_us: processor time a session in that phase, of either process; the
 *    two nodes' include table_put().
 *  - ack_p50_us, ack_p99_us: 2,000 sessions/s, evenly, from the put to the ack that covers it;
 *    plain: a record's bytes there, an ack's bytes back.
 *  - refill_s: a node starts empty beside one that holds `sessions`, from its start to "in sync";
 *    plain: a connection with its handshake, and as many bytes.
 *  - table_s: of it, what the kernel needs to give it the table's memory, locked.
 *
 * Usage: bench-repl [sessions], 1,000,000 unless given.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "repl/repl.h"
#include "util/reserve_port.h"

#define BENCH_ID_BYTES 32
#define BENCH_DER_BYTES 133
#define BENCH_RECORD_BYTES (BENCH_ID_BYTES + BENCH_DER_BYTES)
#define BENCH_ACK_BYTES 21
#define BENCH_RATE 2000
#define BENCH_LATENCY_SAMPLES 6000
#define BENCH_BATCH 128 /* puts between two pushes, as the daemon takes notices out of rings */
#define BENCH_AHEAD (4ULL << 20) /* bytes of log that the feeder runs ahead of the acks */

/* What the two processes tell each other. */
struct bench_shared {
	_Atomic uint64_t n_stored; /* at the receiving node */
	_Atomic int64_t cpu_ns;    /* that it has used */
	_Atomic int64_t opened_ns; /* when it had its table */
	_Atomic bool stop;
};

struct bench_node {
	struct event_base *base;
	struct table *table;
	struct repl *repl;
	struct bench_shared *shared;
	char path[64];
	/* Feeding. */
	struct event *feed;
	uint64_t n_fed, n_wanted;
	/* Latency. */
	int64_t put_ns;
	uint64_t put_end; /* of the record that an ack is awaited for; 0: none */
	double samples[BENCH_LATENCY_SAMPLES];
	unsigned n_samples;
};

static void die(const char *what)
{
	fprintf(stderr, "bench-repl: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return used.tv_sec * 1000000000LL + used.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double percentile(double *samples, unsigned n, double share)
{
	qsort(samples, n, sizeof(*samples), compare);
	return samples[(unsigned)(share * (n - 1))];
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in address;
	socklen_t n = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &n) < 0)
		die("getsockname");
	return ntohs(address.sin_port);
}

static int listen_loopback(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 4) < 0)
		die("listen");
	return fd;
}

static void wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "bench-repl: the other process failed\n");
		exit(1);
	}
}

/* ---- Nodes ---- */

static uint64_t put_one(struct bench_node *node, uint64_t number)
{
	static uint8_t id[BENCH_ID_BYTES], der[BENCH_DER_BYTES];
	struct table_record record = {.id = id,
	                              .n_id = sizeof(id),
	                              .der = der,
	                              .n_der = sizeof(der),
	                              .expires_s = time(NULL) + 3600,
	                              .flags = TABLE_LOCAL};
	uint64_t end = 0, spread = number * 0x9e3779b97f4a7c15ULL;

	memcpy(id, &spread, sizeof(spread));
	memcpy(id + 8, &number, sizeof(number));
	memcpy(der, &number, sizeof(number));
	if (table_put(node->table, &record, time(NULL), &end) != 0) {
		fprintf(stderr, "bench-repl: put failed\n");
		exit(1);
	}
	return end;
}

static void node_acked(void *arg)
{
	struct bench_node *node = arg;
	unsigned waited_for;
	uint64_t acked = repl_acked(node->repl, &waited_for);

	if (node->put_end > 0 && acked >= node->put_end && waited_for > 0) {
		if (node->n_samples < BENCH_LATENCY_SAMPLES)
			node->samples[node->n_samples++] = (double)(now_ns() - node->put_ns) / 1000;
		node->put_end = 0;
	}
	if (node->feed && node->n_fed < node->n_wanted)
		event_active(node->feed, EV_TIMEOUT, 0);
}

static void node_control(void *arg, size_t peer, const uint8_t *payload, size_t n_payload)
{
	(void)arg;
	(void)peer;
	(void)payload;
	(void)n_payload;
}

static void node_peer_changed(void *arg, size_t peer)
{
	(void)arg;
	(void)peer;
}

static const struct repl_ops node_ops = {
    .acked = node_acked,
    .control = node_control,
    .peer_changed = node_peer_changed,
};

static void node_open(struct bench_node *node, const char *name, uint64_t n_sessions)
{
	uint64_t n_bytes = (64ULL << 20) + n_sessions * 288;
	char why[128];
	int r;

	node->base = event_base_new();
	snprintf(node->path, sizeof(node->path), "/dev/shm/tlsbaton-bench-%d-%s", (int)getpid(),
	         name);
	/* Locked, as the daemon has it; where that is not allowed, page faults are in the
	 * figures. */
	r = table_open(&node->table, node->path, n_bytes, true, time(NULL), why, sizeof(why));
	if (r == -EPERM || r == -ENOMEM)
		r = table_open(&node->table, node->path, n_bytes, false, time(NULL), why,
		               sizeof(why));
	if (r != TABLE_CREATED && r != TABLE_REBUILT)
		die("table");
	unlink(node->path);
}

static void node_replicate(struct bench_node *node, const char *name, uint16_t port,
                           const char *peer, uint16_t peer_port)
{
	static const uint8_t key[REPL_KEY_BYTES] = "a key that is only for this test";
	char listen[32], address[32], error[256];
	struct repl_peer_config peers[] = {{peer, address}};
	struct repl_config config = {.node = name,
	                             .group = "bench",
	                             .listen = listen,
	                             .peers = peers,
	                             .n_peers = 1,
	                             .group_key = key,
	                             .gate_deadline_ms = 5000,
	                             .heartbeat_ms = 500};

	snprintf(listen, sizeof(listen), "127.0.0.1:%u", port);
	snprintf(address, sizeof(address), "127.0.0.1:%u", peer_port);
	if (repl_new(&node->repl, node->base, &config, node->table, &node_ops, node, error,
	             sizeof(error)) < 0) {
		fprintf(stderr, "bench-repl: %s\n", error);
		exit(1);
	}
}

static void node_close(struct bench_node *node)
{
	repl_free(node->repl);
	table_free(node->table);
	event_base_free(node->base);
}

static bool in_sync(const struct bench_node *node)
{
	struct repl_peer_status status;

	repl_peer_status(node->repl, 0, &status);
	return status.state == REPL_IN_SYNC;
}

static void tell_stored(const struct bench_node *node)
{
	struct repl_peer_status status;

	repl_peer_status(node->repl, 0, &status);
	atomic_store_explicit(&node->shared->cpu_ns, cpu_ns(), memory_order_relaxed);
	atomic_store_explicit(&node->shared->n_stored, status.n_received, memory_order_relaxed);
}

static void run_once(struct bench_node *node)
{
	struct timeval limit = {0, 20000};

	event_base_loopexit(node->base, &limit);
	event_base_loop(node->base, EVLOOP_ONCE);
}

/* The other node: stores until told to stop. */
static pid_t start_receiver(struct bench_shared *shared, uint64_t n_sessions, uint16_t port,
                            uint16_t peer_port)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		static struct bench_node node;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		node.shared = shared;
		node_open(&node, "b", n_sessions);
		atomic_store_explicit(&shared->opened_ns, now_ns(), memory_order_relaxed);
		node_replicate(&node, "b", port, "a", peer_port);
		while (!atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
			run_once(&node);
			tell_stored(&node);
		}
		node_close(&node);
		_exit(0);
	}
	return pid;
}

static void stop_receiver(struct bench_shared *shared, pid_t pid)
{
	atomic_store_explicit(&shared->stop, true, memory_order_relaxed);
	wait_for(pid);
	atomic_store_explicit(&shared->stop, false, memory_order_relaxed);
	atomic_store_explicit(&shared->n_stored, 0, memory_order_relaxed);
}

static void on_feed(evutil_socket_t fd, short what, void *arg)
{
	struct bench_node *node = arg;
	unsigned waited_for;

	(void)fd;
	(void)what;
	if (table_head(node->table) - repl_acked(node->repl, &waited_for) > BENCH_AHEAD)
		return; /* the next ack calls again */
	for (unsigned i = 0; i < BENCH_BATCH && node->n_fed < node->n_wanted; i++)
		(void)put_one(node, node->n_fed++);
	repl_push(node->repl);
	if (node->n_fed < node->n_wanted)
		event_active(node->feed, EV_TIMEOUT, 0);
}

struct figures {
	double sessions_per_s, send_cpu_us, store_cpu_us, p50_us, p99_us, refill_s, table_s;
};

static void measure_rate(struct bench_node *node, uint64_t n_sessions, struct figures *out)
{
	int64_t start_ns = now_ns(), start_cpu_ns = cpu_ns();
	int64_t start_store_ns = atomic_load_explicit(&node->shared->cpu_ns, memory_order_relaxed);

	node->feed = event_new(node->base, -1, EV_PERSIST, on_feed, node);
	node->n_wanted = n_sessions;
	event_active(node->feed, EV_TIMEOUT, 0);
	while (atomic_load_explicit(&node->shared->n_stored, memory_order_relaxed) < n_sessions)
		run_once(node);
	out->sessions_per_s = (double)n_sessions * 1e9 / (double)(now_ns() - start_ns);
	out->send_cpu_us = (double)(cpu_ns() - start_cpu_ns) / 1000 / (double)n_sessions;
	out->store_cpu_us =
	    (double)(atomic_load_explicit(&node->shared->cpu_ns, memory_order_relaxed) -
	             start_store_ns) /
	    1000 / (double)n_sessions;
	event_free(node->feed);
	node->feed = NULL;
}

/* Sleeps until the next of BENCH_RATE points in time a second. */
static void sleep_until(int64_t *next_ns)
{
	struct timespec next;

	*next_ns += 1000000000 / BENCH_RATE;
	next.tv_sec = *next_ns / 1000000000;
	next.tv_nsec = *next_ns % 1000000000;
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
}

static void measure_latency(struct bench_node *node, struct figures *out)
{
	int64_t next_ns = now_ns();

	while (node->n_samples < BENCH_LATENCY_SAMPLES) {
		sleep_until(&next_ns);
		node->put_ns = now_ns();
		node->put_end = put_one(node, node->n_fed++);
		repl_push(node->repl);
		while (node->put_end > 0)
			event_base_loop(node->base, EVLOOP_ONCE);
	}
	out->p50_us = percentile(node->samples, node->n_samples, 0.5);
	out->p99_us = percentile(node->samples, node->n_samples, 0.99);
}

/* ---- The same bytes without tlsbaton ---- */

struct plain {
	SSL_CTX *server, *client;
	int listener;
};

static void plain_open(struct plain *plain)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();

	if (!key || !certificate)
		die("certificate");
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	X509_sign(certificate, key, EVP_sha256());
	plain->server = SSL_CTX_new(TLS_server_method());
	plain->client = SSL_CTX_new(TLS_client_method());
	if (SSL_CTX_use_certificate(plain->server, certificate) != 1 ||
	    SSL_CTX_use_PrivateKey(plain->server, key) != 1 ||
	    SSL_CTX_set_ciphersuites(plain->server, "TLS_AES_256_GCM_SHA384") != 1)
		die("TLS");
	SSL_CTX_set_read_ahead(plain->server, 1);
	SSL_CTX_set_default_read_buffer_len(plain->server, 64 * 1024);
	EVP_PKEY_free(key);
	X509_free(certificate);
	plain->listener = listen_loopback();
}

static void plain_close(struct plain *plain)
{
	SSL_CTX_free(plain->server);
	SSL_CTX_free(plain->client);
	close(plain->listener);
}

static void read_all(SSL *ssl, uint8_t *bytes, size_t n)
{
	for (size_t done = 0, now = 0; done < n; done += now)
		if (SSL_read_ex(ssl, bytes + done, n - done, &now) != 1)
			die("SSL_read");
}

static void write_all(SSL *ssl, const uint8_t *bytes, size_t n)
{
	size_t done;

	if (SSL_write_ex(ssl, bytes, n, &done) != 1 || done != n)
		die("SSL_write");
}

/* The far end: takes `n_stream` bytes and acks them once, then answers `n_echo` records one by
 * one. */
static pid_t plain_start(struct plain *plain, uint64_t n_stream, unsigned n_echo)
{
	static uint8_t bytes[64 * 1024];
	pid_t pid = fork();
	int fd, one = 1;
	SSL *ssl;

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	fd = accept(plain->listener, NULL, NULL);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	ssl = SSL_new(plain->server);
	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) != 1)
		die("SSL_accept");
	for (uint64_t left = n_stream; left > 0;) {
		size_t now = 0;

		if (SSL_read_ex(ssl, bytes, MIN(left, sizeof(bytes)), &now) != 1)
			die("SSL_read");
		left -= now;
	}
	if (n_stream > 0)
		write_all(ssl, bytes, BENCH_ACK_BYTES);
	for (unsigned i = 0; i < n_echo; i++) {
		read_all(ssl, bytes, BENCH_RECORD_BYTES);
		write_all(ssl, bytes, BENCH_ACK_BYTES);
	}
	_exit(0);
}

static SSL *plain_connect(struct plain *plain)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	                              .sin_port = htons(port_of(plain->listener)),
	                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	SSL *ssl = SSL_new(plain->client);

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("connect");
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) != 1)
		die("SSL_connect");
	return ssl;
}

static void plain_disconnect(SSL *ssl)
{
	close(SSL_get_fd(ssl));
	SSL_free(ssl);
}

static int64_t children_cpu_ns(void)
{
	struct rusage used;

	getrusage(RUSAGE_CHILDREN, &used);
	return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL +
	       (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL;
}

static void plain_stream(struct plain *plain, uint64_t n_sessions, struct figures *out)
{
	static uint8_t bytes[64 * 1024];
	uint64_t n_stream = n_sessions * BENCH_RECORD_BYTES;
	int64_t dialled_ns = now_ns(), start_ns;
	pid_t pid = plain_start(plain, n_stream, 0);
	SSL *ssl = plain_connect(plain);
	int64_t start_cpu_ns = cpu_ns(), start_children_ns = children_cpu_ns();

	start_ns = now_ns();
	for (uint64_t left = n_stream; left > 0; left -= MIN(left, sizeof(bytes)))
		write_all(ssl, bytes, MIN(left, sizeof(bytes)));
	read_all(ssl, bytes, BENCH_ACK_BYTES);
	out->sessions_per_s = (double)n_sessions * 1e9 / (double)(now_ns() - start_ns);
	out->refill_s = (double)(now_ns() - dialled_ns) / 1e9;
	out->send_cpu_us = (double)(cpu_ns() - start_cpu_ns) / 1000 / (double)n_sessions;
	wait_for(pid);
	out->store_cpu_us =
	    (double)(children_cpu_ns() - start_children_ns) / 1000 / (double)n_sessions;
	plain_disconnect(ssl);
}

static void plain_latency(struct plain *plain, struct figures *out)
{
	static double samples[BENCH_LATENCY_SAMPLES];
	static uint8_t bytes[BENCH_RECORD_BYTES];
	pid_t pid = plain_start(plain, 0, BENCH_LATENCY_SAMPLES);
	SSL *ssl = plain_connect(plain);
	int64_t next_ns = now_ns();

	for (unsigned i = 0; i < BENCH_LATENCY_SAMPLES; i++) {
		int64_t start_ns;

		sleep_until(&next_ns);
		start_ns = now_ns();
		write_all(ssl, bytes, sizeof(bytes));
		read_all(ssl, bytes, BENCH_ACK_BYTES);
		samples[i] = (double)(now_ns() - start_ns) / 1000;
	}
	out->p50_us = percentile(samples, BENCH_LATENCY_SAMPLES, 0.5);
	out->p99_us = percentile(samples, BENCH_LATENCY_SAMPLES, 0.99);
	wait_for(pid);
	plain_disconnect(ssl);
}

static void measure_tlsbaton(uint64_t n_sessions, struct figures *out)
{
	struct bench_shared *shared =
	    mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	static struct bench_node node;
	uint16_t port_a = reserve_port(), port_b = reserve_port();
	int64_t start_ns;
	pid_t pid;

	if (shared == MAP_FAILED)
		die("mmap");
	node.shared = shared;
	pid = start_receiver(shared, n_sessions, port_b, port_a);
	node_open(&node, "a", n_sessions);
	node_replicate(&node, "a", port_a, "b", port_b);
	while (!in_sync(&node))
		run_once(&node);
	measure_rate(&node, n_sessions, out);
	measure_latency(&node, out);
	stop_receiver(shared, pid);
	while (in_sync(&node))
		run_once(&node);
	start_ns = now_ns();
	pid = start_receiver(shared, n_sessions, port_b, port_a);
	while (!in_sync(&node))
		run_once(&node);
	out->refill_s = (double)(now_ns() - start_ns) / 1e9;
	out->table_s =
	    (double)(atomic_load_explicit(&shared->opened_ns, memory_order_relaxed) - start_ns) /
	    1e9;
	stop_receiver(shared, pid);
	node_close(&node);
	munmap(shared, sizeof(*shared));
}

static void print_row(const char *what, uint64_t n_sessions, const struct figures *figures)
{
	printf("%-10s %10llu %14.0f %11.3f %12.3f %10.1f %10.1f %8.3f %7.3f\n", what,
	       (unsigned long long)n_sessions, figures->sessions_per_s, figures->send_cpu_us,
	       figures->store_cpu_us, figures->p50_us, figures->p99_us, figures->refill_s,
	       figures->table_s);
}

int main(int argc, char **argv)
{
	uint64_t n_sessions = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
	struct figures ours = {0}, theirs = {0};
	struct plain plain;

	signal(SIGPIPE, SIG_IGN);
	if (n_sessions < 1000) {
		fprintf(stderr, "usage: bench-repl [sessions, at least 1000]\n");
		return 2;
	}
	measure_tlsbaton(n_sessions, &ours);
	plain_open(&plain);
	plain_stream(&plain, n_sessions, &theirs);
	plain_latency(&plain, &theirs);
	plain_close(&plain);
	printf("%-10s %10s %14s %11s %12s %10s %10s %8s %7s\n", "what", "sessions",
	       "sessions_per_s", "send_cpu_us", "store_cpu_us", "ack_p50_us", "ack_p99_us",
	       "refill_s", "table_s");
	print_row("tlsbaton", n_sessions, &ours);
	print_row("plain_tls", n_sessions, &theirs);
	return 0;
}
