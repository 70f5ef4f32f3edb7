/*
 * Why not libevent's bufferevents? What goes through here are secrets, and an evbuffer moves and
 * frees its memory where nobody can wipe it; and a bufferevent writes from the next turn of the
 * loop, where a notice wants its bytes on the wire before the call returns. So: the loop's plain
 * events, OpenSSL on the socket, and two buffers whose every byte is wiped once used.
 *
 * What must stay true:
 *  - Memory is bounded by construction. A peer that does not read stalls `out`; one that floods
 *    us waits in its socket; a frame longer than `in` was refused by its header.
 *  - One peer gets LINK_BUDGET bytes a turn, then the others, and the workers, have theirs.
 *  - The owner is called from link_event() only, and may free the link only in closed(), which
 *    comes last. Everything else that finds the connection broken says link_fail() and goes on.
 *  - OpenSSL's error queue is empty whenever control leaves this file.
 */
#include "repl/link.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <openssl/err.h>

#include "repl/tls.h"

#define LINK_BUDGET (512 * 1024)

void link_fail(struct link *link, const char *why)
{
	if (link->failed)
		return;
	link->failed = true;
	snprintf(link->why, sizeof(link->why), "%s", why);
	if (link->read_event)
		event_active(link->read_event, EV_READ, 0);
}

void link_again(struct link *link)
{
	/* By timer, not event_active(): libevent would run that one before it polls any socket. */
	event_add(link->again, &(struct timeval){0});
}

/* After an SSL call: 0: wait for the socket; below: the connection is over, and link_fail() has
 * been told. */
static int link_wait(struct link *link, int result)
{
	char reason[128];
	int error = SSL_get_error(link->ssl, result);

	if (error == SSL_ERROR_WANT_READ)
		return 0;
	if (error == SSL_ERROR_WANT_WRITE) {
		event_add(link->write_event, NULL);
		return 0;
	}
	if (error == SSL_ERROR_SYSCALL && errno != 0 && ERR_peek_error() == 0) {
		ERR_clear_error();
		link_fail(link, strerror(errno));
		return -ECONNRESET;
	}
	link->refused = tls_is_refusal();
	tls_take_error(reason, sizeof(reason));
	link_fail(link, reason);
	return -ECONNRESET;
}

void link_flush(struct link *link)
{
	while (link->phase == LINK_OPEN && !link->failed && link->out_start < link->out_end) {
		size_t n = 0;
		int r;

		errno = 0;
		ERR_clear_error();
		r = SSL_write_ex(link->ssl, link->out + link->out_start,
		                 link->out_end - link->out_start, &n);
		if (r != 1) {
			(void)link_wait(link, r);
			return;
		}
		explicit_bzero(link->out + link->out_start, n);
		link->out_start += n;
		*link->bytes_sent += n;
	}
	if (link->out_start == link->out_end)
		link->out_start = link->out_end = 0;
}

/* Hands `in` to the owner, wipes what it took and moves the rest to the front. */
static int link_consume(struct link *link)
{
	size_t n_used = 0;
	int r = link->ops->input(link->arg, link->in, link->n_in, &n_used);

	if (r < 0) {
		link_fail(link, "closed");
		return r;
	}
	if (n_used == 0 && link->n_in == link->in_size) {
		link_fail(link, "a frame is longer than any that may come here");
		return -EPROTO;
	}
	if (n_used > 0) {
		memmove(link->in, link->in + n_used, link->n_in - n_used);
		explicit_bzero(link->in + link->n_in - n_used, n_used);
		link->n_in -= n_used;
	}
	return 0;
}

/* Reads until the socket is empty or the turn is over. */
static int link_read(struct link *link)
{
	size_t n_read = 0;
	bool empty = false;
	int r;

	while (!empty && n_read < LINK_BUDGET) {
		size_t n = 0;

		errno = 0;
		ERR_clear_error();
		r = SSL_read_ex(link->ssl, link->in + link->n_in, link->in_size - link->n_in, &n);
		if (r == 1) {
			link->n_in += n;
			n_read += n;
			/* Asking the socket for more only to hear that there is none is a system call for each
			 * ack; if there is, it is announced. */
			empty = !SSL_has_pending(link->ssl);
		} else {
			(void)link_wait(link, r);
			empty = true;
		}
		/* What came before an end of the connection still counts. */
		if (link->n_in > 0 && (empty || link->n_in == link->in_size)) {
			r = link_consume(link);
			if (r < 0)
				return r;
		}
	}
	if (n_read > 0) {
		*link->bytes_received += n_read;
		link->heard_us = link->clock->mono_us(link->clock->arg);
	}
	if (!empty) {
		/* OpenSSL may hold bytes that the socket no longer announces. */
		link_again(link);
		return link->n_in > 0 ? link_consume(link) : 0;
	}
	return 0;
}

static int link_connected(struct link *link)
{
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		error = errno;
	if (error) {
		link_fail(link, strerror(error));
		return -error;
	}
	link->phase = LINK_HANDSHAKE;
	return 0;
}

static int link_handshake(struct link *link)
{
	int r;

	errno = 0;
	ERR_clear_error();
	r = SSL_do_handshake(link->ssl);
	if (r != 1)
		return link_wait(link, r);
	link->phase = LINK_OPEN;
	link->heard_us = link->clock->mono_us(link->clock->arg);
	r = link->ops->open(link->arg);
	if (r < 0)
		link_fail(link, "closed");
	return r;
}

static void link_event(evutil_socket_t fd, short what, void *arg)
{
	struct link *link = arg;
	int r = 0;

	(void)fd;
	if (!link->failed && link->phase == LINK_CONNECTING && (what & EV_WRITE)) {
		r = link_connected(link);
		if (r == 0)
			r = event_add(link->read_event, NULL);
	}
	if (r == 0 && !link->failed && link->phase == LINK_HANDSHAKE)
		r = link_handshake(link);
	if (r == 0 && !link->failed && link->phase == LINK_OPEN) {
		link_flush(link);
		if (!link->failed)
			r = link_read(link);
		if (r == 0 && !link->failed)
			link->ops->turn(link->arg);
	}
	if (r < 0 && !link->failed)
		link_fail(link, strerror(-r));
	if (link->failed) {
		char why[sizeof(link->why)];

		memcpy(why, link->why, sizeof(why));
		link->ops->closed(link->arg, why);
	}
}

int link_init(struct link *link, struct event_base *base, int fd, SSL *ssl, bool connecting)
{
	link->fd = fd;
	link->ssl = ssl;
	link->phase = connecting ? LINK_CONNECTING : LINK_HANDSHAKE;
	link->heard_us = link->clock->mono_us(link->clock->arg);
	link->read_event = event_new(base, fd, EV_READ | EV_PERSIST, link_event, link);
	link->write_event = event_new(base, fd, EV_WRITE, link_event, link);
	link->again = event_new(base, -1, 0, link_event, link);
	if (!ssl || !link->read_event || !link->write_event || !link->again ||
	    link_grow(link, LINK_SMALL_BYTES, LINK_SMALL_BYTES) < 0 ||
	    event_add(connecting ? link->write_event : link->read_event, NULL) < 0) {
		link_deinit(link);
		return -ENOMEM;
	}
	return 0;
}

/* As realloc(), but what moved is wiped where it was. */
static int link_resize(uint8_t **bytes, size_t *size, size_t wanted)
{
	uint8_t *larger;

	if (wanted <= *size)
		return 0;
	larger = malloc(wanted);
	if (!larger)
		return -ENOMEM;
	if (*bytes) {
		memcpy(larger, *bytes, *size);
		explicit_bzero(*bytes, *size);
		free(*bytes);
	}
	*bytes = larger;
	*size = wanted;
	return 0;
}

int link_grow(struct link *link, size_t in_size, size_t out_size)
{
	int r = link_resize(&link->in, &link->in_size, in_size);

	return r ? r : link_resize(&link->out, &link->out_size, out_size);
}

void link_half_close(struct link *link)
{
	link_flush(link);
	shutdown(link->fd, SHUT_WR);
}

void link_deinit(struct link *link)
{
	if (link->read_event)
		event_free(link->read_event);
	if (link->write_event)
		event_free(link->write_event);
	if (link->again)
		event_free(link->again);
	SSL_free(link->ssl);
	ERR_clear_error();
	if (link->fd > 0)
		close(link->fd);
	if (link->in)
		explicit_bzero(link->in, link->in_size);
	if (link->out)
		explicit_bzero(link->out, link->out_size);
	free(link->in);
	free(link->out);
	link->read_event = link->write_event = link->again = NULL;
	link->ssl = NULL;
	link->fd = -1;
	link->in = link->out = NULL;
	link->in_size = link->out_size = link->n_in = link->out_start = link->out_end = 0;
}
