/* The daemon's part in ticket keys, on its event loop: the start, what peers say, a rekey, a reload, a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <fcntl.h>

#include "daemon/tickets.h"
#include "util/clock.h"

#define R (3600 * 1000)

struct fixture {
	char directory[64], path[96];
	struct event_base *base;
	struct tickets_config config;
	struct tickets *tickets;
	unsigned n_changed;
};

static void on_changed(void *arg)
{
	((struct fixture *)arg)->n_changed++;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->directory, "/tmp/tlsbaton-test-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/ticket-keys", f->directory);
	f->base = event_base_new();
	f->config = (struct tickets_config){.resumption = TICKET_BOTH, .rotation_ms = R};
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	tickets_free(f->tickets);
	event_base_free(f->base);
	unlink(f->path);
	rmdir(f->directory);
	free(f);
	return 0;
}

static void start(struct fixture *f)
{
	char error[256];

	tickets_free(f->tickets);
	f->tickets = NULL;
	assert_int_equal(tickets_new(&f->tickets, f->base, f->path, &f->config, on_changed, f,
	                             error, sizeof(error)),
	                 0);
}

static void turn(struct fixture *f)
{
	event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static struct tickets_stats stats(const struct fixture *f)
{
	struct tickets_stats out;

	tickets_stats(f->tickets, &out);
	return out;
}

/* What a peer says that has `n` keys. */
static struct ticket_state peer_with(size_t n)
{
	struct ticket_state state = {.resumption = TICKET_BOTH, .rotation_ms = R};
	int64_t now_ms = clock_wall_ms();

	while (state.ring.n < n)
		assert_int_equal(
		    ticket_key_make(&state.ring.keys[state.ring.n++], now_ms - 1, now_ms + R, R),
		    0);
	return state;
}

static void test_alone_it_has_a_key_at_once(void **state)
{
	struct fixture *f = *state;

	start(f);
	assert_int_equal(stats(f).n_keys, 1);
	assert_true(stats(f).encrypts);
	assert_false(stats(f).staged);
}

static void test_it_takes_the_peers_keys_at_a_first_start(void **state)
{
	struct fixture *f = *state;
	struct ticket_state theirs = peer_with(1), says;

	f->config.n_peers = 2;
	start(f);
	turn(f);
	assert_int_equal(stats(f).n_keys, 0);
	tickets_hear(f->tickets, 1, "b", &theirs);
	turn(f);
	assert_int_equal(stats(f).n_made, 0);
	assert_int_equal(stats(f).n_heard, 1);
	tickets_say(f->tickets, &says);
	assert_memory_equal(&says.ring, &theirs.ring, sizeof(says.ring));
	assert_int_equal(f->n_changed, 1);
}

static void test_when_no_peer_has_one_it_makes_one(void **state)
{
	struct fixture *f = *state;
	struct ticket_state theirs = peer_with(0);

	f->config.n_peers = 2;
	start(f);
	tickets_hear(f->tickets, 0, "b", &theirs);
	turn(f);
	assert_int_equal(stats(f).n_keys, 0);
	tickets_hear(f->tickets, 0, "b", &theirs);
	turn(f);
	assert_int_equal(stats(f).n_keys, 0);
	tickets_hear(f->tickets, 1, "c", &theirs);
	turn(f);
	assert_int_equal(stats(f).n_keys, 1);
	assert_int_equal(f->n_changed, 1);
}

static void test_news_is_told_once(void **state)
{
	struct fixture *f = *state;
	struct ticket_state theirs = peer_with(2);

	start(f);
	f->n_changed = 0;
	tickets_hear(f->tickets, 0, "b", &theirs);
	assert_int_equal(f->n_changed, 1);
	tickets_hear(f->tickets, 0, "b", &theirs);
	assert_int_equal(f->n_changed, 1);
}

/* Two nodes that are full of different keys must not go on telling each other. */
static void test_a_full_ring_tells_nothing(void **state)
{
	struct fixture *f = *state;
	struct ticket_state theirs = peer_with(KEYRING_KEYS_MAX);

	start(f);
	f->n_changed = 0;
	tickets_hear(f->tickets, 0, "b", &theirs);
	assert_int_equal(stats(f).n_keys, KEYRING_KEYS_MAX - KEYRING_KEYS_OWN);
	assert_int_equal(f->n_changed, 1);
	theirs = peer_with(KEYRING_KEYS_MAX);
	tickets_hear(f->tickets, 0, "b", &theirs);
	assert_int_equal(f->n_changed, 1);
}

static void test_a_rekey_voids_and_tells(void **state)
{
	struct fixture *f = *state;
	struct ticket_state before, after;

	start(f);
	tickets_say(f->tickets, &before);
	f->n_changed = 0;
	assert_int_equal(tickets_rekey(f->tickets), 0);
	tickets_say(f->tickets, &after);
	assert_int_equal(f->n_changed, 1);
	assert_int_equal(after.ring.n, 1);
	assert_true(after.ring.generation > before.ring.generation);
	assert_memory_not_equal(after.ring.keys[0].name, before.ring.keys[0].name,
	                        TICKET_NAME_BYTES);
	/* A peer that was away changes nothing. */
	tickets_hear(f->tickets, 0, "b", &before);
	assert_int_equal(stats(f).n_keys, 1);
	assert_int_equal(f->n_changed, 1);
}

static void test_a_rekey_is_heard(void **state)
{
	struct fixture *f = *state;
	struct ticket_state theirs = peer_with(1), says;

	start(f);
	theirs.ring.generation = (uint64_t)(clock_wall_ms() / 1000);
	tickets_hear(f->tickets, 0, "b", &theirs);
	tickets_say(f->tickets, &says);
	assert_memory_equal(&says.ring, &theirs.ring, sizeof(says.ring));
}

static void test_a_restart_keeps_the_keys(void **state)
{
	struct fixture *f = *state;
	struct ticket_state before, after;

	start(f);
	tickets_say(f->tickets, &before);
	f->config.n_peers = 1;
	start(f);
	tickets_say(f->tickets, &after);
	assert_memory_equal(&after.ring, &before.ring, sizeof(after.ring));
	assert_int_equal(stats(f).n_made, 0);
}

static void test_a_reload_is_told(void **state)
{
	struct fixture *f = *state;
	struct ticket_state says;

	start(f);
	f->n_changed = 0;
	tickets_configure(f->tickets, &f->config);
	assert_int_equal(f->n_changed, 0);
	f->config.resumption = TICKET_STATEFUL;
	tickets_configure(f->tickets, &f->config);
	assert_int_equal(f->n_changed, 1);
	tickets_say(f->tickets, &says);
	assert_int_equal(says.resumption, TICKET_STATEFUL);
}

static void test_a_worker_cannot_write_to_the_page(void **state)
{
	struct fixture *f = *state;
	int fd;

	start(f);
	fd = tickets_fd(f->tickets);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_alone_it_has_a_key_at_once),
	    T(test_it_takes_the_peers_keys_at_a_first_start),
	    T(test_when_no_peer_has_one_it_makes_one),
	    T(test_news_is_told_once),
	    T(test_a_full_ring_tells_nothing),
	    T(test_a_rekey_voids_and_tells),
	    T(test_a_rekey_is_heard),
	    T(test_a_restart_keeps_the_keys),
	    T(test_a_reload_is_told),
	    T(test_a_worker_cannot_write_to_the_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
