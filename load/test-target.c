/* URLs, and whose servers may be loaded without permission. No name is resolved that needs a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>

#include "target.h"

static bool is_private(const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		return target_is_private((const struct sockaddr *)&in);
	assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
	return target_is_private((const struct sockaddr *)&in6);
}

static void test_private_addresses(void **state)
{
	static const char *const private[] = {
	    "127.0.0.1",       "127.255.255.255", "10.0.0.0",    "10.255.255.255",
	    "172.16.0.0",      "172.31.255.255",  "192.168.0.0", "192.168.255.255",
	    "198.18.0.0",      "198.19.255.255",  "::1",         "fc00::",
	    "fdff::1",         "fe80::1",         "febf::1",     "::ffff:10.1.2.3",
	    "::ffff:127.0.0.1"};
	static const char *const public[] = {"0.0.0.0",
	                                     "9.255.255.255",
	                                     "11.0.0.0",
	                                     "126.255.255.255",
	                                     "128.0.0.0",
	                                     "172.15.0.1",
	                                     "172.32.0.0",
	                                     "192.167.255.255",
	                                     "192.169.0.0",
	                                     "198.17.255.255",
	                                     "198.20.0.0",
	                                     "192.0.2.1",
	                                     "255.255.255.255",
	                                     "::",
	                                     "::2",
	                                     "fbff::1",
	                                     "fe00::1",
	                                     "fec0::1",
	                                     "2001:db8::1",
	                                     "::ffff:8.8.8.8"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(private); i++)
		if (!is_private(private[i]))
			fail_msg("%s is private", private[i]);
	for (size_t i = 0; i < ARRAY_SIZE(public); i++)
		if (is_private(public[i]))
			fail_msg("%s is not private", public[i]);
}

static void check(const char *url, const char *connect, const char *text, const char *first_lines)
{
	struct target target;
	char error[512] = "";

	if (target_init(&target, url, connect, false, error, sizeof(error)) != 0)
		fail_msg("%s: %s", url, error);
	assert_string_equal(target.text, text);
	if (strncmp(target.request, first_lines, strlen(first_lines)) != 0)
		fail_msg("%s: %s", url, target.request);
	assert_int_equal(strlen(target.request), target.n_request);
	assert_string_equal(target.request + target.n_request - 4, "\r\n\r\n");
	assert_non_null(strstr(target.request, "\r\nConnection: close\r\n"));
	target_deinit(&target);
	target_deinit(&target);
}

static void test_urls(void **state)
{
	(void)state;
	check("https://127.0.0.1", NULL, "127.0.0.1:443", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n");
	check("HTTPS://10.0.0.1:8443/a/b?c=d&e#f", NULL, "10.0.0.1:8443",
	      "GET /a/b?c=d&e HTTP/1.1\r\nHost: 10.0.0.1:8443\r\n");
	check("https://[::1]:4433/x", NULL, "[::1]:4433",
	      "GET /x HTTP/1.1\r\nHost: [::1]:4433\r\n");
	check("https://[fd00::1]/", NULL, "[fd00::1]:443", "GET / HTTP/1.1\r\nHost: [fd00::1]\r\n");
	check("https://www.example.org/x", "127.0.0.9", "127.0.0.9:443",
	      "GET /x HTTP/1.1\r\nHost: www.example.org\r\n");
	check("https://www.example.org:8443/x", "127.0.0.9:99", "127.0.0.9:99",
	      "GET /x HTTP/1.1\r\nHost: www.example.org:8443\r\n");
	check("https://www.example.org/x", "[::1]:99", "[::1]:99",
	      "GET /x HTTP/1.1\r\nHost: www.example.org\r\n");
	check("https://www.example.org/x", "[::1]", "[::1]:443", "GET /x HTTP/1.1\r\n");
}

static void refuse(const char *url, const char *connect, const char *says)
{
	struct target target = {.text = NULL};
	char error[512] = "";

	if (target_init(&target, url, connect, false, error, sizeof(error)) >= 0)
		fail_msg("%s is accepted", url);
	if (!strstr(error, says))
		fail_msg("%s: %s", url, error);
	assert_null(target.text);
}

static void test_refused(void **state)
{
	(void)state;
	refuse("http://127.0.0.1/", NULL, "https://HOST");
	refuse("127.0.0.1", NULL, "https://HOST");
	refuse("", NULL, "https://HOST");
	refuse("https://", NULL, "https://HOST");
	refuse("https:///x", NULL, "https://HOST");
	refuse("https://127.0.0.1/a b", NULL, "https://HOST");
	refuse("https://127.0.0.1/a\r\nX: y", NULL, "https://HOST");
	refuse("https://127.0.0.1:99999/", NULL, "https://HOST");
	refuse("https://me:secret@127.0.0.1/", NULL, "user name");
	refuse("https://192.0.2.1/", NULL, "--i-own-this-server");
	refuse("https://[2001:db8::1]/", NULL, "--i-own-this-server");
	refuse("https://127.0.0.1/", "192.0.2.1:443", "--i-own-this-server");
	refuse("https://127.0.0.1/", "", "--connect");
	refuse("https://127.0.0.1/", "127.0.0.1:", "--connect");
	refuse("https://127.0.0.1/", "127.0.0.1:0", "--connect");
	refuse("https://127.0.0.1/", "127.0.0.1:65536", "--connect");
	refuse("https://127.0.0.1/", "127.0.0.1:1x", "--connect");
	refuse("https://127.0.0.1/", "[::1", "--connect");
	refuse("https://127.0.0.1/", "[::1]9", "--connect");
	refuse("https://127.0.0.1/", "::1", "--connect");
}

static void test_permission(void **state)
{
	struct target target;
	char error[512];

	(void)state;
	assert_int_equal(
	    target_init(&target, "https://192.0.2.1/", NULL, true, error, sizeof(error)), 0);
	assert_string_equal(target.text, "192.0.2.1:443");
	target_deinit(&target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_private_addresses),
	    cmocka_unit_test(test_urls),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_permission),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
