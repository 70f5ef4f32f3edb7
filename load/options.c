#include "options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <openssl/tls1.h>

#define DAY_S 86400.0

static const char usage_text[] =
    "Usage: tlsbaton-load [OPTION...] https://HOST[:PORT]/PATH\n"
    "Load for a TLS server whose clients come back and resume. Users arrive at a fixed rate; each "
    "makes a full\n"
    "handshake, then comes back after its think time and offers its session. Arrivals never wait "
    "for answers.\n"
    "\n"
    "The load\n"
    "  --rate N                 new users a second (default 10)\n"
    "  --duration S             seconds for which users arrive (default 10)\n"
    "  --visits N               visits of each user (default 3)\n"
    "  --think S[:WEIGHT],...   think times, seconds from one visit's start to the next (default "
    "5,10,30,60)\n"
    "  --seed N                 for the choice of think times (default 1)\n"
    "  --timeout S              a visit fails after this time (default 10)\n"
    "TLS\n"
    "  --tls 1.2|1.3            the version (default 1.3)\n"
    "  --no-tickets             TLS 1.2: ask for no session ticket, so that session IDs are used\n"
    "  --ciphers LIST           cipher suites of TLS 1.2, as OpenSSL names them\n"
    "  --ciphersuites LIST      cipher suites of TLS 1.3\n"
    "  --groups LIST            key exchange groups\n"
    "  --sni NAME               server name to ask for and to check (default: the URL's host)\n"
    "  --ca FILE                check the server's certificate against these (default: the "
    "system's)\n"
    "  --insecure               do not check it\n"
    "  --cert FILE              client certificate, with its chain, PEM\n"
    "  --key FILE               its private key (default: in the same file)\n"
    "The machine\n"
    "  --connect HOST[:PORT]    connect there instead of to the URL's host\n"
    "  --source ADDRESS,...     local addresses to connect from, in turn; more addresses, more "
    "ports\n"
    "  --cpu N                  stay on this CPU\n"
    "  --busy-poll              never sleep: a server on this machine pays for no wake-up of ours\n"
    "  --i-own-this-server      allow addresses that are not loopback or private\n"
    "The report\n"
    "  --csv FILE               one line a second\n"
    "  --json                   totals as JSON on standard output\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage, 3 fell behind its schedule, 4 no visit got an "
    "answer,\n"
    "130 interrupted (143 by SIGTERM). See tlsbaton-load(1).\n";

enum {
	RATE = 1000,
	DURATION,
	VISITS,
	THINK,
	SEED,
	TIMEOUT,
	TLS,
	NO_TICKETS,
	CIPHERS,
	CIPHERSUITES,
	GROUPS,
	SNI,
	CA,
	INSECURE,
	CERT,
	KEY,
	CONNECT,
	SOURCE,
	CPU,
	BUSY_POLL,
	OWNED,
	CSV,
	JSON,
	HELP,
	VERSION,
};

static const struct option long_options[] = {
    {"rate", required_argument, NULL, RATE},
    {"duration", required_argument, NULL, DURATION},
    {"visits", required_argument, NULL, VISITS},
    {"think", required_argument, NULL, THINK},
    {"seed", required_argument, NULL, SEED},
    {"timeout", required_argument, NULL, TIMEOUT},
    {"tls", required_argument, NULL, TLS},
    {"no-tickets", no_argument, NULL, NO_TICKETS},
    {"ciphers", required_argument, NULL, CIPHERS},
    {"ciphersuites", required_argument, NULL, CIPHERSUITES},
    {"groups", required_argument, NULL, GROUPS},
    {"sni", required_argument, NULL, SNI},
    {"ca", required_argument, NULL, CA},
    {"insecure", no_argument, NULL, INSECURE},
    {"cert", required_argument, NULL, CERT},
    {"key", required_argument, NULL, KEY},
    {"connect", required_argument, NULL, CONNECT},
    {"source", required_argument, NULL, SOURCE},
    {"cpu", required_argument, NULL, CPU},
    {"busy-poll", no_argument, NULL, BUSY_POLL},
    {"i-own-this-server", no_argument, NULL, OWNED},
    {"csv", required_argument, NULL, CSV},
    {"json", no_argument, NULL, JSON},
    {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

static int PRINTF_LIKE(1, 2) complain(const char *fmt, ...)
{
	va_list args;

	fputs("tlsbaton-load: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputs("\nTry tlsbaton-load --help.\n", stderr);
	return -EINVAL;
}

/* A number from `min` to `max`, up to `stop` (a character, or the end). */
static bool parse_number(double *out, const char *text, const char **end, double min, double max)
{
	char *stop;
	double value;

	/* Not strtod()'s "nan", "0x1p3" and leading blanks. */
	if (strspn(text, "0123456789.") == 0)
		return false;
	value = strtod(text, &stop);
	if (text + strspn(text, "0123456789.") < stop || !isfinite(value) || value < min ||
	    value > max)
		return false;
	*out = value;
	*end = stop;
	return true;
}

static int parse_seconds(int64_t *out_us, const char *name, const char *text, double min)
{
	const char *end;
	double value;

	if (!parse_number(&value, text, &end, min, 7 * DAY_S) || *end)
		return complain("--%s \"%s\": give seconds from %g to %g", name, text, min,
		                7 * DAY_S);
	*out_us = llround(value * 1e6);
	return 0;
}

static int parse_count(uint64_t *out, const char *name, const char *text, uint64_t min,
                       uint64_t max)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value < min || value > max)
		return complain("--%s \"%s\": give a whole number from %llu to %llu", name, text,
		                (unsigned long long)min, (unsigned long long)max);
	*out = value;
	return 0;
}

static int parse_unsigned(unsigned *out, const char *name, const char *text, unsigned min,
                          unsigned max)
{
	uint64_t value = 0;
	int r = parse_count(&value, name, text, min, max);

	if (r == 0)
		*out = (unsigned)value;
	return r;
}

static int parse_rate(struct schedule_plan *plan, const char *text)
{
	const char *end;
	double value;

	if (!parse_number(&value, text, &end, 0.001, 1e6) || *end)
		return complain("--rate \"%s\": give users a second from 0.001 to 1000000", text);
	plan->rate_milli = (uint64_t)llround(value * 1000);
	return 0;
}

static int parse_thinks(struct schedule_plan *plan, const char *text)
{
	const char *at = text;
	double value;

	plan->n_thinks = 0;
	do {
		struct schedule_think *think = &plan->thinks[plan->n_thinks];

		if (plan->n_thinks == SCHEDULE_THINKS_MAX)
			return complain("--think: give at most %d think times",
			                SCHEDULE_THINKS_MAX);
		if (plan->n_thinks > 0)
			at++;
		if (!parse_number(&value, at, &at, 0, DAY_S))
			break;
		think->us = llround(value * 1e6);
		value = 1;
		if (*at == ':' && (!parse_number(&value, at + 1, &at, 1, SCHEDULE_WEIGHT_MAX) ||
		                   value != floor(value)))
			break;
		think->weight = (uint32_t)value;
		plan->n_thinks++;
		if (*at == '\0')
			return 0;
	} while (*at == ',');
	return complain("--think \"%s\": give seconds with whole weights, like 5,10 or 5:3,60:1",
	                text);
}

static int parse_sources(struct options *options, const char *text)
{
	_cleanup_(freep) char *copy = strdup(text);
	char *rest = copy, *word;

	while (copy && (word = strsep(&rest, ","))) {
		struct sockaddr_storage *source = &options->sources[options->n_sources];

		if (options->n_sources == OPTIONS_SOURCES_MAX)
			return complain("--source: give at most %d addresses", OPTIONS_SOURCES_MAX);
		memset(source, 0, sizeof(*source));
		if (inet_pton(AF_INET, word, &((struct sockaddr_in *)source)->sin_addr) == 1)
			source->ss_family = AF_INET;
		else if (inet_pton(AF_INET6, word, &((struct sockaddr_in6 *)source)->sin6_addr) ==
		         1)
			source->ss_family = AF_INET6;
		else
			return complain(
			    "--source \"%s\": give addresses of this machine, separated by commas",
			    word);
		options->n_sources++;
	}
	return copy ? 0 : -ENOMEM;
}

static int parse_tls(int *out, const char *text)
{
	if (strcmp(text, "1.2") == 0)
		*out = TLS1_2_VERSION;
	else if (strcmp(text, "1.3") == 0)
		*out = TLS1_3_VERSION;
	else
		return complain("--tls \"%s\": give 1.2 or 1.3", text);
	return 0;
}

static int take_figure(struct options *out, int option)
{
	unsigned cpu = 0;
	int r;

	switch (option) {
	case RATE:
		return parse_rate(&out->plan, optarg);
	case DURATION:
		return parse_seconds(&out->plan.duration_us, "duration", optarg, 0.001);
	case VISITS:
		return parse_unsigned(&out->plan.n_visits, "visits", optarg, 1,
		                      SCHEDULE_VISITS_MAX);
	case THINK:
		return parse_thinks(&out->plan, optarg);
	case SEED:
		return parse_count(&out->plan.seed, "seed", optarg, 0, UINT64_MAX);
	case TIMEOUT:
		return parse_seconds(&out->timeout_us, "timeout", optarg, 0.001);
	case TLS:
		return parse_tls(&out->tls, optarg);
	case SOURCE:
		return parse_sources(out, optarg);
	case CPU:
		r = parse_unsigned(&cpu, "cpu", optarg, 0, CPU_SETSIZE - 1);
		out->cpu = (int)cpu;
		return r;
	default:
		fputs("Try tlsbaton-load --help.\n", stderr);
		return -EINVAL;
	}
}

static int take(struct options *out, int option)
{
	const char **text = option == CIPHERS        ? &out->ciphers
	                    : option == CIPHERSUITES ? &out->ciphersuites
	                    : option == GROUPS       ? &out->groups
	                    : option == SNI          ? &out->sni
	                    : option == CA           ? &out->ca
	                    : option == CERT         ? &out->cert
	                    : option == KEY          ? &out->key
	                    : option == CONNECT      ? &out->connect
	                    : option == CSV          ? &out->csv
	                                             : NULL;
	bool *flag = option == NO_TICKETS  ? &out->no_tickets
	             : option == INSECURE  ? &out->insecure
	             : option == BUSY_POLL ? &out->busy_poll
	             : option == OWNED     ? &out->owned
	             : option == JSON      ? &out->json
	                                   : NULL;

	if (text)
		*text = optarg;
	else if (flag)
		*flag = true;
	else
		return take_figure(out, option);
	return 0;
}

static int check_together(const struct options *options, int argc, char **argv)
{
	if (optind == argc)
		return complain("no URL: give https://HOST[:PORT]/PATH");
	if (optind + 1 < argc)
		return complain("unexpected argument \"%s\": give one URL", argv[optind + 1]);
	if (options->insecure && options->ca)
		return complain("--insecure and --ca exclude each other: give one of them");
	if (options->key && !options->cert)
		return complain("--key without --cert: give the certificate, too");
	if (options->tls == TLS1_3_VERSION && options->ciphers)
		return complain("--ciphers is for TLS 1.2: give --ciphersuites, or --tls 1.2");
	if (options->tls == TLS1_2_VERSION && options->ciphersuites)
		return complain("--ciphersuites is for TLS 1.3: give --ciphers, or --tls 1.3");
	return 0;
}

int options_parse(struct options *out, int argc, char **argv, int *status)
{
	struct options made = {
	    .plan = {.rate_milli = 10000, .duration_us = 10000000, .n_visits = 3, .seed = 1},
	    .tls = TLS1_3_VERSION,
	    .timeout_us = 10000000,
	    .cpu = -1,
	};
	int option, r = parse_thinks(&made.plan, "5,10,30,60");

	optind = 0; /* so that it can be called again */
	while (r == 0 && (option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == HELP || option == VERSION) {
			fputs(option == HELP ? usage_text : "tlsbaton-load " TLSBATON_VERSION "\n",
			      stdout);
			*status = fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
			return 1;
		}
		r = take(&made, option);
	}
	if (r == 0)
		r = check_together(&made, argc, argv);
	if (r < 0) {
		*status = EXIT_USAGE;
		return 1;
	}
	made.url = argv[optind];
	*out = made;
	return 0;
}
