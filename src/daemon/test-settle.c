/* What a node does about the address without being told: at its start, when two are active, and with
 * the terms that it hears. */
#include "daemon/test-hosts.h"

#include <errno.h>

/* ---- The start ---- */

static void assert_decided(const struct host *h)
{
	assert_false(switchover_claiming(h->sw));
	assert_int_equal(h->armed_ms, 0);
}

/* A first start, with nothing recorded. */
static void forget(struct host *h, bool holds)
{
	h->role = (struct role){0};
	h->holds = holds;
}

static void test_start_takes_what_nobody_holds(void **state)
{
	struct pair *p = *state;

	forget(&p->a, true); /* as the system has configured it */
	switchover_claim(p->a.sw);
	assert_int_equal(p->a.n_asked, 1); /* one thing after the other */
	assert_int_equal(p->a.asked[0], VIP_RELEASE);
	pair_run(p);
	assert_decided(&p->a);
	assert_active(&p->a, &p->b);
	assert_int_equal(p->a.role.term, 2);
}

static void test_start_waits_for_peers(void **state)
{
	struct pair *p = *state;

	forget(&p->a, false);
	pair_connect(p, false);
	switchover_claim(p->a.sw);
	switchover_peer_changed(p->a.sw,
	                        0); /* while the helper is at work: not the end of the wait */
	pair_run(p);
	assert_true(switchover_claiming(p->a.sw));
	assert_int_equal(p->a.armed_ms, SWITCHOVER_GRACE_MS);
	assert_false(p->a.holds || p->a.role.active);
	switchover_deadline(p->a.sw);
	pair_run(p);
	assert_decided(&p->a);
	assert_active(&p->a, &p->b);
}

static void test_start_deadline_while_the_helper_works(void **state)
{
	struct pair *p = *state;

	forget(&p->a, true);
	pair_connect(p, false);
	switchover_claim(p->a.sw);
	switchover_deadline(p->a.sw);
	pair_run(p);
	assert_decided(&p->a);
	assert_active(&p->a, &p->b);
}

static void test_start_again_leaves_the_address(void **state)
{
	struct pair *p = *state;

	pair_connect(p, false);
	switchover_claim(p->a.sw);
	pair_run(p);
	assert_int_equal(p->a.n_asked_ever, 0);
	pair_connect(p, true);
	switchover_peer_changed(p->a.sw, 0);
	pair_run(p);
	assert_decided(&p->a);
	assert_active(&p->a, &p->b);
	assert_int_equal(p->a.role.term, 1);
}

static void test_start_stands_by(void **state)
{
	struct pair *p = *state;

	p->b.role = (struct role){true, 2, 2};
	p->b.holds = true;
	switchover_claim(p->a.sw);
	pair_run(p);
	assert_decided(&p->a);
	assert_active(&p->b, &p->a);
	assert_int_equal(p->a.n_asked_ever, 1);
}

/* Recorded, so that the next start does not claim it. */
static void test_first_start_stands_by(void **state)
{
	struct pair *p = *state;

	forget(&p->b, true);
	switchover_claim(p->b.sw);
	pair_run(p);
	assert_decided(&p->b);
	assert_active(&p->a, &p->b);
	assert_true(p->b.n_set_role > 0);
}

static void test_demote_ends_the_claim(void **state)
{
	struct pair *p = *state;

	pair_connect(p, false);
	switchover_claim(p->a.sw);
	switchover_demote(p->a.sw);
	assert_decided(&p->a);
	pair_run(p);
	assert_string_equal(p->a.error, "");
	switchover_deadline(p->a.sw);
	switchover_peer_changed(p->a.sw, 0);
	pair_run(p);
	assert_false(p->a.holds || p->a.role.active);
}

/* Neither waits for the helper, which is at work for the claim. */
static void test_commands_at_once(void **state)
{
	struct pair *p = *state;

	pair_connect(p, false);
	forget(&p->a, true);
	switchover_claim(p->a.sw);
	switchover_demote(p->a.sw);
	assert_true(host_step(&p->a)); /* the claim's own release */
	assert_int_equal(p->a.n_finished, 0);
	pair_run(p);
	assert_int_equal(p->a.n_finished, 1);
	assert_string_equal(p->a.error, "");
	assert_decided(&p->a);
	assert_false(p->a.holds || p->a.role.active);

	host_restart(&p->a);
	forget(&p->a, true);
	switchover_claim(p->a.sw);
	switchover_promote(p->a.sw);
	assert_true(host_step(&p->a));
	assert_false(p->a.role.active);
	pair_run(p);
	assert_string_equal(p->a.error, "");
	assert_active(&p->a, &p->b);
}

static void test_switchover_ends_the_claim(void **state)
{
	struct pair *p = *state;

	p->a.connected = false; /* a's link to b is not up yet, b's to a is */
	switchover_claim(p->a.sw);
	p->a.connected = true;
	switchover_start(p->a.sw, NULL, false, 0);
	host_run(&p->a);
	assert_int_equal(p->a.armed_ms, SWITCHOVER_TAKEN_MS);
	pair_run(p);
	assert_decided(&p->a);
	assert_active(&p->b, &p->a);
}

static void test_take_ends_the_claim(void **state)
{
	struct pair *p = *state;

	p->b.connected = false;
	forget(&p->b, false);
	switchover_claim(p->b.sw);
	host_run(&p->b);
	switchover_start(p->a.sw, NULL, false, 0);
	host_run(&p->a);
	host_run(&p->b);
	assert_decided(&p->b);
	switchover_peer_changed(p->a.sw, 0); /* b's role, for its answer could not be sent */
	switchover_deadline(p->b.sw);
	pair_run(p);
	assert_active(&p->b, &p->a);
	assert_int_equal(p->b.role.term, 2);
}

static void test_refusal_leaves_the_claim(void **state)
{
	struct pair *p = *state;

	pair_connect(p, false);
	forget(&p->a, false);
	switchover_claim(p->a.sw);
	host_run(&p->a);
	switchover_start(p->a.sw, NULL, false, 0);
	assert_non_null(strstr(p->a.error, "promote"));
	switchover_deadline(p->a.sw);
	pair_run(p);
	assert_active(&p->a, &p->b);
	/* The same for one that was active. */
	host_restart(&p->a);
	switchover_claim(p->a.sw);
	switchover_start(p->a.sw, NULL, false, 0);
	assert_non_null(strstr(p->a.error, "absent"));
	assert_true(switchover_claiming(p->a.sw));
	assert_int_equal(p->a.armed_ms, SWITCHOVER_GRACE_MS);
}

/* ---- Rivals ---- */

/* Both hold the address, b by the later take-over. */
static void make_rivals(struct pair *p)
{
	p->b.role = (struct role){true, 9, 9};
	p->b.holds = true;
}

static void test_earlier_lets_go(void **state)
{
	struct pair *p = *state;

	make_rivals(p);
	switchover_peer_changed(p->a.sw, 0);
	switchover_peer_changed(p->b.sw, 0);
	host_run(&p->a);
	switchover_peer_changed(p->b.sw, 0);
	assert_int_equal(p->b.asked[0], VIP_TAKE); /* announces it again */
	pair_run(p);
	assert_active(&p->b, &p->a);
	assert_int_equal(p->b.role.term, 9);
}

/* The wait can be an hour, and two nodes answer for the address. */
static void test_lets_go_while_it_waits(void **state)
{
	struct pair *p = *state;

	p->a.head = 1000;
	switchover_start(p->a.sw, NULL, false, 3600000);
	make_rivals(p);
	switchover_tick(p->a.sw);
	assert_int_equal(p->a.n_finished, 1);
	assert_non_null(strstr(p->a.error, "given up: b is active too"));
	pair_run(p);
	assert_active(&p->b, &p->a);
}

static unsigned n_tries(struct host *h, unsigned n_ticks)
{
	unsigned before = h->n_finished;

	for (unsigned i = 0; i < n_ticks; i++) {
		switchover_tick(h->sw);
		switchover_peer_changed(h->sw, 0);
		host_run(h);
	}
	return h->n_finished - before;
}

static void test_vain_tries_are_rare(void **state)
{
	struct pair *p = *state;

	make_rivals(p);
	p->a.vip_result[0] = -EPIPE;
	assert_int_equal(n_tries(&p->a, 60), 6);
	p->a.vip_result[0] = 0;
	p->a.vip_result[VIP_RELEASE] = -EPERM;
	assert_int_equal(n_tries(&p->a, 60), 6);
	assert_true(p->a.role.active && p->a.holds);
	p->a.vip_result[VIP_RELEASE] = 0;
	pair_run(p);
	assert_active(&p->b, &p->a);
	/* Another rival is another matter. */
	switchover_promote(p->a.sw);
	pair_run(p);
	assert_active(&p->a, &p->b);
	p->b.role = (struct role){true, 20, 20};
	p->b.holds = true;
	switchover_tick(p->a.sw);
	host_run(&p->a);
	assert_active(&p->b, &p->a);
}

/* ---- Terms ---- */

static void test_terms_heard_are_recorded_once(void **state)
{
	struct pair *p = *state;

	p->a.role.term = p->a.role.latest = 7;
	for (int i = 0; i < 5; i++) {
		switchover_peer_changed(p->b.sw, 0);
		switchover_tick(p->b.sw);
	}
	assert_int_equal(p->b.n_set_role, 1);
	assert_false(p->b.role.active);
	assert_int_equal(p->b.role.term, 7);
	assert_int_equal(p->b.role.latest, 7);
	/* The active keeps its own term. */
	p->b.role.term = p->b.role.latest = 12;
	switchover_peer_changed(p->a.sw, 0);
	assert_int_equal(p->a.n_set_role, 1);
	assert_true(p->a.role.active);
	assert_int_equal(p->a.role.term, 7);
	assert_int_equal(p->a.role.latest, 12);
}

/* b starts again, and is promoted, while a is cut off: that is the later take-over all the same. */
static void test_promoted_after_a_restart_with_nobody_to_ask(void **state)
{
	struct pair *p = *state;

	p->a.role.term = p->a.role.latest = 7;
	switchover_peer_changed(p->b.sw, 0);
	pair_connect(p, false);
	host_restart(&p->b);
	switchover_promote(p->b.sw);
	pair_run(p);
	assert_int_equal(p->b.role.term, 8);
	pair_connect(p, true);
	pair_run(p);
	assert_active(&p->b, &p->a);
}

/* The offerer starts again before the answer: its next take-over is after what it offered. */
static void test_offered_term_is_recorded(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	host_run(&p->a);
	pair_connect(p, false);
	host_run(&p->b);
	assert_int_equal(p->b.role.term, 2);
	host_restart(&p->a);
	switchover_promote(p->a.sw);
	pair_run(p);
	assert_int_equal(p->a.role.term, 3);
	pair_connect(p, true);
	pair_run(p);
	assert_active(&p->a, &p->b);
}

/* Told, it would be known to b before the offer is, which would be refused as old. */
static void test_offered_term_is_not_told(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	host_run(&p->a);
	switchover_peer_changed(p->a.sw, 0);
	assert_int_equal(p->a.role.term, 1);
	pair_run(p);
	assert_active(&p->b, &p->a);
	assert_int_equal(p->b.role.term, 2);
}

static void test_terms_do_not_wrap(void **state)
{
	struct pair *p = *state;

	p->a.role = (struct role){false, ROLE_TERM_MAX, ROLE_TERM_MAX};
	p->a.holds = false;
	switchover_promote(p->b.sw);
	pair_run(p);
	assert_active(&p->b, &p->a);
	assert_true(p->b.role.term == ROLE_TERM_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    pair_test(test_start_takes_what_nobody_holds),
	    pair_test(test_start_waits_for_peers),
	    pair_test(test_start_deadline_while_the_helper_works),
	    pair_test(test_start_again_leaves_the_address),
	    pair_test(test_start_stands_by),
	    pair_test(test_first_start_stands_by),
	    pair_test(test_demote_ends_the_claim),
	    pair_test(test_commands_at_once),
	    pair_test(test_switchover_ends_the_claim),
	    pair_test(test_take_ends_the_claim),
	    pair_test(test_refusal_leaves_the_claim),
	    pair_test(test_earlier_lets_go),
	    pair_test(test_lets_go_while_it_waits),
	    pair_test(test_vain_tries_are_rare),
	    pair_test(test_terms_heard_are_recorded_once),
	    pair_test(test_promoted_after_a_restart_with_nobody_to_ask),
	    pair_test(test_offered_term_is_recorded),
	    pair_test(test_offered_term_is_not_told),
	    pair_test(test_terms_do_not_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
