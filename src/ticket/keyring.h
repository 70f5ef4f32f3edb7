/*
 * The group's ticket keys: which there are, which one encrypts, when the next one is to be made, what two nodes'
 * rings come to when they meet. Pure: no clock, no I/O; times are milliseconds since 1970, as all nodes see them, unless
 * they are called boot times. keyring.c has the rules. A ring holds secrets: keyring_wipe() it.
 */
#ifndef TLSBATON_TICKET_KEYRING_H
#define TLSBATON_TICKET_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/macro.h"

#define TICKET_NAME_BYTES 16 /* what OpenSSL puts in front of a ticket */
#define TICKET_AES_BYTES 32
#define TICKET_HMAC_BYTES 32

#define TICKET_ROTATION_MS_MIN 2000
#define TICKET_ROTATION_MS_MAX                                                                     \
	(7 * 24 * 3600 * INT64_C(1000)) /* RFC 8446, 4.6.1: a ticket's longest life */
#define TICKET_SKEW_MS 5000 /* how far apart the clocks of two nodes may be without a gap */

#define KEYRING_KEYS_MAX 24
#define KEYRING_KEYS_OWN 4  /* of those, places that no peer's key takes */
#define KEYRING_KEYS_PEER 4 /* what a node holds at most, unless the group was apart (keyring.c) */

/* How servers keep what a client resumes. */
enum ticket_resumption {
	TICKET_STATEFUL = 1, /* in the session table; no stateless tickets */
	TICKET_TICKETS,      /* in tickets; nothing is stored */
	TICKET_BOTH,         /* in tickets, and in the table for clients that take none */
};

/* Immutable: made once, gone at `not_after_ms` or by a rekey. */
struct ticket_key {
	uint8_t name[TICKET_NAME_BYTES]; /* its first eight bytes are not all zero */
	uint8_t aes[TICKET_AES_BYTES];
	uint8_t hmac[TICKET_HMAC_BYTES];
	int64_t not_before_ms; /* encrypts from here … */
	int64_t use_until_ms;  /* … to here at most … */
	int64_t not_after_ms;  /* … and decrypts until here */
};

/* What this node knows besides of a key; no other is told. */
struct keyring_note {
	int64_t gone_boot_ms; /* it goes then at the latest, whatever becomes of the wall clock */
	uint8_t from; /* the peer that brought it; 0: none did, or none that is known any more */
};

struct keyring {
	/* Of all its keys: when they were last voided, seconds since 1970 times 2^KEYRING_RANDOM_BITS, and so many random
	 * bits; 0: they never were. */
	uint64_t generation;
	size_t n;
	struct ticket_key keys[KEYRING_KEYS_MAX];
	struct keyring_note notes[KEYRING_KEYS_MAX]; /* of the keys beside them */
	/* Names of keys that had to go before their time, the last so many: no peer is to bring them back. */
	uint8_t buried[KEYRING_KEYS_MAX][TICKET_NAME_BYTES];
	unsigned n_buried; /* ever */
};

#define KEYRING_RANDOM_BITS 24

/* Two clocks, read together. */
struct keyring_time {
	int64_t wall_ms;
	int64_t boot_ms; /* CLOCK_BOOTTIME: of this machine only, and never goes back */
};

/* Who a ring comes from. */
struct keyring_sender {
	uint8_t number;      /* from 1 */
	unsigned n_peers;    /* how many nodes may bring keys: room is divided among them */
	int64_t rotation_ms; /* the receiver's: keys of more than twice that are not taken */
};

/* What a node tells the others of its keys. */
struct ticket_state {
	enum ticket_resumption resumption; /* as it is configured */
	uint32_t rotation_ms;
	struct keyring ring;
};

enum keyring_outcome {
	KEYRING_SAME = 1, /* nothing has changed */
	KEYRING_FULL,     /* no room, or none for that peer */
	KEYRING_FUTURE,   /* the other ring's rekey lies in our future: a clock is wrong */
};

static inline uint64_t keyring_generation(uint64_t rekeyed_s, uint32_t random)
{
	return rekeyed_s << KEYRING_RANDOM_BITS | (random & ((1u << KEYRING_RANDOM_BITS) - 1));
}

/* When a rekey was that has this generation, in seconds since 1970. */
static inline uint64_t keyring_rekeyed_s(uint64_t generation)
{
	return generation >> KEYRING_RANDOM_BITS;
}

/* Fresh random bytes, and the times of a key that encrypts from `not_before_ms` to `use_until_ms` and whose tickets
 * live for `rotation_ms`. Returns 0 or -EIO (no randomness). */
int ticket_key_make(struct ticket_key *out, int64_t not_before_ms, int64_t use_until_ms,
                    int64_t rotation_ms) MUST_CHECK;

/* Whether the times of a key, from elsewhere, are possible at all, and it has a name. */
bool ticket_key_valid(const struct ticket_key *key);

/* The key that encrypts at `now_ms`: the same at every node that holds the same ring. NULL: none. */
const struct ticket_key *keyring_current(const struct keyring *ring, int64_t now_ms);

/*
 * When the node with this `rank` (0 to 15, each node of a group another) is to make a key, unless somebody else has
 * by then: `now_ms` or before: at once.
 */
int64_t keyring_due_ms(const struct keyring *ring, int64_t now_ms, int64_t rotation_ms,
                       unsigned rank);

/* Makes the key that keyring_due_ms() asked for. Returns 0, KEYRING_FULL, -EIO. */
int keyring_make(struct keyring *ring, const struct keyring_time *now,
                 int64_t rotation_ms) MUST_CHECK;

/* Drops all keys, and makes the first one of a new generation. Returns 0, -EIO (then nothing has changed). */
int keyring_rekey(struct keyring *ring, const struct keyring_time *now,
                  int64_t rotation_ms) MUST_CHECK;

/*
 * Takes over what another ring has and this one has not. Keys that are invalid, expired, too long, buried or too far ahead
 * are left out; so are those for which there is no room: nothing that is here gives way, except to a later generation.
 * Any order of merges, and any repetition, comes to the same ring as long as it has room for the union.
 * Returns 0 (something has changed), KEYRING_SAME, KEYRING_FULL (some found no room; the others were taken),
 * KEYRING_FUTURE.
 */
int keyring_merge(struct keyring *ring, const struct keyring *theirs,
                  const struct keyring_sender *sender, const struct keyring_time *now) MUST_CHECK;

/* Peers have new numbers: who brought which key is not known any more. */
void keyring_forget_senders(struct keyring *ring);

/*
 * Into an empty ring: what this node held before it restarted, with its notes, except keys that are invalid, expired or
 * further ahead than any is made. The generation stays what it was, also one that the clock says is still to come: what
 * it voided stays void.
 */
void keyring_restore(struct keyring *ring, const struct keyring *left,
                     const struct keyring_time *now);

/* Whether the last rekey lies so far in the future that a node which has not heard of it would refuse it. */
bool keyring_is_ahead(const struct keyring *ring, int64_t now_ms);

/* Wipes the keys whose time is over, or would be if the wall clock had not gone back; true: there were some. */
bool keyring_expire(struct keyring *ring, const struct keyring_time *now);
/* The next time at which keyring_expire() has something to do if no clock jumps; INT64_MAX: never. */
int64_t keyring_expires_ms(const struct keyring *ring);

void keyring_wipe(struct keyring *ring);

#endif
