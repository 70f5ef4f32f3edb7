/*
 * The loop. One thread; three things take turns, each bounded, so that none keeps the others waiting:
 *
 *   starts   visits whose planned time has come, in order, at most START_BATCH at a time
 *   events   sockets that became ready, at most EVENT_BATCH at a time
 *   time     visits past their timeout, and seconds that are over
 *
 * The loop sleeps to the microsecond until the next planned start. Planned starts never depend on what came before, so
 * when there is too much to do, starts become late: that is measured as `behind`, and is in the latencies, which
 * count from the planned start.
 *
 * All visits have the same timeout and begin in the order of their planned starts: the list of visits is the queue of
 * timeouts, too.
 */
#include "run.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <openssl/x509_vfy.h>

#include "tls.h"
#include "visit.h"

#define START_BATCH 32
#define EVENT_BATCH 64

TAILQ_HEAD(visit_list, visit);

struct run {
	const struct run_setup *setup;
	struct visit_env env;
	struct tls tls;
	struct schedule *schedule;
	struct users *users;
	struct stats *stats;
	struct visit_list visits; /* connections, those after their answer as well */
	struct visit_list ready;  /* those that go on without their socket */
	uint64_t n_open;
	int64_t start_ns, now_us; /* now: since the start */
	bool warned;              /* of being behind */
	bool warned_of_trust;     /* of a certificate that is not to be trusted */
};

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int look_at_clock(struct run *run)
{
	run->now_us = (clock_ns(CLOCK_MONOTONIC) - run->start_ns) / 1000;
	return stats_advance(run->stats, run->now_us, users_n_waiting(run->users), run->n_open);
}

/* What is wrong with the first certificate that is not to be trusted is wrong with all, as a rule. */
static void warn_of_trust(struct run *run, const struct visit *visit)
{
	long result = SSL_get_verify_result(visit->ssl);
	bool other_name =
	    result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH;

	if (run->warned_of_trust)
		return;
	run->warned_of_trust = true;
	fprintf(
	    stderr,
	    "%stlsbaton-load: the server's certificate is not to be trusted (%s): %s, or do not "
	    "check it (--insecure)\n",
	    run->setup->progress ? "\n" : "", X509_verify_cert_error_string(result),
	    other_name ? "say which name is in it (--sni NAME)"
	               : "say whose it is (--ca FILE, the authority's certificate)");
}

static void count_end(struct run *run, const struct visit *visit)
{
	bool full = visit->handshaken && !visit->resumed;
	const struct stats_end end = {
	    .handshaken = visit->handshaken,
	    .resumed = visit->resumed,
	    .missed = full && visit->offered,
	    .no_session = full && !visit->offered && visit->i_visit > 0,
	    .failure = visit->answered ? NULL : visit->failure.name,
	    .latency_us = run->now_us - visit->planned_us,
	};

	stats_end(run->stats, &end);
	if (failure_is_trust(&visit->failure))
		warn_of_trust(run, visit);
}

static void end_visit(struct run *run, struct visit *visit)
{
	uint32_t i_user = visit->i_user;

	TAILQ_REMOVE(&run->visits, visit, link);
	if (visit->ready)
		TAILQ_REMOVE(&run->ready, visit, ready_link);
	run->n_open--;
	visit_free(visit);
	users_visit_end(run->users, i_user);
}

/* Moves a visit on as far as it goes without waiting. */
static int proceed(struct run *run, struct visit *visit)
{
	for (;;) {
		uint64_t n_bytes = run->env.n_bytes;
		enum visit_event event = visit_step(visit);
		int r = look_at_clock(run);

		if (r < 0)
			return r;
		stats_bytes(run->stats, run->env.n_bytes - n_bytes);
		switch (event) {
		case VISIT_WAITS:
			return 0;
		case VISIT_MORE:
			if (!visit->ready)
				TAILQ_INSERT_TAIL(&run->ready, visit, ready_link);
			visit->ready = true;
			return 0;
		case VISIT_HANDSHAKEN:
			stats_handshake(run->stats, visit->resumed,
			                run->now_us - visit->planned_us);
			break;
		case VISIT_ANSWERED:
			count_end(run, visit);
			break;
		case VISIT_FAILED:
			count_end(run, visit);
			end_visit(run, visit);
			return 0;
		case VISIT_OVER:
			end_visit(run, visit);
			return 0;
		}
	}
}

static void warn_once(struct run *run, int64_t late_us)
{
	if (run->warned || late_us <= STATS_LATE_US)
		return;
	run->warned = true;
	fprintf(stderr,
	        "%stlsbaton-load: %.1f s: a visit began %.1f ms late; if many do, lower --rate, or "
	        "give "
	        "this program a CPU of its own (--cpu)\n",
	        run->setup->progress ? "\n" : "", (double)run->now_us / 1e6, (double)late_us / 1e3);
}

static int start_visit(struct run *run, const struct schedule_start *start)
{
	struct user *user = users_get(run->users, start->user);
	struct visit *visit = NULL;
	int r = stats_start(run->stats, start->at_us, run->now_us - start->at_us);

	warn_once(run, run->now_us - start->at_us);
	if (r == 0)
		r = user ? visit_new(&visit, &run->env, user) : -ENOMEM;
	if (r != 0)
		return r;
	users_visit_begin(run->users, start->user);
	visit->i_user = start->user;
	visit->i_visit = start->visit;
	visit->planned_us = start->at_us;
	TAILQ_INSERT_TAIL(&run->visits, visit, link);
	run->n_open++;
	return proceed(run, visit);
}

static int start_due(struct run *run)
{
	struct schedule_start start;
	int r = 0;

	for (int i = 0; r == 0 && i < START_BATCH; i++) {
		if (!schedule_peek(run->schedule, &start) || start.at_us > run->now_us)
			break;
		schedule_advance(run->schedule);
		r = start_visit(run, &start);
	}
	return r;
}

static void time_out(struct run *run)
{
	struct visit *visit;

	while ((visit = TAILQ_FIRST(&run->visits)) &&
	       visit->planned_us + run->setup->options->timeout_us <= run->now_us) {
		if (!visit->answered) {
			visit_time_out(visit);
			count_end(run, visit);
		}
		end_visit(run, visit);
	}
}

/* Writes the seconds that are over, if all of their visits, up to `planned_us`, have begun. */
static int report_seconds(struct run *run, int64_t planned_us)
{
	struct stats_row row;
	int r = 0;

	while (r == 0 && stats_take(run->stats, planned_us, &row)) {
		/* The wall clock may have been set: it is read for each row. */
		double ago_s = (double)run->now_us / 1e6 - (double)row.second;

		if (run->setup->csv)
			r = report_csv_row(run->setup->csv, &row,
			                   (double)clock_ns(CLOCK_REALTIME) / 1e9 - ago_s);
		if (run->setup->progress)
			report_progress(run->setup->progress, &row);
	}
	return r;
}

static int64_t next_start_us(const struct run *run)
{
	struct schedule_start start;

	return schedule_peek(run->schedule, &start) ? start.at_us : INT64_MAX;
}

/* How long to sleep: until the next start, timeout or full second; not at all with --busy-poll. */
static int64_t sleep_us(const struct run *run)
{
	int64_t until_us = (run->stats->second + 1) * 1000000;
	const struct visit *first = TAILQ_FIRST(&run->visits);

	if (run->setup->options->busy_poll || !TAILQ_EMPTY(&run->ready))
		return 0;
	until_us = MIN(until_us, next_start_us(run));
	if (first)
		until_us = MIN(until_us, first->planned_us + run->setup->options->timeout_us);
	return MAX(until_us - run->now_us, 0);
}

static int handle_events(struct run *run)
{
	struct epoll_event events[EVENT_BATCH];
	int64_t us = sleep_us(run);
	const struct timespec timeout = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
	int n = epoll_pwait2(run->env.epoll, events, EVENT_BATCH, &timeout, NULL);
	int r = n < 0 && errno != EINTR ? -errno : 0;

	if (n == 0 && run->setup->options->busy_poll)
		(void)sched_yield();
	if (r == 0)
		r = look_at_clock(run);
	/* A visit has one event in a batch, and ends only at its own. */
	for (int i = 0; r == 0 && i < n; i++)
		r = proceed(run, events[i].data.ptr);
	return r;
}

/* Gives each that is ready now one turn. */
static int proceed_ready(struct run *run)
{
	const struct visit *last = TAILQ_LAST(&run->ready, visit_list);
	struct visit *visit = NULL;
	int r = 0;

	while (r == 0 && last && visit != last) {
		visit = TAILQ_FIRST(&run->ready);
		TAILQ_REMOVE(&run->ready, visit, ready_link);
		visit->ready = false;
		r = proceed(run, visit);
	}
	return r;
}

static bool is_over(const struct run *run)
{
	return next_start_us(run) == INT64_MAX &&
	       run->stats->total.finished == run->stats->total.started;
}

static int loop(struct run *run)
{
	int r = look_at_clock(run);

	while (r == 0 && !is_over(run) &&
	       !atomic_load_explicit(run->setup->stop, memory_order_relaxed)) {
		r = start_due(run);
		if (r == 0)
			r = handle_events(run);
		if (r == 0)
			r = proceed_ready(run);
		time_out(run);
		if (r == 0)
			r = report_seconds(run, next_start_us(run));
	}
	return r;
}

static double cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* The load, from its first moment to its last row. */
static int run_load(struct run *run, struct report_run *report)
{
	double cpu_before_s = cpu_s();
	int r;

	report->start_unix = (double)clock_ns(CLOCK_REALTIME) / 1e9;
	run->start_ns = clock_ns(CLOCK_MONOTONIC);
	r = loop(run);
	if (r == 0)
		r = look_at_clock(run);
	report->seconds = (double)run->now_us / 1e6;
	report->cpu_s = cpu_s() - cpu_before_s;
	report->n_unfinished = run->stats->total.started - run->stats->total.finished;
	report->interrupted = report->n_unfinished > 0 || next_start_us(run) != INT64_MAX;
	if (r == 0)
		r = stats_close(run->stats, users_n_waiting(run->users), run->n_open);
	/* Interrupted, there may be visits that should have begun: the rows are complete all the same. */
	return r < 0 ? r : report_seconds(run, INT64_MAX);
}

static int set_up(struct run *run, char *error, size_t n_error)
{
	const struct options *options = run->setup->options;
	int r = schedule_new(&run->schedule, &options->plan);

	if (r == -ERANGE) {
		snprintf(error, n_error, "more than %u users: lower --rate or --duration",
		         SCHEDULE_USERS_MAX);
		return r;
	}
	if (r == 0)
		r = users_new(&run->users, schedule_n_users(run->schedule), options->plan.n_visits);
	if (r == 0) {
		run->env.epoll = epoll_create1(EPOLL_CLOEXEC);
		r = run->env.epoll < 0 ? -errno : 0;
	}
	snprintf(error, n_error, "%s", strerror(-r));
	return r < 0 ? r
	             : tls_init(&run->tls, options, run->setup->target, visit_on_session, error,
	                        n_error);
}

static void tear_down(struct run *run)
{
	struct visit *visit;

	while ((visit = TAILQ_FIRST(&run->visits)))
		end_visit(run, visit);
	tls_deinit(&run->tls);
	closep(&run->env.epoll);
	users_free(run->users);
	schedule_free(run->schedule);
	free(run);
}

int run(const struct run_setup *setup, struct stats *stats, struct report_run *report, char *error,
        size_t n_error)
{
	struct run *run = calloc(1, sizeof(*run));
	int r;

	if (!run) {
		snprintf(error, n_error, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	run->setup = setup;
	run->stats = stats;
	run->env =
	    (struct visit_env){.options = setup->options, .target = setup->target, .epoll = -1};
	TAILQ_INIT(&run->visits);
	TAILQ_INIT(&run->ready);
	r = set_up(run, error, n_error);
	if (r == 0) {
		run->env.ctx = run->tls.ctx;
		report->target = setup->target->text;
		report->tls = setup->options->tls == TLS1_2_VERSION ? "1.2" : "1.3";
		report->visits_planned = schedule_n_visits(run->schedule);
		r = run_load(run, report);
		if (r < 0)
			snprintf(error, n_error, "%s", strerror(-r));
	}
	tear_down(run);
	return r;
}
