/*
 * The page of ticket keys.
 *
 *   0        128      256                                    4096
 *   | header | slot 0 | slot 1 | … 30                           |
 *
 *   slot     | name 16 | generation 8 | not_before 8 | use_until 8 | not_after 8 | AES 32 | HMAC 32 |  16 words
 *
 * A slot is in use while the first word of its name is not zero. The daemon, the only writer, fills a free slot from
 * the last word to the first, and empties one from the first to the last. A reader loads the first word, copies the
 * slot, and loads the first word again: the same means that the copy is of one key. Names are random, so a slot
 * that was emptied and filled meanwhile shows another word; a key is immutable, so a slot that shows the same word
 * holds the same key, also when another file with that key was mapped in between. Who finds another word passes the
 * slot by: its key is gone. So a reader never waits, and a writer that died in the middle of a slot has left
 * nothing that could be taken for a key.
 *
 * All words are stored with release and loaded with acquire. Partners: a reader whose copy has a word of a key that
 * came later, or a zero, has thereby seen the store of the first word that preceded it (emptying), and its second look
 * finds it. A reader that sees the first word sees the rest that was stored before it (filling).
 *
 * The file is the daemon's memory as well: one that restarts finds its keys there, checks them like those of a peer,
 * and voids no ticket. Nobody else may read it. What does not look like a page of ours is replaced by an empty one,
 * and said; the peers refill it. A file that workers have mapped is never truncated (SIGBUS), only wiped.
 */
#include "ticket/page.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
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
	SLOT_WORDS = 16,
	WORDS_USED = WORD_HMAC + TICKET_HMAC_BYTES / 8,
};
_Static_assert(WORDS_USED <= SLOT_WORDS, "a key fits in its slot");

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

static void pack(const struct ticket_key *key, uint64_t generation, uint64_t words[WORDS_USED])
{
	memcpy(&words[WORD_NAME], key->name, sizeof(key->name));
	words[WORD_GENERATION] = generation;
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

static void slot_empty(struct slot *slot)
{
	for (size_t i = 0; i < SLOT_WORDS; i++)
		store(&slot->words[i], 0);
}

static void slot_fill(struct slot *slot, const struct ticket_key *key, uint64_t generation)
{
	uint64_t words[WORDS_USED];

	pack(key, generation, words);
	for (size_t i = WORDS_USED; i-- > 0;)
		store(&slot->words[i], words[i]);
	OPENSSL_cleanse(words, sizeof(words));
}

/* False: it is free, or was being changed. */
static bool slot_read(const struct slot *slot, struct ticket_key *out, uint64_t *generation)
{
	const uint64_t first = load(&slot->words[WORD_NAME]);
	uint64_t words[WORDS_USED] = {first};
	bool whole;

	if (first == 0)
		return false;
	for (size_t i = 1; i < WORDS_USED; i++)
		words[i] = load(&slot->words[i]);
	whole = load(&slot->words[WORD_NAME]) == first;
	if (whole) {
		unpack(words, out);
		if (generation)
			*generation = words[WORD_GENERATION];
	}
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

static void publish_key(struct ticket_page *page, const struct ticket_key *key, uint64_t generation)
{
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
	slot_fill(free_slot, key, generation);
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
		publish_key(page, &ring->keys[i], ring->generation);
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
		publish_key(page, &ring->keys[i], ring->generation);
}

void ticket_page_configure(struct ticket_page *page, enum ticket_resumption resumption)
{
	store(&page->resumption, resumption);
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
		if (!slot_read(&page->slots[i], &key, NULL) || key.not_before_ms > now_ms ||
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
		if (!slot_is(&page->slots[i], name) || !slot_read(&page->slots[i], &key, NULL) ||
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
static void keep_private(void *page)
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
	if (load(&((const struct ticket_page *)mapped)->magic) != PAGE_MAGIC) {
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
	keep_private(at);
	return 0;
}

void ticket_page_unmap(const struct ticket_page *page)
{
	if (page)
		munmap((void *)(uintptr_t)page, TICKET_PAGE_BYTES);
}

/* ---- The file ---- */

static const char *check_file(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return "it cannot be examined";
	if (!S_ISREG(st.st_mode))
		return "it is no regular file";
	if (st.st_uid != geteuid())
		return "it belongs to another user";
	if ((st.st_mode & 07777) != 0600)
		return "its mode is not 0600";
	if (st.st_size != TICKET_PAGE_BYTES)
		return "its size is not that of a page of keys";
	return NULL;
}

static int map_file(int fd, struct ticket_page **out)
{
	void *page = mmap(NULL, TICKET_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (page == MAP_FAILED)
		return -errno;
	keep_private(page);
	*out = page;
	return 0;
}

/* Beside it, then over it: at no time is there half a page. */
static int make_file(const char *path, struct ticket_page **out)
{
	_cleanup_(closep) int fd = -1;
	char next[4096];
	int r;

	if ((size_t)snprintf(next, sizeof(next), "%s.new", path) >= sizeof(next))
		return -ENAMETOOLONG;
	if (unlink(next) < 0 && errno != ENOENT)
		return -errno;
	fd = open(next, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* The mode again, for the umask may have taken more than it should. Allocated, so that no store fails. */
	r = fchmod(fd, 0600) < 0 ? -errno : -posix_fallocate(fd, 0, TICKET_PAGE_BYTES);
	if (r == 0)
		r = map_file(fd, out);
	if (r == 0) {
		store(&(*out)->magic, PAGE_MAGIC);
		r = rename(next, path) < 0 ? -errno : 0;
		if (r < 0)
			ticket_page_close(*out);
	}
	if (r < 0)
		unlink(next);
	return r;
}

/* A page that is not ours to use any more; workers may still have it. */
static void wipe_file(int fd)
{
	static const uint8_t zeros[TICKET_PAGE_BYTES];
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > 65536)
		return;
	for (off_t at = 0; at < st.st_size; at += TICKET_PAGE_BYTES)
		(void)!pwrite(fd, zeros, (size_t)MIN(st.st_size - at, TICKET_PAGE_BYTES), at);
}

/* What stands on the page is checked like what a peer says. */
static void adopt(struct ticket_page *page, int64_t now_ms, struct keyring *ring)
{
	struct keyring left = {.generation = load(&page->generation)};
	struct ticket_key key;
	uint64_t generation;

	for (size_t i = 0; i < PAGE_SLOTS; i++) {
		/* Died between a rekey's new generation and the wiping of the old keys. */
		if (!slot_read(&page->slots[i], &key, &generation) ||
		    generation != left.generation || left.n == KEYRING_KEYS_MAX)
			continue;
		left.keys[left.n++] = key;
	}
	(void)!keyring_merge(ring, &left, now_ms);
	ticket_page_publish(page, ring);
	OPENSSL_cleanse(&key, sizeof(key));
	keyring_wipe(&left);
}

int ticket_page_open(struct ticket_page **page, const char *path, int64_t now_ms,
                     struct keyring *ring, char *why, size_t why_size)
{
	_cleanup_(closep) int fd =
	    open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	const char *wrong;
	int r;

	memset(ring, 0, sizeof(*ring));
	if (fd < 0 && errno == ENOENT)
		return make_file(path, page);
	wrong = fd < 0 ? strerror(errno) : check_file(fd);
	if (!wrong) {
		r = map_file(fd, page);
		if (r < 0)
			return r;
		if (load(&(*page)->magic) == PAGE_MAGIC) {
			adopt(*page, now_ms, ring);
			return 0;
		}
		ticket_page_close(*page);
		wrong = "what stands in it is no page of keys";
	}
	snprintf(why, why_size, "%s", wrong);
	if (fd >= 0)
		wipe_file(fd);
	r = make_file(path, page);
	return r < 0 ? r : TICKET_REBUILT;
}

void ticket_page_close(struct ticket_page *page)
{
	if (page)
		munmap(page, TICKET_PAGE_BYTES);
}

int ticket_page_fd(const char *path)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}
