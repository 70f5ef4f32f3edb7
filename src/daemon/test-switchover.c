/* A planned switchover, promote and demote, and what can go wrong in them. Every test says who holds
 * the address at the end. */
#include "daemon/test-hosts.h"

#include <errno.h>

static void test_from_the_active(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	pair_run(p);
	assert_int_equal(p->a.n_finished, 1);
	assert_string_equal(p->a.error, "");
	assert_active(&p->b, &p->a);
	assert_int_equal(p->b.role.term, 2);
	assert_int_equal(p->a.role.term, 2);
}

static void test_from_the_standby_and_back(void **state)
{
	struct pair *p = *state;

	switchover_start(p->b.sw, NULL, false, 0);
	pair_run(p);
	assert_int_equal(p->b.n_finished, 1);
	assert_int_equal(p->a.n_finished, 0);
	assert_string_equal(p->b.error, "");
	assert_active(&p->b, &p->a);
	switchover_start(p->a.sw, NULL, false, 0);
	pair_run(p);
	assert_string_equal(p->a.error, "");
	assert_active(&p->a, &p->b);
	assert_int_equal(p->a.role.term, 3);
}

static void test_barrier_waits_for_acks(void **state)
{
	struct pair *p = *state;

	p->a.head = 1000;
	p->a.acked = 900;
	switchover_start(p->a.sw, "b", false, 0);
	pair_run(p);
	assert_active(&p->a, &p->b);
	assert_int_equal(p->a.armed_ms, SWITCHOVER_TIMEOUT_MS);
	p->a.head = 2000; /* sessions that came later are the gate's business */
	p->a.acked = 1000;
	switchover_acked(p->a.sw);
	pair_run(p);
	assert_active(&p->b, &p->a);
}

static void test_barrier_times_out(void **state)
{
	struct pair *p = *state;

	p->a.head = 1000;
	switchover_start(p->a.sw, NULL, false, 1234);
	assert_int_equal(p->a.armed_ms, 1234);
	switchover_deadline(p->a.sw);
	pair_run(p);
	assert_int_equal(p->a.n_finished, 1);
	assert_non_null(strstr(p->a.error, "address stays on a"));
	assert_active(&p->a, &p->b);
}

static void test_not_in_sync_refuses_unless_forced(void **state)
{
	struct pair *p = *state;

	p->a.state = REPL_CATCHING_UP;
	p->a.head = 1000;
	switchover_start(p->a.sw, NULL, false, 0);
	pair_run(p);
	assert_non_null(strstr(p->a.error, "not in sync"));
	assert_non_null(strstr(p->a.error, "--force"));
	assert_active(&p->a, &p->b);
	switchover_start(p->a.sw, NULL, true, 0);
	pair_run(p);
	assert_string_equal(p->a.error, "");
	assert_active(&p->b, &p->a);
}

static void test_peer_lost_in_the_barrier(void **state)
{
	struct pair *p = *state;

	p->a.head = 1000;
	switchover_start(p->a.sw, NULL, false, 0);
	pair_connect(p, false);
	switchover_peer_changed(p->a.sw, 0);
	pair_run(p);
	assert_int_equal(p->a.n_finished, 1);
	assert_active(&p->a, &p->b);
}

/* Whatever is forced: there is nobody to release the address for. */
static void test_peer_lost_in_the_barrier_forced(void **state)
{
	struct pair *p = *state;

	p->a.head = 1000;
	switchover_start(p->a.sw, NULL, true, 0);
	pair_connect(p, false);
	switchover_peer_changed(p->a.sw, 0);
	assert_int_equal(p->a.n_finished, 1);
	assert_non_null(strstr(p->a.error, "address stays on a"));
	/* The same at the deadline. */
	pair_connect(p, true);
	switchover_start(p->a.sw, NULL, true, 0);
	pair_connect(p, false);
	switchover_deadline(p->a.sw);
	assert_int_equal(p->a.n_finished, 2);
	assert_non_null(strstr(p->a.error, "address stays on a"));
	pair_run(p);
	assert_int_equal(p->a.n_asked_ever, 0);
	assert_active(&p->a, &p->b);
}

static void test_absent_peer_and_unknown_name(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, "c", false, 0);
	assert_non_null(strstr(p->a.error, "named c"));
	switchover_start(p->a.sw, "a", false, 0);
	assert_non_null(strstr(p->a.error, "active already"));
	pair_connect(p, false);
	switchover_start(p->a.sw, NULL, true, 0);
	assert_non_null(strstr(p->a.error, "absent"));
	switchover_start(p->b.sw, NULL, false, 0);
	assert_non_null(strstr(p->b.error, "promote"));
	pair_run(p);
	assert_active(&p->a, &p->b);
}

static void test_release_fails(void **state)
{
	struct pair *p = *state;

	p->a.vip_result[VIP_RELEASE] = -EPERM;
	switchover_start(p->a.sw, NULL, false, 0);
	pair_run(p);
	assert_non_null(strstr(p->a.error, "could not release"));
	assert_active(&p->a, &p->b);
	assert_int_equal(p->b.n_inbox, 0);
}

static void test_take_fails_and_the_address_returns(void **state)
{
	struct pair *p = *state;

	p->b.vip_result[VIP_TAKE] = -ENODEV;
	switchover_start(p->b.sw, NULL, false, 0);
	pair_run(p);
	assert_non_null(strstr(p->b.error, "it broke"));
	assert_non_null(strstr(p->b.error, "back on a"));
	assert_active(&p->a, &p->b);
	assert_true(p->a.role.term > 2);
}

static void test_nobody_can_hold_it(void **state)
{
	struct pair *p = *state;

	p->a.vip_result[VIP_TAKE] = p->b.vip_result[VIP_TAKE] = -ENODEV;
	switchover_start(p->a.sw, NULL, false, 0);
	pair_run(p);
	assert_non_null(strstr(p->a.error, "no node answers"));
	assert_false(p->a.role.active);
	assert_false(p->b.role.active);
	/* What was offered is passed on, so that nobody offers it again. */
	switchover_peer_changed(p->a.sw, 0);
	assert_int_equal(p->a.role.term, p->a.role.latest);
	assert_true(p->a.role.term >= 2);
}

static void test_link_breaks_before_the_offer(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	pair_connect(p, false); /* the helper has been asked to release */
	pair_run(p);
	assert_int_equal(p->a.n_finished, 1);
	assert_active(&p->a, &p->b);
}

/* b takes the address, its answer is lost: a takes it back with a later term; when the link heals,
 * b lets go. */
static void test_answer_lost(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	host_run(&p->a);
	assert_int_equal(p->b.n_inbox, 1);
	pair_connect(p, false);
	host_run(&p->b);
	assert_true(p->b.role.active);
	switchover_deadline(p->a.sw);
	pair_run(p);
	assert_true(p->a.role.active && p->b.role.active);
	pair_connect(p, true);
	pair_run(p);
	assert_active(&p->a, &p->b);
}

/* The answer is lost, but b's role arrives. */
static void test_role_instead_of_the_answer(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	host_run(&p->a);
	host_run(&p->b);
	p->a.n_inbox = 0;
	switchover_peer_changed(p->a.sw, 0);
	pair_run(p);
	assert_string_equal(p->a.error, "");
	assert_int_equal(p->a.n_finished, 1);
	assert_active(&p->b, &p->a);
}

static void test_late_answer_is_dropped(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	host_run(&p->a);
	switchover_deadline(p->a.sw); /* takes back … */
	pair_run(p);                  /* … while b takes and answers */
	assert_active(&p->a, &p->b);
	assert_int_equal(p->a.n_finished, 1);
}

/* b sleeps over the offer: it reads it when a has taken the address back, and said so. */
static void test_late_take_is_refused(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	host_run(&p->a);
	switchover_deadline(p->a.sw);
	host_run(&p->a);
	assert_int_equal(p->a.role.term, 3);
	host_run(&p->b);
	assert_int_equal(p->b.n_asked_ever, 0);
	pair_run(p);
	assert_active(&p->a, &p->b);
}

/* The same while b's helper takes the address. */
static void test_take_that_becomes_late_is_undone(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	host_run(&p->a);
	assert_true(host_step(&p->b)); /* TAKE */
	switchover_deadline(p->a.sw);
	host_run(&p->a);
	host_run(&p->b);
	assert_false(p->b.role.active);
	assert_false(p->b.holds);
	pair_run(p);
	assert_active(&p->a, &p->b);
	assert_int_equal(p->a.n_finished, 1);
}

static void test_take_that_cannot_be_undone(void **state)
{
	struct pair *p = *state;

	p->b.vip_result[VIP_RELEASE] = -EPERM;
	switchover_start(p->a.sw, NULL, false, 0);
	host_run(&p->a);
	assert_true(host_step(&p->b));
	switchover_deadline(p->a.sw);
	pair_run(p);
	assert_false(p->b.role.active);
	assert_true(p->b.holds);
	/* By hand, later. */
	p->b.vip_result[VIP_RELEASE] = 0;
	switchover_demote(p->b.sw);
	pair_run(p);
	assert_active(&p->a, &p->b);
}

static void test_promote_after_a_crash_and_the_dead_returns(void **state)
{
	struct pair *p = *state;

	pair_connect(p, false);
	switchover_promote(p->b.sw);
	pair_run(p);
	assert_string_equal(p->b.error, "");
	assert_int_equal(p->b.role.term, 2);
	assert_true(p->b.role.active && p->a.role.active);
	pair_connect(p, true);
	pair_run(p);
	assert_active(&p->b, &p->a);
}

static void test_promote_repeats(void **state)
{
	struct pair *p = *state;

	switchover_promote(p->a.sw);
	pair_run(p);
	assert_int_equal(p->a.role.term, 1);
	assert_active(&p->a, &p->b);
	switchover_demote(p->a.sw);
	pair_run(p);
	assert_false(p->a.role.active || p->a.holds);
}

static void test_one_at_a_time(void **state)
{
	struct pair *p = *state;

	p->a.head = 1000;
	switchover_start(p->a.sw, NULL, false, 0);
	switchover_start(p->a.sw, NULL, false, 0);
	assert_int_equal(p->a.n_finished, 1);
	assert_non_null(strstr(p->a.error, "under way"));
	switchover_start(p->b.sw, NULL, false, 0);
	pair_run(p);
	assert_int_equal(p->b.n_finished, 1);
	assert_non_null(strstr(p->b.error, "under way"));
	p->a.acked = 1000;
	switchover_acked(p->a.sw);
	pair_run(p);
	assert_active(&p->b, &p->a);
}

/* b has asked for the address, and a dies before it answers. */
static void test_failover_ends_a_request(void **state)
{
	struct pair *p = *state;

	switchover_start(p->b.sw, NULL, false, 3600000);
	p->a.n_inbox = 0;
	p->a.connected = false;
	switchover_cancel(p->b.sw, "b was told to promote");
	assert_int_equal(p->b.n_finished, 1);
	assert_non_null(strstr(p->b.error, "given up: b was told to promote"));
	switchover_promote(p->b.sw);
	host_run(&p->b);
	assert_string_equal(p->b.error, "");
	assert_true(p->b.holds && p->b.role.active);
	assert_int_equal(p->b.armed_ms, 0);
}

static void test_demote_ends_the_barrier(void **state)
{
	struct pair *p = *state;

	p->a.head = 1000;
	switchover_start(p->a.sw, NULL, false, 3600000);
	switchover_cancel(p->a.sw, "a was told to demote");
	assert_int_equal(p->a.n_finished, 1);
	switchover_demote(p->a.sw);
	pair_run(p);
	assert_int_equal(p->a.n_finished, 2);
	assert_false(p->a.holds || p->a.role.active || p->b.holds);
}

/* a waits for b's acks at b's request. It must not send b a TAKE for which b has no use any more. */
static void test_cancelled_request_ends_the_barrier(void **state)
{
	struct pair *p = *state;

	p->a.head = 1000;
	switchover_start(p->b.sw, NULL, false, 3600000);
	pair_run(p);
	assert_true(switchover_busy(p->a.sw));
	switchover_cancel(p->b.sw, "b was told to demote");
	switchover_demote(p->b.sw);
	pair_run(p);
	assert_false(switchover_busy(p->a.sw));
	p->a.acked = 1000;
	switchover_acked(p->a.sw);
	pair_run(p);
	assert_active(&p->a, &p->b);
	assert_int_equal(p->a.n_asked_ever, 0);
}

/* a hung when b asked it, b was promoted, and a reads all of it when it wakes. */
static void test_stale_request_after_a_failover(void **state)
{
	struct pair *p = *state;

	switchover_start(p->b.sw, NULL, false, 0);
	switchover_cancel(p->b.sw, "b was told to promote");
	switchover_promote(p->b.sw);
	host_run(&p->b);
	assert_int_equal(p->a.n_inbox, 2);
	pair_run(p);
	assert_active(&p->b, &p->a);
	assert_int_equal(p->b.role.term, 2);
	assert_int_equal(p->a.n_asked_ever, 1); /* the release; it is not taken back */
}

static void test_later_active_while_offered(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	host_run(&p->a);
	p->b.n_inbox = 0;
	p->b.role = (struct role){true, 7, 7};
	p->b.holds = true;
	switchover_deadline(p->a.sw);
	assert_non_null(strstr(p->a.error, "b took the address over"));
	pair_run(p);
	assert_active(&p->b, &p->a);
	assert_int_equal(p->b.role.term, 7);
}

/* The request is given up while the helper releases the address. */
static void test_cancel_while_releasing(void **state)
{
	struct pair *p = *state;
	struct handover cancel;

	switchover_start(p->b.sw, NULL, false, 0);
	assert_true(host_step(&p->a));
	assert_true(switchover_moving(p->a.sw));
	switchover_cancel(p->b.sw, "b was told to demote");
	switchover_demote(p->b.sw);
	cancel = p->a.inbox[--p->a.n_inbox];
	switchover_message(p->a.sw, 0, &cancel);
	pair_run(p);
	assert_active(&p->a, &p->b);
}

/* Once the address is offered there is nothing to give up. */
static void test_cancel_comes_too_late(void **state)
{
	struct pair *p = *state;

	switchover_start(p->b.sw, NULL, false, 0);
	host_run(&p->a); /* has released it, and offers it */
	while (p->b.n_inbox)
		host_step(&p->b);
	assert_true(switchover_moving(p->b.sw));
	switchover_cancel(p->b.sw, "b was told to demote");
	switchover_cancel(p->a.sw, "a was told to demote");
	pair_run(p);
	assert_string_equal(p->b.error, "");
	assert_active(&p->b, &p->a);
}

static void test_helper_is_gone(void **state)
{
	struct pair *p = *state;

	p->a.vip_result[0] = -EPIPE;
	switchover_start(p->a.sw, NULL, false, 0);
	assert_non_null(strstr(p->a.error, "helper"));
	switchover_promote(p->a.sw);
	switchover_demote(p->a.sw);
	assert_int_equal(p->a.n_finished, 3);
	pair_run(p);
	assert_active(&p->a, &p->b);
}

/* Messages that answer nothing, from whoever: no effect. */
static void test_stray_messages(void **state)
{
	struct pair *p = *state;

	for (unsigned type = HANDOVER_PROGRESS; type <= HANDOVER_CANCEL; type++) {
		struct handover stray = {.type = (enum handover_type)type, .flag = true, .id = 77};

		if (type != HANDOVER_TAKE)
			switchover_message(p->a.sw, 0, &stray);
	}
	pair_run(p);
	assert_int_equal(p->a.n_finished, 0);
	assert_active(&p->a, &p->b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    pair_test(test_from_the_active),
	    pair_test(test_from_the_standby_and_back),
	    pair_test(test_barrier_waits_for_acks),
	    pair_test(test_barrier_times_out),
	    pair_test(test_not_in_sync_refuses_unless_forced),
	    pair_test(test_peer_lost_in_the_barrier),
	    pair_test(test_peer_lost_in_the_barrier_forced),
	    pair_test(test_absent_peer_and_unknown_name),
	    pair_test(test_release_fails),
	    pair_test(test_take_fails_and_the_address_returns),
	    pair_test(test_nobody_can_hold_it),
	    pair_test(test_link_breaks_before_the_offer),
	    pair_test(test_answer_lost),
	    pair_test(test_role_instead_of_the_answer),
	    pair_test(test_late_answer_is_dropped),
	    pair_test(test_late_take_is_refused),
	    pair_test(test_take_that_becomes_late_is_undone),
	    pair_test(test_take_that_cannot_be_undone),
	    pair_test(test_promote_after_a_crash_and_the_dead_returns),
	    pair_test(test_promote_repeats),
	    pair_test(test_one_at_a_time),
	    pair_test(test_failover_ends_a_request),
	    pair_test(test_demote_ends_the_barrier),
	    pair_test(test_cancelled_request_ends_the_barrier),
	    pair_test(test_stale_request_after_a_failover),
	    pair_test(test_later_active_while_offered),
	    pair_test(test_cancel_while_releasing),
	    pair_test(test_cancel_comes_too_late),
	    pair_test(test_helper_is_gone),
	    pair_test(test_stray_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
