/*
 * The ring of records, as its writer sees it.
 *
 * Positions only grow; a position modulo log_bytes is where it stands in the ring. [tail, head) holds
 * records end to end, pads included; the rest of the ring is zero, always: what leaves is wiped before
 * anything else happens there. A record is whole in the ring: where it would straddle the end, a pad takes
 * what is left and the record starts over at the beginning.
 *
 * Appending: the words first, then the head. The head is the commit point: a writer that dies before that
 * store has appended nothing, and the next one wipes what it left (recover.c).
 * Dropping the oldest: the tail first, then the wipe.
 * Killing amid the log: the stamp first, then the wipe; length and stamp stay, so that the log can still
 * be walked.
 */
#include "table/internal.h"

/*
 * Whether a record can stand at `position` (below the head): its stamp names this position, its lengths
 * agree and stay within the ring and below the head. Trusts nothing in the file but `head`.
 * Out: `meta`, and whether it is live; dead ones include pads.
 */
bool log_record_check(const struct table *table, uint64_t position, struct record_meta *meta,
                      bool *live)
{
	const word_t *record = log_at(table, position);
	uint64_t stamp = word_load(&record[RECORD_STAMP]);
	uint64_t room = table->layout.log_bytes - position % table->layout.log_bytes;
	uint64_t word = word_load(&record[RECORD_META]);

	*meta = record_meta_unpack(word);
	*live = stamp == record_stamp(position, RECORD_LIVE);
	if (word != record_meta_pack(meta, position))
		return false;
	if (!*live && stamp != record_stamp(position, RECORD_DEAD))
		return false;
	if (meta->bytes == 0 || meta->bytes > RECORD_BYTES_MAX || meta->bytes > room ||
	    meta->bytes > writer_head(table) - position)
		return false;
	if (*live)
		return record_meta_valid(meta);
	return meta->flags == RECORD_PAD || meta->bytes >= record_bytes(1, 0);
}

/* Zeroes a stretch that does not straddle the ring's end. Atomic stores, so the compiler keeps them. */
void log_wipe(struct table *table, uint64_t position, uint64_t n_bytes)
{
	word_t *words = log_at(table, position);

	for (uint64_t i = 0; i < n_bytes / 8; i++)
		word_store(&words[i], 0);
}

/*
 * Moves the tail past the oldest record and wipes it. Its slot is free from now on, without being touched:
 * it names a position below the tail.
 */
void log_drop_oldest(struct table *table, int64_t now_s)
{
	struct layout_header *header = table->header;
	uint64_t tail = writer_tail(table);
	word_t *record = log_at(table, tail);
	struct record_meta meta = record_meta_unpack(word_load(&record[RECORD_META]));
	bool live = word_load(&record[RECORD_STAMP]) & RECORD_LIVE;

	if (live && !(meta.flags & TABLE_TOMBSTONE)) {
		int64_t expires_s = record_expires_s(record);

		table->n_live--;
		if (expires_s > now_s) {
			header->n_evicted++;
			wanted_add(&table->wanted, meta.bytes, expires_s, now_s);
		} else {
			header->n_expired++;
		}
	}
	if (meta.flags != RECORD_PAD)
		table->n_in_log--;
	/* P2: the tail, the fence, then the wipe; partner: the recheck in view_take(). */
	word_store(&header->tail, tail + meta.bytes);
	fence_before_wipe();
	log_wipe(table, tail, meta.bytes);
}

/*
 * When the live record at `position` expires. One that does so later than any put allows has seen the clock set back, and
 * does at the limit from now on. Readers load the word once, and take either for good.
 */
int64_t log_clamp(const struct table *table, uint64_t position, int64_t now_s)
{
	word_t *record = log_at(table, position);
	int64_t expires_s = record_expires_s(record);

	if (expires_s > now_s + TABLE_LIFETIME_MAX_S) {
		expires_s = now_s + TABLE_LIFETIME_MAX_S;
		word_store(&record[RECORD_TIMES], record_times_pack(expires_s, now_s));
	}
	return expires_s;
}

/* The key of a live record. */
void log_key(const struct table *table, uint64_t position, struct key *key)
{
	const word_t *record = log_at(table, position);
	struct record_meta meta = record_meta_unpack(word_load(&record[RECORD_META]));
	uint8_t id[TABLE_ID_MAX];

	for (size_t i = 0; i < record_id_bytes(meta.n_id) / 8; i++) {
		uint64_t word = word_load(&record[RECORD_WORDS + i]);

		memcpy(id + i * 8, &word, 8);
	}
	key_init(key, &table->layout, table->seed, id, meta.n_id);
}

/* Kills a live record amid the log. The caller counts why. */
void log_kill(struct table *table, uint64_t position)
{
	word_t *record = log_at(table, position);
	struct record_meta meta = record_meta_unpack(word_load(&record[RECORD_META]));

	if (!(meta.flags & TABLE_TOMBSTONE))
		table->n_live--;
	/* P3: the stamp, the fence, then the wipe; partner: the recheck in view_take(). */
	word_store(&record[RECORD_STAMP], record_stamp(position, RECORD_DEAD));
	fence_before_wipe();
	word_store(&record[RECORD_META],
	           record_meta_pack(&(struct record_meta){.bytes = meta.bytes}, position));
	for (size_t i = RECORD_TIMES; i < meta.bytes / 8; i++)
		word_store(&record[i], 0);
}

/* The commit point. Release: whoever sees the head sees the records below it; partner: view_each(). */
static void log_commit(struct table *table, uint64_t head)
{
	atomic_store_explicit(&table->header->head, head, memory_order_release);
}

static void log_make_room(struct table *table, uint64_t n_bytes, int64_t now_s)
{
	struct layout_header *header = table->header;
	uint64_t n_evicted = header->n_evicted;
	uint64_t used;

	while ((used = writer_head(table) - writer_tail(table)) + n_bytes > table->layout.log_bytes)
		log_drop_oldest(table, now_s);
	if (header->n_evicted == n_evicted)
		return;
	used += n_bytes + wanted_bytes(&table->wanted, now_s);
	header->log_bytes_wanted = MAX(header->log_bytes_wanted, used);
}

static void log_append_pad(struct table *table, uint64_t position, uint64_t n_bytes)
{
	word_t *record = log_at(table, position);

	word_store(
	    &record[RECORD_META],
	    record_meta_pack(&(struct record_meta){.bytes = (uint32_t)n_bytes, .flags = RECORD_PAD},
	                     position));
	word_store(&record[RECORD_STAMP], record_stamp(position, RECORD_DEAD));
	log_commit(table, position + n_bytes);
	sweep_note(&table->sweep, position, INT64_MAX);
}

static void log_copy_in(word_t *words, const uint8_t *bytes, size_t n_bytes)
{
	uint64_t word;

	for (; n_bytes >= 8; n_bytes -= 8, bytes += 8) {
		memcpy(&word, bytes, 8);
		word_store(words++, word);
	}
	if (n_bytes) {
		word = 0;
		memcpy(&word, bytes, n_bytes);
		word_store(words, word);
	}
}

/* Appends a record, evicting what stands in its way. It is in the log then, not yet in the index. */
uint64_t log_append(struct table *table, const struct key *key, const struct table_record *record,
                    int64_t expires_s, int64_t now_s)
{
	struct record_meta meta = {
	    .bytes = record_bytes(record->n_id, record->n_der),
	    .n_id = (unsigned)record->n_id,
	    .n_der = (unsigned)record->n_der,
	    .flags = record->flags,
	};
	uint64_t position = writer_head(table);
	uint64_t to_end = table->layout.log_bytes - position % table->layout.log_bytes;
	uint64_t pad = meta.bytes > to_end ? to_end : 0;
	size_t id_words = record_id_bytes(record->n_id) / 8;
	word_t *words;

	log_make_room(table, pad + meta.bytes, now_s);
	if (pad) {
		log_append_pad(table, position, pad);
		position += pad;
	}
	words = log_at(table, position);
	word_store(&words[RECORD_META], record_meta_pack(&meta, position));
	word_store(&words[RECORD_TIMES], record_times_pack(expires_s, now_s));
	for (size_t i = 0; i < id_words; i++)
		word_store(&words[RECORD_WORDS + i], key->id[i]);
	log_copy_in(&words[RECORD_WORDS + id_words], record->der, record->n_der);
	word_store(&words[RECORD_STAMP], record_stamp(position, RECORD_LIVE));
	log_commit(table, position + meta.bytes);

	sweep_note(&table->sweep, position, expires_s);
	table->n_in_log++;
	table->header->n_appended++;
	if (!(meta.flags & TABLE_TOMBSTONE))
		table->n_live++;
	return position;
}
