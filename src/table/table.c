/*
 * The table's writer: opening, appending, reading the log. The mechanisms are in log.c (the ring), index.c,
 * sweep.c (expiry), file.c and recover.c; layout.h has the rules between writer and readers.
 */
#include "table/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "util/space.h"

static void table_unmap(struct table *table)
{
	if (table->header)
		munmap(table->header, table->size_bytes);
	table->header = NULL;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	table_unmap(table);
	sweep_deinit(&table->sweep);
	closep(&table->read_only_fd);
	closep(&table->fd);
	free(table);
}

static int table_map(struct table *table, bool lock)
{
	void *map = mmap(NULL, table->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, table->fd, 0);

	if (map == MAP_FAILED)
		return -errno;
	table->header = map;
	table->index = (word_t *)((uint8_t *)map + LAYOUT_HEADER_BYTES);
	table->log = (word_t *)((uint8_t *)map + table->layout.log_offset);
	if (madvise(map, table->size_bytes, MADV_DONTDUMP) < 0)
		return -errno;
	/* Hints. Most kernels are set not to take the first for files; the second saves a page fault a put. */
	(void)madvise(map, table->size_bytes, MADV_HUGEPAGE);
	(void)madvise(map, table->size_bytes, MADV_POPULATE_WRITE);
	if (lock && mlock(map, table->size_bytes) < 0)
		return errno == EAGAIN ? -ENOMEM : -errno;
	return 0;
}

static int table_random(void *bytes, size_t n_bytes)
{
	return getrandom(bytes, n_bytes, 0) == (ssize_t)n_bytes ? 0 : -EIO;
}

static int table_new_epoch(uint64_t *epoch)
{
	int r = table_random(epoch, sizeof(*epoch));

	*epoch |= *epoch == 0;
	return r;
}

/* Makes a table of the empty file. */
static int table_make(struct table *table, bool lock)
{
	uint64_t seed, epoch, boot[2];
	int r;

	r = table_random(&seed, sizeof(seed));
	if (r == 0)
		r = table_new_epoch(&epoch);
	if (r == 0)
		r = file_size(table->fd, table->size_bytes);
	/* Before it is mapped and touched: what there is no room for must fail at once, and here. */
	if (r == 0)
		r = space_allocate(table->fd, table->size_bytes);
	if (r == 0)
		r = table_map(table, lock);
	if (r < 0)
		return r;
	file_boot_id(boot);
	layout_header_init(table->header, &table->layout, table->size_bytes, seed, epoch, boot);
	table->seed = seed;
	table->n_live = 0;
	table->n_in_log = 0;
	sweep_reset(&table->sweep);
	return 0;
}

/* Takes over the file as it stands. 0, a negated errno, or 1: `*wrong` says why it cannot be. */
static int table_take_over(struct table *table, uint64_t file_bytes, bool lock, int64_t now_s,
                           const char **wrong)
{
	uint64_t boot[2];
	int r;

	*wrong = file_check_owner(table->fd);
	if (!*wrong && file_bytes != table->size_bytes)
		*wrong = "it has another size";
	if (*wrong)
		return 1;
	r = space_allocate(table->fd, file_bytes);
	if (r == 0)
		r = table_map(table, lock);
	if (r < 0)
		return r;
	file_boot_id(boot);
	*wrong = layout_header_check(table->header, &table->layout, file_bytes);
	if (!*wrong && memcmp(table->header->boot, boot, sizeof(boot)) != 0)
		*wrong = "it is from before the machine's last boot";
	if (!*wrong) {
		table->seed = table->header->seed;
		*wrong = recover(table, now_s);
	}
	if (!*wrong)
		return 0;
	table_unmap(table);
	return 1;
}

static int table_open_file(struct table *table, const char *path, bool lock, int64_t now_s,
                           char *why, size_t why_size)
{
	const char *wrong = NULL;
	bool created;
	struct stat st;
	int r;

	r = file_open(&table->fd, path);
	if (r < 0)
		return r;
	if (fstat(table->fd, &st) < 0)
		return -errno;
	created = st.st_size == 0 && !file_check_owner(table->fd);
	if (!created) {
		r = table_take_over(table, (uint64_t)st.st_size, lock, now_s, &wrong);
		if (r > 0)
			r = file_replace(&table->fd, path);
		if (r < 0 || !wrong)
			return r;
	}
	r = table_make(table, lock);
	if (r < 0) {
		/* Ours, empty or half made. */
		unlink(path);
		return r;
	}
	if (created)
		return TABLE_CREATED;
	if (why_size)
		snprintf(why, why_size, "%s", wrong);
	return TABLE_REBUILT;
}

int table_open(struct table **out, const char *path, uint64_t size_bytes, bool lock, int64_t now_s,
               char *why, size_t why_size)
{
	_cleanup_(table_freep) struct table *table = NULL;
	int outcome, r;

	table = calloc(1, sizeof(*table));
	if (!table)
		return -ENOMEM;
	table->fd = table->read_only_fd = -1;
	if (size_bytes > LAYOUT_SIZE_MAX)
		return -EFBIG;
	table->size_bytes = layout_round(size_bytes);
	if (!layout_init(&table->layout, table->size_bytes))
		return -EINVAL;
	r = sweep_init(&table->sweep, table->layout.log_bytes, now_s);
	if (r < 0)
		return r;
	outcome = table_open_file(table, path, lock, now_s, why, why_size);
	if (outcome < 0)
		return outcome;
	r = file_open_read_only(&table->read_only_fd, path, table->fd);
	if (r < 0)
		return r;
	*out = table;
	table = NULL;
	return outcome;
}

int table_fd(const struct table *table)
{
	int fd = fcntl(table->read_only_fd, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

uint64_t table_epoch(const struct table *table)
{
	return word_load(&table->header->epoch);
}

uint64_t table_head(const struct table *table)
{
	return writer_head(table);
}

uint64_t table_tail(const struct table *table)
{
	return writer_tail(table);
}

void table_set_acked(struct table *table, uint64_t position)
{
	/* Relaxed: a number by itself. Its store is the only one of this thread's that a reader may see late: it then
	 * waits for what has come already. */
	if (position > word_load(&table->header->acked))
		word_store(&table->header->acked, position);
}

/*
 * Positions are about to run out (after four petabytes): drop everything and start over with a new epoch, in
 * the same file. P4 in layout.h; its partner is table_view_get(). Dying between the last two stores leaves a
 * head and a tail that do not belong together, which the next writer finds and rebuilds.
 */
static int table_restart(struct table *table, int64_t now_s)
{
	struct layout_header *header = table->header;
	uint64_t epoch;
	int r = table_new_epoch(&epoch);

	if (r < 0)
		return r;
	while (writer_tail(table) != writer_head(table))
		log_drop_oldest(table, now_s);
	index_clear(table);
	sweep_reset(&table->sweep);
	header->n_appended = 0;
	/* Before the epoch: nobody compares a new position with what was acked of the old ones. */
	word_store(&header->acked, 0);
	atomic_store_explicit(&header->epoch, epoch, memory_order_release);
	fence_before_wipe();
	word_store(&header->tail, table->layout.log_bytes);
	word_store(&header->head, table->layout.log_bytes);
	return 0;
}

static bool table_record_valid(const struct table_record *record)
{
	bool tombstone = record->flags & TABLE_TOMBSTONE;

	return record->id && record->n_id >= 1 && record->n_id <= TABLE_ID_MAX &&
	       record->n_der <= TABLE_DER_MAX && tombstone == (record->n_der == 0) &&
	       (tombstone || record->der) && (record->flags & ~RECORD_FLAGS) == 0;
}

/* Whether a record of this ID stands that must stay: a session before another, a tombstone before either. */
static bool table_is_duplicate(const struct table *table, uint64_t position,
                               const struct table_record *record, int64_t now_s)
{
	const word_t *old = log_at(table, position);
	struct record_meta meta = record_meta_unpack(word_load(&old[RECORD_META]));

	if (record_expires_s(old) <= now_s)
		return false;
	return meta.flags & TABLE_TOMBSTONE || !(record->flags & TABLE_TOMBSTONE);
}

/* The record at `position` takes the slot of an older one of the same ID: an expired or a removed one. */
static void table_supersede(struct table *table, word_t *slot, const struct key *key,
                            uint64_t position, int64_t now_s)
{
	uint64_t old_position = slot_position(word_load(slot));
	const word_t *old = log_at(table, old_position);
	struct record_meta meta = record_meta_unpack(word_load(&old[RECORD_META]));

	if (!(meta.flags & TABLE_TOMBSTONE)) {
		if (record_expires_s(old) <= now_s)
			table->header->n_expired++;
		else
			table->header->n_removed++;
	}
	index_replace(slot, key, position);
	log_kill(table, old_position);
}

int table_put(struct table *table, const struct table_record *record, int64_t now_s, uint64_t *end)
{
	int64_t expires_s = MIN(record->expires_s, now_s + TABLE_LIFETIME_MAX_S);
	uint64_t position;
	struct key key;
	word_t *slot;
	int r;

	if (!table_record_valid(record))
		return -EINVAL;
	if (expires_s <= now_s)
		return TABLE_EXPIRED;
	if (writer_head(table) > LAYOUT_POSITION_END - UINT64_C(2) * RECORD_BYTES_MAX) {
		r = table_restart(table, now_s);
		if (r < 0)
			return r;
	}
	key_init(&key, &table->layout, table->seed, record->id, record->n_id);
	index_prefetch(table, &key);
	slot = index_find(table, &key);
	if (slot && table_is_duplicate(table, slot_position(word_load(slot)), record, now_s))
		return TABLE_DUPLICATE;
	position = log_append(table, &key, record, expires_s, now_s);
	/* Making room may have dropped the one that was found. */
	if (slot && slot_position(word_load(slot)) >= writer_tail(table))
		table_supersede(table, slot, &key, position, now_s);
	else
		index_insert(table, &key, position);
	if (end)
		*end = writer_head(table);
	return 0;
}

int table_next(struct table *table, uint64_t *position, struct table_record *out,
               uint64_t *n_passed)
{
	uint64_t head = writer_head(table);
	uint64_t at = *position;

	if (at < writer_tail(table)) {
		*position = writer_tail(table);
		return TABLE_GONE;
	}
	if (at > head || at % LAYOUT_UNIT)
		return -EINVAL;
	while (at != head) {
		const word_t *record = log_at(table, at);
		const uint8_t *bytes = (const uint8_t *)table->header + table->layout.log_offset +
		                       at % table->layout.log_bytes + RECORD_WORDS * 8;
		struct record_meta meta;
		bool live;

		if (!log_record_check(table, at, &meta, &live))
			return -EINVAL;
		at += meta.bytes;
		*n_passed += meta.flags != RECORD_PAD;
		*position = at;
		if (!live)
			continue;
		*out = (struct table_record){
		    .id = bytes,
		    .n_id = meta.n_id,
		    .der = meta.n_der ? bytes + record_id_bytes(meta.n_id) : NULL,
		    .n_der = meta.n_der,
		    .expires_s = record_expires_s(record),
		    .flags = meta.flags,
		};
		return 0;
	}
	return TABLE_END;
}

void table_stats(const struct table *table, struct table_stats *out)
{
	const struct layout_header *header = table->header;

	*out = (struct table_stats){
	    .size_bytes = table->size_bytes,
	    .log_bytes = table->layout.log_bytes,
	    .used_bytes = writer_head(table) - writer_tail(table),
	    .n_live = table->n_live,
	    .n_appended = header->n_appended,
	    .n_in_log = table->n_in_log,
	    .n_expired = header->n_expired,
	    .n_removed = header->n_removed,
	    .n_evicted = header->n_evicted,
	    .n_displaced = header->n_displaced,
	    .bytes_wanted =
	        header->log_bytes_wanted ? layout_size_for_log(header->log_bytes_wanted) : 0,
	};
}
