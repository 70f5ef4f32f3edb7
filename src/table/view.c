/*
 * The readers' side: looking a session up in a file that another process writes.
 *
 * No lock, no waiting, no loop that the writer could keep going: two buckets of eight slots, each followed at
 * most once, and the second only when the first did not have it. A copy is taken first and believed afterwards, when the tail and the record's own stamp say that it
 * still stood there (P1 to P4 in layout.h). Offsets and lengths are checked against this process's own mapping,
 * whose size comes from fstat(2): whatever the file says, no read leaves the mapping. The writer never
 * truncates a file, so the mapping stays whole; a file that was replaced has ended (file.c): no slot, and all is gone.
 */
#include "table/view.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "table/bucket.h"
#include "table/key.h"

/* Lookups are bound by how many of them a processor has in flight at once, and so by the instructions of the usual
 * one: what is rare stands elsewhere, and takes no register of it. */
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define COLD __attribute__((noinline, cold))

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

/*
 * Whether what was copied from the record at `position` was that record, and `epoch`, from before its slot was
 * loaded, goes on. The caller issued no fence yet: here is the partner of the writer's fence_before_wipe() in
 * log_drop_oldest(), log_kill(), table_restart().
 */
static inline bool view_still_stands(const struct layout_header *header, uint64_t epoch,
                                     uint64_t position, const word_t *record)
{
	fence_before_recheck();
	return word_load(&header->tail) <= position && word_load(&header->epoch) == epoch &&
	       word_load(&record[RECORD_STAMP]) == record_stamp(position, RECORD_LIVE);
}

/* What may be part of someone else's session does not stay. */
static COLD int view_drop_copy(uint8_t *der, size_t n_bytes)
{
	explicit_bzero(der, n_bytes);
	return TABLE_MISS;
}

static inline void view_copy_word(uint8_t *to, const word_t *from)
{
	uint64_t word = word_load(from);

	memcpy(to, &word, 8);
}

/* Whole words. Nearly all DERs have 121 to 136 bytes, and their records room for 17 words: these without a branch. */
#define VIEW_USUAL_WORDS 17
static inline void view_copy_words(uint8_t *to, const word_t *from, size_t n_words)
{
	for (; n_words >= VIEW_USUAL_WORDS; n_words -= VIEW_USUAL_WORDS) {
#pragma GCC unroll 17
		for (size_t i = 0; i < VIEW_USUAL_WORDS; i++)
			view_copy_word(to + i * 8, &from[i]);
		from += VIEW_USUAL_WORDS;
		to += VIEW_USUAL_WORDS * 8;
	}
	for (size_t i = 0; i < n_words; i++)
		view_copy_word(to + i * 8, &from[i]);
}

/* To the byte: for a caller whose buffer has no room for what a record is padded with. */
static COLD void view_copy_bytes(uint8_t *to, const word_t *from, size_t n_bytes)
{
	view_copy_words(to, from, n_bytes / 8);
	if (n_bytes % 8) {
		uint64_t word = word_load(&from[n_bytes / 8]);

		memcpy(to + n_bytes / 8 * 8, &word, n_bytes % 8);
	}
}

/* Whether a record's ID, padded with zeros to words, is this one. */
static ALWAYS_INLINE bool view_is_id(const word_t *words, const uint8_t *id, size_t n_id)
{
	uint64_t differs = 0, word;

#pragma GCC unroll 4
	for (size_t i = 0; i < n_id / 8; i++) {
		memcpy(&word, id + i * 8, 8);
		differs |= word ^ word_load(&words[i]);
	}
	if (n_id % 8) {
		word = 0;
		memcpy(&word, id + n_id / 8 * 8, n_id % 8);
		differs |= word ^ word_load(&words[n_id / 8]);
	}
	return differs == 0;
}

/*
 * Copies the record at `position` if it is this ID's, live and not expired. Outputs as table_view_get()'s. The position
 * is from a slot, and a slot is a hint: it may name what was dropped long ago, or anything at all.
 */
static ALWAYS_INLINE int view_take(const struct table_view *view, uint64_t epoch, uint64_t position,
                                   const uint8_t *id, size_t n_id, int64_t now_s, uint8_t *der,
                                   size_t der_size, size_t *n_der, int64_t *expires_s)
{
	const struct layout_header *header = view->header;
	const size_t n_before = RECORD_WORDS * 8 + record_id_bytes(n_id); /* the DER */
	uint64_t offset = position % view->layout.log_bytes;
	const word_t *record = view->log + offset / 8;
	size_t n_bytes, n_record, n_copied;
	int64_t expires;
	uint64_t meta;

	if (word_load(&record[RECORD_STAMP]) != record_stamp(position, RECORD_LIVE))
		return TABLE_MISS;
	/* Lengths that agree with each other keep every word that is read below within the record, and the record
	 * is within the log. */
	meta = word_load(&record[RECORD_META]);
	n_bytes = record_meta_n_der(meta);
	n_record = record_bytes(n_id, n_bytes);
	if (!record_meta_is_session(meta, n_id, n_bytes) || n_bytes > TABLE_DER_MAX ||
	    n_record > view->layout.log_bytes - offset)
		return TABLE_MISS;
	expires = record_expires_s(record);
	if (!view_is_id(&record[RECORD_WORDS], id, n_id) || expires <= now_s)
		return TABLE_MISS;
	n_copied = n_record - n_before;
	if (n_copied <= der_size) {
		view_copy_words(der, &record[n_before / 8], n_copied / 8);
	} else if (n_bytes <= der_size) {
		n_copied = n_bytes;
		view_copy_bytes(der, &record[n_before / 8], n_bytes);
	} else {
		return view_still_stands(header, epoch, position, record) ? -ENOBUFS : TABLE_MISS;
	}
	if (!view_still_stands(header, epoch, position, record))
		return view_drop_copy(der, n_copied);
	*n_der = n_bytes;
	if (expires_s)
		*expires_s = expires;
	return 0;
}

/* table_view_get() for an ID whose length is in range: inlined for the usual one, and once more for all others. */
static ALWAYS_INLINE int view_get(const struct table_view *view, const uint8_t *id, size_t n_id,
                                  int64_t now_s, uint8_t *der, size_t der_size, size_t *n_der,
                                  int64_t *expires_s, uint64_t *position)
{
	uint64_t hash = key_hash(view->seed, id, n_id);
	unsigned tag = key_tag(hash);
	uint64_t epoch;

	/* Seldom needed; but who comes to need it has waited for the first. */
	__builtin_prefetch(view->index + key_bucket(&view->layout, hash << 32) * LAYOUT_SLOTS);
	/* P4: the epoch before any slot; partner: table_restart(). */
	epoch = atomic_load_explicit(&view->header->epoch, memory_order_acquire);
	for (unsigned i = 0; i < 2; i++, hash <<= 32) {
		const word_t *bucket = view->index + key_bucket(&view->layout, hash) * LAYOUT_SLOTS;
		unsigned matches = bucket_match(bucket, tag);

		for (; matches; matches &= matches - 1) {
			/* P1: acquire; partner: the release store in index_replace(). */
			uint64_t slot = atomic_load_explicit(
			    &bucket[(unsigned)__builtin_ctz(matches)], memory_order_acquire);
			int r = view_take(view, epoch, slot_position(slot), id, n_id, now_s, der,
			                  der_size, n_der, expires_s);

			if (r == TABLE_MISS)
				continue;
			if (r == 0 && position)
				*position = slot_position(slot);
			return r;
		}
	}
	return TABLE_MISS;
}

static COLD int view_get_odd(const struct table_view *view, const uint8_t *id, size_t n_id,
                             int64_t now_s, uint8_t *der, size_t der_size, size_t *n_der,
                             int64_t *expires_s, uint64_t *position)
{
	if (n_id < 1 || n_id > TABLE_ID_MAX)
		return -EINVAL;
	return view_get(view, id, n_id, now_s, der, der_size, n_der, expires_s, position);
}

int table_view_get(const struct table_view *view, const uint8_t *id, size_t n_id, int64_t now_s,
                   uint8_t *der, size_t der_size, size_t *n_der, int64_t *expires_s,
                   uint64_t *position)
{
	if (n_id != TABLE_ID_MAX)
		return view_get_odd(view, id, n_id, now_s, der, der_size, n_der, expires_s,
		                    position);
	return view_get(view, id, TABLE_ID_MAX, now_s, der, der_size, n_der, expires_s, position);
}

bool table_view_is_acked(const struct table_view *view, uint64_t position)
{
	const word_t *record = view->log + position % view->layout.log_bytes / 8;

	/* Acks come at the ends of records, so none stands within this one. */
	if (position < word_load(&view->header->acked))
		return true;
	/* A record that has gone since it was found may read as anything: the worst is a wait for nothing. */
	return !(record_meta_unpack(word_load(&record[RECORD_META])).flags & TABLE_LOCAL);
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
	struct record_meta meta;
	uint64_t epoch, head, tail, position = 0;
	struct table_session session;

	epoch = atomic_load_explicit(&view->header->epoch, memory_order_acquire);
	/* Acquire: the records below it are whole; partner: log_commit(). */
	head = atomic_load_explicit(&view->header->head, memory_order_acquire);
	/* Each step is at least a unit, and the ring has no more than log_bytes below the head. */
	for (;;) {
		const word_t *record;
		uint64_t offset;

		tail = word_load(&view->header->tail);
		position = MAX(position, tail);
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
		    view_still_stands(view->header, epoch, position, record))
			fn(arg, &session);
		position += meta.bytes;
	}
}
