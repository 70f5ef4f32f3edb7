/* tlsbaton: the operator's command. Options, subcommands, usage. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <signal.h>

#include "daemon/config.h"
#include "daemon/config_value.h"

static const struct cli_command *const commands[] = {
    &cli_status, &cli_sessions, &cli_switchover, &cli_promote, &cli_demote,
    &cli_rekey,  &cli_keygen,   &cli_check,      &cli_run,
};

static const char global_options[] =
    "  -c, --config FILE   the daemon's configuration (default " CONFIG_PATH_DEFAULT ")\n"
    "      --control PATH  the daemon's control socket (default: control.sock in its "
    "run-directory)\n"
    "      --help          show this text and exit\n";

enum { OPTION_CONTROL = 1000, OPTION_HELP, OPTION_VERSION };

static void usage(FILE *out)
{
	fprintf(out, "Usage: tlsbaton [-c FILE] [--control PATH] COMMAND [OPTION...]\n"
	             "Shows and commands the tlsbatond of this node.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-11s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(out, "  %-11s %s\n", "help", "Show this text, or how a COMMAND is used");
	fprintf(out, "\n%s      --version       show the version and exit\n", global_options);
	fprintf(out,
	        "\nExit status: 0 done, 1 failed, 2 wrong usage, 3 the daemon cannot be reached.\n"
	        "tlsbaton COMMAND --help tells more. See also tlsbaton(1).\n");
}

static const struct cli_command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(name, commands[i]->name) == 0)
			return commands[i];
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *names[ARRAY_SIZE(commands) + 1] = {"help"};
	const char *nearest;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		names[i + 1] = commands[i]->name;
	nearest = config_nearest(name, names, ARRAY_SIZE(names));
	if (nearest)
		cli_error("unknown command \"%s\"; did you mean %s?", name, nearest);
	else
		cli_error("unknown command \"%s\"", name);
	fputs("Try tlsbaton --help.\n", stderr);
	return CLI_USAGE;
}

static void command_usage(const struct cli_command *command)
{
	printf("Usage: tlsbaton %s%s%s\n%s.\n\n%s%s", command->name, *command->arguments ? " " : "",
	       command->arguments, command->summary, command->options, global_options);
}

/* tlsbaton help [COMMAND]: as --help, for those who try this first. argv[0] is "help". */
static int help(int argc, char **argv)
{
	const struct cli_command *command;

	if (argc > 2) {
		cli_error("unexpected argument \"%s\"", argv[2]);
		fputs("Try tlsbaton --help.\n", stderr);
		return CLI_USAGE;
	}
	if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0) {
		usage(stdout);
		return cli_flush();
	}
	command = find_command(argv[1]);
	if (!command)
		return unknown_command(argv[1]);
	command_usage(command);
	return cli_flush();
}

static int run_command(const struct cli_command *command, struct cli *cli, int argc, char **argv)
{
	static char name[32]; /* what getopt_long(3) calls us in its messages */

	snprintf(name, sizeof(name), "tlsbaton %s", command->name);
	argv[0] = name;
	optind = 0; /* glibc: start anew, with the subcommand's own options */
	return command->run(cli, argc, argv);
}

int cli_option(struct cli *cli, const struct cli_command *command, int argc, char **argv,
               const struct option *own, int *done)
{
	struct option all[16] = {
	    {"config", required_argument, NULL, 'c'},
	    {"control", required_argument, NULL, OPTION_CONTROL},
	    {"help", no_argument, NULL, OPTION_HELP},
	};
	size_t n = 3;
	int option;

	for (; own && own->name && n + 1 < ARRAY_SIZE(all); own++)
		all[n++] = *own;
	*done = -1;
	while ((option = getopt_long(argc, argv, command->stops ? "+c:" : "c:", all, NULL)) != -1) {
		switch (option) {
		case 'c':
			cli->config_path = optarg;
			break;
		case OPTION_CONTROL:
			cli->control_path = optarg;
			break;
		case OPTION_HELP:
			command_usage(command);
			*done = cli_flush();
			return -1;
		case '?':
			fprintf(stderr, "Try tlsbaton %s --help.\n", command->name);
			*done = CLI_USAGE;
			return -1;
		default:
			return option;
		}
	}
	return -1;
}

int cli_arguments(const struct cli_command *command, int argc, char **argv, int max)
{
	if (argc - optind <= max)
		return -1;
	cli_error("unexpected argument \"%s\"", argv[optind + max]);
	fprintf(stderr, "Try tlsbaton %s --help.\n", command->name);
	return CLI_USAGE;
}

int cli_parse_seconds(unsigned *out_ms, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end != '\0' || !isfinite(seconds) || seconds < 0.001 || seconds > 3600)
		return -EINVAL;
	*out_ms = (unsigned)lround(seconds * 1000);
	return 0;
}

int cli_run_directory(const struct cli *cli, char **out)
{
	const char *path = cli->config_path ? cli->config_path : CONFIG_PATH_DEFAULT;
	char error[512];
	int r;

	r = config_run_directory(out, path, error, sizeof(error));
	if (r == -ENOENT && !cli->config_path) {
		*out = strdup(CONFIG_RUN_DIRECTORY_DEFAULT);
		r = *out ? 0 : -ENOMEM;
	}
	if (r < 0)
		cli_error("%s", r == -ENOMEM ? strerror(ENOMEM) : error);
	return r < 0 ? CLI_FAILED : CLI_DONE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"control", required_argument, NULL, OPTION_CONTROL},
	    {"help", no_argument, NULL, OPTION_HELP},
	    {"version", no_argument, NULL, OPTION_VERSION},
	    {NULL, 0, NULL, 0},
	};
	static char name[] = "tlsbaton"; /* in getopt_long(3)'s messages: not the path */
	const struct cli_command *command;
	struct cli cli = {0};
	int option;

	if (argc > 0)
		argv[0] = name;
	cli.sigpipe = signal(SIGPIPE, SIG_IGN);
	while ((option = getopt_long(argc, argv, "+c:", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			cli.config_path = optarg;
			break;
		case OPTION_CONTROL:
			cli.control_path = optarg;
			break;
		case OPTION_HELP:
			usage(stdout);
			return cli_flush();
		case OPTION_VERSION:
			puts("tlsbaton " TLSBATON_VERSION);
			return cli_flush();
		default:
			fputs("Try tlsbaton --help.\n", stderr);
			return CLI_USAGE;
		}
	}
	if (optind == argc) {
		usage(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[optind], "help") == 0)
		return help(argc - optind, argv + optind);
	command = find_command(argv[optind]);
	return command ? run_command(command, &cli, argc - optind, argv + optind)
	               : unknown_command(argv[optind]);
}
