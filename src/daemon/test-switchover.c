/*
 * Two switchover machines, a and b, with messages in flight between them, an address that each can
 * be made unable to take or release, and a link that can break. Every test says who holds the
 * address at the end.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "daemon/switchover.h"

#define QUEUE 64

struct host {
	const char *name;
	struct host *other;
	struct switchover *sw;
	struct role role;
	bool holds;
	int vip_result[4]; /* by enum vip_op: what the helper answers */
	enum vip_op asked[8];
	size_t n_asked;
	struct handover inbox[QUEUE];
	size_t n_inbox;
	enum repl_peer_state state; /* of our push to the other */
	uint64_t head, acked, lag;
	unsigned armed_ms;
	unsigned n_finished;
	char error[256]; /* of the last finish(); "" for success */
	bool connected;
};

static size_t op_n_peers(void *arg)
{
	(void)arg;
	return 1;
}

static void op_peer(void *arg, size_t peer, struct repl_peer_status *out)
{
	struct host *h = arg;

	assert_int_equal(peer, 0);
	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", h->other->name);
	out->state = h->connected ? h->state : REPL_ABSENT;
	out->lag_records = h->lag;
	out->has_service = true;
	out->active = h->other->role.active;
	out->term = h->other->role.term;
}

static int op_send(void *arg, size_t peer, const struct handover *message)
{
	struct host *h = arg;
	uint8_t bytes[REPL_CONTROL_MAX];
	size_t n = handover_encode(message, bytes);

	assert_int_equal(peer, 0);
	if (!h->connected)
		return -ENOTCONN;
	assert_true(h->other->n_inbox < QUEUE);
	assert_int_equal(handover_decode(bytes, n, &h->other->inbox[h->other->n_inbox++]), 0);
	return 0;
}

static int op_vip(void *arg, enum vip_op op)
{
	struct host *h = arg;

	if (h->vip_result[0] == -EPIPE)
		return -EPIPE;
	assert_true(h->n_asked < ARRAY_SIZE(h->asked));
	h->asked[h->n_asked++] = op;
	return 0;
}

static struct role op_role(void *arg)
{
	return ((struct host *)arg)->role;
}

static void op_set_role(void *arg, struct role role)
{
	((struct host *)arg)->role = role;
}

static uint64_t op_head(void *arg)
{
	return ((struct host *)arg)->head;
}

static uint64_t op_acked(void *arg)
{
	return ((struct host *)arg)->acked;
}

static void op_arm(void *arg, unsigned ms)
{
	((struct host *)arg)->armed_ms = ms;
}

static void op_progress(void *arg, const char *text)
{
	(void)arg;
	assert_true(*text);
}

static void op_finish(void *arg, const char *error)
{
	struct host *h = arg;

	h->n_finished++;
	snprintf(h->error, sizeof(h->error), "%s", error ? error : "");
}

static const struct switchover_ops ops = {
    .n_peers = op_n_peers,
    .peer = op_peer,
    .send = op_send,
    .vip = op_vip,
    .role = op_role,
    .set_role = op_set_role,
    .head = op_head,
    .acked = op_acked,
    .arm = op_arm,
    .progress = op_progress,
    .finish = op_finish,
};

struct pair {
	struct host a, b;
};

static int set_up(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->a = (struct host){.name = "a",
	                     .other = &p->b,
	                     .role = {true, 1},
	                     .holds = true,
	                     .state = REPL_IN_SYNC,
	                     .connected = true};
	p->b = (struct host){.name = "b",
	                     .other = &p->a,
	                     .role = {false, 1},
	                     .state = REPL_IN_SYNC,
	                     .connected = true};
	*state = p;
	return switchover_new(&p->a.sw, "a", &ops, &p->a) ||
	       switchover_new(&p->b.sw, "b", &ops, &p->b);
}

static int tear_down(void **state)
{
	struct pair *p = *state;

	switchover_free(p->a.sw);
	switchover_free(p->b.sw);
	free(p);
	return 0;
}

/* Delivers one event to a host: an answer of its helper, else a message. False: nothing is pending.
 */
static bool step(struct host *h)
{
	if (h->n_asked) {
		enum vip_op op = h->asked[0];
		int result = h->vip_result[op];

		memmove(h->asked, h->asked + 1, --h->n_asked * sizeof(h->asked[0]));
		if (result == 0)
			h->holds = op == VIP_TAKE;
		switchover_vip_done(h->sw, op, result, result ? "it broke" : "");
		return true;
	}
	if (h->n_inbox) {
		struct handover message = h->inbox[0];

		memmove(h->inbox, h->inbox + 1, --h->n_inbox * sizeof(h->inbox[0]));
		switchover_message(h->sw, 0, &message);
		return true;
	}
	return false;
}

/* Each hears the other's role and lets go where it must, as roles_settle() does. */
static void settle(struct host *h)
{
	if (h->connected && !switchover_busy(h->sw) &&
	    role_yields(&h->role, h->name, &h->other->role, h->other->name))
		switchover_demote(h->sw);
}

static void run(struct pair *p)
{
	for (int i = 0; i < 100; i++) {
		while (step(&p->a) || step(&p->b))
			;
		settle(&p->a);
		settle(&p->b);
	}
	assert_false(switchover_busy(p->a.sw) && p->a.armed_ms == 0);
	assert_false(switchover_busy(p->b.sw) && p->b.armed_ms == 0);
}

static void assert_active(const struct host *yes, const struct host *no)
{
	assert_true(yes->holds);
	assert_true(yes->role.active);
	assert_false(no->holds);
	assert_false(no->role.active);
}

static void test_from_the_active(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	run(p);
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
	run(p);
	assert_int_equal(p->b.n_finished, 1);
	assert_int_equal(p->a.n_finished, 0);
	assert_string_equal(p->b.error, "");
	assert_active(&p->b, &p->a);
	switchover_start(p->a.sw, NULL, false, 0);
	run(p);
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
	run(p);
	assert_active(&p->a, &p->b);
	assert_int_equal(p->a.armed_ms, SWITCHOVER_TIMEOUT_MS);
	p->a.head = 2000; /* sessions that came later are the gate's business */
	p->a.acked = 1000;
	switchover_acked(p->a.sw);
	run(p);
	assert_active(&p->b, &p->a);
}

static void test_barrier_times_out(void **state)
{
	struct pair *p = *state;

	p->a.head = 1000;
	switchover_start(p->a.sw, NULL, false, 1234);
	assert_int_equal(p->a.armed_ms, 1234);
	switchover_deadline(p->a.sw);
	run(p);
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
	run(p);
	assert_non_null(strstr(p->a.error, "not in sync"));
	assert_non_null(strstr(p->a.error, "--force"));
	assert_active(&p->a, &p->b);
	switchover_start(p->a.sw, NULL, true, 0);
	run(p);
	assert_string_equal(p->a.error, "");
	assert_active(&p->b, &p->a);
}

static void test_peer_lost_in_the_barrier(void **state)
{
	struct pair *p = *state;

	p->a.head = 1000;
	switchover_start(p->a.sw, NULL, false, 0);
	p->a.connected = p->b.connected = false;
	switchover_peer_changed(p->a.sw, 0);
	run(p);
	assert_int_equal(p->a.n_finished, 1);
	assert_active(&p->a, &p->b);
}

static void test_absent_peer_and_unknown_name(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, "c", false, 0);
	assert_non_null(strstr(p->a.error, "named c"));
	switchover_start(p->a.sw, "a", false, 0);
	assert_non_null(strstr(p->a.error, "active already"));
	p->a.connected = p->b.connected = false;
	switchover_start(p->a.sw, NULL, true, 0);
	assert_non_null(strstr(p->a.error, "absent"));
	switchover_start(p->b.sw, NULL, false, 0);
	assert_non_null(strstr(p->b.error, "promote"));
	run(p);
	assert_active(&p->a, &p->b);
}

static void test_release_fails(void **state)
{
	struct pair *p = *state;

	p->a.vip_result[VIP_RELEASE] = -EPERM;
	switchover_start(p->a.sw, NULL, false, 0);
	run(p);
	assert_non_null(strstr(p->a.error, "could not release"));
	assert_active(&p->a, &p->b);
	assert_int_equal(p->b.n_inbox, 0);
}

static void test_take_fails_and_the_address_returns(void **state)
{
	struct pair *p = *state;

	p->b.vip_result[VIP_TAKE] = -ENODEV;
	switchover_start(p->b.sw, NULL, false, 0);
	run(p);
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
	run(p);
	assert_non_null(strstr(p->a.error, "no node answers"));
	assert_false(p->a.role.active);
	assert_false(p->b.role.active);
}

static void test_link_breaks_before_the_offer(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	p->a.connected = p->b.connected = false; /* the helper has been asked to release */
	run(p);
	assert_int_equal(p->a.n_finished, 1);
	assert_active(&p->a, &p->b);
}

/* b takes the address, its answer is lost: a takes it back with a later term; when the link heals,
 * b lets go. */
static void test_answer_lost(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	while (step(&p->a))
		;
	assert_int_equal(p->b.n_inbox, 1);
	p->a.connected = p->b.connected = false;
	while (step(&p->b))
		;
	assert_true(p->b.role.active);
	switchover_deadline(p->a.sw);
	run(p);
	assert_true(p->a.role.active && p->b.role.active);
	p->a.connected = p->b.connected = true;
	run(p);
	assert_active(&p->a, &p->b);
}

/* The answer is lost, but b's role arrives. */
static void test_role_instead_of_the_answer(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	while (step(&p->a))
		;
	while (step(&p->b))
		;
	p->a.n_inbox = 0;
	switchover_peer_changed(p->a.sw, 0);
	run(p);
	assert_string_equal(p->a.error, "");
	assert_int_equal(p->a.n_finished, 1);
	assert_active(&p->b, &p->a);
}

static void test_late_answer_is_dropped(void **state)
{
	struct pair *p = *state;

	switchover_start(p->a.sw, NULL, false, 0);
	while (step(&p->a))
		;
	switchover_deadline(p->a.sw); /* takes back … */
	run(p);                       /* … while b takes and answers */
	assert_active(&p->a, &p->b);
	assert_int_equal(p->a.n_finished, 1);
}

static void test_promote_after_a_crash_and_the_dead_returns(void **state)
{
	struct pair *p = *state;

	p->a.connected = p->b.connected = false;
	switchover_promote(p->b.sw);
	run(p);
	assert_string_equal(p->b.error, "");
	assert_int_equal(p->b.role.term, 2);
	assert_true(p->b.role.active && p->a.role.active);
	p->a.connected = p->b.connected = true;
	run(p);
	assert_active(&p->b, &p->a);
}

static void test_promote_repeats(void **state)
{
	struct pair *p = *state;

	switchover_promote(p->a.sw);
	run(p);
	assert_int_equal(p->a.role.term, 1);
	assert_active(&p->a, &p->b);
	switchover_demote(p->a.sw);
	run(p);
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
	run(p);
	assert_int_equal(p->b.n_finished, 1);
	assert_non_null(strstr(p->b.error, "under way"));
	p->a.acked = 1000;
	switchover_acked(p->a.sw);
	run(p);
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
	run(p);
	assert_active(&p->a, &p->b);
}

/* Messages that answer nothing, from whoever: no effect. */
static void test_stray_messages(void **state)
{
	struct pair *p = *state;

	for (unsigned type = HANDOVER_PROGRESS; type <= HANDOVER_TAKEN; type++) {
		struct handover stray = {.type = (enum handover_type)type, .flag = true, .id = 77};

		if (type != HANDOVER_TAKE)
			switchover_message(p->a.sw, 0, &stray);
	}
	run(p);
	assert_int_equal(p->a.n_finished, 0);
	assert_active(&p->a, &p->b);
}

static void test_handover_malformed(void **state)
{
	struct handover message = {.type = HANDOVER_TAKEN,
	                           .flag = true,
	                           .id = 1,
	                           .value = 2,
	                           .text = "why"},
	                out;
	uint8_t bytes[REPL_CONTROL_MAX + 1] = {0};
	size_t n = handover_encode(&message, bytes);

	(void)state;
	assert_int_equal(handover_decode(bytes, n, &out), 0);
	assert_string_equal(out.text, "why");
	assert_int_equal(out.value, 2);
	for (size_t cut = 0; cut < n - 3; cut++)
		assert_int_equal(handover_decode(bytes, cut, &out), -EPROTO);
	for (size_t i = 0; i < 3; i++) { /* version, type, flag */
		uint8_t was = bytes[i];

		bytes[i] = 0x7f;
		assert_int_equal(handover_decode(bytes, n, &out), -EPROTO);
		bytes[i] = was;
	}
	bytes[n - 1] = 0;
	assert_int_equal(handover_decode(bytes, n, &out), -EPROTO);
	memset(bytes + 19, 'x', sizeof(bytes) - 19);
	assert_int_equal(handover_decode(bytes, 19 + HANDOVER_TEXT_MAX + 1, &out), -EPROTO);
}

static void test_role_file(void **state)
{
	char directory[] = "/tmp/tlsbaton-role-XXXXXX", path[64];
	struct role role = {.active = true, .term = 41}, back = {0};
	static const char *const bad[] = {"",
	                                  "active",
	                                  "active x",
	                                  "master 3",
	                                  "active 3 4",
	                                  "active -3",
	                                  "active 18446744073709551616",
	                                  "\xff\xff"};
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(directory));
	assert_int_equal(role_load(directory, &back), ROLE_NONE);
	assert_int_equal(role_save(directory, &role), 0);
	assert_int_equal(role_load(directory, &back), 0);
	assert_true(back.active && back.term == 41);
	snprintf(path, sizeof(path), "%s/role", directory);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		f = fopen(path, "w");
		fputs(bad[i], f);
		fclose(f);
		assert_int_equal(role_load(directory, &back), ROLE_NONE);
	}
	unlink(path);
	rmdir(directory);
	assert_true(role_save(directory, &role) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_from_the_active, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_from_the_standby_and_back, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_barrier_waits_for_acks, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_barrier_times_out, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_not_in_sync_refuses_unless_forced, set_up,
	                                    tear_down),
	    cmocka_unit_test_setup_teardown(test_peer_lost_in_the_barrier, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_absent_peer_and_unknown_name, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_release_fails, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_take_fails_and_the_address_returns, set_up,
	                                    tear_down),
	    cmocka_unit_test_setup_teardown(test_nobody_can_hold_it, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_link_breaks_before_the_offer, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_answer_lost, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_role_instead_of_the_answer, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_late_answer_is_dropped, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_promote_after_a_crash_and_the_dead_returns, set_up,
	                                    tear_down),
	    cmocka_unit_test_setup_teardown(test_promote_repeats, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_one_at_a_time, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_helper_is_gone, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_stray_messages, set_up, tear_down),
	    cmocka_unit_test(test_handover_malformed),
	    cmocka_unit_test(test_role_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
