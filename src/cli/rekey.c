/* tlsbaton rekey: new ticket keys for the group, at once. */
#include "cli/cli.h"

#define SILENCE_MS 10000

/* "a, b": the caller's to free; NULL: there are none. */
static char *join(const json_t *names)
{
	char *joined = NULL;
	size_t n;
	FILE *out;

	if (json_array_size(names) == 0)
		return NULL;
	out = open_memstream(&joined, &n);
	if (!out)
		return NULL;
	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *name = json_string_value(json_array_get(names, i));

		fputs(i ? ", " : "", out);
		cli_print_text(out, name ? name : "");
	}
	fclose(out);
	return joined;
}

/* True: every node has it. */
static bool report(const json_t *answer)
{
	_cleanup_(freep) char *confirmed = join(json_object_get(answer, "confirmed"));
	_cleanup_(freep) char *unconfirmed = join(json_object_get(answer, "unconfirmed"));
	_cleanup_(freep) char *away = join(json_object_get(answer, "away"));

	printf("There are new ticket keys: all tickets of before are void on this node%s%s.\n",
	       confirmed ? ", and on " : "", confirmed ? confirmed : "");
	if (unconfirmed)
		cli_error("not confirmed by %s: tickets of before may still be good there; see the "
		          "log there for why, set the clocks, and try again",
		          unconfirmed);
	if (away)
		cli_error("not connected: %s: tickets of before are good there until it is; it "
		          "takes over the new keys then",
		          away);
	return json_array_size(json_object_get(answer, "unconfirmed")) == 0 &&
	       json_array_size(json_object_get(answer, "away")) == 0;
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
	if (!report(answer)) {
		(void)cli_flush();
		return CLI_FAILED;
	}
	return cli_flush();
}

const struct cli_command cli_rekey = {
    .name = "rekey",
    .arguments = "",
    .summary = "Void all session tickets on all nodes, after a key may have been stolen",
    .options = "",
    .run = rekey_run,
};
