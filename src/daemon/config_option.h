/*
 * The options of a configuration file: their names and sections, and what each does with a value.
 * config.c drives the parser over them.
 */
#ifndef TLSBATON_DAEMON_CONFIG_OPTION_H
#define TLSBATON_DAEMON_CONFIG_OPTION_H

#include <confuse.h>
#include <sys/socket.h>

#include "daemon/config.h"
#include "daemon/config_text.h"

#define CONFIG_SEEN_MAX                                                                            \
	64 /* options in one file: more than the table below and 16 sections can hold */

/* A parse under way. */
struct config_parse {
	struct config *config;
	struct config_errors errors;
	struct config_text text;
	cfg_t *cfg;
	struct {
		const cfg_opt_t *opt;
		int line;
	} seen[CONFIG_SEEN_MAX];
	size_t n_seen;
	/* What config.c compares after the last line. */
	struct sockaddr_storage listen, peers[REPL_PEERS_MAX];
	int peer_lines[REPL_PEERS_MAX];
};

struct config_option {
	const char *section; /* "root" outside of all */
	const char *name;
	bool list;
	/* Takes one value; `slot` is the member of struct config at `offset`. Returns 0, -EINVAL
	 * with `why` (CONFIG_WHY_MAX bytes), or -ENOMEM. */
	int (*set)(struct config_parse *p, cfg_t *section, const char *value, void *slot,
	           char *why);
	size_t offset;
};

extern const struct config_option config_options[];
extern const size_t config_n_options;

/* Puts a copy of `value` in the place of `*slot`. 0 or -ENOMEM. */
int config_store(char **slot, const char *value) MUST_CHECK;

/* The line on which the section that is being parsed, or was parsed last, was opened. */
int config_section_line(const struct config_parse *p);

/* After the last line: fills in the defaults that need a look at the machine, and checks what
 * concerns several options, or files that they name (the group key is read here). 0 or a negated
 * errno. */
int config_check(struct config_parse *p) MUST_CHECK;

#endif
