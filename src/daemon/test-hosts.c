#include "daemon/test-hosts.h"

#include <errno.h>
#include <stdio.h>

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
	if (h->connected)
		h->heard = h->other->role;
	out->active = h->heard.active;
	out->term = h->heard.term;
}

static int op_send(void *arg, size_t peer, const struct handover *message)
{
	struct host *h = arg;
	uint8_t bytes[REPL_CONTROL_MAX];
	size_t n = handover_encode(message, bytes);

	assert_int_equal(peer, 0);
	if (!h->connected)
		return -ENOTCONN;
	assert_true(h->other->n_inbox < HOST_QUEUE);
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
	h->n_asked_ever++;
	return 0;
}

static struct role op_role(void *arg)
{
	return ((struct host *)arg)->role;
}

static void op_set_role(void *arg, struct role role)
{
	struct host *h = arg;

	h->role = role;
	h->n_set_role++;
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

int pair_set_up(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->a = (struct host){.name = "a",
	                     .other = &p->b,
	                     .role = {true, 1, 1},
	                     .holds = true,
	                     .state = REPL_IN_SYNC,
	                     .connected = true};
	p->b = (struct host){.name = "b",
	                     .other = &p->a,
	                     .role = {false, 1, 1},
	                     .state = REPL_IN_SYNC,
	                     .connected = true};
	*state = p;
	return switchover_new(&p->a.sw, "a", &ops, &p->a) ||
	       switchover_new(&p->b.sw, "b", &ops, &p->b);
}

int pair_tear_down(void **state)
{
	struct pair *p = *state;

	switchover_free(p->a.sw);
	switchover_free(p->b.sw);
	free(p);
	return 0;
}

void pair_connect(struct pair *p, bool connected)
{
	p->a.connected = p->b.connected = connected;
}

void host_restart(struct host *h)
{
	switchover_free(h->sw);
	h->sw = NULL;
	h->n_asked = h->n_inbox = 0;
	h->armed_ms = 0;
	h->heard = (struct role){0};
	assert_int_equal(switchover_new(&h->sw, h->name, &ops, h), 0);
}

bool host_step(struct host *h)
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

void host_run(struct host *h)
{
	while (host_step(h))
		;
}

void pair_run(struct pair *p)
{
	for (int i = 0; i < 100; i++) {
		while (host_step(&p->a) || host_step(&p->b))
			;
		switchover_tick(p->a.sw);
		switchover_tick(p->b.sw);
	}
	assert_false(switchover_busy(p->a.sw) && p->a.armed_ms == 0);
	assert_false(switchover_busy(p->b.sw) && p->b.armed_ms == 0);
}

void assert_active(const struct host *yes, const struct host *no)
{
	assert_true(yes->holds);
	assert_true(yes->role.active);
	assert_false(no->holds);
	assert_false(no->role.active);
}
