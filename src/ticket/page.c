/*
 * The page of ticket keys.
 *
 *   0        128      256                                    4096
 *   | header | slot 0 | slot 1 | … 30                           |
 *
 *   slot     | name 16 | generation 8 | not_before 8 | use_until 8 | not_after 8 | AES 32 | HMAC 32 | gone 8 | turn 8 |
 *
 * A slot is in use while the first word of its name is not zero. The daemon, the only writer, makes its turn odd, fills
 * it from the last word to the first, or empties it from the first to the last, and makes its turn the next even number.
 * A reader loads turn and first word, copies the slot, and loads them again: the same, and an even turn, mean that the
 * copy is of one key. The turn tells when a slot was emptied and filled meanwhile, though it be with the same key. The
 * first word, random, tells when another file was mapped in between, whose turns are others; a key is immutable, so where
 * both have the same there, each word is. Who finds another turn or word passes the slot by: its key is gone. So a reader
 * never waits, and a writer that died in the middle of a slot has left an odd turn, and nothing that could be taken for a
 * key.
 *
 * All words are stored with release and loaded with acquire. Partners: a reader whose copy has a word of a key that
 * came later, or a zero, has thereby seen the odd turn that was stored before it, and its second look finds that or a
 * later one. A reader that sees an even turn sees the words that were stored before it.
 *
 * store.c has the file that it is.
 */
#include "ticket/page.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE_MAGIC UINT64_C(0x3179656b74616274) /* "tbatkey1" */
#define PAGE_SLOTS 31

typedef _Atomic uint64_t word_t;

enum {
	WORD_NAME = 0,
	WORD_GENERATION = 2,
	WORD_NOT_BEFORE,
	WORD_USE_UNTIL,
	WORD_NOT_AFTER,
	WORD_AES,
	WORD_HMAC = WORD_AES + TICKET_AES_BYTES / 8,
	WORD_GONE =
	    WORD_HMAC + TICKET_HMAC_BYTES / 8, /* for the next daemon (struct keyring_note) */
	WORDS_USED,
	WORD_TURN = WORDS_USED,
	SLOT_WORDS = 16,
};
_Static_assert(WORD_TURN < SLOT_WORDS, "a key fits in its slot");

struct slot {
	word_t words[SLOT_WORDS];
};

struct ticket_page {
	word_t magic;
	word_t
	    generation; /* the last that was published: a page may hold no key, and yet know of a rekey */
	word_t n_slots; /* the first so many may be in use */
	word_t resumption;
	word_t spare[12];
	struct slot slots[PAGE_SLOTS];
};
_Static_assert(sizeof(struct ticket_page) == TICKET_PAGE_BYTES, "one page");
_Static_assert(PAGE_SLOTS > KEYRING_KEYS_MAX, "a new key finds a slot before an old one is wiped");

static uint64_t load(const word_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static void store(word_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
}

/* ---- Slots ---- */

static void pack(const struct keyring *ring, size_t i, uint64_t words[WORDS_USED])
{
	const struct ticket_key *key = &ring->keys[i];

	memcpy(&words[WORD_NAME], key->name, sizeof(key->name));
	words[WORD_GENERATION] = ring->generation;
	words[WORD_GONE] = (uint64_t)ring->notes[i].gone_boot_ms;
	words[WORD_NOT_BEFORE] = (uint64_t)key->not_before_ms;
	words[WORD_USE_UNTIL] = (uint64_t)key->use_until_ms;
	words[WORD_NOT_AFTER] = (uint64_t)key->not_after_ms;
	memcpy(&words[WORD_AES], key->aes, sizeof(key->aes));
	memcpy(&words[WORD_HMAC], key->hmac, sizeof(key->hmac));
}

static void unpack(const uint64_t words[WORDS_USED], struct ticket_key *key)
{
	memcpy(key->name, &words[WORD_NAME], sizeof(key->name));
	key->not_before_ms = (int64_t)words[WORD_NOT_BEFORE];
	key->use_until_ms = (int64_t)words[WORD_USE_UNTIL];
	key->not_after_ms = (int64_t)words[WORD_NOT_AFTER];
	memcpy(key->aes, &words[WORD_AES], sizeof(key->aes));
	memcpy(key->hmac, &words[WORD_HMAC], sizeof(key->hmac));
}

/* Odd already: a writer died there. */
static void slot_begin(struct slot *slot)
{
	store(&slot->words[WORD_TURN], load(&slot->words[WORD_TURN]) | 1);
}

static void slot_end(struct slot *slot)
{
	store(&slot->words[WORD_TURN], load(&slot->words[WORD_TURN]) + 1);
}

static void slot_empty(struct slot *slot)
{
	slot_begin(slot);
	for (size_t i = 0; i < WORDS_USED; i++)
		store(&slot->words[i], 0);
	slot_end(slot);
}

/* With the key in place `i` of `ring`. */
static void slot_fill(struct slot *slot, const struct keyring *ring, size_t i)
{
	uint64_t words[WORDS_USED];

	pack(ring, i, words);
	slot_begin(slot);
	for (size_t k = WORDS_USED; k-- > 0;)
		store(&slot->words[k], words[k]);
	slot_end(slot);
	OPENSSL_cleanse(words, sizeof(words));
}

/* Out: its words, the caller's to wipe in any case. False: it is free, or was being changed. */
static bool slot_copy(const struct slot *slot, uint64_t words[WORDS_USED])
{
	const uint64_t turn = load(&slot->words[WORD_TURN]);

	words[0] = load(&slot->words[0]);
	if (turn % 2 != 0 || words[0] == 0)
		return false;
	for (size_t i = 1; i < WORDS_USED; i++)
		words[i] = load(&slot->words[i]);
	return load(&slot->words[0]) == words[0] && load(&slot->words[WORD_TURN]) == turn;
}

/* False: as above. */
static bool slot_read(const struct slot *slot, struct ticket_key *out)
{
	uint64_t words[WORDS_USED];
	const bool whole = slot_copy(slot, words);

	if (whole)
		unpack(words, out);
	OPENSSL_cleanse(words, sizeof(words));
	return whole;
}

static bool slot_is(const struct slot *slot, const uint8_t name[TICKET_NAME_BYTES])
{
	uint64_t words[2];

	memcpy(words, name, sizeof(words));
	return load(&slot->words[0]) == words[0] && load(&slot->words[1]) == words[1];
}

/* ---- Publishing ---- */

static void publish_key(struct ticket_page *page, const struct keyring *ring, size_t number)
{
	const struct ticket_key *key = &ring->keys[number];
	struct slot *free_slot = NULL;

	for (size_t i = 0; i < PAGE_SLOTS; i++) {
		struct slot *slot = &page->slots[i];

		if (slot_is(slot, key->name))
			return;
		if (!free_slot && load(&slot->words[WORD_NAME]) == 0)
			free_slot = slot;
	}
	if (!free_slot)
		return; /* a second round finds room */
	slot_fill(free_slot, ring, number);
	store(&page->n_slots, MAX(load(&page->n_slots), (uint64_t)(free_slot - page->slots) + 1));
}

static bool is_wanted(const struct slot *slot, const struct keyring *ring)
{
	for (size_t i = 0; i < ring->n; i++)
		if (slot_is(slot, ring->keys[i].name))
			return true;
	return false;
}

void ticket_page_publish(struct ticket_page *page, const struct keyring *ring)
{
	uint64_t n_slots = 0;

	store(&page->generation, ring->generation);
	for (size_t i = 0; i < ring->n; i++)
		publish_key(page, ring, i);
	for (size_t i = 0; i < PAGE_SLOTS; i++) {
		/* Also what a writer that died has left in a slot that is free. */
		if (!is_wanted(&page->slots[i], ring))
			slot_empty(&page->slots[i]);
		else
			n_slots = i + 1;
	}
	store(&page->n_slots, n_slots);
	/* After a rekey of a full ring there was room for some only. */
	for (size_t i = 0; i < ring->n; i++)
		publish_key(page, ring, i);
}

void ticket_page_configure(struct ticket_page *page, unsigned resumption)
{
	store(&page->resumption, resumption);
}

void ticket_page_format(struct ticket_page *page)
{
	store(&page->magic, PAGE_MAGIC);
}

bool ticket_page_is_one(const struct ticket_page *page)
{
	return load(&page->magic) == PAGE_MAGIC;
}

void ticket_page_recall(const struct ticket_page *page, struct keyring *out)
{
	uint64_t words[WORDS_USED];

	memset(out, 0, sizeof(*out));
	out->generation = load(&page->generation);
	for (size_t i = 0; i < PAGE_SLOTS; i++) {
		/* Died between a rekey's new generation and the wiping of the old keys. */
		if (!slot_copy(&page->slots[i], words) ||
		    words[WORD_GENERATION] != out->generation || out->n == KEYRING_KEYS_MAX)
			continue;
		out->notes[out->n].gone_boot_ms = (int64_t)words[WORD_GONE];
		unpack(words, &out->keys[out->n++]);
	}
	OPENSSL_cleanse(words, sizeof(words));
}

/* ---- Reading ---- */

static size_t n_slots(const struct ticket_page *page)
{
	return MIN(load(&page->n_slots), (uint64_t)PAGE_SLOTS);
}

unsigned ticket_page_resumption(const struct ticket_page *page)
{
	uint64_t resumption = load(&page->resumption);

	return resumption <= TICKET_BOTH ? (unsigned)resumption : 0;
}

/* As keyring_current(), over slots. */
int ticket_page_current(const struct ticket_page *page, int64_t now_ms, struct ticket_key *out)
{
	struct ticket_key key, best = {.not_before_ms = -1};
	int r = TICKET_NONE;

	for (size_t i = 0; i < n_slots(page); i++) {
		if (!slot_read(&page->slots[i], &key) || key.not_before_ms > now_ms ||
		    key.use_until_ms <= now_ms)
			continue;
		if (key.not_before_ms < best.not_before_ms ||
		    (key.not_before_ms == best.not_before_ms &&
		     memcmp(key.name, best.name, sizeof(key.name)) < 0))
			continue;
		best = key;
		r = 0;
	}
	if (r == 0)
		*out = best;
	OPENSSL_cleanse(&key, sizeof(key));
	OPENSSL_cleanse(&best, sizeof(best));
	return r;
}

/* Whether another key has taken over from `key`. */
static bool is_old(const struct ticket_page *page, const struct ticket_key *key, int64_t now_ms)
{
	struct ticket_key current;
	bool old;

	if (key->use_until_ms <= now_ms)
		return true;
	if (ticket_page_current(page, now_ms, &current) != 0)
		return false;
	old = current.not_before_ms > key->not_before_ms;
	OPENSSL_cleanse(&current, sizeof(current));
	return old;
}

int ticket_page_find(const struct ticket_page *page, const uint8_t name[TICKET_NAME_BYTES],
                     int64_t now_ms, struct ticket_key *out)
{
	struct ticket_key key;
	int r = TICKET_NONE;

	for (size_t i = 0; i < n_slots(page) && r == TICKET_NONE; i++) {
		if (!slot_is(&page->slots[i], name) || !slot_read(&page->slots[i], &key) ||
		    memcmp(key.name, name, TICKET_NAME_BYTES) != 0 || key.not_after_ms <= now_ms)
			continue;
		*out = key;
		r = is_old(page, &key, now_ms) ? TICKET_OLD : 0;
	}
	OPENSSL_cleanse(&key, sizeof(key));
	return r;
}

/* ---- Mapping ---- */

int ticket_page_map_empty(const struct ticket_page **out)
{
	void *page = mmap(NULL, TICKET_PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -ENOMEM;
	*out = page;
	return 0;
}

/* Kernels, and limits, without it are no reason to go without keys. */
void ticket_page_keep_private(void *page)
{
	(void)madvise(page, TICKET_PAGE_BYTES, MADV_DONTDUMP);
	(void)mlock(page, TICKET_PAGE_BYTES);
}

int ticket_page_map_over(const struct ticket_page *page, int fd)
{
	void *at = (void *)(uintptr_t)page, *mapped;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size != TICKET_PAGE_BYTES)
		return -EPROTO;
	mapped = mmap(NULL, TICKET_PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED)
		return -errno;
	if (!ticket_page_is_one(mapped)) {
		munmap(mapped, TICKET_PAGE_BYTES);
		return -EPROTO;
	}
	/* In one step: whoever reads sees the one or the other. */
	if (mremap(mapped, TICKET_PAGE_BYTES, TICKET_PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED,
	           at) == MAP_FAILED) {
		int r = -errno;

		munmap(mapped, TICKET_PAGE_BYTES);
		return r;
	}
	ticket_page_keep_private(at);
	return 0;
}

void ticket_page_unmap(const struct ticket_page *page)
{
	if (page)
		munmap((void *)(uintptr_t)page, TICKET_PAGE_BYTES);
}
