/* HTTP answers, in one piece and in single bytes, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "answer.h"

#define OK "HTTP/1.1 200 OK\r\n"

static struct answer feed(const char *text, size_t step)
{
	struct answer answer = {0};
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i += step)
		answer_feed(&answer, text + i, MIN(step, n - i));
	return answer;
}

static void check(const char *text, enum answer_state state, unsigned status)
{
	for (size_t step = 1; step <= strlen(text); step++) {
		struct answer answer = feed(text, step);

		assert_int_equal(answer.state, state);
		if (state != ANSWER_MALFORMED)
			assert_int_equal(answer.status, status);
	}
}

static void test_answers(void **state)
{
	(void)state;
	check("HTTP/1.1 20", ANSWER_HEAD, 0);
	check(OK "Content-Length: 3\r\n", ANSWER_HEAD, 200);
	check(OK "Content-Length: 3\r\n\r\nab", ANSWER_BODY, 200);
	check(OK "Content-Length: 3\r\n\r\nabc", ANSWER_COMPLETE, 200);
	check(OK "content-length:3 \r\nX: y\r\n\r\nabcd", ANSWER_COMPLETE, 200);
	check(OK "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", ANSWER_COMPLETE, 200);
	check("HTTP/1.0 200 ok\nContent-Length: 1\n\nx", ANSWER_COMPLETE, 200);
	check(OK "\r\nuntil the end", ANSWER_BODY, 200);
	check(OK "Content-Length: 0\r\n\r\n", ANSWER_COMPLETE, 200);
	check("HTTP/1.1 404\r\nContent-Length: 1\r\n\r\nx", ANSWER_COMPLETE, 404);
	check("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ANSWER_COMPLETE, 304);
	check("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" OK "Content-Length: 1\r\n\r\nx",
	      ANSWER_COMPLETE, 200);
	check(OK "X: a value that is longer than any that is looked at, which is nothing to "
	         "worry about\r\nContent-Length: 1\r\n\r\nx",
	      ANSWER_COMPLETE, 200);
}

static void test_malformed(void **state)
{
	(void)state;
	check("SSH-2.0-OpenSSH\r\n", ANSWER_MALFORMED, 0);
	check("\r\n", ANSWER_MALFORMED, 0);
	check("HTTP/2 200\r\n", ANSWER_MALFORMED, 0);
	check("HTTP/1.1 20\r\n", ANSWER_MALFORMED, 0);
	check("HTTP/1.1 2000\r\n", ANSWER_MALFORMED, 0);
	check("HTTP/1.1 099 X\r\n", ANSWER_MALFORMED, 0);
	check(OK "Content-Length: -1\r\n", ANSWER_MALFORMED, 0);
	check(OK "Content-Length: 1x\r\n", ANSWER_MALFORMED, 0);
	check(OK "Content-Length:\r\n", ANSWER_MALFORMED, 0);
	check(OK "Content-Length: 99999999999999999999\r\n", ANSWER_MALFORMED, 0);
	check(OK "Content-Length: 1\r\nContent-Length: 2\r\n", ANSWER_MALFORMED, 0);
	check(OK "Content-Length: 0000000000000000000000000000000000000000000000000000000001\r\n",
	      ANSWER_MALFORMED, 0);
}

static void test_endless_head(void **state)
{
	struct answer answer = {0};

	(void)state;
	answer_feed(&answer, OK, strlen(OK));
	for (int i = 0; i < ANSWER_HEAD_MAX && answer.state == ANSWER_HEAD; i++)
		answer_feed(&answer, "x: y\r\n", 6);
	assert_int_equal(answer.state, ANSWER_MALFORMED);
	answer_feed(&answer, "\r\n", 2);
	assert_int_equal(answer.state, ANSWER_MALFORMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_malformed),
	    cmocka_unit_test(test_endless_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
