/*
 * Taking over a file as its last writer left it, who may have died at any instruction.
 *
 * What can be unfinished then, and what becomes of it here:
 *   words beyond the head        a record that was never committed: wiped
 *   words just below the tail    a record that was dropped and not yet wiped: wiped
 *   a dead record's remains      killed and not yet wiped: wiped
 *   a record without a slot      committed, or displaced by another and not yet killed: gets a slot
 *   two records of one ID        the newer took over and the older was not yet killed: the older is killed
 *   counts                       counted anew
 * First everything is checked and nothing written, since a file in which anything is out of bounds is not
 * repaired: it is replaced. Readers go on reading all the while; the rules of layout.h hold here too.
 */
#include "table/internal.h"

static const char *recover_check_header(const struct table *table)
{
	uint64_t head = writer_head(table);
	uint64_t tail = writer_tail(table);

	if (word_load(&table->header->epoch) == 0)
		return "it has no epoch";
	if (tail < table->layout.log_bytes || tail > head || head > LAYOUT_POSITION_END ||
	    head - tail > table->layout.log_bytes || tail % LAYOUT_UNIT || head % LAYOUT_UNIT)
		return "its log is out of bounds";
	return NULL;
}

/* Walks the log: every record in bounds, the last ending at the head. Counts them. */
static const char *recover_check_log(struct table *table)
{
	uint64_t position = writer_tail(table);

	while (position != writer_head(table)) {
		struct record_meta meta;
		bool live;

		if (!log_record_check(table, position, &meta, &live))
			return "its log is damaged";
		if (meta.flags != RECORD_PAD)
			table->n_in_log++;
		if (live && !(meta.flags & TABLE_TOMBSTONE))
			table->n_live++;
		position += meta.bytes;
	}
	return NULL;
}

static void recover_record(struct table *table, uint64_t position, int64_t now_s)
{
	struct key key;
	word_t *slot;

	sweep_note(&table->sweep, position, log_clamp(table, position, now_s));
	log_key(table, position, &key);
	slot = index_find(table, &key);
	if (!slot) {
		index_insert(table, &key, position);
	} else if (slot_position(word_load(slot)) < position) {
		uint64_t older = slot_position(word_load(slot));

		index_replace(slot, &key, position);
		log_kill(table, older);
	} else if (slot_position(word_load(slot)) > position) {
		log_kill(table, position);
	}
}

static void recover_dead(struct table *table, uint64_t position, const struct record_meta *meta)
{
	word_t *record = log_at(table, position);

	sweep_note(&table->sweep, position, INT64_MAX); /* a chunk may start with it */
	word_store(&record[RECORD_META],
	           record_meta_pack(&(struct record_meta){.bytes = meta->bytes,
	                                                  .flags = meta->flags & RECORD_PAD},
	                            position));
	for (size_t i = RECORD_TIMES; i < meta->bytes / 8; i++)
		if (word_load(&record[i]) != 0)
			word_store(&record[i], 0);
}

/* Wipes what the last writer may have left on either side of the log. */
static void recover_wipe_edges(struct table *table)
{
	uint64_t head = writer_head(table);
	uint64_t tail = writer_tail(table);
	uint64_t n_free = table->layout.log_bytes - (head - tail);
	uint64_t n_wipe = MIN(n_free, (uint64_t)RECORD_BYTES_MAX);

	for (uint64_t i = 0; i < n_wipe; i += LAYOUT_UNIT) {
		log_wipe(table, head + i, LAYOUT_UNIT);
		log_wipe(table, tail - i - LAYOUT_UNIT, LAYOUT_UNIT);
	}
}

/* A slot at or above the head is garbage, which would come true one day: P1 in layout.h. */
static void recover_clear_slots(struct table *table)
{
	for (uint64_t i = 0; i < table->layout.n_buckets * LAYOUT_SLOTS; i++)
		if (slot_position(word_load(&table->index[i])) >= writer_head(table))
			word_store(&table->index[i], 0);
}

/* NULL if the table is ready to be written, or what is wrong with it, in words; then nothing was changed. */
const char *recover(struct table *table, int64_t now_s)
{
	const char *wrong = recover_check_header(table);

	table->n_live = 0;
	table->n_in_log = 0;
	if (!wrong)
		wrong = recover_check_log(table);
	if (wrong)
		return wrong;
	sweep_reset(&table->sweep);
	/* It was the last writer's word on its peers. */
	word_store(&table->header->acked, 0);
	recover_wipe_edges(table);
	recover_clear_slots(table);
	for (uint64_t position = writer_tail(table); position != writer_head(table);) {
		struct record_meta meta;
		bool live;

		/* Cannot fail: it has just been checked, and a kill keeps what is checked. */
		if (!log_record_check(table, position, &meta, &live))
			return "its log is damaged";
		if (live)
			recover_record(table, position, now_s);
		else
			recover_dead(table, position, &meta);
		position += meta.bytes;
	}
	table->header->n_appended = MAX(table->header->n_appended, table->n_in_log);
	return NULL;
}
