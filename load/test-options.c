/* The command line: what it becomes, and what is refused, with the option and the remedy named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <openssl/tls1.h>

#include "options.h"

#define URL "https://127.0.0.1/x"

/* Parses a command line of words between single spaces, and says what it wrote to standard error. */
static int parse(struct options *out, const char *line, char *said, size_t n_said)
{
	char *words[64] = {(char[]){"tlsbaton-load"}}, *copy = strdup(line), *rest = copy, *word;
	int n_words = 1, status = -1, saved = dup(STDERR_FILENO);
	FILE *file = tmpfile();
	size_t n;

	assert_true(copy && file && saved >= 0);
	while ((word = strsep(&rest, " ")))
		assert_true((size_t)n_words < ARRAY_SIZE(words) - 1), words[n_words++] = word;
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	if (options_parse(out, n_words, words, &status) == 0)
		status = 0;
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	n = fread(said, 1, n_said - 1, file);
	said[n] = '\0';
	fclose(file);
	free(copy);
	return status;
}

static struct options accept_line(const char *line)
{
	struct options options;
	char said[4096];

	if (parse(&options, line, said, sizeof(said)) != 0)
		fail_msg("%s: %s", line, said);
	return options;
}

static void refuse(const char *line, const char *says)
{
	struct options options;
	char said[4096];

	if (parse(&options, line, said, sizeof(said)) != EXIT_USAGE)
		fail_msg("%s is accepted", line);
	if (!strstr(said, says) || !strstr(said, "--help"))
		fail_msg("%s: %s", line, said);
}

static void test_defaults(void **state)
{
	struct options options = accept_line(URL);

	(void)state;
	assert_int_equal(options.plan.rate_milli, 10000);
	assert_int_equal(options.plan.duration_us, 10000000);
	assert_int_equal(options.plan.n_visits, 3);
	assert_int_equal(options.plan.n_thinks, 4);
	assert_int_equal(options.plan.thinks[3].us, 60000000);
	assert_int_equal(options.plan.thinks[3].weight, 1);
	assert_int_equal(options.tls, TLS1_3_VERSION);
	assert_int_equal(options.cpu, -1);
	assert_int_equal(options.n_sources, 0);
	assert_false(options.insecure || options.owned || options.json || options.no_tickets ||
	             options.busy_poll);
}

static void test_all(void **state)
{
	struct options options = accept_line(
	    "--rate 0.5 --duration 90 --visits 1 --think 0.25:3,60 --seed 18446744073709551615 "
	    "--timeout 2.5 --tls 1.2 --no-tickets --ciphers A --groups X25519 --sni s --ca f "
	    "--cert c "
	    "--key k --connect 127.0.0.1:4 --source 127.0.0.2,::1 --cpu 0 --busy-poll "
	    "--i-own-this-server "
	    "--csv f "
	    "--json " URL);

	(void)state;
	assert_int_equal(options.plan.rate_milli, 500);
	assert_int_equal(options.plan.duration_us, 90000000);
	assert_int_equal(options.plan.n_visits, 1);
	assert_int_equal(options.plan.n_thinks, 2);
	assert_int_equal(options.plan.thinks[0].us, 250000);
	assert_int_equal(options.plan.thinks[0].weight, 3);
	assert_int_equal(options.plan.thinks[1].weight, 1);
	assert_true(options.plan.seed == UINT64_MAX);
	assert_int_equal(options.timeout_us, 2500000);
	assert_int_equal(options.tls, TLS1_2_VERSION);
	assert_int_equal(options.n_sources, 2);
	assert_int_equal(options.sources[1].ss_family, AF_INET6);
	assert_int_equal(options.cpu, 0);
	assert_true(options.owned && options.json && options.no_tickets && options.busy_poll);
}

/* What is refused, and what is said of it: figures, lists, and options that do not go together. */
static const struct {
	const char *line, *says;
} refused[] = {
    {"--rate 0 " URL, "--rate \"0\": give users a second"},
    {"--rate -1 " URL, "--rate"},
    {"--rate 1e3 " URL, "--rate"},
    {"--rate 0x10 " URL, "--rate"},
    {"--rate nan " URL, "--rate"},
    {"--rate inf " URL, "--rate"},
    {"--rate 10/s " URL, "--rate"},
    {"--rate . " URL, "--rate"},
    {"--rate 2000000 " URL, "--rate"},
    {"--duration 0 " URL, "--duration \"0\": give seconds"},
    {"--duration 1m " URL, "--duration"},
    {"--duration 999999 " URL, "--duration"},
    {"--visits 0 " URL, "--visits \"0\": give a whole number from 1 to 100"},
    {"--visits 101 " URL, "--visits"},
    {"--visits 1.5 " URL, "--visits"},
    {"--seed -1 " URL, "--seed"},
    {"--seed 99999999999999999999 " URL, "--seed"},
    {"--timeout 0 " URL, "--timeout"},
    {"--cpu -1 " URL, "--cpu"},
    {"--cpu 99999 " URL, "--cpu"},

    {"--think , " URL, "--think"},
    {"--think 5, " URL, "--think"},
    {"--think 5: " URL, "--think"},
    {"--think 5:0 " URL, "--think"},
    {"--think 5:1.5 " URL, "--think \"5:1.5\": give seconds with whole weights"},
    {"--think 5;6 " URL, "--think"},
    {"--think 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17 " URL, "at most 16"},
    {"--source 127.0.0.1, " URL, "--source"},
    {"--source localhost " URL, "--source \"localhost\": give addresses"},

    {"--json", "no URL"},
    {URL " " URL, "unexpected argument"},
    {"--tls 1.1 " URL, "--tls \"1.1\": give 1.2 or 1.3"},
    {"--insecure --ca f " URL, "--insecure and --ca exclude each other"},
    {"--key f " URL, "--key without --cert"},
    {"--ciphers A " URL, "--ciphers is for TLS 1.2"},
    {"--tls 1.2 --ciphersuites A " URL, "--ciphersuites is for TLS 1.3"},
    {"--rat 5 --frobnicate " URL, "frobnicate"},
    {URL " --rate", "rate"},
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		refuse(refused[i].line, refused[i].says);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_defaults),
	    cmocka_unit_test(test_all),
	    cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
