/*
 * A damaged table file, opened by a reader and by a writer that takes it over, rebuilds it, or refuses it.
 *
 * The input edits a good file: each 12 bytes are {where, offset, value}, `where` choosing among header, index, a
 * record and anywhere. Bit 7 of the first byte asks for the header's checksum to be made right again, so that
 * edits get past it. Whatever the file says, nothing may read or write outside the mapping, loop, or hand out
 * more than it could hold; and once a writer has it, it must be a table like any other.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <unistd.h>

#include "table/internal.h"
#include "table/test-util.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define N_SESSIONS 6000 /* more than fit: the ring has turned */
#define EDIT_BYTES 12

static _Alignas(LAYOUT_HEADER_BYTES) uint8_t image[TABLE_SIZE_MIN];
static char path[] = "/dev/shm/fuzz-table-XXXXXX";

static void put_number(struct table *table, uint64_t number, unsigned flags)
{
	static struct session s;

	session_make(&s, number, 1, number % 4 ? 32 : 8, number % 100 ? 130 : 5000);
	FUZZ_CHECK(session_put(table, &s, NOW + 10 + (int64_t)(number % 50), NOW, flags, NULL) >=
	           0);
}

/* The same file in each run: a fixed seed and epoch. */
static void make_image(void)
{
	struct layout layout;
	uint64_t boot[2];
	struct table *table;
	int fd = mkstemp(path);

	FUZZ_CHECK(fd >= 0 && layout_init(&layout, TABLE_SIZE_MIN));
	file_boot_id(boot);
	layout_header_init((struct layout_header *)(void *)image, &layout, TABLE_SIZE_MIN, 1, 1,
	                   boot);
	FUZZ_CHECK(pwrite(fd, image, sizeof(image), 0) == sizeof(image));
	FUZZ_CHECK(table_open(&table, path, TABLE_SIZE_MIN, false, NOW, NULL, 0) == 0);
	for (uint64_t i = 0; i < N_SESSIONS; i++)
		put_number(table, i, 0);
	for (uint64_t i = N_SESSIONS - 500; i < N_SESSIONS; i += 7)
		put_number(table, i, TABLE_TOMBSTONE);
	while (table_expire(table, NOW + 15, 1000))
		;
	table_free(table);
	FUZZ_CHECK(pread(fd, image, sizeof(image), 0) == sizeof(image));
	close(fd);
	unlink(path);
}

static size_t edit_offset(uint8_t where, uint32_t offset)
{
	struct layout layout;
	uint64_t tail;

	FUZZ_CHECK(layout_init(&layout, TABLE_SIZE_MIN));
	memcpy(&tail, image + offsetof(struct layout_header, tail), sizeof(tail));
	switch (where % 4) {
	case 0:
		return offset % sizeof(struct layout_header);
	case 1:
		return LAYOUT_HEADER_BYTES + offset % (layout.n_buckets * LAYOUT_BUCKET_BYTES);
	case 2: /* in or near the oldest records */
		return layout.log_offset + (tail + offset % 4096) % layout.log_bytes;
	default:
		return offset % TABLE_SIZE_MIN;
	}
}

static void edit(uint8_t *file, const uint8_t *data, size_t n_data)
{
	bool mend = n_data && data[0] & 0x80;
	uint64_t checksum;

	for (; n_data >= EDIT_BYTES; data += EDIT_BYTES, n_data -= EDIT_BYTES) {
		uint32_t offset = data[1] | (uint32_t)data[2] << 8 | (uint32_t)data[3] << 16;
		size_t at = edit_offset(data[0], offset);
		size_t n = MIN((size_t)1 << (data[0] >> 2 & 3), TABLE_SIZE_MIN - at);

		memcpy(file + at, data + 4, n);
	}
	if (mend) {
		checksum = XXH3_64bits(file, offsetof(struct layout_header, checksum));
		memcpy(file + offsetof(struct layout_header, checksum), &checksum,
		       sizeof(checksum));
	}
}

static void count(void *arg, const struct table_session *session)
{
	FUZZ_CHECK(session->n_der <= TABLE_DER_MAX);
	++*(uint64_t *)arg;
}

static uint64_t read_all(const struct table_view *view)
{
	static uint8_t der[TABLE_DER_MAX];
	struct session s;
	uint64_t n = 0;
	size_t n_der;

	for (uint64_t i = N_SESSIONS - 600; i < N_SESSIONS + 5; i++) {
		session_make(&s, i, 1, i % 4 ? 32 : 8, 0);
		if (table_view_get(view, s.id, s.n_id, NOW, der, sizeof(der), &n_der, NULL, NULL) ==
		    0)
			FUZZ_CHECK(n_der >= 1 && n_der <= TABLE_DER_MAX);
	}
	table_view_each(view, INT64_MIN, count, &n);
	FUZZ_CHECK(n <= TABLE_SIZE_MIN / 32);
	return n;
}

static void write_all(struct table *table, const struct table_view *view)
{
	uint64_t position = table_tail(table), n_passed = 0;
	struct table_record record;
	struct table_stats stats;
	int r;

	while ((r = table_next(table, &position, &record, &n_passed)) == 0)
		FUZZ_CHECK(record.n_id >= 1 && record.n_id <= TABLE_ID_MAX &&
		           record.n_der <= TABLE_DER_MAX);
	table_stats(table, &stats);
	FUZZ_CHECK(r == TABLE_END && n_passed == stats.n_in_log);
	FUZZ_CHECK(read_all(view) <= stats.n_live && stats.used_bytes <= stats.log_bytes);
	(void)table_expire(table, NOW + 20, 10000);
	for (uint64_t i = N_SESSIONS; i < N_SESSIONS + 300; i++)
		put_number(table, i, i % 3 ? 0 : TABLE_TOMBSTONE);
	while (table_expire(table, NOW + TABLE_LIFETIME_MAX_S, 10000))
		;
	table_stats(table, &stats);
	FUZZ_CHECK(stats.n_live == 0 && stats.used_bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	static uint8_t file[TABLE_SIZE_MIN];
	struct table_view *view = NULL, *own_view;
	struct table *table;
	int fd, r;

	if (image[0] == 0)
		make_image();
	memcpy(file, image, sizeof(file));
	edit(file, data, n_data);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0 && pwrite(fd, file, sizeof(file), 0) == sizeof(file));
	if (table_view_open(&view, fd) == 0)
		(void)read_all(view);
	close(fd);
	r = table_open(&table, path, TABLE_SIZE_MIN, false, NOW, NULL, 0);
	FUZZ_CHECK(r == 0 || r == TABLE_REBUILT);
	fd = table_fd(table);
	FUZZ_CHECK(fd >= 0 && table_view_open(&own_view, fd) == 0);
	close(fd);
	write_all(table, own_view);
	if (view)
		(void)read_all(view); /* what it maps was taken over, or wiped */
	table_view_free(view);
	table_view_free(own_view);
	table_free(table);
	unlink(path);
	return 0;
}
