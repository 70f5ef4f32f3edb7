/*
 * A client copies its session the moment it arrives. A reference would not do: OpenSSL marks a session as
 * not resumable when its connection ends badly, which is how connections end when a server dies, so that
 * the client and not the server would be what lost the session. With TLS 1.3 the last ticket counts.
 *
 * It comes back with it only once a byte of the answer is there, too. Until then the server may be waiting
 * at its gate, and has promised nothing: a TLS 1.3 resumption sends its new ticket before the request is
 * even read. If the server dies in between, the client still has the session that it came with.
 *
 * Sockets do not block; every wait is bounded by the visit's deadline and looks at the plan's stop flag.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <openssl/err.h>

#include "visit.h"

#define POLL_SLICE_MS 50

struct exchange {
	const struct visit_plan *plan;
	struct client *client;
	struct visit_result *result;
	SSL_SESSION *given; /* owned: a copy of the last session of this visit, not kept yet */
	bool answered;      /* in this visit */
	int64_t until_ms;
	int fd;
	SSL *ssl;
	size_t n_head, n_body, n_expected;
	char head[4096]; /* of the answer, with the first bytes of its body */
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void keep_given(struct exchange *x)
{
	if (!x->given || !x->answered)
		return;
	SSL_SESSION_free(x->client->kept);
	x->client->kept = x->given;
	x->given = NULL;
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
	struct exchange *x = SSL_get_app_data(ssl);
	SSL_SESSION *copy = SSL_SESSION_dup(session);

	if (copy) {
		SSL_SESSION_free(x->given);
		x->given = copy;
		keep_given(x);
	}
	return 0; /* the reference stays OpenSSL's */
}

SSL_CTX *visit_ctx_new(int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx)
		return NULL;
	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
	return ctx;
}

/* Waits for the socket. Returns what went wrong, or NULL. */
static const char *wait_io(struct exchange *x, short events)
{
	struct pollfd pollfd = {.fd = x->fd, .events = events};

	for (;;) {
		int64_t left_ms = x->until_ms - now_ms();

		if (atomic_load_explicit(&x->plan->stop, memory_order_relaxed))
			return "cut off";
		if (left_ms <= 0)
			return "timed out";
		if (poll(&pollfd, 1, (int)MIN(left_ms, POLL_SLICE_MS)) > 0)
			return NULL;
	}
}

static const char *visit_connect(struct exchange *x)
{
	const struct sockaddr *server = (const struct sockaddr *)&x->plan->server;
	socklen_t n_error = sizeof(int);
	const char *wrong;
	int error = 0;

	x->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (x->fd < 0)
		return "no socket";
	if (connect(x->fd, server, sizeof(x->plan->server)) == 0)
		return NULL;
	if (errno != EINPROGRESS)
		return "connect failed";
	wrong = wait_io(x, POLLOUT);
	if (wrong)
		return wrong;
	if (getsockopt(x->fd, SOL_SOCKET, SO_ERROR, &error, &n_error) < 0 || error)
		return "connect failed";
	return NULL;
}

/* After an SSL call that gave `result`: waits for what it wants. Returns what went wrong, or NULL. */
static const char *ssl_wait(struct exchange *x, int result)
{
	switch (SSL_get_error(x->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return wait_io(x, POLLIN);
	case SSL_ERROR_WANT_WRITE:
		return wait_io(x, POLLOUT);
	case SSL_ERROR_ZERO_RETURN:
		return "closed";
	case SSL_ERROR_SSL: {
		const char *reason = ERR_reason_error_string(ERR_peek_last_error());

		return reason ? reason : "TLS error";
	}
	default:
		return errno == ECONNRESET ? "reset" : "closed";
	}
}

static const char *visit_handshake(struct exchange *x)
{
	const char *wrong = NULL;
	int result;

	x->ssl = SSL_new(x->plan->ctx);
	if (!x->ssl || !SSL_set_fd(x->ssl, x->fd))
		return "no memory";
	SSL_set_app_data(x->ssl, x);
	if (x->client->kept) {
		/* A copy of the copy: what this connection does to its session stays with it. */
		SSL_SESSION *offer = SSL_SESSION_dup(x->client->kept);

		x->result->offered = offer && SSL_set_session(x->ssl, offer);
		SSL_SESSION_free(offer);
	}
	do {
		ERR_clear_error();
		errno = 0;
		result = SSL_connect(x->ssl);
		if (result != 1)
			wrong = ssl_wait(x, result);
	} while (result != 1 && !wrong);
	if (wrong)
		return wrong;
	x->result->handshaken = true;
	x->result->resumed = SSL_session_reused(x->ssl);
	/* With TLS 1.2 a resumption may renew the ticket, of which the callback is not told. */
	if (x->result->resumed && SSL_version(x->ssl) == TLS1_2_VERSION)
		(void)on_session(x->ssl, SSL_get_session(x->ssl));
	return NULL;
}

static const char *visit_ask(struct exchange *x)
{
	char request[512];
	int n =
	    snprintf(request, sizeof(request),
	             "GET %s HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n", x->plan->path);

	for (;;) {
		const char *wrong;
		int result;

		ERR_clear_error();
		errno = 0;
		result = SSL_write(x->ssl, request, n);
		if (result > 0)
			return NULL;
		wrong = ssl_wait(x, result);
		if (wrong)
			return wrong;
	}
}

/* Looks for the end of the answer's head among the bytes kept so far. */
static const char *parse_head(struct exchange *x)
{
	char *end, *length;

	x->head[x->n_head] = '\0';
	end = strstr(x->head, "\r\n\r\n");
	if (!end)
		return x->n_head == sizeof(x->head) - 1 ? "answer's head too long" : NULL;
	if (strncmp(x->head, "HTTP/1.", 7) != 0 || strncmp(x->head + 8, " 200 ", 5) != 0)
		return "answer is not 200";
	length = strcasestr(x->head, "\r\nContent-Length:");
	if (!length || length > end)
		return "answer without length";
	x->n_expected = strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
	x->n_body = x->n_head - (size_t)(end + 4 - x->head);
	if (x->n_expected == 0)
		return "answer is empty";
	if (x->n_body > 0)
		x->result->node = end[4];
	return NULL;
}

static const char *take_bytes(struct exchange *x, const char *bytes, size_t n)
{
	x->client->answered = x->answered = true;
	keep_given(x);
	if (x->n_expected == 0) {
		size_t room = sizeof(x->head) - 1 - x->n_head;
		size_t n_kept = MIN(n, room);
		const char *wrong;

		memcpy(x->head + x->n_head, bytes, n_kept);
		x->n_head += n_kept;
		wrong = parse_head(x);
		if (wrong)
			return wrong;
		if (x->n_expected > 0)
			x->n_body += n - n_kept;
	} else {
		x->n_body += n;
		if (!x->result->node)
			x->result->node = bytes[0];
	}
	return NULL;
}

static const char *visit_read(struct exchange *x)
{
	char bytes[16384];

	for (;;) {
		const char *wrong;
		int result;

		ERR_clear_error();
		errno = 0;
		result = SSL_read(x->ssl, bytes, sizeof(bytes));
		wrong = result > 0 ? take_bytes(x, bytes, (size_t)result) : ssl_wait(x, result);
		if (x->result->node && x->plan->leave == VISIT_LEAVE_RESET)
			return NULL;
		if (x->n_expected > 0 && x->n_body >= x->n_expected)
			return NULL;
		if (wrong)
			return wrong;
	}
}

static void visit_leave(struct exchange *x)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	if (x->result->error || x->plan->leave == VISIT_LEAVE_FIN)
		return;
	if (x->plan->leave == VISIT_LEAVE_RESET) {
		(void)setsockopt(x->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		return;
	}
	ERR_clear_error();
	(void)SSL_shutdown(x->ssl);
}

void visit(const struct visit_plan *plan, struct client *client, struct visit_result *out)
{
	struct exchange x = {
	    .plan = plan,
	    .client = client,
	    .result = out,
	    .until_ms = now_ms() + plan->timeout_ms,
	    .fd = -1,
	};
	const char *(*const steps[])(struct exchange *) = {visit_connect, visit_handshake,
	                                                   visit_ask, visit_read};

	*out = (struct visit_result){0};
	for (size_t i = 0; i < ARRAY_SIZE(steps) && !out->error; i++)
		out->error = steps[i](&x);
	visit_leave(&x);
	SSL_free(x.ssl);
	SSL_SESSION_free(x.given);
	closep(&x.fd);
}
