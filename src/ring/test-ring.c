#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ring/ring.h"

struct fixture {
	int fd;
	struct ring_page *page;
	uint8_t *data;
	size_t data_bytes;
	struct ring_producer producer;
	struct ring_consumer consumer;
	uint64_t seq;
	uint8_t id[RING_ID_MAX];
	uint8_t der[RING_DER_MAX];
	uint8_t copy[RING_COPY_BYTES];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->fd = -1;
	assert_int_equal(ring_create(RING_BYTES_MIN, &f->fd), 0);
	assert_int_equal(ring_map(f->fd, &f->page, &f->data), 0);
	f->data_bytes = RING_BYTES_MIN;
	ring_producer_init(&f->producer, f->page, f->data);
	assert_int_equal(ring_consumer_init(&f->consumer, f->page, f->data, f->data_bytes, f->copy),
	                 0);
	for (size_t i = 0; i < sizeof(f->der); i++)
		f->der[i] = (uint8_t)(i * 7 + 1);
	memset(f->id, 0x5a, sizeof(f->id));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ring_unmap_page(f->page);
	ring_unmap_data(f->data, f->data_bytes, true);
	closep(&f->fd);
	free(f);
	return 0;
}

static int put(struct fixture *f, size_t n_id, size_t n_der)
{
	struct ring_notice notice = {.kind = n_der ? RING_PUT : RING_REMOVE,
	                             .seq = f->seq + 1,
	                             .expires_s = 1000 + (int64_t)f->seq,
	                             .id = f->id,
	                             .n_id = n_id,
	                             .der = n_der ? f->der : NULL,
	                             .n_der = n_der};
	int r = ring_put(&f->producer, &notice);

	if (r == 0)
		f->seq++;
	return r;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

/* ---- What it is for ---- */

static void test_a_notice_arrives_whole_and_is_wiped(void **state)
{
	struct fixture *f = *state;
	struct ring_notice notice;

	assert_int_equal(ring_next(&f->consumer, &notice), RING_EMPTY);
	assert_int_equal(put(f, 32, 130), 0);
	assert_int_equal(put(f, 1, 0), 0);
	assert_int_equal(ring_next(&f->consumer, &notice), 0);
	assert_int_equal(notice.kind, RING_PUT);
	assert_int_equal(notice.seq, 1);
	assert_int_equal(notice.expires_s, 1000);
	assert_int_equal(notice.n_id, 32);
	assert_memory_equal(notice.id, f->id, 32);
	assert_int_equal(notice.n_der, 130);
	assert_memory_equal(notice.der, f->der, 130);
	assert_int_equal(ring_next(&f->consumer, &notice), 0);
	assert_int_equal(notice.kind, RING_REMOVE);
	assert_int_equal(notice.seq, 2);
	assert_null(notice.der);
	assert_int_equal(ring_next(&f->consumer, &notice), RING_EMPTY);
	assert_false(is_zero(f->data, f->data_bytes));
	ring_release(&f->consumer);
	assert_true(is_zero(f->data, f->data_bytes));
	assert_true(is_zero(f->copy, sizeof(f->copy)));
	assert_int_equal(atomic_load(&f->page->tail), atomic_load(&f->page->head));
}

static void test_a_mark_has_a_number_and_nothing_else(void **state)
{
	struct fixture *f = *state;
	struct ring_notice mark = {.kind = RING_MARK, .seq = 2}, notice;

	assert_int_equal(put(f, 32, 130), 0);
	assert_int_equal(ring_put(&f->producer, &mark), 0);
	f->seq = 2;
	assert_int_equal(put(f, 32, 0), 0);
	for (uint64_t seq = 1; seq <= 3; seq++) {
		assert_int_equal(ring_next(&f->consumer, &notice), 0);
		assert_int_equal(notice.seq, seq);
		assert_int_equal(notice.kind == RING_MARK, seq == 2);
		assert_int_equal(notice.n_id, seq == 2 ? 0 : 32);
		assert_int_equal(notice.id == NULL, seq == 2);
	}
	mark.id = f->id;
	mark.n_id = 1;
	assert_int_equal(ring_put(&f->producer, &mark), -EINVAL);
}

static void test_every_length_at_every_offset(void **state)
{
	struct fixture *f = *state;
	struct ring_notice notice;
	uint32_t random = 1;

	for (unsigned i = 0; i < 20000; i++) {
		size_t n_id, n_der;

		random = random * 1664525 + 1013904223;
		n_id = 1 + (random >> 8) % RING_ID_MAX;
		n_der = (random >> 16) % (i % 50 ? 300 : RING_DER_MAX + 1);
		assert_int_equal(put(f, n_id, n_der), 0);
		if (i % 3 == 0)
			assert_int_equal(put(f, n_id, n_der), 0);
		for (unsigned k = i % 3 ? 1 : 2; k > 0; k--) {
			assert_int_equal(ring_next(&f->consumer, &notice), 0);
			assert_int_equal(notice.n_id, n_id);
			assert_int_equal(notice.n_der, n_der);
			assert_memory_equal(notice.id, f->id, n_id);
			if (n_der)
				assert_memory_equal(notice.der, f->der, n_der);
		}
		assert_int_equal(ring_next(&f->consumer, &notice), RING_EMPTY);
		ring_release(&f->consumer);
	}
	assert_int_equal(f->consumer.seq, f->seq);
	assert_true(is_zero(f->data, f->data_bytes));
}

static void test_full_is_said_and_ends_when_the_daemon_takes(void **state)
{
	struct fixture *f = *state;
	struct ring_notice notice;
	unsigned n = 0;

	while (put(f, 32, 130) == 0)
		n++;
	assert_int_equal(put(f, 32, 130), RING_FULL);
	assert_in_range(n, RING_BYTES_MIN / 192 - 1, RING_BYTES_MIN / 192 + 1);
	/* Taken is not yet free: the bytes are still there. */
	assert_int_equal(ring_next(&f->consumer, &notice), 0);
	assert_int_equal(put(f, 32, 130), RING_FULL);
	ring_release(&f->consumer);
	assert_int_equal(ring_next(&f->consumer, &notice), 0);
	ring_release(&f->consumer);
	assert_int_equal(put(f, 32, 130), 0);
	for (unsigned i = 1; i < n; i++)
		assert_int_equal(ring_next(&f->consumer, &notice), 0);
	assert_int_equal(ring_next(&f->consumer, &notice), RING_EMPTY);
	assert_int_equal(notice.seq, f->seq);
}

static void test_lengths_out_of_range_are_not_put(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, 0, 10), -EINVAL);
	assert_int_equal(put(f, RING_ID_MAX + 1, 10), -EINVAL);
	assert_int_equal(put(f, 32, RING_DER_MAX + 1), -EINVAL);
	assert_int_equal(atomic_load(&f->page->head), 0);
	assert_int_equal(put(f, RING_ID_MAX, RING_DER_MAX), 0);
}

static void test_a_sleeper_is_woken_once(void **state)
{
	struct fixture *f = *state;
	struct ring_notice notice;

	assert_int_equal(put(f, 8, 8), 0);
	assert_false(ring_must_wake(f->page));
	assert_false(ring_sleep(&f->consumer)); /* there is something */
	assert_false(ring_must_wake(f->page));
	assert_int_equal(ring_next(&f->consumer, &notice), 0);
	assert_true(ring_sleep(&f->consumer));
	assert_int_equal(put(f, 8, 8), 0);
	assert_true(ring_must_wake(f->page));
	assert_false(ring_must_wake(f->page));
}

static void test_what_was_taken_but_not_released_is_found_again(void **state)
{
	struct fixture *f = *state;
	struct ring_consumer successor;
	struct ring_notice notice;

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(put(f, 32, 100), 0);
	assert_int_equal(ring_next(&f->consumer, &notice), 0);
	ring_release(&f->consumer);
	assert_int_equal(ring_next(&f->consumer, &notice), 0);
	/* The daemon dies here: the second is perhaps in its table, the third is not. */
	assert_int_equal(ring_consumer_init(&successor, f->page, f->data, f->data_bytes, f->copy),
	                 0);
	assert_int_equal(ring_next(&successor, &notice), 0);
	assert_int_equal(notice.seq, 2);
	assert_memory_equal(notice.der, f->der, 100);
	assert_int_equal(ring_next(&successor, &notice), 0);
	assert_int_equal(notice.seq, 3);
	assert_int_equal(ring_next(&successor, &notice), RING_EMPTY);
}

static size_t locked_kb(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];
	size_t kb = SIZE_MAX;

	assert_non_null(status);
	while (fgets(line, sizeof(line), status))
		if (strncmp(line, "VmLck:", 6) == 0)
			kb = strtoul(line + 6, NULL, 10);
	(void)fclose(status);
	assert_true(kb != SIZE_MAX);
	return kb;
}

static void test_the_data_is_locked(void **state)
{
	struct fixture *f = *state;
	struct ring_page *page;
	uint8_t *data;
	size_t before;
	int r;

	before = locked_kb();
	r = ring_lock(f->data, f->data_bytes);
	if (r == -EPERM || r == -ENOMEM)
		skip(); /* the limit is lower than one ring */
	assert_int_equal(r, 0);
	assert_int_equal(locked_kb(), before + f->data_bytes / 1024);
	assert_int_equal(ring_map_private(RING_BYTES_MIN, &page, &data), 0);
	assert_int_equal(locked_kb(), before + f->data_bytes / 1024 + RING_BYTES_MIN / 1024);
	ring_unmap_page(page);
	ring_unmap_data(data, RING_BYTES_MIN, true);
	assert_int_equal(locked_kb(), before + f->data_bytes / 1024);
}

/* A ring that cannot be locked is told of, and works. */
static void test_beyond_the_limit(void **state)
{
	static const struct rlimit none = {0};
	struct fixture *f = *state;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct ring_page *page;
		uint8_t *data;
		int r;

		if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || setuid(65534) < 0)
			_exit(2);
		r = ring_lock(f->data, f->data_bytes);
		if (r != -EPERM && r != -ENOMEM)
			_exit(3);
		_exit(ring_map_private(RING_BYTES_MIN, &page, &data) == 0 ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- A worker that lies ---- */

static void test_a_head_from_elsewhere(void **state)
{
	struct fixture *f = *state;
	const uint64_t heads[] = {1,          7, f->data_bytes + 8, UINT64_MAX, UINT64_MAX - 7,
	                          1ULL << 63, 8};
	struct ring_notice notice;

	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		atomic_store(&f->page->head, heads[i]);
		assert_int_equal(ring_next(&f->consumer, &notice), -EPROTO);
	}
}

static void test_a_head_that_goes_back(void **state)
{
	struct fixture *f = *state;
	struct ring_notice notice;

	assert_int_equal(put(f, 32, 100), 0);
	assert_int_equal(ring_next(&f->consumer, &notice), 0);
	ring_release(&f->consumer);
	atomic_store(&f->page->head, 0);
	assert_int_equal(ring_next(&f->consumer, &notice), -EPROTO);
}

static void lie(struct fixture *f, uint64_t word, uint64_t head)
{
	struct ring_notice notice;

	memcpy(f->data, &word, sizeof(word));
	memset(f->data + 8, 1, 16);
	f->data[23] = 0; /* a sequence number that would do */
	atomic_store(&f->page->head, head);
	assert_int_equal(ring_next(&f->consumer, &notice), -EPROTO);
	assert_int_equal(f->consumer.n_copied, 0);
}

static uint64_t word_of(unsigned kind, unsigned n_id, unsigned n_der)
{
	return kind | n_id << 8 | (uint64_t)n_der << 16;
}

static void test_headers_that_lie(void **state)
{
	struct fixture *f = *state;

	lie(f, word_of(0, 32, 100), 512);
	lie(f, word_of(RING_PUT, 0, 100), 512);
	lie(f, word_of(RING_PUT, 33, 100), 512);
	lie(f, word_of(RING_PUT, 32, 0), 512);
	lie(f, word_of(RING_PUT, 32, RING_DER_MAX + 1), 60000);
	lie(f, word_of(RING_PUT, 32, 0xffff), 65536);
	lie(f, word_of(RING_REMOVE, 32, 1), 512);
	lie(f, word_of(RING_MARK, 1, 0), 512);
	lie(f, word_of(RING_MARK, 0, 1), 512);
	lie(f, word_of(RING_PUT, 32, 500), 512); /* longer than what was published */
	lie(f, word_of(RING_SKIP, 0, 0), 65536);
	lie(f, word_of(RING_SKIP, 1, 0), 65536);
	lie(f, word_of(RING_PUT, 32, 100) | 1ULL << 32, 512);
	lie(f, word_of(99, 32, 100), 512);
	lie(f, UINT64_MAX, 65536);
}

static void notice_across_the_end(struct fixture *f, size_t n_der, size_t left)
{
	const uint64_t word = word_of(RING_PUT, 32, 100);
	const size_t step = 24 + 8 + n_der;
	struct ring_notice notice;

	while (f->producer.head + step <= f->data_bytes) {
		assert_int_equal(put(f, 8, n_der), 0);
		assert_int_equal(ring_next(&f->consumer, &notice), 0);
		ring_release(&f->consumer);
	}
	assert_int_equal(f->data_bytes - f->producer.head, left);
	memcpy(f->data + f->producer.head, &word, sizeof(word));
	atomic_store(&f->page->head, f->producer.head + 160);
	assert_int_equal(ring_next(&f->consumer, &notice), -EPROTO);
}

static void test_a_header_across_the_end(void **state)
{
	notice_across_the_end(*state, 40, 16);
}

static void test_a_notice_across_the_end(void **state)
{
	notice_across_the_end(*state, 104, 120);
}

static void test_sequence_numbers_only_grow(void **state)
{
	struct fixture *f = *state;
	struct ring_notice notice;

	assert_int_equal(put(f, 32, 100), 0);
	f->seq = 0;
	assert_int_equal(put(f, 32, 100), 0);
	assert_int_equal(ring_next(&f->consumer, &notice), 0);
	assert_int_equal(ring_next(&f->consumer, &notice), -EPROTO);
}

static void test_a_tail_from_elsewhere_is_a_full_ring(void **state)
{
	struct fixture *f = *state;
	int r;

	while (put(f, 32, 4000) == 0)
		;
	atomic_store(&f->page->tail, 1ULL << 40);
	assert_int_equal(put(f, 32, 4000), RING_FULL);
	atomic_store(&f->page->tail, f->producer.head);
	r = put(f, 32, 4000);
	assert_int_equal(r, 0);
}

static void test_no_ring_can_be_resized(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ftruncate(f->fd, 4096), -1);
	assert_int_equal(ftruncate(f->fd, 1 << 20), -1);
	assert_int_equal(fcntl(f->fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
}

static void test_what_is_no_ring_is_not_mapped(void **state)
{
	struct fixture *f = *state;
	struct ring_page *page = NULL;
	uint8_t *data = NULL;
	const size_t sizes[] = {0, 100, RING_PAGE_BYTES, RING_PAGE_BYTES + RING_BYTES_MIN - 1,
	                        RING_PAGE_BYTES + RING_BYTES_MIN + 4096};
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		fd = memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		assert_int_equal(ftruncate(fd, (off_t)sizes[i]), 0);
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
		                 0);
		assert_int_equal(ring_map(fd, &page, &data), -EPROTO);
		close(fd);
	}
	/* The right size, but another's, or not sealed. */
	fd = memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fd, RING_PAGE_BYTES + RING_BYTES_MIN), 0);
	assert_int_equal(ring_map(fd, &page, &data), -EPROTO);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	assert_int_equal(ring_map(fd, &page, &data), -EPROTO);
	close(fd);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(ring_map(fd, &page, &data), -EPROTO);
	close(fd);
	assert_null(page);
	assert_int_equal(ring_consumer_init(&f->consumer, f->page, f->data, f->data_bytes, f->copy),
	                 0);
	atomic_store(&f->page->taken, 8);
	assert_int_equal(ring_consumer_init(&f->consumer, f->page, f->data, f->data_bytes, f->copy),
	                 -EPROTO);
}

static void test_sizes_are_rounded(void **state)
{
	(void)state;
	assert_int_equal(ring_round(0), RING_BYTES_MIN);
	assert_int_equal(ring_round(RING_BYTES_MIN + 1), 2 * RING_BYTES_MIN);
	assert_int_equal(ring_round(1 << 20), 1 << 20);
	assert_int_equal(ring_round(SIZE_MAX), RING_BYTES_MAX);
}

/* ---- Acks, and both ends at once ---- */

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void test_acks(void **state)
{
	struct fixture *f = *state;

	assert_true(ring_acked(f->page, 0));
	assert_false(ring_acked(f->page, 1));
	assert_false(ring_wait(f->page, 1, now_us()));
	assert_false(ring_poll(f->page, 2));
	assert_true(ring_ack(f->page, 1));  /* polled: the worker must be told … */
	assert_false(ring_ack(f->page, 2)); /* … once */
	assert_true(ring_wait(f->page, 2, UINT64_MAX / 2));
	assert_true(ring_poll(f->page, 2));
}

static void test_waits_fall_into_buckets(void **state)
{
	struct fixture *f = *state;

	ring_count_wait(f->page, 0);
	ring_count_wait(f->page, 1);
	ring_count_wait(f->page, 1023);
	ring_count_wait(f->page, 1024);
	ring_count_wait(f->page, UINT64_MAX);
	assert_int_equal(atomic_load(&f->page->gate_wait_us[0]), 1);
	assert_int_equal(atomic_load(&f->page->gate_wait_us[1]), 1);
	assert_int_equal(atomic_load(&f->page->gate_wait_us[10]), 1);
	assert_int_equal(atomic_load(&f->page->gate_wait_us[11]), 1);
	assert_int_equal(atomic_load(&f->page->gate_wait_us[31]), 1);
}

#define N_RACE 30000

static void *consume(void *arg)
{
	struct fixture *f = arg;
	struct ring_notice notice;
	uint64_t last = 0;

	while (last < N_RACE) {
		int r = ring_next(&f->consumer, &notice);

		if (r < 0)
			return (void *)1;
		if (r == RING_EMPTY) {
			ring_release(&f->consumer);
			ring_ack(f->page, last);
			sched_yield();
			continue;
		}
		last = notice.seq;
		if (notice.n_der != 1 + last % 600 || notice.der[0] != f->der[0] ||
		    memcmp(notice.der, f->der, notice.n_der) != 0)
			return (void *)2;
		if (last % 64 == 0)
			ring_release(&f->consumer);
	}
	ring_ack(f->page, last);
	return NULL;
}

static void *wait_for_all(void *arg)
{
	struct fixture *f = arg;

	for (uint64_t seq = 1; seq <= N_RACE; seq += 97)
		while (!ring_wait(f->page, seq, now_us() + 1000000))
			;
	return NULL;
}

static void test_both_ends_at_once(void **state)
{
	struct fixture *f = *state;
	pthread_t consumer, waiter;
	void *result;

	assert_int_equal(pthread_create(&consumer, NULL, consume, f), 0);
	assert_int_equal(pthread_create(&waiter, NULL, wait_for_all, f), 0);
	while (f->seq < N_RACE)
		if (put(f, 1 + f->seq % 32, 1 + (f->seq + 1) % 600) == RING_FULL)
			sched_yield();
	assert_int_equal(pthread_join(consumer, &result), 0);
	assert_null(result);
	assert_int_equal(pthread_join(waiter, NULL), 0);
}

static void test_policies(void **state)
{
	struct ring_page *page = calloc(1, sizeof(*page));
	uint8_t told[RING_POLICIES_MAX][RING_POLICY_BYTES],
	    heard[RING_POLICIES_MAX][RING_POLICY_BYTES];
	uint32_t turn = 0;
	size_t n = 7;

	(void)state;
	for (size_t i = 0; i < RING_POLICIES_MAX; i++)
		memset(told[i], (int)i + 1, sizeof(told[i]));
	assert_false(ring_look_at_policies(page, &turn, heard, &n));
	ring_tell_policies(page, (const uint8_t(*)[RING_POLICY_BYTES])told, RING_POLICIES_MAX);
	assert_true(ring_look_at_policies(page, &turn, heard, &n));
	assert_int_equal(n, RING_POLICIES_MAX);
	assert_memory_equal(heard, told, sizeof(told));
	assert_false(ring_look_at_policies(page, &turn, heard, &n));
	ring_tell_policies(page, (const uint8_t(*)[RING_POLICY_BYTES])told, 0);
	assert_true(ring_look_at_policies(page, &turn, heard, &n));
	assert_int_equal(n, 0);
	/* A worker that lies: of too many, and one that never comes to an end. */
	ring_tell_policies(page, (const uint8_t(*)[RING_POLICY_BYTES])told, 1);
	page->n_policies = UINT32_MAX;
	assert_true(ring_look_at_policies(page, &turn, heard, &n));
	assert_int_equal(n, RING_POLICIES_MAX);
	page->policies_turn = 1001;
	assert_false(ring_look_at_policies(page, &turn, heard, &n));
	free(page);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_policies),
	    T(test_a_notice_arrives_whole_and_is_wiped),
	    T(test_a_mark_has_a_number_and_nothing_else),
	    T(test_every_length_at_every_offset),
	    T(test_full_is_said_and_ends_when_the_daemon_takes),
	    T(test_lengths_out_of_range_are_not_put),
	    T(test_a_sleeper_is_woken_once),
	    T(test_what_was_taken_but_not_released_is_found_again),
	    T(test_the_data_is_locked),
	    T(test_beyond_the_limit),
	    T(test_a_head_from_elsewhere),
	    T(test_a_head_that_goes_back),
	    T(test_headers_that_lie),
	    T(test_a_header_across_the_end),
	    T(test_a_notice_across_the_end),
	    T(test_sequence_numbers_only_grow),
	    T(test_a_tail_from_elsewhere_is_a_full_ring),
	    T(test_no_ring_can_be_resized),
	    T(test_what_is_no_ring_is_not_mapped),
	    cmocka_unit_test(test_sizes_are_rounded),
	    T(test_acks),
	    T(test_waits_fall_into_buckets),
	    T(test_both_ends_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
