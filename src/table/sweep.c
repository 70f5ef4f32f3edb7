/*
 * Expiry. Most records expire in the order in which they came: the tail moves past those. A short-lived
 * record behind a long-lived one is wiped in place, by a sweep along the log.
 *
 * The sweep must not read the whole log to find nothing. So the log is cut into chunks of 2^chunk_bits
 * positions, each longer than the longest record, and for each chunk the writer remembers where its first
 * record starts, and a time before which none of its records expires. A pass goes from tail to head as they
 * were when it began, skips every chunk that has nothing due, and works out anew the time of each that it
 * looks through (to its end, also where the head has moved on meanwhile). Chunks are numbered by position, not by place in the ring, so the two ends of a full ring
 * never share one. All this lives in the writer's memory, and is rebuilt by recover.c.
 *
 * A clock that was set back makes sessions live longer than any put allows. So when time goes backwards every chunk is
 * due once more, and what expires too far away is clamped.
 */
#include "table/internal.h"

#include <errno.h>

#define SWEEP_CHUNK_BITS_MIN 15
#define SWEEP_CHUNKS_WANTED 1024
_Static_assert(RECORD_BYTES_MAX <= 1 << SWEEP_CHUNK_BITS_MIN, "a record starts in every chunk");

int sweep_init(struct sweep *sweep, uint64_t log_bytes, int64_t now_s)
{
	unsigned bits = SWEEP_CHUNK_BITS_MIN;
	size_t n_chunks = 1;

	while (log_bytes >> bits > SWEEP_CHUNKS_WANTED)
		bits++;
	while (n_chunks < (log_bytes >> bits) + 2)
		n_chunks *= 2;
	sweep->chunks = calloc(n_chunks, sizeof(*sweep->chunks));
	if (!sweep->chunks)
		return -ENOMEM;
	sweep->n_chunks = n_chunks;
	sweep->chunk_bits = bits;
	sweep->running = false;
	sweep->now_s = now_s;
	return 0;
}

void sweep_deinit(struct sweep *sweep)
{
	free(sweep->chunks);
	sweep->chunks = NULL;
}

/* Forgets everything: the log is empty. */
void sweep_reset(struct sweep *sweep)
{
	memset(sweep->chunks, 0, sweep->n_chunks * sizeof(*sweep->chunks));
	sweep->running = false;
}

static struct sweep_chunk *sweep_chunk(struct sweep *sweep, uint64_t number)
{
	return &sweep->chunks[number & (sweep->n_chunks - 1)];
}

/* A record starts at `position`. Called for each in order of position, and again for one looked through. */
void sweep_note(struct sweep *sweep, uint64_t position, int64_t expires_s)
{
	uint64_t number = position >> sweep->chunk_bits;
	struct sweep_chunk *chunk = sweep_chunk(sweep, number);

	if (chunk->first >> sweep->chunk_bits != number) {
		chunk->first = position;
		chunk->due_s = INT64_MAX;
	}
	chunk->due_s = MIN(chunk->due_s, expires_s);
}

/* Decides on the record where the pass stands, and steps over it. */
static void sweep_record(struct table *table, int64_t now_s)
{
	struct sweep *sweep = &table->sweep;
	const word_t *record = log_at(table, sweep->position);
	struct record_meta meta = record_meta_unpack(word_load(&record[RECORD_META]));
	uint64_t position = sweep->position;
	int64_t expires_s;

	sweep->position += meta.bytes;
	if (!(word_load(&record[RECORD_STAMP]) & RECORD_LIVE))
		return;
	expires_s = log_clamp(table, position, now_s);
	if (expires_s > now_s) {
		sweep_note(sweep, position, expires_s);
		return;
	}
	if (!(meta.flags & TABLE_TOMBSTONE))
		table->header->n_expired++;
	index_kill_record(table, position);
}

/* Enters the chunk where the pass stands, or skips it (false) because nothing in it is due. */
static bool sweep_enter(struct sweep *sweep, int64_t now_s)
{
	uint64_t number = sweep->position >> sweep->chunk_bits;
	struct sweep_chunk *chunk = sweep_chunk(sweep, number);
	struct sweep_chunk *next = sweep_chunk(sweep, number + 1);

	if (chunk->due_s <= now_s) {
		sweep->chunk = number;
		chunk->due_s = INT64_MAX; /* until sweep_record() has met those that stay */
		return true;
	}
	sweep->position = next->first >> sweep->chunk_bits == number + 1 ? next->first : UINT64_MAX;
	return false;
}

/* Goes on with the pass, or begins one; true if `n_max` records were not enough to end it. */
static bool sweep_run(struct table *table, int64_t now_s, size_t n_max)
{
	struct sweep *sweep = &table->sweep;

	if (!sweep->running) {
		sweep->position = writer_tail(table);
		sweep->end_chunk = writer_head(table) >> sweep->chunk_bits;
		sweep->chunk = 0;
		sweep->running = true;
	}
	for (;;) {
		/* What the tail has overtaken is gone. */
		sweep->position = MAX(sweep->position, writer_tail(table));
		if (sweep->position >= writer_head(table) ||
		    sweep->position >> sweep->chunk_bits > sweep->end_chunk)
			break;
		if (sweep->position >> sweep->chunk_bits != sweep->chunk &&
		    !sweep_enter(sweep, now_s))
			continue;
		if (n_max-- == 0)
			return true;
		sweep_record(table, now_s);
	}
	sweep->running = false;
	return false;
}

static void sweep_watch_clock(struct sweep *sweep, int64_t now_s)
{
	if (now_s < sweep->now_s) {
		for (size_t i = 0; i < sweep->n_chunks; i++)
			sweep->chunks[i].due_s = INT64_MIN;
		sweep->running = false;
	}
	sweep->now_s = now_s;
}

bool table_expire(struct table *table, int64_t now_s, size_t n_max)
{
	uint64_t tail;

	sweep_watch_clock(&table->sweep, now_s);
	while ((tail = writer_tail(table)) != writer_head(table)) {
		const word_t *record = log_at(table, tail);

		if (word_load(&record[RECORD_STAMP]) & RECORD_LIVE &&
		    record_expires_s(record) > now_s)
			break;
		if (n_max == 0)
			return true;
		n_max--;
		log_drop_oldest(table, now_s);
	}
	return sweep_run(table, now_s, n_max);
}
