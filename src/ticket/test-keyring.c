/* The ring of ticket keys: its rules one by one, and then a group of nodes that meet, part, sleep and rekey at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "ticket/keyring.h"

#define R INT64_C(60000) /* a rotation period */
#define NOW INT64_C(1700000000000)
#define BOOT INT64_C(5000000)
#define HOUR_S 3600

static const struct ticket_key zero_key;

/* Both clocks go on together. */
static struct keyring_time time_at(int64_t wall_ms)
{
	return (struct keyring_time){.wall_ms = wall_ms, .boot_ms = BOOT + wall_ms - NOW};
}

static int make_at(struct keyring *ring, int64_t now_ms, int64_t rotation_ms)
{
	const struct keyring_time now = time_at(now_ms);

	return keyring_make(ring, &now, rotation_ms);
}

static int rekey_at(struct keyring *ring, int64_t now_ms, int64_t rotation_ms)
{
	const struct keyring_time now = time_at(now_ms);

	return keyring_rekey(ring, &now, rotation_ms);
}

static bool expire_at(struct keyring *ring, int64_t now_ms)
{
	const struct keyring_time now = time_at(now_ms);

	return keyring_expire(ring, &now);
}

/* From peer `number` of `n_peers`. */
static int merge_from(struct keyring *ring, const struct keyring *theirs, uint8_t number,
                      unsigned n_peers, int64_t now_ms)
{
	const struct keyring_sender sender = {
	    .number = number, .n_peers = n_peers, .rotation_ms = R};
	const struct keyring_time now = time_at(now_ms);

	return keyring_merge(ring, theirs, &sender, &now);
}

/* From the only peer. */
static int merge_at(struct keyring *ring, const struct keyring *theirs, int64_t now_ms)
{
	return merge_from(ring, theirs, 1, 1, now_ms);
}

static struct keyring ring_at(int64_t now_ms)
{
	struct keyring ring = {0};

	assert_int_equal(make_at(&ring, now_ms, R), 0);
	return ring;
}

static void add(struct keyring *ring, int64_t not_before_ms)
{
	assert_true(ring->n < KEYRING_KEYS_MAX);
	assert_int_equal(
	    ticket_key_make(&ring->keys[ring->n++], not_before_ms, not_before_ms + R, R), 0);
}

static bool same_key(const struct ticket_key *a, const struct ticket_key *b)
{
	return a && b && memcmp(a, b, sizeof(*a)) == 0;
}

static bool has(const struct keyring *ring, const struct ticket_key *key)
{
	for (size_t i = 0; i < ring->n; i++)
		if (same_key(&ring->keys[i], key))
			return true;
	return false;
}

static bool same_set(const struct keyring *a, const struct keyring *b)
{
	if (a->n != b->n || a->generation != b->generation)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!has(b, &a->keys[i]))
			return false;
	return true;
}

/* No byte of a key that is not in the ring stands in its memory. */
static void assert_rest_is_wiped(const struct keyring *ring)
{
	for (size_t i = ring->n; i < KEYRING_KEYS_MAX; i++)
		assert_memory_equal(&ring->keys[i], &zero_key, sizeof(zero_key));
}

/* ---- One node ---- */

static void test_keys_are_random(void **state)
{
	struct ticket_key a, b;

	(void)state;
	assert_int_equal(ticket_key_make(&a, NOW, NOW + R, R), 0);
	assert_int_equal(ticket_key_make(&b, NOW, NOW + R, R), 0);
	assert_memory_not_equal(a.name, b.name, sizeof(a.name));
	assert_memory_not_equal(a.aes, b.aes, sizeof(a.aes));
	assert_memory_not_equal(a.hmac, b.hmac, sizeof(a.hmac));
	assert_memory_not_equal(a.aes, a.hmac, sizeof(a.aes));
	assert_true(ticket_key_valid(&a));
}

static void test_the_first_key_encrypts_at_once(void **state)
{
	struct keyring ring = {0};

	(void)state;
	assert_null(keyring_current(&ring, NOW));
	assert_true(keyring_due_ms(&ring, NOW, R, 15) <= NOW);
	ring = ring_at(NOW);
	assert_non_null(keyring_current(&ring, NOW));
	/* Also where the clock is behind. */
	assert_non_null(keyring_current(&ring, NOW - TICKET_SKEW_MS));
}

static void test_the_next_key_is_staged_and_takes_over(void **state)
{
	struct keyring ring = ring_at(NOW);
	const struct ticket_key first = ring.keys[0];
	int64_t due_ms = keyring_due_ms(&ring, NOW, R, 0), begins_ms;

	(void)state;
	assert_true(due_ms > NOW && due_ms < NOW + R);
	assert_int_equal(make_at(&ring, due_ms, R), 0);
	begins_ms = ring.keys[1].not_before_ms;
	assert_true(begins_ms >= due_ms + R / 2);
	assert_true(begins_ms <= first.use_until_ms);
	assert_true(keyring_due_ms(&ring, due_ms, R, 0) > due_ms);
	assert_true(same_key(keyring_current(&ring, begins_ms - 1), &first));
	assert_true(same_key(keyring_current(&ring, begins_ms), &ring.keys[1]));
}

static void test_ranks_take_turns_before_the_key_is_needed(void **state)
{
	struct keyring ring = ring_at(NOW);
	int64_t before = keyring_due_ms(&ring, NOW, R, 0);

	(void)state;
	for (unsigned rank = 1; rank < 16; rank++) {
		int64_t due_ms = keyring_due_ms(&ring, NOW, R, rank);

		assert_true(due_ms > before);
		before = due_ms;
	}
	assert_true(before <= ring.keys[0].use_until_ms - R / 4);
	/* More nodes than there can be: no later than the last. */
	assert_int_equal(keyring_due_ms(&ring, NOW, R, 1000), before);
}

static void test_a_key_lives_as_long_as_its_tickets_and_is_wiped(void **state)
{
	struct keyring ring = ring_at(NOW);
	const struct ticket_key key = ring.keys[0];

	(void)state;
	assert_int_equal(key.not_after_ms, key.use_until_ms + R);
	assert_int_equal(keyring_expires_ms(&ring), key.not_after_ms);
	assert_null(keyring_current(&ring, key.use_until_ms));
	assert_false(expire_at(&ring, key.not_after_ms - 1));
	assert_true(has(&ring, &key));
	assert_true(expire_at(&ring, key.not_after_ms));
	assert_int_equal(ring.n, 0);
	assert_rest_is_wiped(&ring);
	assert_int_equal(keyring_expires_ms(&ring), INT64_MAX);
}

static void test_a_ring_turns_for_ever_with_few_keys(void **state)
{
	struct keyring ring = {0};
	unsigned n_made = 0;

	(void)state;
	for (int64_t now_ms = NOW; now_ms < NOW + 100 * R; now_ms += 100) {
		expire_at(&ring, now_ms);
		if (keyring_due_ms(&ring, now_ms, R, 3) <= now_ms) {
			assert_int_equal(make_at(&ring, now_ms, R), 0);
			n_made++;
		}
		assert_non_null(keyring_current(&ring, now_ms));
		assert_true(ring.n <= 4);
		assert_rest_is_wiped(&ring);
	}
	assert_in_range(n_made, 99, 103);
}

static void test_a_clock_that_jumps_leaves_no_gap(void **state)
{
	static const int64_t jumps[] = {10 * R, -10 * R, 1000 * R, -1000 * R};
	struct keyring ring = ring_at(NOW);
	int64_t now_ms = NOW;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(jumps); i++) {
		now_ms += jumps[i];
		expire_at(&ring, now_ms);
		if (keyring_due_ms(&ring, now_ms, R, 15) <= now_ms)
			assert_int_equal(make_at(&ring, now_ms, R), 0);
		assert_non_null(keyring_current(&ring, now_ms));
		assert_true(keyring_due_ms(&ring, now_ms, R, 15) > now_ms);
	}
}

static void test_a_shorter_period_counts_at_once(void **state)
{
	struct keyring ring = {0};
	const int64_t shorter = R / 60;

	(void)state;
	assert_int_equal(make_at(&ring, NOW, 60 * R), 0);
	assert_int_equal(keyring_due_ms(&ring, NOW + R, 60 * R, 0) > NOW + R, 1);
	assert_true(keyring_due_ms(&ring, NOW + R, shorter, 0) <= NOW + R);
	assert_int_equal(make_at(&ring, NOW + R, shorter), 0);
	assert_true(same_key(keyring_current(&ring, NOW + R), &ring.keys[1]));
}

static void test_a_rekey_voids_all(void **state)
{
	struct keyring ring = ring_at(NOW);
	const struct ticket_key old = ring.keys[0];

	(void)state;
	add(&ring, NOW + R);
	assert_int_equal(rekey_at(&ring, NOW + 1000, R), 0);
	assert_int_equal(ring.n, 1);
	assert_false(has(&ring, &old));
	assert_true(same_key(keyring_current(&ring, NOW + 1000), &ring.keys[0]));
	assert_int_equal(keyring_rekeyed_s(ring.generation), NOW / 1000 + 1);
	assert_rest_is_wiped(&ring);
	/* Twice within a second. */
	assert_int_equal(rekey_at(&ring, NOW + 1000, R), 0);
	assert_int_equal(keyring_rekeyed_s(ring.generation), NOW / 1000 + 2);
}

/* ---- Two nodes ---- */

static void test_rings_that_meet_agree(void **state)
{
	struct keyring a = ring_at(NOW), b = ring_at(NOW + 5000), before_a = a;

	(void)state;
	assert_int_equal(merge_at(&a, &b, NOW + 6000), 0);
	assert_int_equal(merge_at(&b, &before_a, NOW + 6000), 0);
	assert_true(same_set(&a, &b));
	assert_int_equal(a.n, 2);
	for (int64_t now_ms = NOW + 6000; now_ms < NOW + R; now_ms += 1000)
		assert_true(same_key(keyring_current(&a, now_ms), keyring_current(&b, now_ms)));
	assert_int_equal(merge_at(&a, &b, NOW + 6000), KEYRING_SAME);
}

static void test_of_two_keys_for_one_time_one_wins(void **state)
{
	struct keyring a = {0}, b = {0}, both;

	(void)state;
	add(&a, NOW);
	add(&b, NOW);
	both = a;
	assert_int_equal(merge_at(&both, &b, NOW), 0);
	assert_int_equal(merge_at(&b, &a, NOW), 0);
	assert_true(same_key(keyring_current(&both, NOW), keyring_current(&b, NOW)));
	assert_true(has(&both, &a.keys[0]) && has(&both, &b.keys[0]));
}

static void test_a_rekey_reaches_who_was_away(void **state)
{
	struct keyring a = ring_at(NOW), away = a;
	const struct ticket_key old = a.keys[0];

	(void)state;
	assert_int_equal(rekey_at(&a, NOW + 1000, R), 0);
	add(&away, NOW + R);
	/* What it says is of no more use, whoever speaks first. */
	assert_int_equal(merge_at(&a, &away, NOW + 2000), KEYRING_SAME);
	assert_false(has(&a, &old));
	assert_int_equal(merge_at(&away, &a, NOW + 2000), 0);
	assert_true(same_set(&a, &away));
	assert_rest_is_wiped(&away);
}

static void test_a_rekey_without_keys_counts(void **state)
{
	struct keyring ring = ring_at(NOW);
	const struct keyring theirs = {.generation = keyring_generation(NOW / 1000, 0)};

	(void)state;
	assert_int_equal(merge_at(&ring, &theirs, NOW), 0);
	assert_int_equal(ring.n, 0);
	assert_true(keyring_due_ms(&ring, NOW, R, 0) <= NOW);
}

/* ---- What a peer may not do ---- */

static void test_a_rekey_from_the_future_is_refused(void **state)
{
	struct keyring ring = ring_at(NOW), theirs = ring_at(NOW);
	const struct keyring before = ring;

	(void)state;
	theirs.generation = UINT64_MAX;
	assert_int_equal(merge_at(&ring, &theirs, NOW), KEYRING_FUTURE);
	theirs.generation = keyring_generation(NOW / 1000 + HOUR_S + 1, 0);
	assert_int_equal(merge_at(&ring, &theirs, NOW), KEYRING_FUTURE);
	assert_memory_equal(&ring, &before, sizeof(ring));
	theirs.generation = keyring_generation(NOW / 1000 + HOUR_S, 0);
	assert_int_equal(merge_at(&ring, &theirs, NOW), 0);
}

/* As late as it is taken, with the highest random bits: who has heard of it takes the next one all the same. */
static void test_no_member_blocks_the_next_rekey(void **state)
{
	const struct keyring theirs = {.generation =
	                                   keyring_generation(NOW / 1000 + HOUR_S, UINT32_MAX)};
	struct keyring a = ring_at(NOW), b = ring_at(NOW), away = ring_at(NOW);

	(void)state;
	assert_int_equal(merge_at(&a, &theirs, NOW), 0);
	assert_int_equal(merge_at(&b, &theirs, NOW), 0);
	assert_int_equal(rekey_at(&a, NOW, R), 0);
	assert_true(a.generation > theirs.generation);
	assert_int_equal(merge_at(&b, &a, NOW), 0);
	assert_true(same_set(&a, &b));
	/* And who has not, a second later. */
	assert_int_equal(merge_at(&away, &a, NOW), KEYRING_FUTURE);
	assert_int_equal(merge_at(&away, &a, NOW + 1000), 0);
	assert_true(same_set(&a, &away));
	/* One that is held already is nothing to be refused, though a clock has gone back. */
	assert_int_equal(merge_at(&b, &a, NOW - 2 * R), KEYRING_SAME);
}

/* Keys that somebody made for the second of a rekey do not become its keys. */
static void test_two_rekeys_of_one_second_are_two(void **state)
{
	struct keyring a = ring_at(NOW), b = ring_at(NOW);

	(void)state;
	assert_int_equal(rekey_at(&a, NOW, R), 0);
	assert_int_equal(rekey_at(&b, NOW, R), 0);
	assert_int_equal(keyring_rekeyed_s(a.generation), keyring_rekeyed_s(b.generation));
	assert_true(a.generation != b.generation);
	if (a.generation < b.generation)
		assert_int_equal(merge_at(&a, &b, NOW), 0);
	else
		assert_int_equal(merge_at(&b, &a, NOW), 0);
	assert_true(same_set(&a, &b));
	assert_int_equal(a.n, 1);
}

static void test_bad_keys_are_left_out(void **state)
{
	struct keyring ring = ring_at(NOW), theirs = {0};
	const struct keyring before = ring;
	struct ticket_key *bad;

	(void)state;
	for (unsigned i = 0; i < 11; i++)
		add(&theirs, NOW);
	bad = theirs.keys;
	memset(bad[0].name, 0, 8);
	bad[1].not_before_ms = -1;
	bad[2].not_before_ms = INT64_MIN;
	bad[3].not_before_ms = bad[3].use_until_ms;
	bad[4].use_until_ms = INT64_MAX;
	bad[5].not_after_ms = INT64_MAX;
	bad[6].not_after_ms = bad[6].use_until_ms - 1;
	bad[7].not_after_ms = INT64_MIN;
	bad[8] = (struct ticket_key){.name = "expired",
	                             .not_before_ms = NOW - 3 * R,
	                             .use_until_ms = NOW - 2 * R,
	                             .not_after_ms = NOW};
	bad[9].not_before_ms += 100 * R;
	bad[9].use_until_ms += 100 * R;
	bad[9].not_after_ms += 100 * R;
	bad[10].use_until_ms = NOW + TICKET_ROTATION_MS_MAX + 2 * TICKET_SKEW_MS;
	bad[10].not_after_ms = bad[10].use_until_ms;
	assert_int_equal(merge_at(&ring, &theirs, NOW), KEYRING_SAME);
	assert_memory_equal(&ring, &before, sizeof(ring));
}

static void test_a_key_cannot_be_changed(void **state)
{
	struct keyring ring = ring_at(NOW), theirs = ring;

	(void)state;
	memset(theirs.keys[0].aes, 0, sizeof(theirs.keys[0].aes));
	theirs.keys[0].not_after_ms += R;
	assert_int_equal(merge_at(&ring, &theirs, NOW), KEYRING_SAME);
	assert_memory_not_equal(ring.keys[0].aes, theirs.keys[0].aes, TICKET_AES_BYTES);
}

static struct keyring flood_at(int64_t now_ms)
{
	struct keyring flood = {0};

	while (flood.n < KEYRING_KEYS_MAX)
		add(&flood, now_ms + flood.n);
	return flood;
}

static void test_a_flood_takes_no_good_key_and_not_our_own_room(void **state)
{
	struct keyring ring = ring_at(NOW), flood;
	const struct ticket_key good = ring.keys[0];

	(void)state;
	for (uint8_t from = 1; from <= 15; from++) {
		flood = flood_at(NOW);
		assert_int_equal(merge_from(&ring, &flood, from, 15, NOW), KEYRING_FULL);
		assert_true(has(&ring, &good));
	}
	assert_int_equal(ring.n, KEYRING_KEYS_MAX - KEYRING_KEYS_OWN);
	for (unsigned i = 0; i < KEYRING_KEYS_OWN; i++)
		assert_int_equal(make_at(&ring, NOW, R), 0);
	assert_int_equal(make_at(&ring, NOW, R), KEYRING_FULL);
	assert_int_equal(ring.n, KEYRING_KEYS_MAX);
	/* And it passes. */
	assert_true(expire_at(&ring, NOW + 10 * R));
	assert_int_equal(ring.n, 0);
}

static void test_a_flood_keeps_nobody_else_out(void **state)
{
	struct keyring ring = ring_at(NOW), flood, honest = {0};

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		flood = flood_at(NOW);
		assert_int_equal(merge_from(&ring, &flood, 1, 15, NOW), KEYRING_FULL);
		assert_int_equal(ring.n, 1 + KEYRING_KEYS_PEER);
	}
	while (honest.n < KEYRING_KEYS_PEER)
		add(&honest, NOW);
	assert_int_equal(merge_from(&ring, &honest, 2, 15, NOW), 0);
	for (size_t i = 0; i < honest.n; i++)
		assert_true(has(&ring, &honest.keys[i]));
	/* What both bring counts once. */
	assert_int_equal(merge_from(&ring, &honest, 1, 15, NOW), KEYRING_SAME);
	/* Where there are few nodes, each has more room: one that lost its memory learns what the group had while apart. */
	ring = (struct keyring){0};
	assert_int_equal(merge_from(&ring, &flood, 1, 2, NOW), KEYRING_FULL);
	assert_int_equal(ring.n, (KEYRING_KEYS_MAX - KEYRING_KEYS_OWN) / 2);
	/* A reload gives peers other numbers. */
	keyring_forget_senders(&ring);
	assert_int_equal(merge_from(&ring, &honest, 1, 2, NOW), 0);
}

static void test_keys_of_long_periods_are_left_out(void **state)
{
	struct keyring ring = ring_at(NOW), theirs = {0};
	const struct keyring before = ring;

	(void)state;
	assert_int_equal(make_at(&theirs, NOW, 2 * R + 1), 0);
	assert_int_equal(merge_at(&ring, &theirs, NOW), KEYRING_SAME);
	theirs.n = 0;
	assert_int_equal(ticket_key_make(&theirs.keys[theirs.n++], NOW, NOW + R, 3 * R), 0);
	assert_int_equal(merge_at(&ring, &theirs, NOW), KEYRING_SAME);
	assert_memory_equal(&ring, &before, sizeof(ring));
	theirs.n = 0;
	assert_int_equal(make_at(&theirs, NOW, 2 * R), 0);
	assert_int_equal(merge_at(&ring, &theirs, NOW), 0);
}

/* ---- Clocks ---- */

static void test_a_clock_that_goes_back_lets_no_key_live_on(void **state)
{
	struct keyring ring = ring_at(NOW), theirs = {0}, again;
	struct keyring_time now = time_at(NOW);
	const struct keyring_sender sender = {.number = 1, .n_peers = 1, .rotation_ms = R};

	(void)state;
	add(&theirs, NOW);
	assert_int_equal(merge_at(&ring, &theirs, NOW), 0);
	again = ring;
	/* As little as leaves them in use. */
	now.wall_ms -= R;
	assert_false(keyring_expire(&ring, &now));
	now.wall_ms += 2 * R - 1;
	now.boot_ms += 2 * R - 1;
	assert_false(keyring_expire(&ring, &now));
	now.wall_ms += 1;
	now.boot_ms += 1;
	assert_true(keyring_expire(&ring, &now));
	assert_int_equal(ring.n, 0);
	assert_rest_is_wiped(&ring);
	/* A peer whose clock is as wrong has them still. */
	assert_int_equal(keyring_merge(&ring, &again, &sender, &now), KEYRING_SAME);
}

static void test_a_key_that_is_far_ahead_goes_at_once_and_may_come_back(void **state)
{
	struct keyring ring = ring_at(NOW), before = ring;
	struct keyring_time now = time_at(NOW);
	const struct keyring_sender sender = {.number = 1, .n_peers = 1, .rotation_ms = R};

	(void)state;
	now.wall_ms -= 2 * R;
	assert_true(keyring_expire(&ring, &now));
	assert_int_equal(ring.n, 0);
	assert_int_equal(keyring_merge(&ring, &before, &sender, &now), KEYRING_SAME);
	now.wall_ms += 2 * R;
	assert_int_equal(keyring_merge(&ring, &before, &sender, &now), 0);
	assert_int_equal(ring.n, 1);
}

/* ---- A group at random ---- */

#define NODES 4
#define STEP_MS 250
static uint64_t random_state;

static unsigned random_below(unsigned n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % n;
}

struct group {
	struct keyring rings[NODES];
	bool away[NODES];
	int64_t now_ms;
	struct ticket_key void_keys[64]; /* of before a rekey */
	size_t n_void;
};

static void meet(struct group *g)
{
	/* Each to each, three times over: whatever the order, news has gone round then. */
	for (unsigned round = 0; round < 3; round++)
		for (unsigned from = 0; from < NODES; from++)
			for (unsigned to = 0; to < NODES; to++)
				if (from != to && !g->away[from] && !g->away[to])
					(void)!merge_from(&g->rings[to], &g->rings[from],
					                  (uint8_t)(from + 1), NODES - 1,
					                  g->now_ms);
}

static void turn(struct group *g)
{
	g->now_ms += STEP_MS;
	for (unsigned i = 0; i < NODES; i++) {
		struct keyring *ring = &g->rings[i];

		expire_at(ring, g->now_ms);
		if (keyring_due_ms(ring, g->now_ms, R, i) <= g->now_ms)
			assert_int_equal(make_at(ring, g->now_ms, R), 0);
		meet(g);
	}
}

static void rekey(struct group *g)
{
	struct keyring *ring = &g->rings[random_below(NODES)];

	for (size_t i = 0; i < ring->n; i++)
		g->void_keys[g->n_void++ % ARRAY_SIZE(g->void_keys)] = ring->keys[i];
	assert_int_equal(rekey_at(ring, g->now_ms, R), 0);
	meet(g);
}

static void check(const struct group *g)
{
	for (unsigned i = 0; i < NODES; i++) {
		const struct keyring *ring = &g->rings[i];

		assert_true(ring->n <= 12);
		assert_rest_is_wiped(ring);
		assert_non_null(keyring_current(ring, g->now_ms));
		for (unsigned k = 0; k < NODES; k++)
			if (!g->away[i] && !g->away[k])
				assert_true(same_set(ring, &g->rings[k]));
		for (size_t k = 0; !g->away[i] && k < MIN(g->n_void, ARRAY_SIZE(g->void_keys)); k++)
			assert_false(has(ring, &g->void_keys[k]));
	}
}

static void run_group(uint64_t seed)
{
	struct group *g = calloc(1, sizeof(*g));

	random_state = seed;
	g->now_ms = NOW;
	for (unsigned i = 0; i < 4000; i++) {
		unsigned dice = random_below(400), node = random_below(NODES);

		if (dice == 0) {
			/* Lost its memory, as after a reboot. */
			if (!g->away[node])
				keyring_wipe(&g->rings[node]);
		} else if (dice < 4) {
			g->away[node] = !g->away[node];
		} else if (dice == 4) {
			memset(g->away, 0, sizeof(g->away));
			meet(g);
			rekey(g);
		}
		meet(g);
		turn(g);
		check(g);
	}
	free(g);
}

static void test_a_group_at_random(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++)
		run_group(seed);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_keys_are_random),
	    T(test_the_first_key_encrypts_at_once),
	    T(test_the_next_key_is_staged_and_takes_over),
	    T(test_ranks_take_turns_before_the_key_is_needed),
	    T(test_a_key_lives_as_long_as_its_tickets_and_is_wiped),
	    T(test_a_ring_turns_for_ever_with_few_keys),
	    T(test_a_clock_that_jumps_leaves_no_gap),
	    T(test_a_shorter_period_counts_at_once),
	    T(test_a_rekey_voids_all),
	    T(test_rings_that_meet_agree),
	    T(test_of_two_keys_for_one_time_one_wins),
	    T(test_a_rekey_reaches_who_was_away),
	    T(test_a_rekey_without_keys_counts),
	    T(test_a_rekey_from_the_future_is_refused),
	    T(test_no_member_blocks_the_next_rekey),
	    T(test_two_rekeys_of_one_second_are_two),
	    T(test_bad_keys_are_left_out),
	    T(test_a_key_cannot_be_changed),
	    T(test_a_flood_takes_no_good_key_and_not_our_own_room),
	    T(test_a_flood_keeps_nobody_else_out),
	    T(test_keys_of_long_periods_are_left_out),
	    T(test_a_clock_that_goes_back_lets_no_key_live_on),
	    T(test_a_key_that_is_far_ahead_goes_at_once_and_may_come_back),
	    T(test_a_group_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
