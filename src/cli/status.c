/* tlsbaton status */
#include "cli/cli.h"

#define STATUS_TIMEOUT_MS 5000

static int status_run(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = {{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
	json_auto_t *answer = NULL;
	const json_t *status;
	bool json = false;
	int done, r;

	while (cli_option(cli, &cli_status, argc, argv, own, &done) == 'j')
		json = true;
	if (done < 0)
		done = cli_arguments(&cli_status, argc, argv, 0);
	if (done >= 0)
		return done;
	r = cli_ask(cli, "status", NULL, STATUS_TIMEOUT_MS, &answer);
	if (r != CLI_DONE)
		return r;
	status = json_object_get(answer, "status");
	if (!json_is_object(status)) {
		cli_error("tlsbatond's answer has no status in it; is it of this version?");
		return CLI_FAILED;
	}
	if (json) {
		json_dumpf(status, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		cli_render_status(stdout, status);
	}
	return cli_flush();
}

const struct cli_command cli_status = {
    .name = "status",
    .arguments = "[--json]",
    .summary = "Show this node's role, its peers, its sessions and what went wrong",
    .options = "      --json          as JSON, for programs\n",
    .run = status_run,
};
