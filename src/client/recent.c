/*
 * Parsing is what a lookup costs: d2i_SSL_SESSION() takes some 26,000 instructions, 7 % of a whole TLS 1.2
 * resumption, beside which the search in the table is nothing. A session is often resumed in the process
 * that made it. So the objects that OpenSSL made there are kept for a while, by session ID, and a lookup
 * hands out the object instead of another copy, as OpenSSL's internal cache does. They are few: what this is for is a
 * client that opens several connections at once. Thousands would be hit little more often, and would fill the processor's
 * cache: at each full handshake a session is then made in memory that is cold, and a cold one freed.
 *
 * Only the table says whether a session lives: it is asked first, at each lookup, so a removal, an expiry
 * or an eviction counts here at once. A record is immutable and IDs are never used twice, so an object
 * with this ID is this session.
 *
 * A session of TLS 1.3 is for one use (RFC 8446, C.4): its object goes with the lookup, and so does its memory, warm, to the
 * session that follows. Of a full handshake's several, a client that comes back has the last one at hand; the others' objects
 * are not put here. Who uses one twice, or one of the others, gets a copy.
 *
 * OpenSSL marks an object as not resumable when a connection that used it ended uncleanly. The record in
 * the table knows nothing of that, on purpose; so such an object is forgotten, and the record parsed.
 *
 * A session's slot follows from its ID, so memory is bounded. Each call also looks at one further slot, in
 * turn, and frees what has expired: a secret does not outlive its session for long in a process that is in
 * use. Locks are only tried: who finds one taken goes without.
 */
#include "client/recent.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define N_SLOTS 128 /* a power of two */
#define N_LOCKS 16

struct slot {
	SSL_SESSION *session; /* NULL: free */
	int64_t expires_s;
};

struct recent {
	pthread_mutex_t locks[N_LOCKS]; /* slot i belongs to lock i % N_LOCKS */
	_Atomic unsigned sweep;
	struct slot slots[N_SLOTS];
};

int recent_new(struct recent **out)
{
	struct recent *recent = calloc(1, sizeof(*recent));

	if (!recent)
		return -ENOMEM;
	/* Linux' default mutexes have nothing that could fail here. */
	for (size_t i = 0; i < N_LOCKS; i++)
		(void)pthread_mutex_init(&recent->locks[i], NULL);
	*out = recent;
	return 0;
}

/* Its reference is the caller's now. */
static SSL_SESSION *slot_take(struct slot *slot)
{
	SSL_SESSION *session = slot->session;

	*slot = (struct slot){0};
	return session;
}

static void slot_clear(struct slot *slot)
{
	SSL_SESSION_free(slot_take(slot)); /* the last reference wipes the secret */
}

void recent_free(struct recent *recent)
{
	if (!recent)
		return;
	for (size_t i = 0; i < N_SLOTS; i++)
		slot_clear(&recent->slots[i]);
	for (size_t i = 0; i < N_LOCKS; i++)
		(void)pthread_mutex_destroy(&recent->locks[i]);
	free(recent);
}

/* Session IDs are random; but a server may give all of its IDs the same first bytes. */
static size_t place(const unsigned char *id, size_t n_id)
{
	uint64_t hash = n_id;

	for (size_t i = 0; i < n_id; i += sizeof(uint64_t)) {
		uint64_t word = 0;

		memcpy(&word, id + i, MIN(sizeof(word), n_id - i));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	}
	return (size_t)(hash >> 32) & (N_SLOTS - 1);
}

static bool is_of(SSL_SESSION *session, const unsigned char *id, size_t n_id)
{
	unsigned n;
	const unsigned char *own = session ? SSL_SESSION_get_id(session, &n) : NULL;

	return own && n == n_id && memcmp(own, id, n_id) == 0;
}

static struct slot *slot_lock(struct recent *recent, size_t i)
{
	return pthread_mutex_trylock(&recent->locks[i % N_LOCKS]) == 0 ? &recent->slots[i] : NULL;
}

static void slot_unlock(struct recent *recent, const struct slot *slot)
{
	pthread_mutex_unlock(&recent->locks[(size_t)(slot - recent->slots) % N_LOCKS]);
}

static void sweep_one(struct recent *recent, int64_t now_s)
{
	/* Relaxed: a number by itself. */
	unsigned i = atomic_fetch_add_explicit(&recent->sweep, 1, memory_order_relaxed);
	struct slot *slot = slot_lock(recent, i % N_SLOTS);

	if (!slot)
		return;
	if (slot->session && slot->expires_s <= now_s)
		slot_clear(slot);
	slot_unlock(recent, slot);
}

void recent_put(struct recent *recent, SSL_SESSION *session, int64_t expires_s, int64_t now_s)
{
	unsigned n_id;
	const unsigned char *id = SSL_SESSION_get_id(session, &n_id);
	struct slot *slot = slot_lock(recent, place(id, n_id));
	SSL_SESSION *replaced;

	if (!slot || !SSL_SESSION_up_ref(session)) {
		if (slot)
			slot_unlock(recent, slot);
		return;
	}
	replaced = slot->session;
	slot->session = session;
	slot->expires_s = expires_s;
	slot_unlock(recent, slot);
	SSL_SESSION_free(replaced);
	sweep_one(recent, now_s);
}

bool recent_is_for_one_use(const SSL_SESSION *session)
{
	return SSL_SESSION_get_protocol_version(session) == TLS1_3_VERSION;
}

SSL_SESSION *recent_get(struct recent *recent, const unsigned char *id, size_t n_id, int64_t now_s)
{
	struct slot *slot = slot_lock(recent, place(id, n_id));
	SSL_SESSION *session = NULL;

	if (!slot)
		return NULL;
	if (is_of(slot->session, id, n_id)) {
		if (!SSL_SESSION_is_resumable(slot->session))
			slot_clear(slot);
		else if (recent_is_for_one_use(slot->session))
			session = slot_take(slot);
		else if (SSL_SESSION_up_ref(slot->session))
			session = slot->session;
	}
	slot_unlock(recent, slot);
	sweep_one(recent, now_s);
	return session;
}

void recent_drop(struct recent *recent, const unsigned char *id, size_t n_id)
{
	struct slot *slot = slot_lock(recent, place(id, n_id));

	if (!slot)
		return;
	if (is_of(slot->session, id, n_id))
		slot_clear(slot);
	slot_unlock(recent, slot);
}

void recent_lock_all(struct recent *recent)
{
	for (size_t i = 0; i < N_LOCKS; i++)
		pthread_mutex_lock(&recent->locks[i]);
}

void recent_unlock_all(struct recent *recent)
{
	for (size_t i = 0; i < N_LOCKS; i++)
		pthread_mutex_unlock(&recent->locks[i]);
}
