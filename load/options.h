/* What the command line says. */
#ifndef TLSBATON_LOAD_OPTIONS_H
#define TLSBATON_LOAD_OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>

#include "schedule.h"

#define OPTIONS_SOURCES_MAX 256

/* The exit statuses of the program. By a signal: 128 + its number. */
enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1, /* it could not start, or not write its report */
	EXIT_USAGE = 2,
	EXIT_BEHIND = 3,     /* it fell behind its schedule */
	EXIT_NO_ANSWERS = 4, /* no visit got its answer */
};

struct options {
	struct schedule_plan plan;
	const char *url, *connect;
	bool owned; /* --i-own-this-server */
	int tls;    /* TLS1_2_VERSION, TLS1_3_VERSION */
	const char *ciphers, *ciphersuites, *groups, *sni, *ca, *cert, *key;
	bool insecure, no_tickets;
	int64_t timeout_us;
	int cpu; /* -1: any */
	bool busy_poll;
	unsigned n_sources;
	struct sockaddr_storage sources[OPTIONS_SOURCES_MAX];
	const char *csv;
	bool json;
};

/* Parses the command line; strings in `out` are borrowed from it. Returns 0; or 1 with the program's exit
 * status in `*status`, after --help, --version or a message that names the option and what it takes. */
int options_parse(struct options *out, int argc, char **argv, int *status) MUST_CHECK;

#endif
