/*
 * One TLS connection between daemons: a non-blocking socket, a buffer for what came in and one
 * for what is to go out, both of a size fixed when the link opens.
 */
#ifndef TLSBATON_REPL_LINK_H
#define TLSBATON_REPL_LINK_H

#include <stdbool.h>
#include <event2/event.h>
#include <openssl/ssl.h>

#include "repl/clock.h"
#include "util/macro.h"

#define LINK_IN_BYTES (128 * 1024) /* two frames of the longest kind */
#define LINK_SMALL_BYTES 4096      /* enough for hello, acks and every frame but records */

struct link_ops {
	/* The handshake is done. Below 0: close. */
	int (*open)(void *arg);
	/* `n` bytes stand at `bytes`: takes whole frames, and says through `*n_used` how many
	 * bytes those were. Below 0: close. They are wiped afterwards. */
	int (*input)(void *arg, const uint8_t *bytes, size_t n, size_t *n_used);
	/* A batch of input has been taken, or all output is gone: a chance to write. */
	void (*turn)(void *arg);
	/* The connection has ended; `why` in words. The last call: it may free the link. */
	void (*closed)(void *arg, const char *why);
};

enum link_phase { LINK_CONNECTING, LINK_HANDSHAKE, LINK_OPEN };

struct link {
	const struct link_ops *ops;
	void *arg;
	const struct repl_clock *clock;
	int fd;
	SSL *ssl;
	struct event *read_event, *write_event, *again;
	enum link_phase phase;
	int64_t heard_us; /* when bytes last came in */
	bool failed;      /* to be closed from the event loop: `why` says why */
	bool refused;     /* by TLS, here or there: not a connection that merely broke */
	char why[160];
	uint8_t *in, *out;
	size_t in_size, n_in;
	size_t out_size, out_start, out_end;
	uint64_t *bytes_sent, *bytes_received; /* borrowed counters */
};

/*
 * Takes over `fd` and `ssl` also on failure. `connecting`: connect(2) is under way. Buffers start
 * at LINK_SMALL_BYTES. Returns 0 or -ENOMEM. `link` is zeroed by the caller but for ops, arg,
 * clock and counters.
 */
int link_init(struct link *link, struct event_base *base, int fd, SSL *ssl,
              bool connecting) MUST_CHECK;
void link_deinit(
    struct link *link); /* closes; wipes the buffers; fine on a zeroed or deinited link */

/* Makes the buffers this large; for when the other side has proved who it is. -ENOMEM. */
int link_grow(struct link *link, size_t in_size, size_t out_size) MUST_CHECK;

/* Where output may be appended: all that is free at the end of the buffer. */
static inline uint8_t *link_room(struct link *link, size_t *n)
{
	*n = link->out_size - link->out_end;
	return link->out + link->out_end;
}

static inline bool link_idle(const struct link *link)
{
	return link->out_end == 0;
}

/* `n` bytes more of the room hold output. */
static inline void link_append(struct link *link, size_t n)
{
	link->out_end += n;
}

/* Writes what is pending, as far as the socket takes it now; the rest follows from the event
 * loop. What was written is wiped. Never closes: after an error the event loop does. */
void link_flush(struct link *link);

/* One more turn, when the loop's others have had theirs. */
void link_again(struct link *link);

/* Closes from the event loop, not under the caller's feet. The first reason given stays. */
void link_fail(struct link *link, const char *why);

/* No more output after what is pending; input is thrown away: so that a refusal reaches its
 * reader. */
void link_half_close(struct link *link);

#endif
