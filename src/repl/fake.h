/*
 * For tests: the other end of a connection, under the test's hand. TLS runs over memory, so that
 * the test can record, replay, withhold and cut what goes over the socket; nothing here blocks,
 * the event loop of the nodes under test runs in between.
 */
#ifndef TLSBATON_REPL_FAKE_H
#define TLSBATON_REPL_FAKE_H

#include "repl/testing.h"

struct fake {
	struct event_base *base;
	struct tls *tls;
	SSL *ssl;
	int fd;
	bool closed;       /* the other side has closed */
	bool deaf;         /* does not read from the socket */
	uint8_t *recorded; /* all bytes that were sent */
	size_t n_recorded;
	uint8_t in[65536]; /* plaintext, not yet taken */
	size_t n_in;
};

/* With the key of `config`, from this end (connects to `port`) or the other (takes a connection
 * from `listener`). The handshake is done, or `closed` is set. */
struct fake *fake_dial(struct event_base *base, const struct repl_config *config, uint16_t port);
struct fake *fake_accept(struct event_base *base, const struct repl_config *config, int listener);
void fake_free(struct fake *fake);

void fake_send(struct fake *fake, const void *bytes, size_t n);
/* The next frame's payload, or NULL once the other side has closed. Fails the test after ten
 * seconds. */
const uint8_t *fake_frame(struct fake *fake, struct wire_header *header);
/* Waits until the other side has closed. */
void fake_wait_closed(struct fake *fake);

/* Frames, written at once. */
struct wire_hello fake_hello(const char *node, const char *group);
void fake_say_hello(struct fake *fake, const struct wire_hello *hello);
void fake_say_answer(struct fake *fake, const struct wire_hello *hello);
void fake_say_number(struct fake *fake, enum wire_type type, uint64_t number);
void fake_say_ack(struct fake *fake, uint64_t position, uint64_t n_records);
void fake_say_record(struct fake *fake, uint64_t end, const char *id, const char *der);
/* Reads frames until one of this type comes. */
const uint8_t *fake_expect(struct fake *fake, enum wire_type type, size_t *n_payload);

#endif
