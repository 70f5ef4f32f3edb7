/*
 * The readers' side: looking a session up in a file that another process writes.
 *
 * No lock, no waiting, no loop that the writer could keep going: two buckets of eight slots, each followed at
 * most once. A copy is taken first and believed afterwards, when the tail and the record's own stamp say that it
 * still stood there (P1 to P4 in layout.h). Offsets and lengths are checked against this process's own mapping,
 * whose size comes from fstat(2): whatever the file says, no read leaves the mapping. The writer never
 * truncates a file, so the mapping stays whole; a file that was replaced reads as zeros, which is a miss.
 */
#include "table/view.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "table/key.h"

int table_view_init(struct table_view *view, const void *map, uint64_t size_bytes)
{
	struct layout layout;

	if (!layout_init(&layout, size_bytes) || layout_header_check(map, &layout, size_bytes))
		return -EPROTO;
	view->header = map;
	view->size_bytes = size_bytes;
	view->layout = layout;
	view->seed = view->header->seed;
	view->index = (const word_t *)((const uint8_t *)map + LAYOUT_HEADER_BYTES);
	view->log = (const word_t *)((const uint8_t *)map + layout.log_offset);
	return 0;
}

int table_view_open(struct table_view **out, int fd)
{
	struct table_view *view;
	struct stat st;
	void *map;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < TABLE_SIZE_MIN)
		return -EPROTO;
	view = calloc(1, sizeof(*view));
	if (!view)
		return -ENOMEM;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		r = -errno;
		free(view);
		return r;
	}
	r = madvise(map, (size_t)st.st_size, MADV_DONTDUMP) < 0 ? -errno : 0;
	(void)madvise(map, (size_t)st.st_size, MADV_HUGEPAGE); /* a hint */
	if (r == 0)
		r = table_view_init(view, map, (uint64_t)st.st_size);
	if (r < 0) {
		munmap(map, (size_t)st.st_size);
		free(view);
		return r;
	}
	*out = view;
	return 0;
}

void table_view_free(struct table_view *view)
{
	void *map;

	if (!view)
		return;
	memcpy(&map, &view->header, sizeof(map)); /* munmap() takes what mmap() gave: not const */
	munmap(map, view->size_bytes);
	free(view);
}

uint64_t table_view_epoch(const struct table_view *view)
{
	return word_load(&view->header->epoch);
}

/* What a lookup starts from, and what must still hold at its end. */
struct view_moment {
	uint64_t epoch;
	uint64_t tail;
};

/*
 * Whether what was copied from the record at `position` was that record. The caller issued no fence yet:
 * here is the partner of the writer's fence_before_wipe() in log_drop_oldest(), log_kill(), table_restart().
 */
static bool view_still_stands(const struct table_view *view, const struct view_moment *moment,
                              uint64_t position, const word_t *record)
{
	fence_before_recheck();
	return word_load(&view->header->tail) <= position &&
	       word_load(&view->header->epoch) == moment->epoch &&
	       word_load(&record[RECORD_STAMP]) == record_stamp(position, RECORD_LIVE);
}

/* Eight words at a time, then one, then what is left of the last: a record is padded to words, `bytes` is not. */
static inline void view_copy_out(uint8_t *bytes, const word_t *words, size_t n_bytes)
{
	for (; n_bytes >= 64; n_bytes -= 64, words += 8, bytes += 64)
#pragma GCC unroll 8
		for (size_t i = 0; i < 8; i++) {
			uint64_t word = word_load(&words[i]);

			memcpy(bytes + i * 8, &word, 8);
		}
	for (; n_bytes >= 8; n_bytes -= 8, words++, bytes += 8) {
		uint64_t word = word_load(words);

		memcpy(bytes, &word, 8);
	}
	if (n_bytes > 0)
		for (uint64_t word = word_load(words); n_bytes > 0; n_bytes--, word >>= 8)
			*bytes++ = (uint8_t)word;
}

/* What a lookup finds. `der` has room for `der_size` bytes. */
struct view_session {
	uint8_t *der;
	size_t der_size;
	size_t n_der;
	int64_t expires_s;
};

/* A record is another miss away: have its usual three or four lines on their way at once. */
static void view_prefetch(const struct table_view *view, uint64_t offset)
{
	const uint8_t *record = (const uint8_t *)view->header + view->layout.log_offset + offset;

	__builtin_prefetch(record);
	__builtin_prefetch(record + 64);
	__builtin_prefetch(record + 128);
	__builtin_prefetch(record + 191);
}

/* Copies the record at `position` if it is the key's, live and not expired. */
static inline __attribute__((always_inline)) int
view_copy(const struct table_view *view, const struct view_moment *moment, uint64_t position,
          const struct key *key, size_t n_id, int64_t now_s, struct view_session *out)
{
	uint64_t offset = position % view->layout.log_bytes;
	const word_t *record = view->log + offset / 8;
	size_t id_words = record_id_bytes(n_id) / 8;
	struct record_meta meta;
	uint64_t differs = 0;

	view_prefetch(view, offset);
	if (word_load(&record[RECORD_STAMP]) != record_stamp(position, RECORD_LIVE))
		return TABLE_MISS;
	meta = record_meta_unpack(word_load(&record[RECORD_META]));
	/* The ID's length is in range since the key's is. Lengths that agree with meta.bytes keep every word
	 * that is read below within it, and that stays within the log. */
	if (meta.n_id != n_id || meta.flags & ~(unsigned)TABLE_LOCAL ||
	    meta.n_der > TABLE_DER_MAX || meta.bytes != record_bytes(meta.n_id, meta.n_der) ||
	    meta.bytes > view->layout.log_bytes - offset)
		return TABLE_MISS;
#pragma GCC unroll 4
	for (size_t i = 0; i < id_words; i++)
		differs |= word_load(&record[RECORD_WORDS + i]) ^ key->id[i];
	out->expires_s = record_expires_s(record);
	if (differs || out->expires_s <= now_s)
		return TABLE_MISS;
	if (meta.n_der > out->der_size)
		return view_still_stands(view, moment, position, record) ? -ENOBUFS : TABLE_MISS;
	view_copy_out(out->der, &record[RECORD_WORDS + id_words], meta.n_der);
	if (!view_still_stands(view, moment, position, record)) {
		explicit_bzero(out->der, meta.n_der); /* may be part of someone else's session */
		return TABLE_MISS;
	}
	out->n_der = meta.n_der;
	return 0;
}

/* A lookup, to be inlined for the usual length of an ID and once more for all others. */
static inline __attribute__((always_inline)) int
view_get(const struct table_view *view, const uint8_t *id, size_t n_id, int64_t now_s,
         struct view_session *session, uint64_t *position)
{
	const word_t *buckets[2];
	struct view_moment moment;
	unsigned matches;
	struct key key;

	key_make(&key, &view->layout, view->seed, id, n_id);
	for (size_t i = 0; i < 2; i++) {
		buckets[i] = view->index + key.buckets[i] * LAYOUT_SLOTS;
		__builtin_prefetch(buckets[i]);
	}
	/* P4: the epoch before any slot; partner: table_restart(). */
	moment.epoch = atomic_load_explicit(&view->header->epoch, memory_order_acquire);
	moment.tail = word_load(&view->header->tail);
	matches = bucket_match(buckets[0], key.tag) | bucket_match(buckets[1], key.tag)
	                                                  << LAYOUT_SLOTS;
	for (; matches; matches &= matches - 1) {
		unsigned i = (unsigned)__builtin_ctz(matches);
		/* P1: acquire; partner: the release store in index_replace(). */
		uint64_t slot = atomic_load_explicit(&buckets[i / LAYOUT_SLOTS][i % LAYOUT_SLOTS],
		                                     memory_order_acquire);
		uint64_t at = slot_position(slot);
		int r;

		if (slot_tag(slot) != key.tag || at < moment.tail || at == 0)
			continue;
		r = view_copy(view, &moment, at, &key, n_id, now_s, session);
		if (r == TABLE_MISS)
			continue;
		*position = at;
		return r;
	}
	return TABLE_MISS;
}

int table_view_get(const struct table_view *view, const uint8_t *id, size_t n_id, int64_t now_s,
                   uint8_t *der, size_t der_size, size_t *n_der, int64_t *expires_s,
                   uint64_t *position)
{
	struct view_session session = {.der = der, .der_size = der_size};
	uint64_t at;
	int r;

	if (n_id < 1 || n_id > TABLE_ID_MAX)
		return -EINVAL;
	r = n_id == TABLE_ID_MAX ? view_get(view, id, TABLE_ID_MAX, now_s, &session, &at)
	                         : view_get(view, id, n_id, now_s, &session, &at);
	if (r != 0)
		return r;
	*n_der = session.n_der;
	if (expires_s)
		*expires_s = session.expires_s;
	if (position)
		*position = at;
	return 0;
}

static bool view_is_session(const struct record_meta *meta, const word_t *record, int64_t now_s,
                            struct table_session *out)
{
	uint64_t times;

	/* Checked first: a pad may be too short to have times. */
	if (!record_meta_valid(meta) || meta->flags & TABLE_TOMBSTONE)
		return false;
	times = word_load(&record[RECORD_TIMES]);
	*out = (struct table_session){
	    .expires_s = times_expires_s(times),
	    .stored_s = times_stored_s(times),
	    .n_der = meta->n_der,
	    .local = meta->flags & TABLE_LOCAL,
	};
	return out->expires_s > now_s;
}

void table_view_each(const struct table_view *view, int64_t now_s,
                     void (*fn)(void *arg, const struct table_session *session), void *arg)
{
	struct view_moment moment;
	struct record_meta meta;
	uint64_t head, position = 0;
	struct table_session session;

	moment.epoch = atomic_load_explicit(&view->header->epoch, memory_order_acquire);
	/* Acquire: the records below it are whole; partner: log_commit(). */
	head = atomic_load_explicit(&view->header->head, memory_order_acquire);
	/* Each step is at least a unit, and the ring has no more than log_bytes below the head. */
	for (;;) {
		const word_t *record;
		uint64_t offset;

		moment.tail = word_load(&view->header->tail);
		position = MAX(position, moment.tail);
		if (position >= head || head - position > view->layout.log_bytes ||
		    position % LAYOUT_UNIT)
			return;
		offset = position % view->layout.log_bytes;
		record = view->log + offset / 8;
		meta = record_meta_unpack(word_load(&record[RECORD_META]));
		if (meta.bytes == 0 || meta.bytes > view->layout.log_bytes - offset) {
			if (word_load(&view->header->tail) <= position)
				return;
			continue; /* it was wiped meanwhile: go on at the new tail */
		}
		if (view_is_session(&meta, record, now_s, &session) &&
		    view_still_stands(view, &moment, position, record))
			fn(arg, &session);
		position += meta.bytes;
	}
}
