/*
 * System calls are what a resumed visit costs its client, so there are few: the ClientHello is tried at once after connect(),
 * which succeeds on a near network; the socket is registered with epoll once, edge-triggered, and goes from it by being
 * closed.
 *
 * After the answer the server's end of the connection is awaited, so that the ports in TIME_WAIT are the server's and a last
 * ticket is not missed; then close_notify is answered.
 *
 * Which session a user keeps: the newest that it was given. TLS 1.3 sessions are for one use (RFC 8446, C.4): one that a
 * server has accepted is forgotten at the end of the visit, unless a newer one came. So is one that a
 * server has refused, in both versions. One that was offered to a server that never answered is kept.
 */
#include "visit.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <openssl/err.h>

#include "tls.h"

#define READS_PER_STEP 64

int visit_on_session(SSL *ssl, SSL_SESSION *session)
{
	struct visit *visit = SSL_get_app_data(ssl);

	(void)!user_keep_session(visit->user, session);
	return 0; /* the reference stays OpenSSL's */
}

/* A ticket that its server no longer wants is not offered by OpenSSL, which must not look like a miss. */
static bool is_expired(const SSL_SESSION *session)
{
	unsigned long hint_s = SSL_SESSION_get_ticket_lifetime_hint(session);

	return SSL_SESSION_get_protocol_version(session) == TLS1_3_VERSION &&
	       time(NULL) - SSL_SESSION_get_time(session) > (time_t)hint_s;
}

static void offer_session(struct visit *visit)
{
	SSL_SESSION *session = user_get_session(visit->user);

	if (session && is_expired(session))
		user_drop_session(visit->user);
	else if (session)
		visit->offered = SSL_set_session(visit->ssl, session) == 1;
	visit->session = SSL_get0_session(visit->ssl);
	SSL_SESSION_free(session);
	visit->generation = visit->user->generation;
}

static int bind_source(struct visit_env *env, int fd)
{
	const struct options *options = env->options;
	const struct sockaddr_storage *source;
	int on = 1;

	if (options->n_sources == 0)
		return 0;
	source = &options->sources[env->next_source++ % options->n_sources];
	/* The port is chosen by connect(), which may share it between destinations. */
	(void)setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	return bind(fd, (const struct sockaddr *)source,
	            source->ss_family == AF_INET ? sizeof(struct sockaddr_in)
	                                         : sizeof(struct sockaddr_in6));
}

static bool begin_connect(struct visit *visit)
{
	const struct target *target = visit->env->target;
	int on = 1;

	visit->fd =
	    socket(target->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (visit->fd < 0 || bind_source(visit->env, visit->fd) < 0 ||
	    setsockopt(visit->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    (connect(visit->fd, (const struct sockaddr *)&target->address, target->n_address) < 0 &&
	     errno != EINPROGRESS)) {
		int error = errno;

		if (error == ECONNREFUSED)
			failure_of_phase(&visit->failure, FAILURE_CONNECT, "refused");
		else if (error == EHOSTUNREACH || error == ENETUNREACH)
			failure_of_phase(&visit->failure, FAILURE_CONNECT, "unreachable");
		else
			failure_of_socket(&visit->failure, error);
		return false;
	}
	return true;
}

int visit_new(struct visit **out, struct visit_env *env, struct user *user)
{
	struct visit *visit = calloc(1, sizeof(*visit));
	const char *name = tls_server_name(env->options, env->target);

	if (!visit)
		return -ENOMEM;
	*visit = (struct visit){.env = env, .user = user, .fd = -1};
	visit->ssl = SSL_new(env->ctx);
	if (!visit->ssl || (name && SSL_set_tlsext_host_name(visit->ssl, name) != 1)) {
		visit_free(visit);
		return -ENOMEM;
	}
	SSL_set_app_data(visit->ssl, visit);
	SSL_set_connect_state(visit->ssl);
	offer_session(visit);
	if (!begin_connect(visit))
		visit->state = VISIT_ENDED;
	else if (SSL_set_fd(visit->ssl, visit->fd) != 1) {
		visit_free(visit);
		return -ENOMEM;
	}
	*out = visit;
	return 0;
}

static enum failure_phase phase_of(const struct visit *visit)
{
	if (visit->handshaken)
		return FAILURE_REPLY;
	return visit->fd >= 0 && BIO_number_written(SSL_get_wbio(visit->ssl)) > 0
	           ? FAILURE_HANDSHAKE
	           : FAILURE_CONNECT;
}

static enum visit_event fail(struct visit *visit)
{
	visit->state = VISIT_ENDED;
	return VISIT_FAILED;
}

/* Has epoll watch for what OpenSSL wants. Being told too much is cheaper than changing the registration. */
static enum visit_event await(struct visit *visit, bool writing)
{
	uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET | (writing ? EPOLLOUT : 0);
	struct epoll_event event = {.events = events, .data.ptr = visit};

	if ((visit->events & events) == events)
		return VISIT_WAITS;
	if (epoll_ctl(visit->env->epoll, visit->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, visit->fd,
	              &event) < 0) {
		failure_of_socket(&visit->failure, errno);
		return fail(visit);
	}
	visit->events = events;
	return VISIT_WAITS;
}

/* After an OpenSSL call that did not succeed. */
static enum visit_event wait_or_fail(struct visit *visit, int result, int error)
{
	int want = SSL_get_error(visit->ssl, result);

	if (want == SSL_ERROR_WANT_READ || want == SSL_ERROR_WANT_WRITE)
		return await(visit, want == SSL_ERROR_WANT_WRITE);
	failure_of_ssl(&visit->failure, phase_of(visit), visit->ssl, result, error);
	return fail(visit);
}

/* With TLS 1.2 a resumption may come with a new ticket, of which the callback is not told. OpenSSL then puts
 * another session in place of the one that was offered. */
static void keep_renewed_ticket(struct visit *visit)
{
	const SSL_SESSION *session = SSL_get0_session(visit->ssl);

	if (SSL_version(visit->ssl) == TLS1_2_VERSION && session != visit->session)
		(void)!user_keep_session(visit->user, session);
}

static enum visit_event step_handshake(struct visit *visit)
{
	int result;

	ERR_clear_error();
	errno = 0;
	result = SSL_do_handshake(visit->ssl);
	if (result != 1)
		return wait_or_fail(visit, result, errno);
	visit->handshaken = true;
	visit->resumed = SSL_session_reused(visit->ssl);
	if (visit->resumed)
		keep_renewed_ticket(visit);
	visit->state = VISIT_REQUEST;
	return VISIT_HANDSHAKEN;
}

static enum visit_event step_request(struct visit *visit)
{
	const struct target *target = visit->env->target;
	int result;

	ERR_clear_error();
	errno = 0;
	result = SSL_write(visit->ssl, target->request, (int)target->n_request);
	if (result <= 0)
		return wait_or_fail(visit, result, errno);
	visit->state = VISIT_ANSWER;
	/* What was read along with the server's last handshake message is seen by nobody but OpenSSL. What arrives
	 * from here on is seen by epoll. */
	return SSL_has_pending(visit->ssl) ? VISIT_MORE : await(visit, false);
}

/* What an answer's head or body says is wrong; false: nothing, so far. */
static bool judge_answer(struct visit *visit)
{
	if (visit->answer.state == ANSWER_MALFORMED)
		failure_set(&visit->failure, "http_malformed");
	else if (visit->answer.state != ANSWER_HEAD && visit->answer.status != 200)
		failure_of_status(&visit->failure, visit->answer.status);
	else
		return false;
	return true;
}

static enum visit_event end_answer(struct visit *visit)
{
	visit->answered = true;
	visit->state = VISIT_DRAIN;
	return VISIT_ANSWERED;
}

/* The connection has ended, or will not go on, before the answer was complete. */
static enum visit_event cut_off(struct visit *visit, int result, int error)
{
	int want = SSL_get_error(visit->ssl, result);

	if (want == SSL_ERROR_WANT_READ || want == SSL_ERROR_WANT_WRITE)
		return await(visit, want == SSL_ERROR_WANT_WRITE);
	/* A body without a length ends with the connection, but only close_notify proves that this is the end. */
	if (visit->answer.state == ANSWER_BODY && !visit->answer.has_length &&
	    want == SSL_ERROR_ZERO_RETURN)
		return end_answer(visit);
	failure_of_ssl(&visit->failure, phase_of(visit), visit->ssl, result, error);
	if (visit->answer.state == ANSWER_BODY && strcmp(visit->failure.name, "reply_closed") == 0)
		failure_set(&visit->failure, "short_body");
	return fail(visit);
}

static enum visit_event step_answer(struct visit *visit)
{
	struct visit_env *env = visit->env;

	for (int i = 0; i < READS_PER_STEP; i++) {
		int result;

		ERR_clear_error();
		errno = 0;
		result = SSL_read(visit->ssl, env->buffer, sizeof(env->buffer));
		if (result <= 0)
			return cut_off(visit, result, errno);
		env->n_bytes += (uint64_t)result;
		answer_feed(&visit->answer, env->buffer, (size_t)result);
		if (judge_answer(visit))
			return fail(visit);
		if (visit->answer.state == ANSWER_COMPLETE)
			return end_answer(visit);
	}
	return VISIT_MORE;
}

/* However the connection ends now, the visit was good. */
static enum visit_event step_drain(struct visit *visit)
{
	for (int i = 0; i < READS_PER_STEP; i++) {
		int result, want;

		ERR_clear_error();
		result = SSL_read(visit->ssl, visit->env->buffer, sizeof(visit->env->buffer));
		if (result > 0) {
			visit->env->n_bytes += (uint64_t)result;
			continue;
		}
		want = SSL_get_error(visit->ssl, result);
		if (want == SSL_ERROR_WANT_READ && await(visit, false) == VISIT_WAITS)
			return VISIT_WAITS;
		return VISIT_OVER;
	}
	return VISIT_MORE;
}

enum visit_event visit_step(struct visit *visit)
{
	switch (visit->state) {
	case VISIT_HANDSHAKE:
		return step_handshake(visit);
	case VISIT_REQUEST:
		return step_request(visit);
	case VISIT_ANSWER:
		return step_answer(visit);
	case VISIT_DRAIN:
		return step_drain(visit);
	default:
		return VISIT_FAILED;
	}
}

void visit_time_out(struct visit *visit)
{
	if (visit->answered)
		return;
	failure_of_phase(&visit->failure, phase_of(visit), "timeout");
	visit->state = VISIT_ENDED;
}

static void forget_used_session(struct visit *visit)
{
	bool used_up = visit->resumed ? SSL_version(visit->ssl) == TLS1_3_VERSION : true;

	if (visit->handshaken && visit->offered && used_up &&
	    visit->user->generation == visit->generation)
		user_drop_session(visit->user);
}

void visit_free(struct visit *visit)
{
	if (!visit)
		return;
	if (visit->ssl) {
		forget_used_session(visit);
		if (visit->handshaken && visit->state == VISIT_DRAIN) {
			ERR_clear_error();
			(void)SSL_shutdown(visit->ssl);
		}
		ERR_clear_error();
		SSL_free(visit->ssl);
	}
	closep(&visit->fd);
	free(visit);
}
