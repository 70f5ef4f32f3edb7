#include "daemon/http.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdio.h>
#include <sys/socket.h>

#include "daemon/config_value.h"
#include "daemon/http_limit.h"
#include "daemon/metrics.h"

/* What a client may cost: bytes of headers and body, and seconds of silence. */
#define HTTP_HEADERS_MAX 8192
#define HTTP_BODY_MAX 1024
#define HTTP_TIMEOUT_S 5

struct http {
	struct evhttp *evhttp;
	struct http_limit limit;
	json_t *(*status)(void *arg);
	void *arg;
};

/* Answers and closes: a scraper comes back in seconds, and a connection that is kept is one to count. */
static void http_reply(struct evhttp_request *request, int code, const char *reason,
                       const char *type, struct evbuffer *body)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);

	/* evhttp answers 500 by itself where there is no memory for headers. */
	evhttp_add_header(headers, "Content-Type", type);
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	evhttp_add_header(headers, "Connection", "close");
	/* evhttp would send the body of an answer to HEAD. */
	evhttp_send_reply(request, code, reason,
	                  evhttp_request_get_command(request) == EVHTTP_REQ_HEAD ? NULL : body);
}

static void http_text(struct evhttp_request *request, int code, const char *reason,
                      const char *text)
{
	struct evbuffer *body = evbuffer_new();

	if (body)
		evbuffer_add_printf(body, "%s\n", text);
	http_reply(request, code, reason, "text/plain; charset=utf-8", body);
	if (body)
		evbuffer_free(body);
}

static int write_json(struct evbuffer *out, const json_t *status)
{
	_cleanup_(freep) char *text = json_dumps(status, JSON_INDENT(2));

	return !text || evbuffer_add_printf(out, "%s\n", text) < 0 ? -ENOMEM : 0;
}

static void http_status(struct http *http, struct evhttp_request *request,
                        int (*write)(struct evbuffer *, const json_t *), const char *type)
{
	json_auto_t *status = http->status(http->arg);
	struct evbuffer *body = evbuffer_new();

	if (status && body && write(body, status) == 0)
		http_reply(request, HTTP_OK, "OK", type, body);
	else
		http_text(request, HTTP_SERVUNAVAIL, "Service Unavailable", "out of memory");
	if (body)
		evbuffer_free(body);
}

static void on_request(struct evhttp_request *request, void *arg)
{
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
	enum evhttp_cmd_type method = evhttp_request_get_command(request);

	if (!path || (strcmp(path, "/status") != 0 && strcmp(path, "/metrics") != 0)) {
		http_text(request, HTTP_NOTFOUND, "Not Found", "there are /status and /metrics");
	} else if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
		evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "GET, HEAD");
		http_text(request, HTTP_BADMETHOD, "Method Not Allowed", "use GET");
	} else if (strcmp(path, "/status") == 0) {
		http_status(arg, request, write_json, "application/json");
	} else {
		http_status(arg, request, metrics_write, METRICS_CONTENT_TYPE);
	}
}

static int http_listen(struct http *http, struct event_base *base, const char *address, char *error,
                       size_t error_size)
{
	struct sockaddr_storage ss;
	struct evhttp_bound_socket *bound;
	char why[CONFIG_WHY_MAX];
	int one = 1, fd, r;

	if (config_value_endpoint(&ss, address, why) < 0 || !config_is_loopback(&ss)) {
		snprintf(error, error_size,
		         "http: %s is not a loopback address; write 127.0.0.1:PORT", address);
		return -EINVAL;
	}
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&ss,
	         ss.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
	                                  : sizeof(struct sockaddr_in)) < 0 ||
	    listen(fd, 16) < 0) {
		r = -errno;
		snprintf(error, error_size,
		         "http: %s: %s; set another address, or http = \"\" for none", address,
		         strerror(-r));
		if (fd >= 0)
			close(fd);
		return r;
	}
	bound = evhttp_accept_socket_with_handle(http->evhttp, fd);
	if (!bound) {
		close(fd);
		return -ENOMEM;
	}
	return http_limit_init(&http->limit, base, http->evhttp,
	                       evhttp_bound_socket_get_listener(bound));
}

int http_new(struct http **out, struct event_base *base, const char *address,
             json_t *(*status)(void *arg), void *arg, char *error, size_t error_size)
{
	_cleanup_(http_freep) struct http *http = calloc(1, sizeof(*http));
	int r;

	snprintf(error, error_size, "http: %s", strerror(ENOMEM));
	if (!http)
		return -ENOMEM;
	http->status = status;
	http->arg = arg;
	http->evhttp = evhttp_new(base);
	if (!http->evhttp)
		return -ENOMEM;
	evhttp_set_max_headers_size(http->evhttp, HTTP_HEADERS_MAX);
	evhttp_set_max_body_size(http->evhttp, HTTP_BODY_MAX);
	evhttp_set_timeout(http->evhttp, HTTP_TIMEOUT_S);
	/* All that evhttp knows, so that it is on_request() which refuses, with 405. */
	evhttp_set_allowed_methods(http->evhttp,
	                           EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
	                               EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS |
	                               EVHTTP_REQ_TRACE | EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH);
	evhttp_set_gencb(http->evhttp, on_request, http);
	r = http_listen(http, base, address, error, error_size);
	if (r < 0)
		return r;
	*out = http;
	http = NULL;
	return 0;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	if (http->evhttp)
		evhttp_free(http->evhttp);
	http_limit_deinit(&http->limit);
	free(http);
}
