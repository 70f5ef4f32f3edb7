/* tlsbaton check: what tlsbatond --check does, and by the same functions. */
#include "cli/cli.h"

#include "daemon/config.h"

static void print_warning(void *arg, const char *text)
{
	(void)arg;
	fputs("warning: ", stderr);
	cli_print_text(stderr, text);
	fputc('\n', stderr);
}

static int check_run(struct cli *cli, int argc, char **argv)
{
	_cleanup_(config_freep) struct config *config = NULL;
	const char *path;
	char error[1024];
	int done;

	cli_option(cli, &cli_check, argc, argv, NULL, &done);
	if (done < 0)
		done = cli_arguments(&cli_check, argc, argv, 1);
	if (done >= 0)
		return done;
	path = optind < argc      ? argv[optind]
	       : cli->config_path ? cli->config_path
	                          : CONFIG_PATH_DEFAULT;
	if (config_load(&config, path, error, sizeof(error)) < 0) {
		cli_print_text(stderr, error);
		fputc('\n', stderr);
		return CLI_FAILED;
	}
	config_warnings(config, print_warning, NULL);
	if (config_refused(config, error, sizeof(error)) < 0) {
		cli_print_text(stderr, error);
		fputc('\n', stderr);
		return CLI_FAILED;
	}
	cli_print_text(stdout, path);
	puts(": correct");
	return cli_flush();
}

const struct cli_command cli_check = {
    .name = "check",
    .arguments = "[FILE]",
    .summary = "Check a configuration file, and this machine for it",
    .options = "",
    .run = check_run,
};
