/* The writer's side of a table, shared by the files that implement it. */
#ifndef TLSBATON_TABLE_INTERNAL_H
#define TLSBATON_TABLE_INTERNAL_H

#include "table/key.h"

/* A stretch of the log, for the sweep: see sweep.c. */
struct sweep_chunk {
	uint64_t first; /* position of the first record that starts in it */
	int64_t due_s;  /* no live record in it expires earlier */
};

struct sweep {
	struct sweep_chunk *chunks;
	size_t n_chunks;     /* a power of two */
	unsigned chunk_bits; /* a chunk has 2^chunk_bits bytes */
	bool running;
	uint64_t position;  /* where the pass stands */
	uint64_t chunk;     /* number of the chunk that is being looked through; 0: none */
	uint64_t end_chunk; /* number of the last one of this pass */
	int64_t now_s;      /* when table_expire() was last called, or the table opened */
};

/* Bytes evicted before their time, by when that would have been: see wanted.c. */
#define WANTED_SLOT_BITS 6 /* 64 seconds a slot */
#define WANTED_SLOTS ((TABLE_LIFETIME_MAX_S >> WANTED_SLOT_BITS) + 2)
struct wanted {
	uint64_t bytes[WANTED_SLOTS];
	uint64_t sum;
	int64_t slot; /* the earliest that may hold something */
};

struct table {
	int fd;           /* holds the lock */
	int read_only_fd; /* of the same file, for table_fd() to duplicate */
	uint64_t size_bytes;
	struct layout_header *header; /* the mapping */
	struct layout layout;
	uint64_t seed;
	word_t *index;
	word_t *log;
	uint64_t n_live;
	uint64_t n_in_log;
	struct sweep sweep;
	struct wanted wanted;
};

static inline uint64_t writer_head(const struct table *table)
{
	return atomic_load_explicit(&table->header->head,
	                            memory_order_relaxed); /* own store: no partner */
}

static inline uint64_t writer_tail(const struct table *table)
{
	return atomic_load_explicit(&table->header->tail,
	                            memory_order_relaxed); /* own store: no partner */
}

/* The words of the record at `position`. */
static inline word_t *log_at(const struct table *table, uint64_t position)
{
	return table->log + position % table->layout.log_bytes / 8;
}

/* log.c */
bool log_record_check(const struct table *table, uint64_t position, struct record_meta *meta,
                      bool *live);
uint64_t log_append(struct table *table, const struct key *key, const struct table_record *record,
                    int64_t expires_s, int64_t now_s);
void log_key(const struct table *table, uint64_t position, struct key *key);
int64_t log_clamp(const struct table *table, uint64_t position, int64_t now_s);
void log_kill(struct table *table, uint64_t position);
void log_drop_oldest(struct table *table, int64_t now_s);
void log_wipe(struct table *table, uint64_t position, uint64_t n_bytes);

/* index.c */
void index_prefetch(const struct table *table, const struct key *key);
word_t *index_find(const struct table *table, const struct key *key);
void index_replace(word_t *slot, const struct key *key, uint64_t position);
void index_insert(struct table *table, const struct key *key, uint64_t position);
void index_clear(struct table *table);
void index_kill_record(struct table *table, uint64_t position);

/* file.c */
int file_open(int *fd, const char *path) MUST_CHECK;
int file_open_read_only(int *fd, const char *path, int writer_fd) MUST_CHECK;
int file_replace(int *fd, const char *path) MUST_CHECK;
int file_size(int fd, uint64_t size_bytes) MUST_CHECK;
const char *file_check_owner(int fd);
void file_boot_id(uint64_t boot[2]);

/* recover.c */
const char *recover(struct table *table, int64_t now_s);

/* sweep.c */
int sweep_init(struct sweep *sweep, uint64_t log_bytes, int64_t now_s) MUST_CHECK;
void sweep_deinit(struct sweep *sweep);
void sweep_reset(struct sweep *sweep);
void sweep_note(struct sweep *sweep, uint64_t position, int64_t expires_s);

/* wanted.c */
void wanted_add(struct wanted *wanted, uint64_t n_bytes, int64_t expires_s, int64_t now_s);
uint64_t wanted_bytes(struct wanted *wanted, int64_t now_s);

#endif
