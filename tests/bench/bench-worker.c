/*
 * What sharing costs a server: its CPU for a handshake, full and resumed, with libtlsbaton attached and
 * with OpenSSL's own internal cache, interleaved in one run. Handshakes are in memory; only the server's
 * calls are timed, from SSL_new() to SSL_free(). The daemon is in another process: its table and workers,
 * without a peer; or, with --socket PATH, the one that listens there.
 *
 * One row a case:
 *   tls key kind       what was done
 *   internal_us        µs of a handshake, mean of the middle half
 *   tlsbaton_us        the same with the session shared
 *   cpu_ratio          median over the rounds of one by the other
 *   internal_instr …   instructions a handshake, counted by valgrind's callgrind (n/a without it)
 *   tickets_us         as tlsbaton_us, with the session in a stateless ticket under a key of the group
 *   ticket_bytes       of the ticket that the client then keeps and sends
 * and then how long a gate waited after each full handshake.
 */
#include <errno.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_ZERO_STATS /* no valgrind to count with */
#endif

#include "client/test-tls.h"
#include "daemon/tickets.h"
#include "daemon/workers.h"
#include "tlsbaton.h"

#define N_ROUNDS 15
#define N_BLOCKS 8 /* of one side, then of the other, a round */
#define N_POOL 32
#define N_GATES 2000
#define N_COUNTED 24 /* handshakes under callgrind */

enum side { SIDE_INTERNAL, SIDE_SHARED, SIDE_TICKETS, N_SIDES };
enum kind { KIND_FULL, KIND_RESUMED };

struct row {
	int version;
	enum tls_key key;
	enum kind kind;
	unsigned n_block; /* handshakes a block */
};

static const struct row rows[] = {
    {TLS1_2_VERSION, TLS_KEY_RSA, KIND_FULL, 8},
    {TLS1_2_VERSION, TLS_KEY_RSA, KIND_RESUMED, 40},
    {TLS1_2_VERSION, TLS_KEY_ECDSA, KIND_FULL, 12},
    {TLS1_2_VERSION, TLS_KEY_ECDSA, KIND_RESUMED, 40},
    {TLS1_3_VERSION, TLS_KEY_RSA, KIND_FULL, 8},
    {TLS1_3_VERSION, TLS_KEY_RSA, KIND_RESUMED, 16},
    {TLS1_3_VERSION, TLS_KEY_ECDSA, KIND_FULL, 12},
    {TLS1_3_VERSION, TLS_KEY_ECDSA, KIND_RESUMED, 16},
};

struct bench {
	char directory[32];
	char socket_path[108];
	pid_t daemon;
	tlsbaton *baton;
	EVP_PKEY *pkeys[2];
	X509 *certificates[2];
};

static void die(const char *what)
{
	fprintf(stderr, "bench-worker: %s\n", what);
	exit(1);
}

/* ---- The daemon: a table and the workers ---- */

struct daemon_run {
	struct table *table;
	struct tickets *tickets;
	struct workers *workers;
};

static int run_table_fd(void *arg)
{
	struct daemon_run *run = arg;

	return table_fd(run->table);
}

static int run_tickets_fd(void *arg)
{
	struct daemon_run *run = arg;

	return tickets_fd(run->tickets);
}

static void run_tickets_tell(void *arg, uint32_t peers)
{
	(void)arg, (void)peers;
}

static void run_notice(void *arg, const struct table_record *record, uint64_t *position)
{
	struct daemon_run *run = arg;

	if (table_put(run->table, record, time(NULL), position) != 0)
		*position = 0;
}

static uint64_t run_stored(void *arg)
{
	const struct daemon_run *run = arg;

	return table_head(run->table);
}

static void run_batch(void *arg)
{
	struct daemon_run *run = arg;

	table_set_acked(run->table, table_head(run->table));
	workers_acked(run->workers, table_head(run->table));
}

static void daemon_main(const struct bench *bench)
{
	static const struct workers_ops ops = {
	    .table_fd = run_table_fd,
	    .tickets_fd = run_tickets_fd,
	    .notice = run_notice,
	    .stored = run_stored,
	    .batch = run_batch,
	};
	static const struct tickets_ops tickets_ops = {.tell = run_tickets_tell};
	/* Contexts that want no tickets say so themselves. */
	static const struct tickets_config tickets = {
	    .resumption = TICKET_BOTH,
	    .rotation_ms = 3600 * 1000,
	};
	struct event_base *base = event_base_new();
	struct daemon_run run;
	struct workers_config config = {
	    .socket_path = bench->socket_path,
	    .ring_bytes = 1 << 20,
	    .n_max = 64,
	    .gate_deadline_ms = 20,
	};
	char path[64], keys[64], why[128];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(path, sizeof(path), "%s/table", bench->directory);
	snprintf(keys, sizeof(keys), "%s/ticket-keys", bench->directory);
	if (table_open(&run.table, path, 64 << 20, false, time(NULL), why, sizeof(why)) < 0 ||
	    tickets_new(&run.tickets, base, keys, &tickets, &tickets_ops, &run, why, sizeof(why)) <
	        0 ||
	    workers_new(&run.workers, base, &config, &ops, &run) < 0)
		_exit(1);
	event_base_dispatch(base);
	_exit(0);
}

static void daemon_start(struct bench *bench)
{
	struct timespec pause = {.tv_nsec = 1000000};

	snprintf(bench->socket_path, sizeof(bench->socket_path), "%s/worker.sock",
	         bench->directory);
	bench->daemon = fork();
	if (bench->daemon == 0)
		daemon_main(bench);
	for (unsigned i = 0; i < 5000 && access(bench->socket_path, R_OK) != 0; i++)
		nanosleep(&pause, NULL);
}

/* ---- Handshakes ---- */

struct arm {
	SSL_CTX *server, *client;
	SSL_SESSION *pool[N_POOL];
	uint64_t notices[N_POOL];
	unsigned next;
};

/* What is not yet in the table cannot be resumed. On a busy machine the daemon may need its time. */
static void await(const struct bench *bench, uint64_t notice)
{
	for (unsigned i = 0; i < 500; i++)
		if (tlsbaton_gate_wait(bench->baton, notice) == 0)
			return;
	die("no ack from the daemon");
}

static void connect_once(const struct bench *bench, struct arm *arm, enum kind kind,
                         struct tls_outcome *out)
{
	const unsigned i = arm->next++ % N_POOL;

	await(bench, arm->notices[i]);
	if (tls_connect(arm->server, arm->client, kind == KIND_FULL ? NULL : arm->pool[i], false,
	                out) < 0)
		die("a handshake failed");
	if (out->reused != (kind == KIND_RESUMED))
		die(kind == KIND_FULL ? "a full handshake was a resumption"
		                      : "a session did not resume");
	arm->notices[i] = out->notice;
	/* TLS 1.2 gives none at a resumption: the one that is there goes on. */
	if (out->session) {
		SSL_SESSION_free(arm->pool[i]);
		arm->pool[i] = out->session;
	}
}

static void arm_init(struct arm *arm, const struct bench *bench, const struct row *row,
                     enum side side)
{
	struct tls_outcome outcome;

	*arm = (struct arm){
	    .server = tls_server_context(row->version, bench->pkeys[row->key],
	                                 bench->certificates[row->key]),
	    .client = tls_client_context(row->version),
	};
	if (!arm->server || !arm->client)
		die("no SSL_CTX");
	if (side == SIDE_INTERNAL)
		SSL_CTX_set_session_cache_mode(arm->server, SSL_SESS_CACHE_SERVER);
	if (side == SIDE_TICKETS)
		SSL_CTX_clear_options(arm->server, SSL_OP_NO_TICKET);
	if (side != SIDE_INTERNAL && tlsbaton_attach(bench->baton, arm->server) != 0)
		die("cannot attach");
	for (unsigned i = 0; i < N_POOL; i++)
		connect_once(bench, arm, KIND_FULL, &outcome);
}

static void arm_deinit(struct arm *arm)
{
	for (unsigned i = 0; i < N_POOL; i++)
		SSL_SESSION_free(arm->pool[i]);
	SSL_CTX_free(arm->server);
	SSL_CTX_free(arm->client);
}

/* ---- Figures ---- */

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Of what is sorted here: what a neighbour on the machine disturbed is at the upper end. */
static double middle_half(double *values, size_t n)
{
	double sum = 0;

	qsort(values, n, sizeof(*values), by_value);
	for (size_t i = n / 4; i < n - n / 4; i++)
		sum += values[i];
	return sum / (double)(n - 2 * (n / 4));
}

static double percentile(double *values, size_t n, double p)
{
	qsort(values, n, sizeof(*values), by_value);
	return values[(size_t)(p * (double)(n - 1))];
}

static size_t ticket_bytes(const struct arm *arm)
{
	const unsigned char *ticket;
	size_t n;

	SSL_SESSION_get0_ticket(arm->pool[0], &ticket, &n);
	return n;
}

static void measure(const struct bench *bench, const struct row *row, double us[N_SIDES],
                    double *ratio, size_t *n_ticket)
{
	struct arm arms[N_SIDES];
	double round_us[N_SIDES][N_ROUNDS], ratios[N_ROUNDS];
	double values[N_SIDES][N_BLOCKS * 64];
	struct tls_outcome outcome;

	for (int side = 0; side < N_SIDES; side++)
		arm_init(&arms[side], bench, row, side);
	for (unsigned round = 0; round < N_ROUNDS; round++) {
		size_t n = 0;

		for (unsigned block = 0; block < N_BLOCKS; block++, n += row->n_block)
			for (int side = 0; side < N_SIDES; side++)
				for (unsigned i = 0; i < row->n_block; i++) {
					connect_once(bench, &arms[side], row->kind, &outcome);
					values[side][n + i] = (double)outcome.server_ns / 1000;
				}
		for (int side = 0; side < N_SIDES; side++)
			round_us[side][round] = middle_half(values[side], n);
		ratios[round] = round_us[SIDE_SHARED][round] / round_us[SIDE_INTERNAL][round];
	}
	*n_ticket = ticket_bytes(&arms[SIDE_TICKETS]);
	for (int side = 0; side < N_SIDES; side++) {
		us[side] = percentile(round_us[side], N_ROUNDS, 0.5);
		arm_deinit(&arms[side]);
	}
	*ratio = percentile(ratios, N_ROUNDS, 0.5);
}

static double ns_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) * 1e9 + (double)(now.tv_nsec - start->tv_nsec);
}

static void measure_gates(const struct bench *bench)
{
	const struct row row = {TLS1_3_VERSION, TLS_KEY_ECDSA, KIND_FULL, 1};
	static double us[N_GATES];
	struct tls_outcome outcome;
	unsigned n_timeouts = 0;
	struct arm arm;

	arm_init(&arm, bench, &row, SIDE_SHARED);
	for (unsigned i = 0; i < N_GATES; i++) {
		struct timespec start;

		connect_once(bench, &arm, KIND_FULL, &outcome);
		clock_gettime(CLOCK_MONOTONIC, &start);
		n_timeouts += tlsbaton_gate_wait(bench->baton, outcome.notice) != 0;
		us[i] = ns_since(&start) / 1000;
	}
	arm_deinit(&arm);
	printf("gates gate_p50_us gate_p99_us timeouts\n%u %.1f %.1f %u\n", N_GATES,
	       percentile(us, N_GATES, 0.5), percentile(us, N_GATES, 0.99), n_timeouts);
}

/* ---- Instructions: the same handshakes in a child under callgrind ---- */

static void write_credentials(const struct bench *bench)
{
	char path[64];

	for (int key = 0; key < 2; key++) {
		FILE *file;

		snprintf(path, sizeof(path), "%s/key%d.pem", bench->directory, key);
		file = fopen(path, "we");
		if (!file ||
		    !PEM_write_PrivateKey(file, bench->pkeys[key], NULL, NULL, 0, NULL, NULL) ||
		    !PEM_write_X509(file, bench->certificates[key]))
			die("cannot write credentials");
		fclose(file);
	}
}

static void read_credentials(struct bench *bench, const char *directory)
{
	char path[64];

	for (int key = 0; key < 2; key++) {
		FILE *file;

		snprintf(path, sizeof(path), "%s/key%d.pem", directory, key);
		file = fopen(path, "re");
		if (!file || !(bench->pkeys[key] = PEM_read_PrivateKey(file, NULL, NULL, NULL)) ||
		    !(bench->certificates[key] = PEM_read_X509(file, NULL, NULL, NULL)))
			die("cannot read credentials");
		fclose(file);
	}
}

/* As child. callgrind counts only in tls_server_*. */
static void count_child(struct bench *bench, size_t row, int side, unsigned n)
{
	struct tls_outcome outcome;
	struct arm arm;

	arm_init(&arm, bench, &rows[row], side);
	CALLGRIND_ZERO_STATS;
	for (unsigned i = 0; i < n; i++)
		connect_once(bench, &arm, rows[row].kind, &outcome);
	arm_deinit(&arm);
}

static long long callgrind(const struct bench *bench, const char *self, size_t row, int side,
                           unsigned n)
{
	char command[512], line[256];
	long long collected = -1;
	FILE *output;

	snprintf(command, sizeof(command),
	         "valgrind --tool=callgrind --callgrind-out-file=/dev/null "
	         "--toggle-collect='tls_server_*' "
	         "'%s' --count %s %s %zu %d %u 2>&1",
	         self, bench->directory, bench->socket_path, row, side, n);
	output = popen(command, "re");
	if (!output)
		return -1;
	while (fgets(line, sizeof(line), output)) {
		const char *found = strstr(line, "Collected : ");

		if (found)
			collected = strtoll(found + strlen("Collected : "), NULL, 10);
	}
	return pclose(output) == 0 ? collected : -1;
}

static double instructions(const struct bench *bench, const char *self, size_t row, int side)
{
	long long collected = callgrind(bench, self, row, side, N_COUNTED);

	return collected < 0 ? -1 : (double)collected / N_COUNTED;
}

/* ---- ---- */

static void print_row(const struct bench *bench, const char *self, size_t i, bool count)
{
	const struct row *row = &rows[i];
	double us[N_SIDES], n_instructions[SIDE_TICKETS] = {-1, -1}, ratio;
	size_t n_ticket;

	measure(bench, row, us, &ratio, &n_ticket);
	for (int side = 0; count && side < SIDE_TICKETS; side++)
		n_instructions[side] = instructions(bench, self, i, side);
	printf("%s %s %s %.1f %.1f %.3f ", row->version == TLS1_2_VERSION ? "1.2" : "1.3",
	       row->key == TLS_KEY_RSA ? "rsa2048" : "p256",
	       row->kind == KIND_FULL ? "full" : "resumed", us[SIDE_INTERNAL], us[SIDE_SHARED],
	       ratio);
	if (n_instructions[0] < 0 || n_instructions[1] < 0)
		printf("n/a n/a n/a");
	else
		printf("%.0f %.0f %.3f", n_instructions[SIDE_INTERNAL], n_instructions[SIDE_SHARED],
		       n_instructions[SIDE_SHARED] / n_instructions[SIDE_INTERNAL]);
	printf(" %.1f %zu\n", us[SIDE_TICKETS], n_ticket);
	fflush(stdout);
}

static void open_handle(struct bench *bench)
{
	const struct tlsbaton_options options = {
	    .size = sizeof(options), .socket_path = bench->socket_path, .connect_ms = 5000};

	if (tlsbaton_new(&bench->baton, &options) != 0 || !tlsbaton_connected(bench->baton))
		die("no daemon");
}

static void bench_clean(const struct bench *bench)
{
	static const char *const names[] = {"table", "ticket-keys", "worker.sock", "key0.pem",
	                                    "key1.pem"};
	char path[64];

	if (bench->daemon > 0) {
		kill(bench->daemon, SIGKILL);
		waitpid(bench->daemon, NULL, 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", bench->directory, names[i]);
		unlink(path);
	}
	rmdir(bench->directory);
}

int main(int argc, char **argv)
{
	struct bench bench = {.directory = "/tmp/bench-worker-XXXXXX"};
	bool count = system("valgrind --version >/dev/null 2>&1") == 0;

	if (argc == 7 && strcmp(argv[1], "--count") == 0) {
		read_credentials(&bench, argv[2]);
		snprintf(bench.socket_path, sizeof(bench.socket_path), "%s", argv[3]);
		open_handle(&bench);
		count_child(&bench, strtoul(argv[4], NULL, 10), atoi(argv[5]),
		            (unsigned)strtoul(argv[6], NULL, 10));
		tlsbaton_free(bench.baton);
		return 0;
	}
	if (!mkdtemp(bench.directory))
		die("no directory");
	for (int key = 0; key < 2; key++)
		if (tls_credentials(key, &bench.pkeys[key], &bench.certificates[key]) < 0)
			die("no keys");
	write_credentials(&bench);
	if (argc == 3 && strcmp(argv[1], "--socket") == 0)
		snprintf(bench.socket_path, sizeof(bench.socket_path), "%s", argv[2]);
	else
		daemon_start(&bench);
	open_handle(&bench);
	printf("tls key kind internal_us tlsbaton_us cpu_ratio internal_instr tlsbaton_instr "
	       "instr_ratio tickets_us ticket_bytes\n");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		print_row(&bench, argv[0], i, count && !getenv("BENCH_QUICK"));
	measure_gates(&bench);
	tlsbaton_free(bench.baton);
	bench_clean(&bench);
	return 0;
}
