/* The daemon's part in ticket keys, on its event loop: the start, what peers say, a rekey, a reload, a restart; with a
 * clock of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <fcntl.h>

#include "daemon/tickets.h"
#include "util/log.h"

#define R (3600 * 1000)
#define NOW INT64_C(1700000000000)

struct fixture {
	char directory[64], path[96];
	struct event_base *base;
	struct tickets_config config;
	struct tickets_clock clock;
	struct tickets_ops ops;
	struct tickets *tickets;
	int64_t passed_ms; /* since the test began */
	unsigned n_changed,
	    n_told[2];         /* calls; and how often the first two peers were among those told */
	uint32_t told;         /* peers, since somebody looked */
	struct fixture *other; /* a second node, its peer number 0 */
};

static void on_tell(void *arg, uint32_t peers)
{
	struct fixture *f = arg;

	f->n_changed++;
	f->n_told[0] += peers & 1;
	f->n_told[1] += peers >> 1 & 1;
	f->told |= peers;
}

static int64_t wall_ms(void *arg)
{
	return NOW + ((const struct fixture *)arg)->passed_ms;
}

static int64_t boot_ms(void *arg)
{
	return 5000000 + ((const struct fixture *)arg)->passed_ms;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->directory, "/tmp/tlsbaton-test-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/ticket-keys", f->directory);
	f->base = event_base_new();
	f->config = (struct tickets_config){.resumption = TICKET_BOTH, .rotation_ms = R};
	f->clock = (struct tickets_clock){wall_ms, boot_ms, f};
	f->ops = (struct tickets_ops){.tell = on_tell, .clock = &f->clock};
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
	assert_int_equal(tickets_new(&f->tickets, f->base, f->path, &f->config, &f->ops, f, error,
	                             sizeof(error)),
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

	while (state.ring.n < n)
		assert_int_equal(
		    ticket_key_make(&state.ring.keys[state.ring.n++], NOW - 1, NOW + R, R), 0);
	return state;
}

/* … of a rekey so many seconds after the test's beginning. */
static struct ticket_state peer_rekeyed_at(int64_t s)
{
	struct ticket_state state = peer_with(1);

	state.ring.generation = keyring_generation((uint64_t)(NOW / 1000 + s), UINT32_MAX);
	return state;
}

/* A node with peers and a key of its own. */
static void start_with_peers(struct fixture *f, unsigned n_peers)
{
	struct ticket_state none = peer_with(0);

	f->config.n_peers = n_peers;
	start(f);
	for (unsigned i = 0; i < n_peers; i++)
		tickets_hear(f->tickets, i, "b", &none);
	tickets_look(f->tickets);
	assert_int_equal(stats(f).n_keys, 1);
	f->passed_ms += 1000;
	tickets_look(f->tickets);
	f->passed_ms += 1000;
	f->n_changed = 0;
	f->told = 0;
}

static void assert_same_keys(const struct keyring *a, const struct keyring *b)
{
	assert_int_equal(a->generation, b->generation);
	assert_int_equal(a->n, b->n);
	assert_memory_equal(a->keys, b->keys, sizeof(a->keys));
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
	assert_same_keys(&says.ring, &theirs.ring);
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

	start_with_peers(f, 1);
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

	start_with_peers(f, 1);
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

	start_with_peers(f, 1);
	tickets_say(f->tickets, &before);
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
	struct ticket_state theirs = peer_rekeyed_at(0), says;

	start_with_peers(f, 1);
	tickets_hear(f->tickets, 0, "b", &theirs);
	tickets_say(f->tickets, &says);
	assert_same_keys(&says.ring, &theirs.ring);
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
	assert_same_keys(&after.ring, &before.ring);
	assert_int_equal(stats(f).n_made, 0);
}

static void test_a_reload_is_told(void **state)
{
	struct fixture *f = *state;
	struct ticket_state says;

	start_with_peers(f, 1);
	tickets_configure(f->tickets, &f->config);
	assert_int_equal(f->n_changed, 1);
	f->config.resumption = TICKET_STATEFUL;
	tickets_configure(f->tickets, &f->config);
	assert_int_equal(f->n_changed, 2);
	tickets_say(f->tickets, &says);
	assert_int_equal(says.resumption, TICKET_STATEFUL);
}

static void test_a_reload_forgets_nothing_that_was_to_be_told(void **state)
{
	struct fixture *f = *state;
	struct ticket_state theirs = peer_rekeyed_at(0), more = peer_with(2);

	/* The second peer was told what the first said a moment ago, so it has to wait for the next key. */
	start_with_peers(f, 2);
	tickets_hear(f->tickets, 0, "b", &theirs);
	assert_true(f->told & 2);
	f->told = 0;
	f->passed_ms += 500;
	more.ring.generation = theirs.ring.generation;
	tickets_hear(f->tickets, 0, "b", &more);
	assert_true(stats(f).n_keys > 1);
	assert_false(f->told & 2);
	tickets_configure(f->tickets, &f->config);
	assert_true(f->told & 2);
}

/* ---- Rekeys ---- */

static int set_up_two(void **state)
{
	struct fixture *f;

	assert_int_equal(set_up(state), 0);
	f = *state;
	assert_int_equal(set_up((void **)&f->other), 0);
	f->other->other = f;
	return 0;
}

static int tear_down_two(void **state)
{
	struct fixture *f = *state;

	tear_down((void **)&f->other);
	return tear_down(state);
}

/* What `from` has told reaches the other node, number 0 at each. */
static void deliver(struct fixture *from)
{
	struct ticket_state says;

	if (from->told & 1) {
		tickets_say(from->tickets, &says);
		tickets_hear(from->other->tickets, 0, "other", &says);
	}
	from->told = 0;
}

static void start_two(struct fixture *f)
{
	start_with_peers(f, 2);
	start_with_peers(f->other, 2);
}

/* A second later. */
static void tick(struct fixture *f)
{
	f->passed_ms += 1000;
	f->other->passed_ms += 1000;
	tickets_look(f->tickets);
	tickets_look(f->other->tickets);
}

static bool has_key_of(const struct fixture *f, const struct ticket_state *theirs)
{
	struct ticket_state says;

	tickets_say(f->tickets, &says);
	for (size_t i = 0; i < says.ring.n; i++)
		if (memcmp(says.ring.keys[i].name, theirs->ring.keys[0].name, TICKET_NAME_BYTES) ==
		    0)
			return true;
	return false;
}

static void test_a_rekey_is_confirmed(void **state)
{
	struct fixture *a = *state, *b = a->other;

	start_two(a);
	assert_int_equal(tickets_rekey(a->tickets), 0);
	assert_false(tickets_agrees(a->tickets, 0));
	deliver(a);
	deliver(b);
	assert_true(tickets_agrees(a->tickets, 0));
	assert_false(tickets_agrees(a->tickets, 1));
}

/* Of a rekey by a member that put it as far ahead as it is taken, once start_two() has been called. */
static struct ticket_state plant(const struct fixture *f)
{
	return peer_rekeyed_at(f->passed_ms / 1000 + 3600);
}

static void test_no_member_blocks_a_rekey(void **state)
{
	struct fixture *a = *state, *b = a->other;
	struct ticket_state planted;

	start_two(a);
	planted = plant(a);
	tickets_hear(a->tickets, 1, "c", &planted);
	tickets_hear(b->tickets, 1, "c", &planted);
	assert_true(has_key_of(a, &planted) && has_key_of(b, &planted));
	assert_int_equal(tickets_rekey(a->tickets), 0);
	deliver(a);
	assert_false(has_key_of(a, &planted) || has_key_of(b, &planted));
	/* It has just told others, and answers in a second. */
	b->told = 0;
	tick(a);
	deliver(b);
	assert_true(tickets_agrees(a->tickets, 0));
}

/* Only this node has heard of what the member said: the other refuses the rekey, until the clock has come up to it. */
static void test_a_rekey_is_told_until_it_is_confirmed(void **state)
{
	struct fixture *a = *state, *b = a->other;
	struct ticket_state planted;

	start_two(a);
	planted = plant(a);
	tickets_hear(a->tickets, 1, "c", &planted);
	assert_int_equal(tickets_rekey(a->tickets), 0);
	deliver(a);
	b->told |= 1; /* it says what it has, as on a connection that is new */
	deliver(b);
	assert_false(tickets_agrees(a->tickets, 0));
	for (unsigned i = 0; i < 3 && !tickets_agrees(a->tickets, 0); i++) {
		tick(a);
		deliver(a);
		deliver(b);
	}
	assert_true(tickets_agrees(a->tickets, 0));
	/* And then no more. */
	tick(a);
	assert_false(a->told & 1);
}

/* Only the other node has heard of it. */
static void test_a_rekey_is_made_over_one_that_was_planted(void **state)
{
	struct fixture *a = *state, *b = a->other;
	struct ticket_state planted = peer_rekeyed_at(3000), later = peer_rekeyed_at(3500);

	start_two(a);
	tickets_hear(b->tickets, 1, "c", &planted);
	b->told = 0;
	assert_int_equal(tickets_rekey(a->tickets), 0);
	for (unsigned i = 0; i < 5 && !tickets_agrees(a->tickets, 0); i++) {
		deliver(a);
		b->told |= 1;
		deliver(b);
		tick(a);
	}
	assert_true(tickets_agrees(a->tickets, 0));
	assert_false(has_key_of(a, &planted) || has_key_of(b, &planted));
	/* When it is over others may rekey. */
	tickets_rekey_end(a->tickets);
	tickets_hear(a->tickets, 1, "c", &later);
	assert_true(has_key_of(a, &later));
}

/* ---- Floods ---- */

/* Lines that are logged go to a file from now on. */
static FILE *catch_log(int *kept)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	fflush(stderr);
	*kept = dup(STDERR_FILENO);
	assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
	return file;
}

static unsigned count_log(FILE *file, int kept)
{
	unsigned n = 0;
	int c;

	fflush(stderr);
	assert_true(dup2(kept, STDERR_FILENO) >= 0);
	close(kept);
	rewind(file);
	while ((c = fgetc(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

static void test_a_flood_of_rekeys_is_taken_bit_by_bit(void **state)
{
	struct fixture *f = *state;
	struct ticket_state says;
	int64_t s = 0;
	FILE *log;
	int kept;

	start_with_peers(f, 2);
	log = catch_log(&kept);
	for (unsigned second = 0; second < 10; second++) {
		for (unsigned i = 0; i < 20; i++) {
			struct ticket_state theirs = peer_rekeyed_at(s++);

			tickets_hear(f->tickets, 0, "b", &theirs);
		}
		tickets_say(f->tickets, &says);
		assert_int_equal(keyring_rekeyed_s(says.ring.generation), NOW / 1000 + s - 20);
		f->passed_ms += 1000;
		tickets_look(f->tickets);
	}
	assert_int_equal(count_log(log, kept), 1);
	assert_in_range(f->n_told[0], 10, 12);
	assert_in_range(f->n_told[1], 10, 12);
}

static void test_a_flood_of_keys_is_passed_on_bit_by_bit(void **state)
{
	struct fixture *f = *state;

	start_with_peers(f, 2);
	for (unsigned i = 0; i < 8; i++) {
		struct ticket_state theirs = peer_with(1);

		tickets_hear(f->tickets, 0, "b", &theirs);
	}
	assert_int_equal(stats(f).n_keys, 9);
	assert_int_equal(f->n_changed, 1);
	/* All that came since is told at once. */
	f->passed_ms += 999;
	tickets_look(f->tickets);
	assert_int_equal(f->n_changed, 1);
	f->passed_ms += 1;
	tickets_look(f->tickets);
	assert_int_equal(f->n_changed, 2);
	f->passed_ms += 1000;
	tickets_look(f->tickets);
	assert_int_equal(f->n_changed, 2);
}

static void test_all_are_told_now_and_then(void **state)
{
	struct fixture *f = *state;

	start_with_peers(f, 2);
	for (unsigned second = 0; second < 120; second++) {
		f->passed_ms += 1000;
		tickets_look(f->tickets);
	}
	assert_int_equal(f->told, 3);
	assert_int_equal(f->n_changed, 2);
}

/* ---- The file ---- */

static void test_a_file_that_is_removed_is_made_again(void **state)
{
	struct fixture *f = *state;
	struct ticket_state before, after;

	start(f);
	assert_int_equal(unlink(f->path), 0);
	tickets_look(f->tickets);
	tickets_say(f->tickets, &before);
	start(f);
	tickets_say(f->tickets, &after);
	assert_same_keys(&after.ring, &before.ring);
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
#define T2(name) cmocka_unit_test_setup_teardown(name, set_up_two, tear_down_two)

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
	    T(test_a_reload_forgets_nothing_that_was_to_be_told),
	    T2(test_a_rekey_is_confirmed),
	    T2(test_no_member_blocks_a_rekey),
	    T2(test_a_rekey_is_told_until_it_is_confirmed),
	    T2(test_a_rekey_is_made_over_one_that_was_planted),
	    T(test_a_flood_of_rekeys_is_taken_bit_by_bit),
	    T(test_a_flood_of_keys_is_passed_on_bit_by_bit),
	    T(test_all_are_told_now_and_then),
	    T(test_a_file_that_is_removed_is_made_again),
	    T(test_a_worker_cannot_write_to_the_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
