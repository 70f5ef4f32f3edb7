/*
 * cpu-record: the CPU time of groups of processes, as it grows, for `lab/evaluate`.
 *
 * Each group is named and gets the processes that are given and all their descendants. Every row of the CSV
 * file has the time and, for each group, its CPU time so far in µs and how many processes it has; with
 * --core also what that core has done for anybody, and what the machine below took from it. The figures only
 * grow, so the CPU of any stretch of time is a difference of two rows, however many processes came and went
 * in between.
 *
 * It prints "recording METHOD" when the first row is written and ends, after a last row, with SIGTERM,
 * SIGINT or its parent. With cgroups the processes are put back where they were.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>

#include "cpu-group.h"

#define GROUPS_MAX 16
#define PIDS_MAX 64

struct recorder {
	struct cpu_group groups[GROUPS_MAX];
	size_t n_groups;
	const char *csv;
	FILE *out;
	int core; /* -1: none */
	long every_ms;
	int method; /* -1: the first that works */
};

static const char usage_text[] =
    "usage: cpu-record --csv FILE [--every MS] [--core N] [--method cgroup2|cgroup1|proc]\n"
    "                  NAME:PID[,PID...] ...\n";

/* The core's time in µs: busy for anybody, and stolen by what runs below us. */
static int read_core(int core, uint64_t *busy_us, uint64_t *steal_us)
{
	FILE *file = fopen("/proc/stat", "re");
	char *line = NULL;
	size_t size = 0;
	int r = -EIO;

	while (file && r < 0 && getline(&line, &size, file) > 0) {
		uint64_t user, nice, system, idle, wait, irq, softirq, steal;
		int n;

		if (sscanf(line,
		           "cpu%d %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		           " %" SCNu64 " %" SCNu64 " %" SCNu64,
		           &n, &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal) == 9 &&
		    n == core && strncmp(line, "cpu ", 4) != 0) {
			uint64_t tick_us = 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);

			*busy_us = (user + nice + system + irq + softirq) * tick_us;
			*steal_us = steal * tick_us;
			r = 0;
		}
	}
	free(line);
	if (file)
		fclose(file);
	return r;
}

static void write_header(struct recorder *recorder)
{
	fprintf(recorder->out, "unix_time");
	for (size_t i = 0; i < recorder->n_groups; i++)
		fprintf(recorder->out, ",%s_us,%s_processes", recorder->groups[i].name,
		        recorder->groups[i].name);
	if (recorder->core >= 0)
		fprintf(recorder->out, ",core_busy_us,core_steal_us");
	fprintf(recorder->out, "\n");
}

static int write_row(struct recorder *recorder)
{
	uint64_t us, busy_us, steal_us;
	struct timespec now;
	unsigned n;
	int r;

	clock_gettime(CLOCK_REALTIME, &now);
	fprintf(recorder->out, "%lld.%06ld", (long long)now.tv_sec, now.tv_nsec / 1000);
	for (size_t i = 0; i < recorder->n_groups; i++) {
		r = cpu_group_read(&recorder->groups[i], &us, &n);
		if (r < 0) {
			fprintf(stderr, "cpu-record: cannot read the CPU time of %s: %s\n",
			        recorder->groups[i].name, strerror(-r));
			return r;
		}
		fprintf(recorder->out, ",%" PRIu64 ",%u", us, n);
	}
	if (recorder->core >= 0) {
		r = read_core(recorder->core, &busy_us, &steal_us);
		if (r < 0) {
			fprintf(stderr, "cpu-record: /proc/stat has no core %d\n", recorder->core);
			return r;
		}
		fprintf(recorder->out, ",%" PRIu64 ",%" PRIu64, busy_us, steal_us);
	}
	fprintf(recorder->out, "\n");
	if (fflush(recorder->out) != 0) {
		r = -errno;
		fprintf(stderr, "cpu-record: %s: %s\n", recorder->csv, strerror(errno));
		return r;
	}
	return 0;
}

/* Reads "NAME:PID[,PID...]"; `word` is cut at the colon. Returns how many PIDs there are; -EINVAL. */
static int parse_group(char *word, pid_t *pids)
{
	char *at = strchr(word, ':');
	int n = 0;

	if (!at || at == word)
		return -EINVAL;
	*at = '\0';
	if (word[strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_")])
		return -EINVAL;
	do {
		char *number = at + 1;
		long pid = strtol(number, &at, 10);

		if (at == number || pid <= 0 || n == PIDS_MAX)
			return -EINVAL;
		pids[n++] = (pid_t)pid;
	} while (*at == ',');
	return *at ? -EINVAL : n;
}

/* The first group decides about the method for all. */
static int add_group(struct recorder *recorder, char *name)
{
	struct cpu_group *group = &recorder->groups[recorder->n_groups];
	int method = MAX(recorder->method, 0), n, r;
	pid_t pids[PIDS_MAX];

	n = recorder->n_groups < GROUPS_MAX ? parse_group(name, pids) : -EINVAL;
	if (n < 0) {
		fprintf(stderr, "cpu-record: not NAME:PID[,PID...], or one too many: %s\n%s", name,
		        usage_text);
		return -EINVAL;
	}
	do {
		r = cpu_group_init(group, (enum cpu_method)method, name, pids, (size_t)n);
	} while (r == -ENOTSUP && recorder->method < 0 && ++method < N_CPU_METHODS);
	if (r == 0) {
		recorder->n_groups++;
		recorder->method = method;
	} else if (r == -ESRCH) {
		fprintf(stderr, "cpu-record: %s: no such process\n", name);
	} else if (r == -ENOTSUP) {
		fprintf(stderr,
		        "cpu-record: %s cannot be had here: it needs root, and the hierarchy "
		        "mounted and writable\n",
		        cpu_method_names[method]);
	} else {
		fprintf(stderr, "cpu-record: %s: %s\n", name, strerror(-r));
	}
	return r;
}

static long parse_number(const char *text, long min, long max)
{
	char *end;
	long number = strtol(text, &end, 10);

	return *text && !*end && number >= min && number <= max ? number : -1;
}

static int parse_method(const char *name)
{
	for (int i = 0; i < N_CPU_METHODS; i++) {
		if (strcmp(name, cpu_method_names[i]) == 0)
			return i;
	}
	return -1;
}

static int parse_options(struct recorder *recorder, int argc, char **argv)
{
	static const struct option options[] = {{"csv", required_argument, NULL, 'f'},
	                                        {"every", required_argument, NULL, 'e'},
	                                        {"core", required_argument, NULL, 'c'},
	                                        {"method", required_argument, NULL, 'm'},
	                                        {0}};
	bool wrong = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'f':
			recorder->csv = optarg;
			break;
		case 'e':
			recorder->every_ms = parse_number(optarg, 1, 60000);
			wrong |= recorder->every_ms < 0;
			break;
		case 'c':
			recorder->core = (int)parse_number(optarg, 0, 4095);
			wrong |= recorder->core < 0;
			break;
		case 'm':
			recorder->method = parse_method(optarg);
			wrong |= recorder->method < 0;
			break;
		default:
			wrong = true;
		}
	}
	if (wrong || !recorder->csv || optind == argc) {
		fputs(usage_text, stderr);
		return -EINVAL;
	}
	return 0;
}

/* Waits for the moment, or less when a signal comes. Returns whether one came. */
static bool wait_until(const struct timespec *moment, const sigset_t *signals)
{
	struct timespec now, left;
	int64_t left_ns;
	int r;

	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		left_ns = (int64_t)(moment->tv_sec - now.tv_sec) * 1000000000 + moment->tv_nsec -
		          now.tv_nsec;
		left_ns = MAX(left_ns, 0);
		left = (struct timespec){left_ns / 1000000000, left_ns % 1000000000};
		r = sigtimedwait(signals, NULL, &left);
	} while (r < 0 && errno == EINTR);
	return r > 0;
}

/* Rows at whole multiples of the interval after the first, until a signal comes. */
static int record(struct recorder *recorder, const sigset_t *signals)
{
	struct timespec next;
	bool stopped = false;
	int r;

	write_header(recorder);
	r = write_row(recorder);
	if (r < 0)
		return r;
	printf("recording %s\n", cpu_method_names[recorder->method]);
	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (r == 0 && !stopped) {
		next.tv_nsec += recorder->every_ms % 1000 * 1000000;
		next.tv_sec += recorder->every_ms / 1000 + next.tv_nsec / 1000000000;
		next.tv_nsec %= 1000000000;
		stopped = wait_until(&next, signals);
		r = write_row(recorder);
	}
	return r;
}

int main(int argc, char **argv)
{
	struct recorder recorder = {.core = -1, .every_ms = 1000, .method = -1};
	sigset_t signals;
	int r = parse_options(&recorder, argc, argv);

	if (r < 0)
		return 2;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	recorder.out = fopen(recorder.csv, "we");
	if (!recorder.out) {
		fprintf(stderr, "cpu-record: %s: %s\n", recorder.csv, strerror(errno));
		return 1;
	}
	for (int i = optind; i < argc && r == 0; i++)
		r = add_group(&recorder, argv[i]);
	if (r == 0)
		r = record(&recorder, &signals);
	while (recorder.n_groups > 0)
		cpu_group_deinit(&recorder.groups[--recorder.n_groups]);
	fclose(recorder.out);
	return r == 0 ? 0 : r == -EINVAL ? 2 : 1;
}
