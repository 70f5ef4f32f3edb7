/*
 * lab-clients: many TLS clients that come, go and come back, for the demo and the tests.
 *
 * Round 1: every client does a full handshake and fetches a file. For each line on standard input (but
 * "end") there is one more round, in which all come back and offer the session that they keep. With --load, round 1
 * goes on with new clients until that line (or --clients), and only clients that have received a byte of
 * an answer come back: those are who the gate promised that their session is safe.
 *
 * One line a round on standard output, as JSON: clients, full (handshakes without resumption; of these,
 * "missed" had offered a session), resumed, errors (visits that failed, told apart on standard error; in
 * round 1 of --load, those that the crash cut off are among them), and how many were answered by a and b.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "visit.h"

#define PARALLEL_MAX 256
#define ERRORS_MAX 16 /* kinds of errors that are told apart */

struct crowd {
	struct visit_plan plan;
	struct client *clients;
	size_t n_clients, n_arrived; /* arrived: have taken part in round 1 */
	unsigned n_parallel, n_visits;
	double rate; /* arrivals per second in round 1; 0: as fast as they can */
	bool load;
	bool loading; /* this round is round 1 of --load */
	int version;
	struct timespec start;
	atomic_size_t next;
	pthread_mutex_t lock; /* of what follows: the round's figures */
	size_t n_full, n_resumed, n_missed, n_errors, n_a, n_b;
	struct {
		const char *kind;
		size_t n;
	} errors[ERRORS_MAX];
};

static void count_error(struct crowd *crowd, const char *kind)
{
	crowd->n_errors++;
	for (size_t i = 0; i < ERRORS_MAX; i++) {
		if (!crowd->errors[i].kind)
			crowd->errors[i].kind = kind;
		if (strcmp(crowd->errors[i].kind, kind) == 0) {
			crowd->errors[i].n++;
			return;
		}
	}
}

static void count(struct crowd *crowd, const struct visit_result *result)
{
	pthread_mutex_lock(&crowd->lock);
	if (result->handshaken) {
		crowd->n_resumed += result->resumed;
		crowd->n_full += !result->resumed;
		crowd->n_missed += result->offered && !result->resumed;
	}
	crowd->n_a += result->node == 'a';
	crowd->n_b += result->node == 'b';
	if (result->error)
		count_error(crowd, result->error);
	pthread_mutex_unlock(&crowd->lock);
}

/* With a rate, the i-th client of a load arrives at its own time. */
static void await_arrival(const struct crowd *crowd, size_t i)
{
	double offset_s = (double)i / crowd->rate;
	struct timespec at = crowd->start;

	at.tv_sec += (time_t)offset_s;
	at.tv_nsec += (long)((offset_s - (double)(time_t)offset_s) * 1e9);
	if (at.tv_nsec >= 1000000000) {
		at.tv_nsec -= 1000000000;
		at.tv_sec++;
	}
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static void *run_visits(void *arg)
{
	struct crowd *crowd = arg;

	for (;;) {
		size_t i = atomic_fetch_add_explicit(&crowd->next, 1, memory_order_relaxed);
		struct visit_result result;

		if (i >= crowd->n_arrived)
			return NULL;
		if (crowd->loading && crowd->rate > 0)
			await_arrival(crowd, i);
		for (unsigned n = 0; n < (crowd->loading ? crowd->n_visits : 1); n++) {
			if (atomic_load_explicit(&crowd->plan.stop, memory_order_relaxed))
				return NULL;
			visit(&crowd->plan, &crowd->clients[i], &result);
			count(crowd, &result);
			if (result.error)
				break;
		}
	}
}

static void report(const struct crowd *crowd, unsigned round, size_t n_clients)
{
	printf("{\"round\":%u,\"clients\":%zu,\"full\":%zu,\"resumed\":%zu,\"missed\":%zu,"
	       "\"errors\":%zu,\"a\":%zu,\"b\":%zu}\n",
	       round, n_clients, crowd->n_full, crowd->n_resumed, crowd->n_missed, crowd->n_errors,
	       crowd->n_a, crowd->n_b);
	fflush(stdout);
	for (size_t i = 0; i < ERRORS_MAX && crowd->errors[i].kind; i++)
		fprintf(stderr, "round %u: %zu times: %s\n", round, crowd->errors[i].n,
		        crowd->errors[i].kind);
}

static bool read_line(void)
{
	char line[64];

	return fgets(line, sizeof(line), stdin) != NULL && strcmp(line, "end\n") != 0;
}

/* Runs one round. For the load it returns at the next line on standard input, which is then consumed. */
static int run_round(struct crowd *crowd, bool *more)
{
	pthread_t threads[PARALLEL_MAX];
	unsigned n_threads = 0;
	int error = 0;

	atomic_store_explicit(&crowd->next, 0, memory_order_relaxed);
	atomic_store_explicit(&crowd->plan.stop, false, memory_order_relaxed);
	crowd->n_full = crowd->n_resumed = crowd->n_missed = crowd->n_errors = 0;
	crowd->n_a = crowd->n_b = 0;
	memset(crowd->errors, 0, sizeof(crowd->errors));
	clock_gettime(CLOCK_MONOTONIC, &crowd->start);
	while (n_threads < crowd->n_parallel && !error) {
		error = pthread_create(&threads[n_threads], NULL, run_visits, crowd);
		n_threads += !error;
	}
	if (crowd->loading) {
		*more = read_line();
		atomic_store_explicit(&crowd->plan.stop, true, memory_order_relaxed);
	}
	while (n_threads > 0)
		pthread_join(threads[--n_threads], NULL);
	return -error;
}

/* Only those who have received something come back; the others leave the array. */
static void dismiss_unanswered(struct crowd *crowd)
{
	size_t n = 0;

	for (size_t i = 0; i < crowd->n_arrived; i++) {
		if (crowd->clients[i].answered)
			crowd->clients[n++] = crowd->clients[i];
		else
			SSL_SESSION_free(crowd->clients[i].kept);
	}
	memset(crowd->clients + n, 0, (crowd->n_arrived - n) * sizeof(*crowd->clients));
	crowd->n_arrived = n;
}

static int run(struct crowd *crowd)
{
	bool more = true;
	int r;

	crowd->n_arrived = crowd->n_clients;
	for (unsigned round = 1; more; round++) {
		crowd->loading = crowd->load && round == 1;
		r = run_round(crowd, &more);
		if (r < 0)
			return r;
		if (crowd->loading)
			dismiss_unanswered(crowd);
		report(crowd, round, crowd->n_arrived);
		if (!crowd->loading)
			more = read_line();
	}
	return 0;
}

static int parse_address(struct sockaddr_in *out, char *text)
{
	char *colon = strrchr(text, ':');

	if (!colon)
		return -EINVAL;
	*colon = '\0';
	out->sin_family = AF_INET;
	out->sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	return inet_pton(AF_INET, text, &out->sin_addr) == 1 ? 0 : -EINVAL;
}

static int parse_leave(enum visit_leave *out, const char *text)
{
	static const char *const names[] = {
	    [VISIT_LEAVE_CLEAN] = "clean",
	    [VISIT_LEAVE_FIN] = "fin",
	    [VISIT_LEAVE_RESET] = "reset",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(names[i], text) == 0) {
			*out = (enum visit_leave)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int usage(void)
{
	fputs("usage: lab-clients [--connect ADDRESS:PORT] [--path PATH] [--clients N] [--parallel "
	      "N]\n"
	      "                   [--tls 1.2|1.3] [--leave clean|fin|reset] [--timeout MS]\n"
	      "                   [--load [--rate PER_SECOND] [--visits N]]\n"
	      "Each line on standard input makes all clients come back once more.\n",
	      stderr);
	return -EINVAL;
}

static int parse_options(struct crowd *crowd, int argc, char **argv)
{
	enum { CONNECT, PATH, CLIENTS, PARALLEL, TLS, LEAVE, TIMEOUT, LOAD, RATE, VISITS };
	static const struct option options[] = {
	    {"connect", required_argument, NULL, CONNECT},
	    {"path", required_argument, NULL, PATH},
	    {"clients", required_argument, NULL, CLIENTS},
	    {"parallel", required_argument, NULL, PARALLEL},
	    {"tls", required_argument, NULL, TLS},
	    {"leave", required_argument, NULL, LEAVE},
	    {"timeout", required_argument, NULL, TIMEOUT},
	    {"load", no_argument, NULL, LOAD},
	    {"rate", required_argument, NULL, RATE},
	    {"visits", required_argument, NULL, VISITS},
	    {0},
	};
	int option, r = 0;

	while (r == 0 && (option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == CONNECT)
			r = parse_address(&crowd->plan.server, optarg);
		else if (option == PATH)
			crowd->plan.path = optarg;
		else if (option == CLIENTS)
			crowd->n_clients = strtoul(optarg, NULL, 10);
		else if (option == PARALLEL)
			crowd->n_parallel = (unsigned)strtoul(optarg, NULL, 10);
		else if (option == TLS)
			crowd->version =
			    strcmp(optarg, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
		else if (option == LEAVE)
			r = parse_leave(&crowd->plan.leave, optarg);
		else if (option == TIMEOUT)
			crowd->plan.timeout_ms = (unsigned)strtoul(optarg, NULL, 10);
		else if (option == LOAD)
			crowd->load = true;
		else if (option == RATE)
			crowd->rate = strtod(optarg, NULL);
		else if (option == VISITS)
			crowd->n_visits = (unsigned)strtoul(optarg, NULL, 10);
		else
			r = -EINVAL;
	}
	if (r < 0 || optind < argc || crowd->n_clients == 0 || crowd->n_parallel == 0 ||
	    crowd->n_parallel > PARALLEL_MAX)
		return usage();
	return 0;
}

int main(int argc, char **argv)
{
	struct crowd crowd = {
	    .plan = {.path = "/50k.bin", .timeout_ms = 5000},
	    .n_clients = 500,
	    .n_parallel = 16,
	    .n_visits = 1,
	    .version = TLS1_3_VERSION,
	    .lock = PTHREAD_MUTEX_INITIALIZER,
	};
	char address[] = "10.77.0.10:443";
	int r;

	signal(SIGPIPE, SIG_IGN);
	if (parse_address(&crowd.plan.server, address) < 0 || parse_options(&crowd, argc, argv) < 0)
		return 2;
	crowd.clients = calloc(crowd.n_clients, sizeof(*crowd.clients));
	crowd.plan.ctx = visit_ctx_new(crowd.version);
	r = crowd.clients && crowd.plan.ctx ? run(&crowd) : -ENOMEM;
	if (r < 0)
		fprintf(stderr, "lab-clients: %s\n", strerror(-r));
	for (size_t i = 0; crowd.clients && i < crowd.n_clients; i++)
		SSL_SESSION_free(crowd.clients[i].kept);
	free(crowd.clients);
	SSL_CTX_free(crowd.plan.ctx);
	return r < 0 ? 1 : 0;
}
