/* The tlsbaton command: what its subcommands share. */
#ifndef TLSBATON_CLI_CLI_H
#define TLSBATON_CLI_CLI_H

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "util/macro.h"

enum cli_exit {
	CLI_DONE = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_UNREACHABLE = 3, /* there is no daemon to ask */
};

/* Options that every subcommand takes. */
struct cli {
	const char *config_path;  /* NULL: the default, if it exists */
	const char *control_path; /* NULL: control.sock in the run directory */
	void (*sigpipe)(
	    int);        /* what SIGPIPE was before it was ignored, for a program that is run */
	bool takes_turn; /* cli_ask() ends the waiting of earlier commands that do (cli/turn.h) */
	unsigned
	    wait_ms; /* with it: how long cli_ask() waits for a daemon that is not up, or busy */
};

struct cli_command {
	const char *name;
	const char *arguments; /* as shown in its usage line */
	const char *summary;   /* one line */
	const char *options;   /* lines for --help, perhaps empty */
	bool stops; /* options end at the first argument: what follows is another command's */
	int (*run)(struct cli *cli, int argc,
	           char **argv); /* argv[0] is its name; an enum cli_exit */
};

extern const struct cli_command cli_status, cli_sessions, cli_switchover, cli_promote, cli_demote,
    cli_rekey, cli_keygen, cli_check, cli_run;

/* Prints "tlsbaton: ..." to stderr. */
void cli_error(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Prints one line that came from elsewhere, with what could move a terminal's cursor replaced. */
void cli_print_text(FILE *out, const char *text);

/* After the last output: CLI_DONE if it was all written, else CLI_FAILED with an error printed. */
int cli_flush(void);

/*
 * getopt_long(3) for a subcommand: returns its next own option (of `own`, ended by a zero entry, with
 * values above 255 or letters), -1 at the end, and handles --config, --control and --help by itself:
 * `*done` is the exit status once it says to stop (-1 until then).
 */
int cli_option(struct cli *cli, const struct cli_command *command, int argc, char **argv,
               const struct option *own, int *done);

/* After the options: at most `max` arguments may follow. Returns -1, or the exit status if there are more. */
int cli_arguments(const struct cli_command *command, int argc, char **argv, int max);

/* "2", "1.5", "600": seconds, in ms. -EINVAL unless above 0 and at most an hour. */
int cli_parse_seconds(unsigned *out_ms, const char *text) MUST_CHECK;

/* Out: where the daemon keeps its files, the caller's to free. An enum cli_exit; the error is printed. */
int cli_run_directory(const struct cli *cli, char **out) MUST_CHECK;

/*
 * Asks the daemon: sends `command` with `args` (taken over; may be NULL), prints progress lines to
 * stdout as they come, and waits for the answer at most `timeout_ms` after each line. With cli->wait_ms the command must be
 * one that may be given twice. Out: the answer's object. An enum cli_exit; errors are printed.
 */
int cli_ask(const struct cli *cli, const char *command, json_t *args, int timeout_ms,
            json_t **answer) MUST_CHECK;

/* The status JSON as a table for people. */
void cli_render_status(FILE *out, const json_t *status);

#endif
