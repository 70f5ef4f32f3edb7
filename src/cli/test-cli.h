/* What the tests of the command share: a control socket that the test serves, and a run of the program. */
#ifndef TLSBATON_CLI_TEST_CLI_H
#define TLSBATON_CLI_TEST_CLI_H

#include "cli/cli.h"
#include "daemon/control.h"

struct test_cli {
	char directory[32];
	char config[64], socket[64];
	struct event_base *base;
	struct control *control;
	char name[32];              /* the last command's */
	char args[256];             /* its arguments, as JSON */
	const char *refusal;        /* answers no, with this error */
	unsigned n_busy;            /* before that, says so often that it is busy */
	const char *answer;         /* answers with this object; NULL: with one that says yes */
	char out[16384], err[4096]; /* of the last run */
};

json_t *test_cli_status(void *arg); /* what the served socket answers */
void test_cli_put(const char *path, const char *text);
int test_cli_up(void **state);
int test_cli_down(void **state);

/* Runs tlsbaton with these arguments (ended by NULL) while the test's daemon serves it; its exit status. */
int test_cli_run(struct test_cli *b, ...);

#define ASSERT_HOLDS(text, part)                                                                   \
	do {                                                                                       \
		if (!strstr(text, part))                                                           \
			fail_msg("no \"%s\" in:\n%s", part, text);                                 \
	} while (0)

#endif
