/* Files: taken over, refused, rebuilt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "table/internal.h"
#include "table/test-util.h"

static struct session session;

/* Stands before the C library's: signals that interrupt the kernel's allocation, which it undoes then. */
static unsigned n_interruptions;

int posix_fallocate(int fd, off_t offset, off_t n_bytes)
{
	if (n_interruptions > 0) {
		n_interruptions--;
		return EINTR;
	}
	return fallocate(fd, 0, offset, n_bytes) < 0 ? errno : 0;
}

static int setup(void **state)
{
	static struct fixture f;

	fixture_init(&f);
	session_make(&session, 1, 1, 32, 130);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	fixture_deinit(*state);
	return 0;
}

/* A table with one session in it, closed. */
static void make_table(struct fixture *f)
{
	assert_int_equal(fixture_open(f, TABLE_SIZE_MIN, NOW, NULL, 0), TABLE_CREATED);
	assert_int_equal(session_put(f->table, &session, NOW + 10, NOW, 0, NULL), 0);
	fixture_close(f);
}

static void expect_rebuilt(struct fixture *f, uint64_t size_bytes, const char *reason)
{
	char why[128] = "";

	assert_int_equal(fixture_open(f, size_bytes, NOW, why, sizeof(why)), TABLE_REBUILT);
	if (reason)
		assert_string_equal(why, reason);
	assert_true(why[0] != '\0');
	assert_int_equal(session_get(f->view, &session, NOW), TABLE_MISS);
	assert_false(table_holds(f->table, session.der + 8, 32));
	assert_int_equal(session_put(f->table, &session, NOW + 10, NOW, 0, NULL), 0);
	assert_int_equal(session_get(f->view, &session, NOW), 0);
	fixture_close(f);
}

static void write_at(const struct fixture *f, const void *bytes, size_t n_bytes, off_t at)
{
	_cleanup_(closep) int fd = open(f->path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n_bytes, at), n_bytes);
}

static void flip_bit(const struct fixture *f, size_t byte, unsigned bit)
{
	_cleanup_(closep) int fd = open(f->path, O_RDWR | O_CLOEXEC);
	uint8_t b;

	assert_int_equal(pread(fd, &b, 1, (off_t)byte), 1);
	b ^= (uint8_t)(1 << bit);
	assert_int_equal(pwrite(fd, &b, 1, (off_t)byte), 1);
}

static void test_mode_and_space(void **state)
{
	struct fixture *f = *state;
	mode_t mask = umask(0);
	struct stat st;

	make_table(f);
	umask(mask);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_size, TABLE_SIZE_MIN);
	assert_true((uint64_t)st.st_blocks * 512 >= TABLE_SIZE_MIN);
}

static void test_signals_while_space_is_allocated(void **state)
{
	n_interruptions = 3;
	make_table(*state);
	assert_int_equal(n_interruptions, 0);
}

static void test_sizes(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;
	struct table *table = NULL;

	assert_int_equal(table_open(&table, f->path, LAYOUT_SIZE_MAX + 1, false, NOW, NULL, 0),
	                 -EFBIG);
	assert_int_equal(table_open(&table, f->path, UINT64_MAX, false, NOW, NULL, 0), -EFBIG);
	assert_int_not_equal(access(f->path, F_OK), 0);
	assert_int_equal(fixture_open(f, 1, NOW, NULL, 0), TABLE_CREATED);
	table_stats(f->table, &stats);
	assert_int_equal(stats.size_bytes, TABLE_SIZE_MIN);
	fixture_close(f);
	expect_rebuilt(f, TABLE_SIZE_MIN + 1, "it has another size");
}

/* A file system of its own size in the place of the directory, in this process's own mount namespace. False: it may not. */
static bool mount_small(const struct fixture *f, const char *size)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", f->directory, "tmpfs", 0, size) == 0;
}

/* In a child of its own, for it mounts; skipped where it may not, which needs root. */
static void expect_true_in_child(struct fixture *f, bool (*run)(struct fixture *f))
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(run(f) ? 0 : 77);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static bool run_out_of_space(struct fixture *f)
{
	struct table *table = NULL;

	if (!mount_small(f, "size=2m"))
		return false;
	must(table_open(&table, f->path, 4 * TABLE_SIZE_MIN, false, NOW, NULL, 0) == -ENOSPC);
	/* Nothing half made stays behind, */
	must(access(f->path, F_OK) < 0);
	must(table_open(&table, f->path, TABLE_SIZE_MIN, false, NOW, NULL, 0) == TABLE_CREATED);
	must(session_put(table, &session, NOW + 10, NOW, 0, NULL) == 0);
	table_free(table);
	table = NULL;
	/* also where a smaller one stood. */
	must(table_open(&table, f->path, 4 * TABLE_SIZE_MIN, false, NOW, NULL, 0) == -ENOSPC);
	must(table == NULL && access(f->path, F_OK) < 0);
	must(table_open(&table, f->path, TABLE_SIZE_MIN, false, NOW, NULL, 0) == TABLE_CREATED);
	table_free(table);
	return true;
}

static void test_no_space_is_an_error_at_start(void **state)
{
	expect_true_in_child(*state, run_out_of_space);
}

/* Locked where the limit allows it; beyond, an error. */
static void test_lock(void **state)
{
	struct fixture *f = *state;
	struct table *table = NULL;
	struct rlimit before;
	int r;

	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
	r = table_open(&table, f->path, TABLE_SIZE_MIN, true, NOW, NULL, 0);
	assert_true(r == TABLE_CREATED || r == -ENOMEM || r == -EPERM);
	table_free(table);
	table = NULL;
	if (geteuid() == 0)
		return;
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){.rlim_max = before.rlim_max}),
	                 0);
	r = table_open(&table, f->path, TABLE_SIZE_MIN, true, NOW, NULL, 0);
	assert_true(r == -ENOMEM || r == -EPERM);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
}

static void test_bad_paths(void **state)
{
	struct fixture *f = *state;
	struct table *table = NULL;
	char other[96], long_path[5000];

	assert_int_equal(table_open(&table, f->directory, TABLE_SIZE_MIN, false, NOW, NULL, 0),
	                 -EISDIR);
	assert_int_equal(table_open(&table, "/nowhere/table", TABLE_SIZE_MIN, false, NOW, NULL, 0),
	                 -ENOENT);
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	assert_int_equal(table_open(&table, long_path, TABLE_SIZE_MIN, false, NOW, NULL, 0),
	                 -ENAMETOOLONG);
	snprintf(other, sizeof(other), "%s/other", f->directory);
	assert_int_equal(symlink(other, f->path), 0);
	assert_int_equal(table_open(&table, f->path, TABLE_SIZE_MIN, false, NOW, NULL, 0), -ELOOP);
	assert_int_not_equal(access(other, F_OK), 0);
	unlink(f->path);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_int_equal(table_open(&table, f->path, TABLE_SIZE_MIN, false, NOW, NULL, 0), -EINVAL);
	assert_null(table);
}

static void test_take_over(void **state)
{
	struct fixture *f = *state;
	struct table_stats before, after;
	uint64_t epoch, head;
	struct session s;

	assert_int_equal(fixture_open(f, TABLE_SIZE_MIN, NOW, NULL, 0), TABLE_CREATED);
	for (uint64_t i = 0; i < 10000; i++) {
		session_make(&s, i, 1, 32, 130);
		assert_int_equal(session_put(f->table, &s, NOW + 10, NOW, 0, NULL), 0);
	}
	assert_int_equal(session_put(f->table, &s, NOW + 10, NOW, TABLE_TOMBSTONE, NULL), 0);
	epoch = table_epoch(f->table);
	head = table_head(f->table);
	table_stats(f->table, &before);
	table_free(f->table);
	f->table = NULL;
	/* The view goes on as it was, over the time without a writer and under the next one. */
	session_make(&s, 9998, 1, 32, 130);
	assert_int_equal(session_get(f->view, &s, NOW), 0);
	assert_int_equal(table_open(&f->table, f->path, TABLE_SIZE_MIN, false, NOW, NULL, 0), 0);
	table_stats(f->table, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_true(table_epoch(f->table) == epoch && table_head(f->table) == head);
	assert_int_equal(session_get(f->view, &s, NOW), 0);
	assert_int_equal(session_put(f->table, &s, NOW + 10, NOW, 0, NULL), TABLE_DUPLICATE);
	session_make(&s, 9999, 1, 32, 130);
	assert_int_equal(session_put(f->table, &s, NOW + 10, NOW, 0, NULL), TABLE_DUPLICATE);
	session_make(&s, 10000, 1, 32, 130);
	assert_int_equal(session_put(f->table, &s, NOW + 10, NOW, 0, NULL), 0);
	assert_int_equal(session_get(f->view, &s, NOW), 0);
}

static void test_second_writer(void **state)
{
	struct fixture *f = *state;
	struct table *second = NULL;
	pid_t child;
	int status;

	assert_int_equal(fixture_open(f, TABLE_SIZE_MIN, NOW, NULL, 0), TABLE_CREATED);
	assert_int_equal(session_put(f->table, &session, NOW + 10, NOW, 0, NULL), 0);
	assert_int_equal(table_open(&second, f->path, TABLE_SIZE_MIN, false, NOW, NULL, 0),
	                 -EWOULDBLOCK);
	/* Another size does not let it in either; closing another descriptor of the file does not unlock. */
	close(open(f->path, O_RDONLY | O_CLOEXEC));
	child = fork();
	if (child == 0)
		_exit(table_open(&second, f->path, 2 * TABLE_SIZE_MIN, false, NOW, NULL, 0) !=
		      -EWOULDBLOCK);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(session_get(f->view, &session, NOW), 0);
}

static void test_descriptor_is_read_only(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int fd = -1;

	assert_int_equal(fixture_open(f, TABLE_SIZE_MIN, NOW, NULL, 0), TABLE_CREATED);
	fd = table_fd(f->table);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), -1);
}

static void test_foreign_files(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "not a session table, but somebody's notes";
	int fd;

	fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
	close(fd);
	expect_rebuilt(f, TABLE_SIZE_MIN, "it has another size");
	unlink(f->path);
	fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
	assert_int_equal(ftruncate(fd, TABLE_SIZE_MIN), 0);
	close(fd);
	expect_rebuilt(f, TABLE_SIZE_MIN, "it is not a session table");
}

static void test_truncated_and_grown(void **state)
{
	struct fixture *f = *state;

	make_table(f);
	assert_int_equal(truncate(f->path, TABLE_SIZE_MIN - 4096), 0);
	expect_rebuilt(f, TABLE_SIZE_MIN, "it has another size");
	assert_int_equal(truncate(f->path, TABLE_SIZE_MIN + 4096), 0);
	expect_rebuilt(f, TABLE_SIZE_MIN, "it has another size");
	/* Of the size that is asked for now, but not of the one that its header tells. */
	assert_int_equal(truncate(f->path, TABLE_SIZE_MIN + 4096), 0);
	expect_rebuilt(f, TABLE_SIZE_MIN + 4096, "its header does not fit its size");
}

static void test_others_could_open_it(void **state)
{
	struct fixture *f = *state;

	make_table(f);
	assert_int_equal(chmod(f->path, 0644), 0);
	expect_rebuilt(f, TABLE_SIZE_MIN, "its mode is not 0600");
	if (geteuid() == 0) {
		assert_int_equal(chown(f->path, 1, (gid_t)-1), 0);
		expect_rebuilt(f, TABLE_SIZE_MIN, "it belongs to another user");
	}
}

static void test_other_layout_and_boot(void **state)
{
	struct fixture *f = *state;
	struct layout_header header;
	struct layout layout;
	uint64_t boot[2] = {1, 2};
	int fd;

	make_table(f);
	flip_bit(f, offsetof(struct layout_header, version), 1);
	expect_rebuilt(f, TABLE_SIZE_MIN, "it has another layout version");
	memset(&header, 0, sizeof(header));
	assert_true(layout_init(&layout, TABLE_SIZE_MIN));
	layout_header_init(&header, &layout, TABLE_SIZE_MIN, 1, 1, boot);
	write_at(f, &header, sizeof(header), 0);
	expect_rebuilt(f, TABLE_SIZE_MIN, "it is from before the machine's last boot");
	/* A reader takes the file of any boot, for its writer has decided that; but not another layout. */
	fd = open(f->path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(table_view_open(&f->view, fd), 0);
	table_view_free(f->view);
	f->view = NULL;
	flip_bit(f, offsetof(struct layout_header, version), 1);
	assert_int_equal(table_view_open(&f->view, fd), -EPROTO);
	assert_null(f->view);
	close(fd);
}

static void test_damage_to_the_header(void **state)
{
	struct fixture *f = *state;

	make_table(f);
	for (size_t byte = 0; byte < offsetof(struct layout_header, checksum) + 8; byte++) {
		flip_bit(f, byte, byte * 5 % 8);
		expect_rebuilt(f, TABLE_SIZE_MIN, NULL);
	}
	for (size_t bit = 0; bit < 64; bit += 3) {
		flip_bit(f, offsetof(struct layout_header, tail) + bit / 8, bit % 8);
		expect_rebuilt(f, TABLE_SIZE_MIN, NULL);
		flip_bit(f, offsetof(struct layout_header, head) + bit / 8, bit % 8);
		expect_rebuilt(f, TABLE_SIZE_MIN, NULL);
	}
	write_at(f, &(uint64_t){0}, 8, offsetof(struct layout_header, epoch));
	expect_rebuilt(f, TABLE_SIZE_MIN, "it has no epoch");
}

static void test_every_bit_of_a_record_header(void **state)
{
	struct fixture *f = *state;
	struct layout layout;

	make_table(f);
	assert_true(layout_init(&layout, TABLE_SIZE_MIN));
	for (size_t bit = 0; bit < (size_t)RECORD_TIMES * 64; bit++) {
		flip_bit(f, layout.log_offset + bit / 8, bit % 8);
		expect_rebuilt(f, TABLE_SIZE_MIN, "its log is damaged");
	}
	/* An expiry beyond the longest lifetime is clamped as in a put. */
	write_at(f, &(uint64_t){INT64_MAX}, 8, (off_t)layout.log_offset + RECORD_TIMES * 8);
	assert_int_equal(fixture_open(f, TABLE_SIZE_MIN, NOW, NULL, 0), 0);
	assert_int_equal(session_get(f->view, &session, NOW + TABLE_LIFETIME_MAX_S - 1), 0);
	assert_int_equal(session_get(f->view, &session, NOW + TABLE_LIFETIME_MAX_S), TABLE_MISS);
}

/* Garbage in the index hides sessions until the next writer mends it, and never gives a wrong one. */
static void test_garbage_in_the_index(void **state)
{
	struct fixture *f = *state;
	struct layout layout;
	struct session s;
	uint64_t *garbage;
	int fd;

	assert_true(layout_init(&layout, TABLE_SIZE_MIN));
	garbage = malloc(layout.log_offset - LAYOUT_HEADER_BYTES);
	for (int kind = 0; kind < 3; kind++) {
		unlink(f->path);
		make_table(f);
		for (size_t i = 0; i < layout.n_buckets * LAYOUT_SLOTS; i++)
			garbage[i] = kind == 0 ? 0 : kind == 1 ? UINT64_MAX : mix(i);
		write_at(f, garbage, layout.n_buckets * LAYOUT_BUCKET_BYTES, LAYOUT_HEADER_BYTES);
		fd = open(f->path, O_RDONLY | O_CLOEXEC);
		assert_int_equal(table_view_open(&f->view, fd), 0);
		close(fd);
		assert_int_equal(session_get(f->view, &session, NOW), TABLE_MISS);
		table_view_free(f->view);
		f->view = NULL;
		assert_int_equal(fixture_open(f, TABLE_SIZE_MIN, NOW, NULL, 0), 0);
		assert_int_equal(session_get(f->view, &session, NOW), 0);
		for (uint64_t i = 2; i < 10000; i++) {
			session_make(&s, i, 1, 32, 130);
			assert_int_equal(session_put(f->table, &s, NOW + 10, NOW, 0, NULL), 0);
			assert_int_equal(session_get(f->view, &s, NOW), 0);
		}
		fixture_close(f);
	}
	free(garbage);
}

/* Whoever still maps a replaced file reads an empty one. */
static void test_old_mappings_read_as_empty(void **state)
{
	struct fixture *f = *state;
	struct fixture next;
	_cleanup_(closep) int old_fd = -1;

	assert_int_equal(fixture_open(f, TABLE_SIZE_MIN, NOW, NULL, 0), TABLE_CREATED);
	assert_int_equal(session_put(f->table, &session, NOW + 10, NOW, 0, NULL), 0);
	old_fd = table_fd(f->table);
	table_free(f->table);
	f->table = NULL;
	assert_true(file_holds(old_fd, session.der + 8, 32));
	assert_int_equal(session_get(f->view, &session, NOW), 0);
	next = *f;
	expect_rebuilt(&next, 2 * TABLE_SIZE_MIN, "it has another size");
	assert_false(file_holds(old_fd, session.der + 8, 32));
	assert_false(file_holds(old_fd, session.id, 32));
	assert_int_equal(session_get(f->view, &session, NOW), TABLE_MISS);
	table_view_each(f->view, NOW, NULL, NULL);
	assert_true(table_view_epoch(f->view) == 0);
}

static void count(void *arg, const struct table_session *s)
{
	(void)s;
	(*(unsigned *)arg)++;
}

/* Everything that a reader can do with a table that was replaced, while there is not a page left. */
static bool read_old_table_without_space(struct fixture *f)
{
	static uint8_t fill[4096];
	struct table *table = NULL;
	unsigned n_sessions = 0;
	struct session s;
	uint64_t end;
	char path[96];
	int fd;

	if (!mount_small(f, "size=4m"))
		return false;
	must(fixture_open(f, TABLE_SIZE_MIN, NOW, NULL, 0) == TABLE_CREATED);
	for (uint64_t i = 0; i < 20000; i++) {
		session_make(&s, i, 1, 32, 130);
		must(session_put(f->table, &s, NOW + 10, NOW, TABLE_LOCAL, &end) == 0);
	}
	table_free(f->table);
	f->table = NULL;
	must(table_open(&table, f->path, 2 * TABLE_SIZE_MIN, false, NOW, NULL, 0) == TABLE_REBUILT);
	snprintf(path, sizeof(path), "%s/fill", f->directory);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	while (write(fd, fill, sizeof(fill)) == sizeof(fill))
		;
	must(errno == ENOSPC);
	/* Many tags: those of zeros match what stands in an empty slot. */
	for (uint64_t i = 0; i < 500000; i++) {
		session_make(&s, i, 1, 32, 8);
		must(session_get(f->view, &s, NOW) == TABLE_MISS);
	}
	/* What was found a moment before. */
	for (uint64_t position = end; position > end - TABLE_SIZE_MIN / 2; position -= LAYOUT_UNIT)
		must(table_view_is_acked(f->view, position));
	table_view_each(f->view, NOW, count, &n_sessions);
	must(n_sessions == 0);
	table_free(table);
	return true;
}

static void test_old_mappings_need_no_space(void **state)
{
	expect_true_in_child(*state, read_old_table_without_space);
}

static void test_leftover_of_a_replacement(void **state)
{
	struct fixture *f = *state;
	char leftover[96];

	make_table(f);
	snprintf(leftover, sizeof(leftover), "%s.new", f->path);
	assert_int_equal(symlink("/nowhere", leftover), 0);
	expect_rebuilt(f, 2 * TABLE_SIZE_MIN, NULL);
	assert_int_not_equal(access(leftover, F_OK), 0);
}

static void test_views_of_other_files(void **state)
{
	struct fixture *f = *state;
	struct table_view *view = NULL;
	int fd;

	assert_int_equal(table_view_open(&view, -1), -EBADF);
	fd = open(f->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(table_view_open(&view, fd), -EPROTO);
	close(fd);
	fd = open(f->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_int_equal(table_view_open(&view, fd), -EPROTO);
	assert_int_equal(ftruncate(fd, TABLE_SIZE_MIN), 0);
	assert_int_equal(table_view_open(&view, fd), -EPROTO);
	assert_int_equal(ftruncate(fd, TABLE_SIZE_MIN + 1), 0);
	assert_int_equal(table_view_open(&view, fd), -EPROTO);
	close(fd);
	assert_null(view);
	table_view_free(NULL);
	table_free(NULL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_mode_and_space),
	    TEST(test_signals_while_space_is_allocated),
	    TEST(test_sizes),
	    TEST(test_no_space_is_an_error_at_start),
	    TEST(test_lock),
	    TEST(test_bad_paths),
	    TEST(test_take_over),
	    TEST(test_second_writer),
	    TEST(test_descriptor_is_read_only),
	    TEST(test_foreign_files),
	    TEST(test_truncated_and_grown),
	    TEST(test_others_could_open_it),
	    TEST(test_other_layout_and_boot),
	    TEST(test_damage_to_the_header),
	    TEST(test_every_bit_of_a_record_header),
	    TEST(test_garbage_in_the_index),
	    TEST(test_old_mappings_read_as_empty),
	    TEST(test_old_mappings_need_no_space),
	    TEST(test_leftover_of_a_replacement),
	    TEST(test_views_of_other_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
