/* What the tests of the table share: a table in a directory of its own, and sessions made from numbers. */
#ifndef TLSBATON_TABLE_TEST_UTIL_H
#define TLSBATON_TABLE_TEST_UTIL_H

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "table/table.h"

#define NOW 1700000000

struct fixture {
	char directory[64];
	char path[80];
	struct table *table;
	struct table_view *view;
};

#define must(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* In shared memory where there is some, as in earnest. */
static inline void fixture_init(struct fixture *f)
{
	*f = (struct fixture){0};
	strcpy(f->directory, "/dev/shm/test-table-XXXXXX");
	if (!mkdtemp(f->directory)) {
		strcpy(f->directory, "/tmp/test-table-XXXXXX");
		must(mkdtemp(f->directory));
	}
	snprintf(f->path, sizeof(f->path), "%s/table", f->directory);
}

static inline int fixture_open(struct fixture *f, uint64_t size_bytes, int64_t now_s, char *why,
                               size_t why_size)
{
	int fd, r;

	r = table_open(&f->table, f->path, size_bytes, false, now_s, why, why_size);
	if (r < 0)
		return r;
	fd = table_fd(f->table);
	must(fd >= 0);
	must(table_view_open(&f->view, fd) == 0);
	close(fd);
	return r;
}

static inline void fixture_close(struct fixture *f)
{
	table_view_free(f->view);
	table_free(f->table);
	f->view = NULL;
	f->table = NULL;
}

static inline void fixture_deinit(struct fixture *f)
{
	fixture_close(f);
	unlink(f->path);
	must(rmdir(f->directory) == 0);
}

static inline uint64_t mix(uint64_t x) /* splitmix64 */
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static inline uint64_t next_random(uint64_t *state, uint64_t below)
{
	return mix((*state)++) % below;
}

/*
 * A session all of whose bytes follow from two numbers: its ID from `number`, its DER from both. The DER starts
 * with the generation, so that a DER mixed from two generations, or of another ID, gives itself away.
 */
struct session {
	uint8_t id[TABLE_ID_MAX];
	size_t n_id;
	uint8_t der[TABLE_DER_MAX];
	size_t n_der;
};

static inline void session_make(struct session *s, uint64_t number, uint64_t generation,
                                size_t n_id, size_t n_der)
{
	uint64_t word = 0;

	s->n_id = n_id;
	s->n_der = n_der;
	for (size_t i = 0; i < n_id; i++) {
		if (i % 8 == 0)
			word = mix(number * 8 + i / 8);
		s->id[i] = (uint8_t)(word >> i % 8 * 8);
	}
	for (size_t i = 0; i < n_der; i++) {
		if (i % 8 == 0)
			word = i == 0 ? generation : mix(mix(mix(number) + generation) + i);
		s->der[i] = (uint8_t)(word >> i % 8 * 8);
	}
}

static inline int session_put(struct table *table, const struct session *s, int64_t expires_s,
                              int64_t now_s, unsigned flags, uint64_t *end)
{
	bool tombstone = flags & TABLE_TOMBSTONE;
	struct table_record record = {
	    .id = s->id,
	    .n_id = s->n_id,
	    .der = tombstone ? NULL : s->der,
	    .n_der = tombstone ? 0 : s->n_der,
	    .expires_s = expires_s,
	    .flags = flags,
	};

	return table_put(table, &record, now_s, end);
}

/* 0 and the same DER, or TABLE_MISS; anything else aborts. */
static inline int session_get(const struct table_view *view, const struct session *s, int64_t now_s)
{
	static uint8_t der[TABLE_DER_MAX];
	size_t n_der;
	int r = table_view_get(view, s->id, s->n_id, now_s, der, sizeof(der), &n_der, NULL, NULL);

	must(r == TABLE_MISS || (r == 0 && n_der == s->n_der && memcmp(der, s->der, n_der) == 0));
	return r;
}

/* Whether `n_bytes` bytes stand anywhere in the file. */
static inline bool file_holds(int fd, const void *bytes, size_t n_bytes)
{
	_cleanup_(freep) uint8_t *contents = NULL;
	struct stat st;

	must(fstat(fd, &st) == 0);
	contents = malloc((size_t)st.st_size);
	must(contents && pread(fd, contents, (size_t)st.st_size, 0) == st.st_size);
	return memmem(contents, (size_t)st.st_size, bytes, n_bytes) != NULL;
}

static inline bool table_holds(const struct table *table, const void *bytes, size_t n_bytes)
{
	_cleanup_(closep) int fd = table_fd(table);

	must(fd >= 0);
	return file_holds(fd, bytes, n_bytes);
}

#endif
