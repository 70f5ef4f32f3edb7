#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "cli/cli.h"

static char *render(const json_t *status)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	assert_non_null(out);
	cli_render_status(out, status);
	fclose(out);
	return text;
}

static void test_whole_status(void **state)
{
	json_auto_t *status = json_load_file(FIXTURES "/status.json", 0, NULL);
	_cleanup_(freep) char *text = render(status);
	char expected[8192];
	FILE *file = fopen(FIXTURES "/status.txt", "re");
	size_t n;

	(void)state;
	assert_non_null(file);
	n = fread(expected, 1, sizeof(expected) - 1, file);
	fclose(file);
	expected[n] = '\0';
	assert_string_equal(text, expected);
}

/* What a daemon of another version, or a liar, might say: rendered somehow, and nothing reaches the terminal. */
static void test_hostile_status(void **state)
{
	static const char *const statuses[] = {
	    "null",
	    "[]",
	    "{}",
	    "{\"service\":[],\"table\":3,\"workers\":\"x\",\"peers\":{},\"replication\":null}",
	    "{\"node\":7,\"uptime_s\":-5,\"term\":-1,\"service\":{\"addresses\":[1,null]},"
	    "\"peers\":[1,null,{}],\"expected_resumption\":-7e300}",
	    "{\"uptime_s\":9223372036854775807,\"term\":9223372036854775807,"
	    "\"table\":{\"live\":9223372036854775807,\"evicted\":1,\"bytes_wanted\":"
	    "9223372036854775807},"
	    "\"workers\":{\"hits\":9223372036854775807,\"misses\":9223372036854775807},"
	    "\"peers\":[{\"share\":7e300,\"lag_records\":9223372036854775807,"
	    "\"clock_offset_ms\":-9223372036854775807}],\"expected_resumption\":7e300}",
	    "{\"node\":\"\\u001b[2J\\u009b\\n\",\"peers\":[{\"name\":\"\\u001b]0;x\\u0007\","
	    "\"error\":\"\\u001b[31m\\r\\nRole none\"}]}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		json_auto_t *status = json_loads(statuses[i], JSON_DECODE_ANY, NULL);
		_cleanup_(freep) char *text = NULL;

		assert_non_null(status);
		text = render(status);
		for (const char *c = text; *c; c++)
			assert_true(*c == '\n' || (*c >= 0x20 && *c < 0x7f));
		assert_null(strstr(text, "\nRole none"));
	}
}

static void test_shares_round_down(void **state)
{
	static const struct {
		double share;
		const char *words;
	} shares[] = {{1, "100 % of"},  {0.999999, "99.99 % of"}, {0.5, "50.00 % of"},
	              {0, "0.00 % of"}, {2, "100 % of"},          {0.00001, "0.00 % of"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(shares); i++) {
		json_auto_t *status = json_pack("{s:f, s:{s:i}}", "expected_resumption",
		                                shares[i].share, "table", "live", 1);
		_cleanup_(freep) char *text = render(status);

		assert_non_null(strstr(text, shares[i].words));
	}
}

static void test_a_helper_that_is_gone(void **state)
{
	json_auto_t *status = json_loads(
	    "{\"service\":{\"interface\":\"svc0\",\"helper\":false,\"error\":\"it broke\"}}", 0,
	    NULL);
	_cleanup_(freep) char *text = render(status);

	(void)state;
	assert_non_null(strstr(text, "not held here\n"
	                             "          the process that moves it has ended: this node can "
	                             "neither take nor\n"
	                             "          let go of it; restart tlsbatond\n"
	                             "          it broke\n"));
}

static void test_no_share_of_nothing(void **state)
{
	json_auto_t *status = json_loads("{\"expected_resumption\":1.0,\"table\":{\"live\":0}}",
	                                 JSON_DECODE_ANY, NULL);
	_cleanup_(freep) char *text = render(status);

	(void)state;
	assert_null(strstr(text, "switchover"));
}

/* One of a thing, and nothing wider than a terminal. */
static void test_one_of_each(void **state)
{
	json_auto_t *status = json_loads(
	    "{\"workers\":{\"malformed\":1,\"stateless\":1,\"hits\":1,\"misses\":1,"
	    "\"gate_waits\":1,\"gate_timeouts\":1,\"gate_wait_us\":{\"p50\":1,\"p99\":1}},"
	    "\"peers\":[{\"name\":\"a-16-letter-name\",\"state\":\"catching-up\","
	    "\"address\":\"[2001:db8:1111:2222:3333:4444:5555:6666]:17410\","
	    "\"role\":\"standby\",\"lag_records\":123456789,\"lag_ms\":123456}]}",
	    0, NULL);
	_cleanup_(freep) char *text = render(status);
	size_t width = 0;

	(void)state;
	assert_non_null(strstr(text, " 1 malformed notice\n"));
	assert_non_null(strstr(text, " 1 session in a stateless ticket\n"));
	assert_non_null(strstr(text, " 1 hit, 1 miss ("));
	assert_non_null(strstr(text, " 1 wait, 1 timeout; "));
	assert_non_null(strstr(text, "half took <= 1 us, 99 % took <= 1 us\n"));
	for (const char *c = text; *c; c++) {
		width = *c == '\n' ? 0 : width + 1;
		assert_true(width <= 80);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_whole_status),      cmocka_unit_test(test_hostile_status),
	    cmocka_unit_test(test_shares_round_down), cmocka_unit_test(test_no_share_of_nothing),
	    cmocka_unit_test(test_one_of_each),       cmocka_unit_test(test_a_helper_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
