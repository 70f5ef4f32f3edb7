/* The page of ticket keys: what is published is read, what is gone is wiped, what is damaged is replaced; and readers
 * in threads while the writer turns the keys over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "ticket/store.h"

#define R INT64_C(60000)
#define NOW INT64_C(1700000000000)
#define BOOT INT64_C(5000000)

struct fixture {
	char directory[64], path[96], why[128];
	struct keyring ring;
	struct ticket_store *store;     /* the writer's */
	const struct ticket_page *view; /* a reader's */
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->directory, "/tmp/tlsbaton-test-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/ticket-keys", f->directory);
	assert_int_equal(ticket_page_map_empty(&f->view), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ticket_store_close(f->store);
	ticket_page_unmap(f->view);
	unlink(f->path);
	rmdir(f->directory);
	free(f);
	return 0;
}

/* Both clocks go on together. */
static struct keyring_time time_at(int64_t wall_ms)
{
	return (struct keyring_time){.wall_ms = wall_ms, .boot_ms = BOOT + wall_ms - NOW};
}

static int rekey_at(struct keyring *ring, int64_t now_ms)
{
	const struct keyring_time now = time_at(now_ms);

	return keyring_rekey(ring, &now, R);
}

static int open_at(struct fixture *f, int64_t now_ms)
{
	const struct keyring_time now = time_at(now_ms);

	ticket_store_close(f->store);
	f->store = NULL;
	return ticket_store_open(&f->store, f->path, &now, &f->ring, f->why, sizeof(f->why));
}

static void map_view(struct fixture *f)
{
	_cleanup_(closep) int fd = ticket_store_fd(f->store);

	assert_true(fd >= 0);
	assert_int_equal(ticket_page_map_over(f->view, fd), 0);
}

static void start(struct fixture *f)
{
	assert_int_equal(open_at(f, NOW), 0);
	map_view(f);
}

static void publish_new_key(struct fixture *f, int64_t now_ms)
{
	const struct keyring_time now = time_at(now_ms);

	assert_int_equal(keyring_make(&f->ring, &now, R), 0);
	ticket_store_publish(f->store, &f->ring);
}

/* Whether `key`'s secrets stand anywhere in the file. */
static bool file_holds(const struct fixture *f, const struct ticket_key *key)
{
	static uint8_t bytes[TICKET_PAGE_BYTES];
	_cleanup_(closep) int fd = open(f->path, O_RDONLY);

	assert_int_equal(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
	return memmem(bytes, sizeof(bytes), key->aes, sizeof(key->aes)) ||
	       memmem(bytes, sizeof(bytes), key->hmac, sizeof(key->hmac));
}

static void test_an_empty_page_has_no_key(void **state)
{
	struct fixture *f = *state;
	struct ticket_key key;

	assert_int_equal(ticket_page_current(f->view, NOW, &key), TICKET_NONE);
	assert_int_equal(ticket_page_find(f->view, (const uint8_t[16]){0}, NOW, &key), TICKET_NONE);
	assert_int_equal(ticket_page_resumption(f->view), 0);
	start(f);
	assert_int_equal(ticket_page_current(f->view, NOW, &key), TICKET_NONE);
	assert_int_equal(ticket_page_find(f->view, (const uint8_t[16]){0}, NOW, &key), TICKET_NONE);
}

static void test_what_is_published_is_read(void **state)
{
	struct fixture *f = *state;
	struct ticket_key key;

	start(f);
	publish_new_key(f, NOW);
	ticket_store_configure(f->store, TICKET_BOTH);
	assert_int_equal(ticket_page_resumption(f->view), TICKET_BOTH);
	assert_int_equal(ticket_page_current(f->view, NOW, &key), 0);
	assert_memory_equal(&key, &f->ring.keys[0], sizeof(key));
	memset(&key, 0, sizeof(key));
	assert_int_equal(ticket_page_find(f->view, f->ring.keys[0].name, NOW, &key), 0);
	assert_memory_equal(&key, &f->ring.keys[0], sizeof(key));
	f->ring.keys[0].name[15] ^= 1;
	assert_int_equal(ticket_page_find(f->view, f->ring.keys[0].name, NOW, &key), TICKET_NONE);
}

static void test_times(void **state)
{
	struct fixture *f = *state;
	struct ticket_key key, first;

	start(f);
	publish_new_key(f, NOW);
	first = f->ring.keys[0];
	publish_new_key(f, NOW + R / 2);
	/* A ticket of a key that is to come: another node's clock is ahead. */
	assert_int_equal(ticket_page_find(f->view, f->ring.keys[1].name, NOW, &key), 0);
	assert_int_equal(ticket_page_find(f->view, first.name, NOW, &key), 0);
	assert_int_equal(ticket_page_current(f->view, NOW + R, &key), 0);
	assert_memory_equal(&key, &f->ring.keys[1], sizeof(key));
	assert_int_equal(ticket_page_find(f->view, first.name, NOW + R, &key), TICKET_OLD);
	assert_memory_equal(&key, &first, sizeof(key));
	/* Nobody wipes it: a reader whose daemon is gone does not use it all the same. */
	assert_int_equal(ticket_page_find(f->view, first.name, first.not_after_ms, &key),
	                 TICKET_NONE);
	assert_int_equal(ticket_page_current(f->view, NOW + 10 * R, &key), TICKET_NONE);
}

static void test_of_two_the_ring_and_the_page_choose_the_same(void **state)
{
	struct fixture *f = *state;
	struct ticket_key key;

	start(f);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(
		    ticket_key_make(&f->ring.keys[f->ring.n++], NOW + i / 4, NOW + R, R), 0);
	ticket_store_publish(f->store, &f->ring);
	for (int64_t now_ms = NOW; now_ms < NOW + 2; now_ms++) {
		assert_int_equal(ticket_page_current(f->view, now_ms, &key), 0);
		assert_memory_equal(&key, keyring_current(&f->ring, now_ms), sizeof(key));
	}
}

static void test_what_is_gone_is_wiped(void **state)
{
	struct fixture *f = *state;
	struct ticket_key key, first, second;
	struct keyring_time now;

	start(f);
	publish_new_key(f, NOW);
	first = f->ring.keys[0];
	publish_new_key(f, NOW + R / 2);
	second = f->ring.keys[1];
	assert_true(file_holds(f, &first) && file_holds(f, &second));
	now = time_at(first.not_after_ms);
	assert_true(keyring_expire(&f->ring, &now));
	ticket_store_publish(f->store, &f->ring);
	assert_false(file_holds(f, &first));
	assert_true(file_holds(f, &second));
	assert_int_equal(rekey_at(&f->ring, NOW + R), 0);
	ticket_store_publish(f->store, &f->ring);
	assert_false(file_holds(f, &second));
	assert_int_equal(ticket_page_find(f->view, second.name, NOW + R, &key), TICKET_NONE);
	assert_int_equal(ticket_page_current(f->view, NOW + R, &key), 0);
}

static void fill_ring(struct keyring *ring, int64_t now_ms)
{
	while (ring->n < KEYRING_KEYS_MAX) {
		ring->notes[ring->n].gone_boot_ms = INT64_MAX;
		assert_int_equal(ticket_key_make(&ring->keys[ring->n++], now_ms, now_ms + R, R), 0);
	}
}

static void test_a_full_ring_is_rekeyed_to_a_full_one(void **state)
{
	struct fixture *f = *state;
	struct ticket_key key;

	start(f);
	for (unsigned round = 0; round < 2; round++) {
		f->ring.n = 0;
		fill_ring(&f->ring, NOW);
		ticket_store_publish(f->store, &f->ring);
		for (size_t i = 0; i < f->ring.n; i++)
			assert_int_equal(ticket_page_find(f->view, f->ring.keys[i].name, NOW, &key),
			                 0);
	}
}

static void test_the_next_daemon_finds_its_keys(void **state)
{
	struct fixture *f = *state;
	struct ticket_key first, key;
	struct stat st;

	start(f);
	assert_int_equal(rekey_at(&f->ring, NOW), 0);
	publish_new_key(f, NOW);
	first = f->ring.keys[0];
	assert_int_equal(open_at(f, NOW + 1000), 0);
	assert_int_equal(f->ring.n, 2);
	assert_int_equal(keyring_rekeyed_s(f->ring.generation), NOW / 1000);
	assert_memory_equal(&f->ring.keys[0], &first, sizeof(first));
	/* The reader's mapping is the same file's. */
	publish_new_key(f, NOW + 2000);
	assert_int_equal(ticket_page_find(f->view, f->ring.keys[2].name, NOW, &key), 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* Those whose time is over are wiped first of all. */
	assert_int_equal(open_at(f, NOW + 10 * R), 0);
	assert_int_equal(f->ring.n, 0);
	assert_false(file_holds(f, &first));
	assert_int_equal(keyring_rekeyed_s(f->ring.generation), NOW / 1000);
}

static void test_a_restart_keeps_all_keys(void **state)
{
	struct fixture *f = *state;
	struct keyring before;

	start(f);
	fill_ring(&f->ring, NOW);
	ticket_store_publish(f->store, &f->ring);
	before = f->ring;
	assert_int_equal(open_at(f, NOW), 0);
	assert_int_equal(f->ring.n, KEYRING_KEYS_MAX);
	assert_memory_equal(f->ring.keys, before.keys, sizeof(before.keys));
}

/* … and their ends by the clock that does not go back. */
static void test_a_restart_gives_no_key_a_longer_life(void **state)
{
	struct fixture *f = *state;
	struct keyring_time now = time_at(NOW);

	start(f);
	publish_new_key(f, NOW);
	now.wall_ms -= R;
	ticket_store_close(f->store);
	assert_int_equal(
	    ticket_store_open(&f->store, f->path, &now, &f->ring, f->why, sizeof(f->why)), 0);
	assert_int_equal(f->ring.n, 1);
	now.wall_ms += 2 * R;
	now.boot_ms += 2 * R;
	assert_true(keyring_expire(&f->ring, &now));
	/* Also if nobody was there at that end. */
	ticket_store_close(f->store);
	assert_int_equal(
	    ticket_store_open(&f->store, f->path, &now, &f->ring, f->why, sizeof(f->why)), 0);
	assert_int_equal(f->ring.n, 0);
}

/* Of a node that restarts after its clock went back: what a rekey voided must not come to life. */
static void test_a_clock_that_went_back_keeps_the_generation(void **state)
{
	struct fixture *f = *state;
	struct ticket_key first;

	start(f);
	assert_int_equal(rekey_at(&f->ring, NOW), 0);
	ticket_store_publish(f->store, &f->ring);
	first = f->ring.keys[0];
	assert_int_equal(open_at(f, NOW - R), 0);
	assert_int_equal(f->ring.n, 1);
	assert_memory_equal(&f->ring.keys[0], &first, sizeof(first));
	assert_false(keyring_is_ahead(&f->ring, NOW - R));
	/* Its key would be of no use for two hours, and lives no longer for that. */
	assert_int_equal(open_at(f, NOW - INT64_C(7200000)), 0);
	assert_int_equal(f->ring.n, 0);
	assert_int_equal(keyring_rekeyed_s(f->ring.generation), NOW / 1000);
	assert_true(keyring_is_ahead(&f->ring, NOW - INT64_C(7200000)));
	assert_false(file_holds(f, &first));
	assert_int_equal(open_at(f, NOW), 0);
	assert_int_equal(keyring_rekeyed_s(f->ring.generation), NOW / 1000);
}

static void test_a_daemon_that_died_in_a_rekey_left_no_old_key(void **state)
{
	struct fixture *f = *state;
	struct keyring next = {.generation = keyring_generation(NOW / 1000, 7)};
	struct ticket_key old;

	start(f);
	publish_new_key(f, NOW);
	old = f->ring.keys[0];
	/* The new generation is on the page, and the old key still. */
	next.n = 1;
	next.keys[0] = old;
	ticket_store_publish(f->store, &next);
	assert_int_equal(open_at(f, NOW), 0);
	assert_int_equal(f->ring.n, 0);
	assert_int_equal(keyring_rekeyed_s(f->ring.generation), NOW / 1000);
	assert_false(file_holds(f, &old));
}

static void test_a_file_that_is_removed_is_missed_by_nobody(void **state)
{
	struct fixture *f = *state;
	struct ticket_key key;

	start(f);
	publish_new_key(f, NOW);
	assert_int_equal(ticket_store_look(f->store, &f->ring), 0);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(unlink(f->path), 0);
		/* A worker that comes now. */
		map_view(f);
		assert_int_equal(ticket_page_find(f->view, f->ring.keys[0].name, NOW, &key), 0);
		assert_int_equal(ticket_store_look(f->store, &f->ring), TICKET_REBUILT);
		assert_int_equal(ticket_store_look(f->store, &f->ring), 0);
	}
	/* What comes later is on the page that workers have, and there for the next daemon. */
	publish_new_key(f, NOW + R / 2);
	assert_int_equal(ticket_page_find(f->view, f->ring.keys[1].name, NOW, &key), 0);
	assert_true(file_holds(f, &f->ring.keys[0]) && file_holds(f, &f->ring.keys[1]));
	assert_int_equal(open_at(f, NOW + R / 2), 0);
	assert_int_equal(f->ring.n, 2);
}

static void write_file(const struct fixture *f, size_t n, mode_t mode)
{
	uint8_t bytes[TICKET_PAGE_BYTES];
	_cleanup_(closep) int fd = open(f->path, O_RDWR | O_CREAT | O_TRUNC, mode);

	memset(bytes, 0xa5, sizeof(bytes));
	assert_true(n <= sizeof(bytes));
	assert_int_equal(write(fd, bytes, n), n);
	assert_int_equal(fchmod(fd, mode), 0);
}

static void test_what_is_no_page_is_replaced(void **state)
{
	struct fixture *f = *state;

	write_file(f, TICKET_PAGE_BYTES, 0600);
	assert_int_equal(open_at(f, NOW), TICKET_REBUILT);
	assert_non_null(strstr(f->why, "no page of keys"));
	assert_int_equal(f->ring.n, 0);
	write_file(f, 100, 0600);
	assert_int_equal(open_at(f, NOW), TICKET_REBUILT);
	assert_non_null(strstr(f->why, "size"));
	publish_new_key(f, NOW);
	assert_int_equal(chmod(f->path, 0640), 0);
	assert_int_equal(open_at(f, NOW), TICKET_REBUILT);
	assert_non_null(strstr(f->why, "0600"));
	assert_int_equal(f->ring.n, 0);
	unlink(f->path);
	assert_int_equal(symlink("/etc/passwd", f->path), 0);
	assert_int_equal(open_at(f, NOW), TICKET_REBUILT);
	assert_int_equal(open_at(f, NOW), 0);
}

static void test_a_page_that_others_could_read_is_wiped(void **state)
{
	struct fixture *f = *state;
	struct ticket_key key;

	start(f);
	publish_new_key(f, NOW);
	assert_int_equal(ticket_page_current(f->view, NOW, &key), 0);
	assert_int_equal(chmod(f->path, 0644), 0);
	assert_int_equal(open_at(f, NOW), TICKET_REBUILT);
	/* Also for those who have the old one still. */
	assert_int_equal(ticket_page_current(f->view, NOW, &key), TICKET_NONE);
}

static void test_a_reader_takes_no_other_file(void **state)
{
	struct fixture *f = *state;
	struct ticket_key key;
	int fd;

	start(f);
	publish_new_key(f, NOW);
	fd = open("/etc/passwd", O_RDONLY);
	assert_int_equal(ticket_page_map_over(f->view, fd), -EPROTO);
	close(fd);
	fd = open("/dev/null", O_RDONLY);
	assert_int_equal(ticket_page_map_over(f->view, fd), -EPROTO);
	close(fd);
	assert_int_equal(ticket_page_current(f->view, NOW, &key), 0);
}

/* The page stays out of core dumps, at both ends: "dd" among the flags of its mapping. */
static void test_no_core_dump_holds_it(void **state)
{
	struct fixture *f = *state;
	char line[256];
	unsigned n_ours = 0, n_excluded = 0;
	bool ours = false;
	FILE *maps;

	start(f);
	maps = fopen("/proc/self/smaps", "r");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (strstr(line, f->path)) {
			ours = true;
			n_ours++;
		} else if (ours && strncmp(line, "VmFlags:", 8) == 0) {
			n_excluded += strstr(line, " dd") != NULL;
			ours = false;
		}
	}
	fclose(maps);
	assert_int_equal(n_ours, 2);
	assert_int_equal(n_excluded, 2);
}

/* ---- Readers while the writer writes ---- */

struct race {
	struct fixture *f;
	_Atomic bool stop;
	_Atomic uint64_t n_read, n_torn;
	_Atomic int64_t now_ms;
};

/* In this test a key's AES key and HMAC key follow from its name, so that a torn copy shows. */
static void derive(struct ticket_key *key)
{
	for (size_t i = 0; i < sizeof(key->aes); i++) {
		key->aes[i] = key->name[i % 16] ^ (uint8_t)i;
		key->hmac[i] = key->name[i % 16] ^ (uint8_t)(i + 100);
	}
}

static void *read_on(void *arg)
{
	struct race *race = arg;
	struct ticket_key key, want;

	while (!atomic_load(&race->stop)) {
		if (ticket_page_current(race->f->view, atomic_load(&race->now_ms), &key) != 0)
			continue;
		want = key;
		derive(&want);
		atomic_fetch_add(&race->n_torn, memcmp(&want, &key, sizeof(key)) != 0);
		atomic_fetch_add(&race->n_read, 1);
	}
	return NULL;
}

static void test_readers_see_whole_keys(void **state)
{
	struct fixture *f = *state;
	struct race race = {.f = f, .now_ms = NOW};
	pthread_t threads[2];

	start(f);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_on, &race), 0);
	for (unsigned i = 0; i < 20000 || atomic_load(&race.n_read) < 20000; i++) {
		struct keyring *ring = &f->ring;

		/* The oldest of three makes room, and its slot is used again. */
		if (ring->n == 3) {
			memmove(&ring->keys[0], &ring->keys[1], 2 * sizeof(ring->keys[0]));
			ring->n = 2;
		}
		assert_int_equal(ticket_key_make(&ring->keys[ring->n], NOW + i, NOW + i + R, R), 0);
		derive(&ring->keys[ring->n++]);
		ticket_store_publish(f->store, ring);
		atomic_store(&race.now_ms, NOW + i);
		if (i % 64 == 0)
			map_view(f); /* over the one in use */
	}
	atomic_store(&race.stop, true);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&race.n_torn), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_an_empty_page_has_no_key),
	    T(test_what_is_published_is_read),
	    T(test_times),
	    T(test_of_two_the_ring_and_the_page_choose_the_same),
	    T(test_what_is_gone_is_wiped),
	    T(test_a_full_ring_is_rekeyed_to_a_full_one),
	    T(test_the_next_daemon_finds_its_keys),
	    T(test_a_restart_keeps_all_keys),
	    T(test_a_restart_gives_no_key_a_longer_life),
	    T(test_a_clock_that_went_back_keeps_the_generation),
	    T(test_a_daemon_that_died_in_a_rekey_left_no_old_key),
	    T(test_a_file_that_is_removed_is_missed_by_nobody),
	    T(test_what_is_no_page_is_replaced),
	    T(test_a_page_that_others_could_read_is_wiped),
	    T(test_a_reader_takes_no_other_file),
	    T(test_no_core_dump_holds_it),
	    T(test_readers_see_whole_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
