/*
 * Ticket keys without a leader.
 *
 *             R/2                             a key, of a rotation period R
 *        ├─ staged ─┼────── encrypts ──────┼────── decrypts ──────┤ wiped
 *      made    not_before             use_until              not_after
 *                   ├── the next one: ─────┼── staged ─┼── …
 *
 * A ring is a set of immutable keys. Which one encrypts is a function of the set and the time: the one that began
 * last. So nodes that hold the same set agree without a word, and two sets merge by union: idempotent, in any order.
 * A key is made half a period before its use, so by then all nodes that can be reached hold it. Any node makes it;
 * so that not all do in the same moment, each waits a while by its rank, and finds it made. When two do at once, one
 * of the two wins everywhere, and both decrypt.
 *
 * A key decrypts for one period after it encrypted last: so long may a ticket live, and no longer does its key. It is
 * made of fresh random bytes, not derived from the one before it: who steals a ring can open what was encrypted in
 * the last two periods and will be in this and the next, and nothing older.
 *
 * Before its time a key decrypts all the same: another node's clock may be ahead.
 *
 * A rekey is a generation, which is the time of the rekey. A later one makes all keys of earlier ones void: they are
 * dropped wherever it arrives, also at a node that was away. It is a time, and not a count, so that no member can use
 * up the numbers: one that lies in the future is not taken, unless it is the next after ours. So a rekey follows on one
 * that a member, or a wrong clock, put as far ahead as it is allowed to; and who has not heard of that one takes the
 * rekey a second later for each second that it is further ahead, if it is told again (daemon/tickets.c does). Random
 * bits below the second tell apart two rekeys of the same one: of keys that somebody else made for it none survives.
 *
 * What a member of the group that was taken over can do is limited to what a member may do: it knows the keys, it can
 * make one, it can void them. It cannot push a good key out: what is full takes nothing more, and the last
 * KEYRING_KEYS_OWN places are for our own. Nor can it lock good keys out: each peer has a share of the room, for keys that
 * it was the first to bring, and no key stays much longer than ours do. A node holds at most KEYRING_KEYS_PEER keys, one
 * that is staged, one that encrypts and two that decrypt; and more only where groups met that had been apart.
 *
 * The wall clock decides, since nodes share it; and it may go back. Then a key would live on for as much. So one that
 * begins further ahead than any is made goes at once, and each has an end by the clock that only goes forward as well,
 * from the time that it is here. What comes to that end is buried: a peer whose clock went back, too, does not bring it
 * again.
 */
#include "ticket/keyring.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#define RANKS 16
#define GENERATION_AHEAD_S 3600 /* a rekey by a node whose clock is wrong by less still counts */

static bool has_name(const struct ticket_key *key)
{
	static const uint8_t none[8];

	/* The first word of the name says that a place on the page is taken (page.c). */
	return memcmp(key->name, none, sizeof(none)) != 0;
}

int ticket_key_make(struct ticket_key *out, int64_t not_before_ms, int64_t use_until_ms,
                    int64_t rotation_ms)
{
	struct ticket_key key = {
	    .not_before_ms = not_before_ms,
	    .use_until_ms = use_until_ms,
	    .not_after_ms = use_until_ms + rotation_ms,
	};
	int r = 0;

	if (RAND_bytes(key.name, sizeof(key.name)) != 1 ||
	    RAND_priv_bytes(key.aes, sizeof(key.aes)) != 1 ||
	    RAND_priv_bytes(key.hmac, sizeof(key.hmac)) != 1 || !has_name(&key))
		r = -EIO;
	else
		*out = key;
	OPENSSL_cleanse(&key, sizeof(key));
	return r;
}

bool ticket_key_valid(const struct ticket_key *key)
{
	const int64_t longest = TICKET_ROTATION_MS_MAX + TICKET_SKEW_MS;

	/* The first comparison keeps the differences from overflowing. */
	return has_name(key) && key->not_before_ms >= 0 && key->use_until_ms > key->not_before_ms &&
	       key->use_until_ms - key->not_before_ms <= longest &&
	       key->not_after_ms >= key->use_until_ms &&
	       key->not_after_ms - key->use_until_ms <= longest;
}

/* Whether `a` began after `b`; among those that began together the name decides. */
static bool began_later(const struct ticket_key *a, const struct ticket_key *b)
{
	if (a->not_before_ms != b->not_before_ms)
		return a->not_before_ms > b->not_before_ms;
	return memcmp(a->name, b->name, sizeof(a->name)) > 0;
}

/* The last to begin of those that have begun by `until_ms` and encrypt after `now_ms`. */
static const struct ticket_key *latest(const struct keyring *ring, int64_t until_ms, int64_t now_ms)
{
	const struct ticket_key *found = NULL;

	for (size_t i = 0; i < ring->n; i++) {
		const struct ticket_key *key = &ring->keys[i];

		if (key->not_before_ms <= until_ms && key->use_until_ms > now_ms &&
		    (!found || began_later(key, found)))
			found = key;
	}
	return found;
}

const struct ticket_key *keyring_current(const struct keyring *ring, int64_t now_ms)
{
	return latest(ring, now_ms, now_ms);
}

/* When the key after all that are here is to begin. INT64_MIN: there is none that encrypts now. A key that begins
 * later than one of ours could (a wrong clock made it) does not count. */
static int64_t next_begins_ms(const struct keyring *ring, int64_t now_ms, int64_t rotation_ms)
{
	const struct ticket_key *last = latest(ring, now_ms + rotation_ms, now_ms);

	if (!keyring_current(ring, now_ms))
		return INT64_MIN;
	/* Its own end, or that of a shorter period than it was made for. */
	return MIN(last->use_until_ms, last->not_before_ms + rotation_ms);
}

int64_t keyring_due_ms(const struct keyring *ring, int64_t now_ms, int64_t rotation_ms,
                       unsigned rank)
{
	int64_t begins_ms = next_begins_ms(ring, now_ms, rotation_ms);

	if (begins_ms == INT64_MIN)
		return now_ms;
	/* The last in rank has a quarter of the period left. */
	return begins_ms - rotation_ms / 2 + rotation_ms / 4 * MIN(rank, RANKS - 1) / RANKS;
}

/* The caller has looked for room. */
static void add(struct keyring *ring, const struct ticket_key *key, uint8_t from,
                const struct keyring_time *now)
{
	ring->notes[ring->n] = (struct keyring_note){
	    .gone_boot_ms = now->boot_ms + (key->not_after_ms - now->wall_ms),
	    .from = from,
	};
	ring->keys[ring->n++] = *key;
}

static int add_made(struct keyring *ring, int64_t not_before_ms, const struct keyring_time *now,
                    int64_t rotation_ms)
{
	const int64_t use_until_ms = MAX(not_before_ms, now->wall_ms) + rotation_ms;
	struct ticket_key key;
	int r;

	if (ring->n == KEYRING_KEYS_MAX)
		return KEYRING_FULL;
	r = ticket_key_make(&key, not_before_ms, use_until_ms, rotation_ms);
	if (r == 0)
		add(ring, &key, 0, now);
	OPENSSL_cleanse(&key, sizeof(key));
	return r;
}

int keyring_make(struct keyring *ring, const struct keyring_time *now, int64_t rotation_ms)
{
	int64_t begins_ms = next_begins_ms(ring, now->wall_ms, rotation_ms);

	/* One that encrypts at once began a little ago, for the nodes whose clocks are behind. */
	if (begins_ms == INT64_MIN)
		begins_ms = now->wall_ms - MIN(TICKET_SKEW_MS, rotation_ms / 4);
	else
		begins_ms = MAX(begins_ms, now->wall_ms);
	return add_made(ring, begins_ms, now, rotation_ms);
}

int keyring_rekey(struct keyring *ring, const struct keyring_time *now, int64_t rotation_ms)
{
	struct keyring next = {0};
	uint32_t random;
	int r;

	if (RAND_bytes((unsigned char *)&random, sizeof(random)) != 1)
		return -EIO;
	next.generation = keyring_generation(
	    MAX(keyring_rekeyed_s(ring->generation) + 1, (uint64_t)(now->wall_ms / 1000)), random);
	r = keyring_make(&next, now, rotation_ms);
	if (r == 0) {
		keyring_wipe(ring);
		*ring = next;
	}
	keyring_wipe(&next);
	return r;
}

static bool holds(const struct keyring *ring, const struct ticket_key *key)
{
	for (size_t i = 0; i < ring->n; i++)
		if (memcmp(ring->keys[i].name, key->name, sizeof(key->name)) == 0)
			return true;
	return false;
}

/* No key is made further ahead than this, and one that is would only take up room. */
static bool too_far_ahead(const struct ticket_key *key, int64_t now_ms)
{
	return key->not_before_ms - now_ms >
	       key->use_until_ms - key->not_before_ms + 2 * TICKET_SKEW_MS;
}

static bool is_of_use(const struct ticket_key *key, int64_t now_ms)
{
	return ticket_key_valid(key) && key->not_after_ms > now_ms && !too_far_ahead(key, now_ms);
}

/* ---- Rings that meet ---- */

static bool is_buried(const struct keyring *ring, const struct ticket_key *key)
{
	for (size_t i = 0; i < MIN(ring->n_buried, (unsigned)KEYRING_KEYS_MAX); i++)
		if (memcmp(ring->buried[i], key->name, sizeof(key->name)) == 0)
			return true;
	return false;
}

/* It would take up room for long. A first key is a little longer than the others. */
static bool is_too_long(const struct ticket_key *key, int64_t rotation_ms)
{
	return key->use_until_ms - key->not_before_ms > 2 * rotation_ms + TICKET_SKEW_MS ||
	       key->not_after_ms - key->use_until_ms > 2 * rotation_ms;
}

static bool has_room(const struct keyring *ring, const struct keyring_sender *sender)
{
	const size_t room = KEYRING_KEYS_MAX - KEYRING_KEYS_OWN;
	size_t n_theirs = 0;

	for (size_t i = 0; i < ring->n; i++)
		n_theirs += ring->notes[i].from == sender->number;
	return ring->n < room &&
	       n_theirs < MAX(room / MAX(sender->n_peers, 1u), (size_t)KEYRING_KEYS_PEER);
}

bool keyring_is_ahead(const struct keyring *ring, int64_t now_ms)
{
	return keyring_rekeyed_s(ring->generation) > (uint64_t)(now_ms / 1000) + GENERATION_AHEAD_S;
}

int keyring_merge(struct keyring *ring, const struct keyring *theirs,
                  const struct keyring_sender *sender, const struct keyring_time *now)
{
	bool changed = false, full = false;

	if (keyring_is_ahead(theirs, now->wall_ms) &&
	    keyring_rekeyed_s(theirs->generation) > keyring_rekeyed_s(ring->generation) + 1)
		return KEYRING_FUTURE;
	if (theirs->generation < ring->generation)
		return KEYRING_SAME;
	if (theirs->generation > ring->generation) {
		keyring_wipe(ring);
		ring->generation = theirs->generation;
		changed = true;
	}
	for (size_t i = 0; i < theirs->n; i++) {
		const struct ticket_key *key = &theirs->keys[i];

		if (!is_of_use(key, now->wall_ms) || is_too_long(key, sender->rotation_ms) ||
		    holds(ring, key) || is_buried(ring, key))
			continue;
		if (!has_room(ring, sender)) {
			full = true;
			continue;
		}
		add(ring, key, sender->number, now);
		changed = true;
	}
	if (full)
		return KEYRING_FULL;
	return changed ? 0 : KEYRING_SAME;
}

void keyring_forget_senders(struct keyring *ring)
{
	for (size_t i = 0; i < ring->n; i++)
		ring->notes[i].from = 0;
}

/* ---- What goes, and what stays ---- */

void keyring_restore(struct keyring *ring, const struct keyring *left,
                     const struct keyring_time *now)
{
	ring->generation = left->generation;
	for (size_t i = 0; i < left->n; i++) {
		const struct ticket_key *key = &left->keys[i];

		if (!is_of_use(key, now->wall_ms) || holds(ring, key))
			continue;
		add(ring, key, 0, now);
		ring->notes[ring->n - 1].gone_boot_ms =
		    MIN(ring->notes[ring->n - 1].gone_boot_ms, left->notes[i].gone_boot_ms);
	}
	/* Those whose end by the boot clock has come. */
	(void)keyring_expire(ring, now);
}

static void bury(struct keyring *ring, const struct ticket_key *key)
{
	memcpy(ring->buried[ring->n_buried++ % KEYRING_KEYS_MAX], key->name, sizeof(key->name));
}

/* Whether the key in place `i` may stay. One that is too far ahead may come again, when the clock is right again. */
static bool stays(struct keyring *ring, size_t i, const struct keyring_time *now)
{
	const struct ticket_key *key = &ring->keys[i];

	if (key->not_after_ms <= now->wall_ms || too_far_ahead(key, now->wall_ms))
		return false;
	if (ring->notes[i].gone_boot_ms > now->boot_ms)
		return true;
	bury(ring, key);
	return false;
}

bool keyring_expire(struct keyring *ring, const struct keyring_time *now)
{
	size_t n = 0;

	for (size_t i = 0; i < ring->n; i++) {
		if (!stays(ring, i, now))
			continue;
		ring->keys[n] = ring->keys[i];
		ring->notes[n++] = ring->notes[i];
	}
	OPENSSL_cleanse(&ring->keys[n], (KEYRING_KEYS_MAX - n) * sizeof(ring->keys[0]));
	if (n == ring->n)
		return false;
	ring->n = n;
	return true;
}

int64_t keyring_expires_ms(const struct keyring *ring)
{
	int64_t expires_ms = INT64_MAX;

	for (size_t i = 0; i < ring->n; i++)
		expires_ms = MIN(expires_ms, ring->keys[i].not_after_ms);
	return expires_ms;
}

void keyring_wipe(struct keyring *ring)
{
	OPENSSL_cleanse(ring, sizeof(*ring));
}
