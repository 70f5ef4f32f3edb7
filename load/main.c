/* tlsbaton-load: load for TLS servers whose clients come back and resume. The loop is in run.c. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "options.h"
#include "run.h"

static atomic_int stop;

static void on_signal(int number)
{
	atomic_store_explicit(&stop, number, memory_order_relaxed);
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* As many descriptors as we may have; says so when a server that hangs for the timeout would need more. */
static void raise_descriptors(const struct options *options)
{
	double needed = (double)options->plan.rate_milli / 1000 *
	                (double)MIN(options->timeout_us, options->plan.duration_us) / 1e6 *
	                (double)options->plan.n_visits;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max == RLIM_INFINITY)
		return;
	if (needed > (double)limit.rlim_max)
		fprintf(
		    stderr,
		    "tlsbaton-load: if the server hangs, up to %.0f connections would be open at "
		    "once, and this process may have %llu descriptors: raise the hard limit "
		    "(ulimit "
		    "-Hn), or lower --timeout or --rate\n",
		    needed, (unsigned long long)limit.rlim_max);
}

static int stay_on_cpu(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

static int write_report(const struct options *options, const struct stats *stats,
                        const struct report_run *report)
{
	return options->json ? report_json(stdout, stats, report)
	                     : report_summary(stdout, stats, report);
}

static int exit_status(const struct stats *stats)
{
	int number = atomic_load_explicit(&stop, memory_order_relaxed);

	if (number)
		return 128 + number;
	if (stats->n_answered == 0)
		return EXIT_NO_ANSWERS;
	return stats_is_behind(stats) ? EXIT_BEHIND : EXIT_DONE;
}

static int run_and_report(const struct run_setup *setup)
{
	struct report_run report = {0};
	struct stats *stats = NULL;
	char error[512] = "out of memory";
	int status = EXIT_FAILED, r = stats_new(&stats);

	if (r == 0)
		r = run(setup, stats, &report, error, sizeof(error));
	if (setup->progress)
		fputc('\n', setup->progress);
	if (r == 0) {
		status = exit_status(stats);
		r = write_report(setup->options, stats, &report);
		if (r < 0)
			snprintf(error, sizeof(error), "cannot write the report: %s", strerror(-r));
	}
	if (r < 0) {
		fprintf(stderr, "tlsbaton-load: %s\n", error);
		status = EXIT_FAILED;
	}
	stats_free(stats);
	return status;
}

static int open_csv(FILE **out, const char *path)
{
	int r;

	*out = NULL;
	if (!path)
		return 0;
	*out = fopen(path, "we");
	r = *out ? report_csv_header(*out) : -errno;
	if (r < 0)
		fprintf(stderr, "tlsbaton-load: --csv %s: %s\n", path, strerror(-r));
	return r;
}

int main(int argc, char **argv)
{
	struct options options;
	struct target target;
	struct run_setup setup = {.options = &options, .target = &target, .stop = &stop};
	char error[512];
	int status;

	if (options_parse(&options, argc, argv, &status) != 0)
		return status;
	catch_signals();
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	if (stay_on_cpu(options.cpu) < 0) {
		fprintf(stderr,
		        "tlsbaton-load: --cpu %d: %s: give a CPU that this process may use\n",
		        options.cpu, strerror(errno));
		return EXIT_USAGE;
	}
	if (target_init(&target, options.url, options.connect, options.owned, error,
	                sizeof(error)) < 0) {
		fprintf(stderr, "tlsbaton-load: %s\n", error);
		return EXIT_USAGE;
	}
	raise_descriptors(&options);
	status = EXIT_FAILED;
	if (open_csv(&setup.csv, options.csv) == 0) {
		setup.progress = isatty(STDERR_FILENO) ? stderr : NULL;
		status = run_and_report(&setup);
	}
	if (setup.csv && fclose(setup.csv) != 0) {
		fprintf(stderr, "tlsbaton-load: --csv %s: %s\n", options.csv, strerror(errno));
		status = EXIT_FAILED;
	}
	target_deinit(&target);
	return status;
}
