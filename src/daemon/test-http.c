#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <time.h>

#include "daemon/event_log.h"
#include "daemon/http.h"
#include "daemon/http_limit.h"
#include "daemon/metrics.h"
#include "util/reserve_port.h"

struct bench {
	struct event_base *base;
	struct http *http;
	json_t *status;
	uint16_t port;
	char reply[65536];
};

static json_t *on_status(void *arg)
{
	return json_incref(((struct bench *)arg)->status);
}

static int set_up(void **state)
{
	static struct bench b;
	char address[32], error[256];

	signal(SIGPIPE, SIG_IGN);
	memset(&b, 0, sizeof(b));
	b.base = event_base_new();
	b.status = json_load_file(FIXTURES "/status.json", 0, NULL);
	assert_non_null(b.status);
	b.port = reserve_port();
	snprintf(address, sizeof(address), "127.0.0.1:%u", b.port);
	assert_int_equal(http_new(&b.http, b.base, address, on_status, &b, error, sizeof(error)),
	                 0);
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	http_free(b->http);
	json_decref(b->status);
	event_base_free(b->base);
	return 0;
}

/* A test that hangs fails after so many turns of the loop with a pause of 1 ms. Turns, not seconds: on a busy machine
 * those pass while neither side runs. */
#define TURNS_MAX 20000

static int loopback_connect(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	                              .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Sends `request` and reads until the server closes: the reply, or "" where it said nothing. */
static const char *ask(struct bench *b, const char *request, size_t n_request)
{
	int fd = loopback_connect(b->port);
	unsigned n_turns = 0;
	size_t n = 0, sent = 0;
	bool open = true;

	while (open && n_turns < TURNS_MAX) {
		ssize_t got =
		    send(fd, request + sent, n_request - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		sent += got > 0 ? (size_t)got : 0;
		event_base_loop(b->base, EVLOOP_NONBLOCK);
		got = recv(fd, b->reply + n, sizeof(b->reply) - 1 - n, MSG_DONTWAIT);
		if (got > 0)
			n += (size_t)got;
		open = got > 0 || (got < 0 && errno == EAGAIN);
		if (got < 0) {
			poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 1);
			n_turns++;
		}
	}
	close(fd);
	assert_false(open);
	b->reply[n] = '\0';
	return b->reply;
}

static const char *get(struct bench *b, const char *path)
{
	char request[256];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
	return ask(b, request, strlen(request));
}

#define ASSERT_HOLDS(text, part)                                                                   \
	do {                                                                                       \
		if (!strstr(text, part))                                                           \
			fail_msg("no \"%s\" in:\n%s", part, text);                                 \
	} while (0)

static void test_status(void **state)
{
	struct bench *b = *state;
	const char *reply = get(b, "/status");
	json_t *status;

	ASSERT_HOLDS(reply, "HTTP/1.1 200 OK\r\n");
	ASSERT_HOLDS(reply, "Content-Type: application/json\r\n");
	status = json_loads(strstr(reply, "\r\n\r\n") + 4, 0, NULL);
	assert_true(json_equal(status, b->status));
	json_decref(status);
	ASSERT_HOLDS(get(b, "/status?pretty"), "200 OK");
}

static void test_metrics(void **state)
{
	struct bench *b = *state;
	const char *reply = get(b, "/metrics");

	ASSERT_HOLDS(reply, "HTTP/1.1 200 OK\r\n");
	ASSERT_HOLDS(reply, "Content-Type: text/plain; version=0.0.4");
	ASSERT_HOLDS(reply, "\ntlsbaton_info{version=\"0.1.0\",node=\"a\",group=\"web\"} 1\n");
	ASSERT_HOLDS(reply,
	             "\n# TYPE tlsbaton_table_sessions gauge\ntlsbaton_table_sessions 123456\n");
	ASSERT_HOLDS(
	    reply,
	    "\n# TYPE tlsbaton_lookup_hits_total counter\ntlsbaton_lookup_hits_total 5000000\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_service_held 1\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_service_helper 1\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_expected_resumption_ratio 0.99998\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_gate_wait_seconds{quantile=\"0.99\"} 0.002048\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_peer_state{peer=\"b\",state=\"in-sync\"} 1\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_peer_state{peer=\"c\",state=\"in-sync\"} 0\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_peer_state{peer=\"c\",state=\"refused\"} 1\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_peer_lag_seconds{peer=\"b\"} 0.001\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_peer_clock_offset_seconds{peer=\"b\"} -0.015\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_peer_held_ratio{peer=\"c\"} 0\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_peer_has_workers{peer=\"b\"} 1\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_peer_has_workers{peer=\"d\"} 0\n");
	ASSERT_HOLDS(reply, "\ntlsbaton_peer_refuses_workers{peer=\"b\"} 1\n");
}

/* Each line is a comment or name[{labels}] number, and each name was introduced by its TYPE just before. */
static void test_metrics_are_well_formed(void **state)
{
	struct bench *b = *state;
	char *save = NULL, type_of[128] = "", *body;

	get(b, "/metrics");
	body = strstr(b->reply, "\r\n\r\n") + 4;
	assert_int_equal(body[strlen(body) - 1], '\n');
	for (char *line = strtok_r(body, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t n = strspn(line, "abcdefghijklmnopqrstuvwxyz_");
		char *end;

		if (sscanf(line, "# TYPE %127s", type_of) == 1 || strncmp(line, "# HELP ", 7) == 0)
			continue;
		assert_int_equal(n, strlen(type_of));
		assert_memory_equal(line, type_of, n);
		strtod(strrchr(line, ' ') + 1, &end);
		assert_int_equal(*end, '\0');
	}
}

static void test_metrics_of_a_hostile_status(void **state)
{
	struct evbuffer *out = evbuffer_new();
	json_t *status = json_loads(
	    "{\"node\": \"a\\\"b\\\\c\\nd\", \"table\": [], \"uptime_s\": \"12\","
	    " \"workers\": {\"puts\": null, \"gate_wait_us\": {}},"
	    " \"service\": null, \"expected_resumption\": null,"
	    " \"peers\": [{\"name\": 1, \"sent\": 1}, 7, {\"name\": \"x}\", \"state\": 3}]}",
	    0, NULL);
	char *text;

	(void)state;
	assert_non_null(status);
	assert_int_equal(metrics_write(out, status), 0);
	evbuffer_add(out, "", 1);
	text = (char *)evbuffer_pullup(out, -1);
	ASSERT_HOLDS(text, "{version=\"\",node=\"a\\\"b\\\\c\\nd\",group=\"\"} 1\n");
	ASSERT_HOLDS(text, "tlsbaton_peer_sent_total{peer=\"\"} 1\n");
	ASSERT_HOLDS(text, "tlsbaton_peer_state{peer=\"x}\",state=\"in-sync\"} 0\n");
	ASSERT_HOLDS(text, "tlsbaton_gate_wait_seconds{quantile=\"0.5\"} NaN\n");
	assert_null(strstr(text, "uptime"));
	assert_null(strstr(text, "tlsbaton_notices_total"));
	assert_null(strstr(text, "expected_resumption"));
	json_decref(status);
	status = json_null();
	assert_int_equal(metrics_write(out, status), 0);
	evbuffer_free(out);
}

static void test_refusals(void **state)
{
	static const char post[] =
	    "POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
	static const char head[] = "HEAD /status HTTP/1.1\r\nHost: x\r\n\r\n";
	static const char big[] =
	    "POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n";
	struct bench *b = *state;
	static char headers[20000];
	const char *reply;

	ASSERT_HOLDS(get(b, "/"), "404 Not Found");
	ASSERT_HOLDS(get(b, "/status/"), "404 Not Found");
	ASSERT_HOLDS(get(b, "/%2e%2e/etc/passwd"), "404 Not Found");
	ASSERT_HOLDS(ask(b, post, sizeof(post) - 1), "405 Method Not Allowed");
	ASSERT_HOLDS(b->reply, "Allow: GET, HEAD\r\n");
	reply = ask(b, head, sizeof(head) - 1);
	ASSERT_HOLDS(reply, "200 OK");
	assert_string_equal(strstr(reply, "\r\n\r\n") + 4, "");
	ASSERT_HOLDS(ask(b, big, sizeof(big) - 1), "413");
	strcpy(headers, "GET /status HTTP/1.1\r\nX: ");
	memset(headers + strlen(headers), 'x', 15000);
	assert_null(strstr(ask(b, headers, strlen(headers)), "200 OK"));
	assert_null(strstr(ask(b, "\x16\x03\x01\x02\x00\r\n\r\n", 9), "200 OK"));
	assert_null(strstr(ask(b, "FROB / HTTP/1.1\r\n\r\n", 19), "200 OK"));
}

static void test_no_memory_for_a_status(void **state)
{
	struct bench *b = *state;
	json_t *status = b->status;

	b->status = NULL;
	ASSERT_HOLDS(get(b, "/status"), "503 Service Unavailable");
	ASSERT_HOLDS(get(b, "/metrics"), "503 Service Unavailable");
	b->status = status;
}

static void test_where_it_listens(void **state)
{
	struct bench *b = *state;
	struct http *second = NULL;
	char error[256], taken[32];

	assert_int_equal(
	    http_new(&second, b->base, "0.0.0.0:7411", on_status, b, error, sizeof(error)),
	    -EINVAL);
	assert_non_null(strstr(error, "not a loopback address"));
	assert_int_equal(http_new(&second, b->base, "nonsense", on_status, b, error, sizeof(error)),
	                 -EINVAL);
	snprintf(taken, sizeof(taken), "127.0.0.1:%u", b->port);
	assert_int_equal(http_new(&second, b->base, taken, on_status, b, error, sizeof(error)),
	                 -EADDRINUSE);
	assert_non_null(strstr(error, "Address already in use; set another address"));
	assert_null(second);
}

static unsigned n_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Connections that say nothing take no more descriptors than the limit, and when they go the next is served. */
static void test_too_many(void **state)
{
	struct bench *b = *state;
	int fds[HTTP_CONNECTIONS_MAX + 8];
	unsigned before;

	for (int round = 0; round < 3; round++) {
		before = n_descriptors();
		for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
			fds[i] = loopback_connect(b->port);
			event_base_loop(b->base, EVLOOP_NONBLOCK);
		}
		for (int i = 0; i < 20; i++)
			event_base_loop(b->base, EVLOOP_NONBLOCK);
		assert_int_equal(n_descriptors(), before + ARRAY_SIZE(fds) + HTTP_CONNECTIONS_MAX);
		for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
			close(fds[i]);
		ASSERT_HOLDS(get(b, "/status"), "200 OK");
		ASSERT_HOLDS(get(b, "/status"), "200 OK");
		for (unsigned n_turns = 0; n_descriptors() > before; n_turns++) {
			assert_true(n_turns < TURNS_MAX);
			event_base_loop(b->base, EVLOOP_ONCE);
		}
		assert_int_equal(n_descriptors(), before);
	}
	/* And one that does speak leaves its place, too. */
	for (int i = 0; i < 3 * HTTP_CONNECTIONS_MAX; i++)
		ASSERT_HOLDS(get(b, "/status"), "200 OK");
}

/* A byte of a request that never ends. False: the server has closed. */
static bool drip(struct event_base *base, int fd)
{
	char byte;

	if (send(fd, "a", 1, MSG_NOSIGNAL) < 0)
		return false;
	for (int i = 0; i < 3; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* Not silent, and still its time ends; the timer's looks are made here. */
static void test_a_slow_request(void **state)
{
	static const char start[] = "GET /status HTTP/1.1\r\nX: ";
	struct event_base *base = event_base_new();
	struct evhttp *evhttp = evhttp_new(base);
	struct http_limit limit = {0};
	struct evhttp_bound_socket *bound;
	unsigned n_looks = 0;
	uint16_t port = reserve_port();
	int old, young;

	(void)state;
	bound = evhttp_bind_socket_with_handle(evhttp, "127.0.0.1", port);
	assert_non_null(bound);
	assert_int_equal(
	    http_limit_init(&limit, base, evhttp, evhttp_bound_socket_get_listener(bound)), 0);
	old = loopback_connect(port);
	assert_int_equal(send(old, start, sizeof(start) - 1, 0), sizeof(start) - 1);
	while (!limit.open[0])
		event_base_loop(base, EVLOOP_ONCE);
	event_active(limit.again, EV_TIMEOUT, 0);
	assert_true(drip(base, old));
	young = loopback_connect(port);
	assert_int_equal(send(young, start, sizeof(start) - 1, 0), sizeof(start) - 1);
	while (!limit.open[1])
		event_base_loop(base, EVLOOP_ONCE);
	while (limit.n_looks[0] + 1 < HTTP_LOOKS_MAX) {
		event_active(limit.again, EV_TIMEOUT, 0);
		assert_true(drip(base, young));
		assert_true(limit.n_looks[0] >= HTTP_LOOKS_MAX || drip(base, old));
	}
	event_active(limit.again, EV_TIMEOUT, 0);
	for (; drip(base, old) || limit.open[0]; n_looks++) {
		assert_true(n_looks < TURNS_MAX);
		event_active(limit.again, EV_TIMEOUT, 0);
	}
	assert_true(limit.n_looks[1] >= HTTP_LOOKS_MAX || drip(base, young));
	close(old);
	close(young);
	evhttp_free(evhttp);
	http_limit_deinit(&limit);
	event_base_free(base);
}

static void on_byte(evutil_socket_t fd, short what, void *arg)
{
	char byte;

	(void)what;
	*(bool *)arg = recv(fd, &byte, 1, 0) == 1;
}

/* evhttp closes its descriptors itself: the next ones of that number must not inherit anything of theirs. */
static void test_no_deaf_descriptor_is_left(void **state)
{
	struct bench *b = *state;

	for (int i = 0; i < 8; i++) {
		int fds[16];
		struct event *events[16];
		bool heard[16] = {false};

		ASSERT_HOLDS(get(b, i % 2 ? "/status" : "/none"), "HTTP/1.1 ");
		for (int k = 0; k < 16; k += 2)
			assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds + k), 0);
		for (int k = 0; k < 16; k++) {
			events[k] = event_new(b->base, fds[k], EV_READ, on_byte, &heard[k]);
			assert_int_equal(event_add(events[k], NULL), 0);
			assert_int_equal(send(fds[k ^ 1], "", 1, 0), 1);
		}
		for (int k = 0; k < 20; k++)
			event_base_loop(b->base, EVLOOP_NONBLOCK);
		for (int k = 0; k < 16; k++) {
			event_free(events[k]);
			close(fds[k]);
			assert_true(heard[k]);
		}
	}
}

/* An event on a closed descriptor: what libevent says of it is a line of ours. */
static void test_words_of_libevent(void **state)
{
	struct bench *b = *state;
	int out[2], before = dup(STDERR_FILENO), closed = dup(STDERR_FILENO);
	struct event *event;
	char line[512];
	ssize_t n;

	assert_int_equal(pipe(out), 0);
	close(closed);
	event_log_open();
	fflush(stderr);
	dup2(out[1], STDERR_FILENO);
	event = event_new(b->base, closed, EV_READ, on_byte, NULL);
	assert_int_equal(event_add(event, NULL), -1);
	dup2(before, STDERR_FILENO);
	n = read(out[0], line, sizeof(line) - 1);
	assert_true(n > 0);
	line[n] = '\0';
	assert_int_equal(strncmp(line, "tlsbaton: libevent: Epoll ADD", 29), 0);
	event_free(event);
	event_set_log_callback(NULL);
	close(out[0]);
	close(out[1]);
	close(before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_status, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_metrics, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_metrics_are_well_formed, set_up, tear_down),
	    cmocka_unit_test(test_metrics_of_a_hostile_status),
	    cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_too_many, set_up, tear_down),
	    cmocka_unit_test(test_a_slow_request),
	    cmocka_unit_test_setup_teardown(test_words_of_libevent, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_no_deaf_descriptor_is_left, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_no_memory_for_a_status, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_where_it_listens, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
