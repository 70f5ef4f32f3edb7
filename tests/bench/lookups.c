#include "lookups.h"

#include "sessions.h"

#define N_ROUNDS 7
#define N_GETS_MAX 200000 /* a round */
#define FILL_STEP 10000   /* sessions between looks at the clock */

enum { WALL, CALLER, SERVER, N_CLOCKS };

struct clocks {
	clockid_t server;
	bool has_server;
};

static void read_clocks(const struct clocks *clocks, double ns[N_CLOCKS])
{
	ns[SERVER] = clocks->has_server ? clock_ns(clocks->server) : 0;
	ns[CALLER] = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	ns[WALL] = clock_ns(CLOCK_MONOTONIC);
}

void lookups_fill(void *store, void (*put)(void *store, uint64_t first, uint64_t end), uint64_t n,
                  double limit_s)
{
	double start = clock_ns(CLOCK_MONOTONIC);

	for (uint64_t i = 0; i < n; i += FILL_STEP) {
		if (clock_ns(CLOCK_MONOTONIC) - start >= limit_s * 1e9) {
			fprintf(stderr, "filled with only %llu in %.0f s\n", (unsigned long long)i,
			        limit_s);
			exit(LOOKUPS_EXIT_TOO_MANY);
		}
		put(store, i, i + FILL_STEP < n ? i + FILL_STEP : n);
	}
}

/* One round. Out: what each clock moved on, a lookup. */
static void run_round(void *store, void (*get)(void *store, const uint8_t *id), uint64_t n,
                      uint8_t *ids, size_t n_gets, const struct clocks *clocks, double ns[N_CLOCKS])
{
	double start[N_CLOCKS], end[N_CLOCKS];

	for (size_t i = 0; i < n_gets; i++)
		make_id(ids + i * ID_BYTES, random_below(n));
	read_clocks(clocks, start);
	for (size_t i = 0; i < n_gets; i++)
		get(store, ids + i * ID_BYTES);
	read_clocks(clocks, end);
	for (int c = 0; c < N_CLOCKS; c++)
		ns[c] = (end[c] - start[c]) / (double)n_gets;
}

/* How many lookups fit into a round of so many seconds. It also warms up what a first lookup finds cold. */
static size_t calibrate(void *store, void (*get)(void *store, const uint8_t *id), uint64_t n,
                        uint8_t *ids, double round_s)
{
	struct clocks none = {0};
	double ns[N_CLOCKS];
	size_t n_gets = 1;

	for (;;) {
		double fit;

		run_round(store, get, n, ids, n_gets, &none, ns);
		fit = round_s * 1e9 / ns[WALL];
		if ((double)n_gets * 4 >= fit)
			return fit < 1 ? 1 : fit < N_GETS_MAX ? (size_t)fit : N_GETS_MAX;
		if (n_gets == N_GETS_MAX)
			return N_GETS_MAX;
		n_gets = n_gets * 4 < N_GETS_MAX ? n_gets * 4 : N_GETS_MAX;
	}
}

void lookups_measure(const char *name, void *store, void (*get)(void *store, const uint8_t *id),
                     uint64_t n, double seconds, pid_t server)
{
	struct clocks clocks = {.has_server = server != 0};
	double ns[N_CLOCKS][N_ROUNDS], round[N_CLOCKS];
	uint8_t *ids = malloc((size_t)N_GETS_MAX * ID_BYTES);
	size_t n_gets;

	if (!ids)
		die("memory for IDs", -ENOMEM);
	if (server != 0) {
		int r = clock_getcpuclockid(server, &clocks.server);

		if (r != 0)
			die("the server's CPU clock", -r);
	}
	n_gets = calibrate(store, get, n, ids, seconds / N_ROUNDS);
	for (int r = 0; r < N_ROUNDS; r++) {
		run_round(store, get, n, ids, n_gets, &clocks, round);
		for (int c = 0; c < N_CLOCKS; c++)
			ns[c][r] = round[c];
	}
	printf("%s,%llu,%.0f,%.0f,%.0f\n", name, (unsigned long long)n, median(ns[WALL], N_ROUNDS),
	       median(ns[CALLER], N_ROUNDS), median(ns[SERVER], N_ROUNDS));
	fflush(stdout);
	free(ids);
}
