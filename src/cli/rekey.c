/* tlsbaton rekey: new ticket keys for the group, at once. */
#include "cli/cli.h"

#define SILENCE_MS 10000

static void print_names(const char *before, const json_t *names, const char *after)
{
	if (json_array_size(names) == 0)
		return;
	fputs(before, stdout);
	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *name = json_string_value(json_array_get(names, i));

		fputs(i ? ", " : "", stdout);
		cli_print_text(stdout, name ? name : "");
	}
	puts(after);
}

static int rekey_run(struct cli *cli, int argc, char **argv)
{
	json_auto_t *answer = NULL;
	int done, r;

	cli_option(cli, &cli_rekey, argc, argv, NULL, &done);
	if (done < 0)
		done = cli_arguments(&cli_rekey, argc, argv, 0);
	if (done >= 0)
		return done;
	r = cli_ask(cli, "rekey", NULL, SILENCE_MS, &answer);
	if (r != CLI_DONE)
		return r;
	puts("There are new ticket keys: all tickets of before are void on this node.");
	print_names("Told at once: ", json_object_get(answer, "told"), ".");
	print_names("Not connected, and told when they come back: ",
	            json_object_get(answer, "untold"), ".");
	return cli_flush();
}

const struct cli_command cli_rekey = {
    .name = "rekey",
    .arguments = "",
    .summary = "Void all session tickets on all nodes, after a key may have been stolen",
    .options = "",
    .run = rekey_run,
};
