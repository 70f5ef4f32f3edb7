/* tlsbaton switchover, promote, demote: the daemon does the work, and its progress is printed as it comes. */
#include "cli/cli.h"

/* The daemon keeps the deadline. This is for one that hangs: how much longer than that silence may last. */
#define SILENCE_MS 30000

static int command(struct cli *cli, const char *name, json_t *args, int timeout_ms)
{
	json_auto_t *answer = NULL;
	int r = cli_ask(cli, name, args, timeout_ms, &answer);

	return r == CLI_DONE ? cli_flush() : r;
}

static int switchover_run(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = {
	    {"force", no_argument, NULL, 'f'},
	    {"timeout", required_argument, NULL, 't'},
	    {"to", required_argument, NULL, 'o'},
	    {NULL, 0, NULL, 0},
	};
	const char *to = NULL;
	unsigned timeout_ms = 0;
	bool force = false;
	int done, option;

	while ((option = cli_option(cli, &cli_switchover, argc, argv, own, &done)) != -1) {
		if (option == 'f') {
			force = true;
		} else if (option == 'o') {
			to = optarg;
		} else if (cli_parse_seconds(&timeout_ms, optarg) < 0) {
			cli_error(
			    "--timeout: \"%s\" is not a number of seconds above 0, at most 3600",
			    optarg);
			return CLI_USAGE;
		}
	}
	if (done < 0)
		done = cli_arguments(&cli_switchover, argc, argv, 0);
	if (done >= 0)
		return done;
	return command(cli, "switchover",
	               json_pack("{s:b, s:I, s:s*}", "force", force, "timeout_ms",
	                         (json_int_t)timeout_ms, "to", to),
	               (int)timeout_ms + SILENCE_MS);
}

static int simple_run(struct cli *cli, const struct cli_command *self, int argc, char **argv)
{
	static const struct option own[] = {
	    {"wait", required_argument, NULL, 'w'},
	    {NULL, 0, NULL, 0},
	};
	int done;

	cli->takes_turn = true;
	while (cli_option(cli, self, argc, argv, own, &done) != -1) {
		if (cli_parse_seconds(&cli->wait_ms, optarg) == 0)
			continue;
		cli_error("--wait: \"%s\" is not a number of seconds above 0, at most 3600",
		          optarg);
		return CLI_USAGE;
	}
	if (done < 0)
		done = cli_arguments(self, argc, argv, 0);
	return done >= 0 ? done : command(cli, self->name, NULL, SILENCE_MS);
}

#define WAIT_OPTION                                                                                \
	"      --wait SECONDS  try again for so long while tlsbatond is not up, or busy\n"

static int promote_run(struct cli *cli, int argc, char **argv)
{
	return simple_run(cli, &cli_promote, argc, argv);
}

static int demote_run(struct cli *cli, int argc, char **argv)
{
	return simple_run(cli, &cli_demote, argc, argv);
}

const struct cli_command cli_switchover = {
    .name = "switchover",
    .arguments = "[--to NODE] [--force] [--timeout SECONDS]",
    .summary = "Move the service address from the active node to a standby, losing no session",
    .options = "      --to NODE       to this node (default: the fittest standby; on a standby, "
               "itself)\n"
               "      --force         also to a node that is not in sync\n"
               "      --timeout SECONDS  give up, with the address where it was, after this "
               "(default 10)\n",
    .run = switchover_run,
};

const struct cli_command cli_promote = {
    .name = "promote",
    .arguments = "[--wait SECONDS]",
    .summary = "Take the service address on this node, without asking the others (failover)",
    .options = WAIT_OPTION,
    .run = promote_run,
};

const struct cli_command cli_demote = {
    .name = "demote",
    .arguments = "[--wait SECONDS]",
    .summary = "Let go of the service address on this node, without asking the others",
    .options = WAIT_OPTION,
    .run = demote_run,
};
