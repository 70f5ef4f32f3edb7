/*
 * What this node is for the service address: glue between the switchover's state machine, the
 * privileged helper, the peers and the operator's commands.
 *
 * At its start a node goes on as what RUN/role says. Without a record (a first start, a reboot) it
 * is a standby, unless it is configured `start-as = "active"`. One that is to be active by either
 * first finds out whether it may: switchover_settle.c.
 */
#include <errno.h>
#include <stdio.h>

#include "daemon/parts.h"

#define ADVISE_AFTER_S 3
#define HELPER_LIMIT_MS 5000 /* it needs a few */

static size_t op_n_peers(void *arg)
{
	struct node *node = arg;

	return node->repl ? repl_n_peers(node->repl) : 0;
}

static void op_peer(void *arg, size_t peer, struct repl_peer_status *out)
{
	struct node *node = arg;

	memset(out, 0, sizeof(*out));
	if (peer < op_n_peers(node))
		repl_peer_status(node->repl, peer, out);
}

static int op_send(void *arg, size_t peer, const struct handover *message)
{
	struct node *node = arg;
	uint8_t payload[REPL_CONTROL_MAX];
	size_t n = handover_encode(message, payload);

	return peer < op_n_peers(node) ? repl_control(node->repl, peer, payload, n) : -ENOTCONN;
}

static int op_vip(void *arg, enum vip_op op)
{
	struct node *node = arg;

	return vip_helper_ask(node->helper, op);
}

static struct role op_role(void *arg)
{
	struct node *node = arg;

	return node->role;
}

static void op_set_role(void *arg, struct role role)
{
	struct node *node = arg;
	int r;

	if (role.active != node->role.active)
		log_notice("this node is %s for the service address (term %llu)",
		           role.active ? "active" : "standby", (unsigned long long)role.term);
	node->role = role;
	r = role_save(node->config->run_directory, &role);
	if (r < 0)
		log_error("%s/role: %s: after a restart this node will not know its role",
		          node->config->run_directory, strerror(-r));
	if (node->repl)
		node_tell_role(node);
}

static uint64_t op_head(void *arg)
{
	struct node *node = arg;

	return table_head(node->table);
}

static uint64_t op_acked(void *arg)
{
	struct node *node = arg;
	unsigned waited_for;

	return node->repl ? repl_acked(node->repl, &waited_for) : 0;
}

static void op_arm(void *arg, unsigned ms)
{
	struct node *node = arg;
	struct timeval after = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	if (ms)
		event_add(node->switchover_timer, &after);
	else
		event_del(node->switchover_timer);
}

static void op_progress(void *arg, const char *text)
{
	struct node *node = arg;

	if (node->request)
		control_progress(node->request, text);
}

static void op_finish(void *arg, const char *error)
{
	struct node *node = arg;
	struct control_request *request = node->request;

	node->request = NULL;
	snprintf(node->service_error, sizeof(node->service_error), "%s", error ? error : "");
	if (request && error)
		control_answer(request, json_pack("{s:b, s:s}", "ok", 0, "error", error));
	else if (request)
		control_answer(request, json_pack("{s:b, s:s, s:I}", "ok", 1, "role",
		                                  node->role.active ? "active" : "standby", "term",
		                                  (json_int_t)node->role.term));
}

static const struct switchover_ops switchover_ops = {
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

static void on_switchover_timer(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;

	(void)fd;
	(void)what;
	switchover_deadline(node->switchover);
}

/* ---- Helper and start ---- */

/*
 * Somebody else may have changed the interface: that is said, and shown in the status, and left to the
 * operator. To take the address again and again would fight with whoever took it away.
 */
static void note_held(struct node *node, int result)
{
	bool wrong = result >= 0 && (result == 1) != node->role.active;

	if (result < 0 || switchover_moving(node->switchover))
		return;
	if (wrong && node->held != (result == 1)) {
		snprintf(
		    node->service_error, sizeof(node->service_error),
		    node->role.active
		        ? "this node is active but does not answer for the address: something else "
		          "changed the interface; run tlsbaton promote"
		        : "this node stands by but answers for the address: something else changed "
		          "the "
		          "interface; run tlsbaton demote");
		log_error("%s", node->service_error);
	}
	if (!wrong && node->held != (result == 1))
		node->service_error[0] = '\0';
	node->held = result == 1;
}

static void on_vip_done(void *arg, enum vip_op op, int result, const char *error)
{
	struct node *node = arg;

	if (op == VIP_HELD) {
		node->asked_held = false;
		note_held(node, result);
		return;
	}
	if (result == -EPIPE)
		log_error("the helper that moves the service address has died: the address stays "
		          "as it is; restart tlsbatond");
	if (result == 0)
		node->held = op == VIP_TAKE;
	switchover_vip_done(node->switchover, op, result, error);
}

/* Asks the system whether this node holds the address. */
static void look(struct node *node)
{
	if (node->asked_held || switchover_moving(node->switchover))
		return;
	node->asked_held = vip_helper_ask(node->helper, VIP_HELD) == 0;
}

void roles_start(struct node *node)
{
	struct role recorded;
	bool is_recorded;

	if (!node->helper)
		return;
	is_recorded = role_load(node->config->run_directory, &recorded) == 0;
	if (is_recorded) {
		node->role = recorded;
		node_tell_role(node);
	}
	if (is_recorded ? node->role.active : node->config->start_active)
		switchover_claim(node->switchover);
	else
		switchover_demote(node->switchover);
}

int roles_init(struct node *node)
{
	int r;

	if (!node->helper)
		return 0;
	node->switchover_timer = event_new(node->base, -1, 0, on_switchover_timer, node);
	if (!node->switchover_timer)
		return -ENOMEM;
	r = switchover_new(&node->switchover, node->config->node, &switchover_ops, node);
	if (r < 0)
		return r;
	return vip_helper_start(node->helper, node->base, HELPER_LIMIT_MS, on_vip_done, node);
}

void roles_deinit(struct node *node)
{
	if (node->switchover_timer)
		event_free(node->switchover_timer);
	switchover_free(node->switchover);
}

/* ---- What happens ---- */

/* Says when nobody is active, or more than one. Roles change one after the other, so what is odd for
 * a moment is not worth a word. */
static void advise(struct node *node)
{
	struct repl_peer_status peers[REPL_PEERS_MAX];
	char text[ADVICE_MAX];
	size_t n = op_n_peers(node);

	for (size_t i = 0; i < n; i++)
		op_peer(node, i, &peers[i]);
	advice_on_roles(text, node->config->node, &node->role, peers, n);
	if (!text[0] || switchover_claiming(node->switchover) ||
	    switchover_moving(node->switchover)) {
		node->advice[0] = '\0';
		node->n_advised = 0;
		return;
	}
	if (++node->n_advised < ADVISE_AFTER_S)
		return;
	if (strcmp(node->advice, text) != 0)
		log_warning("%s", text);
	memcpy(node->advice, text, sizeof(text));
}

void roles_tick(struct node *node)
{
	if (!node->switchover)
		return;
	switchover_tick(node->switchover);
	look(node);
	advise(node);
}

void roles_peer_changed(struct node *node, size_t peer)
{
	if (node->switchover)
		switchover_peer_changed(node->switchover, peer);
}

/* This node cannot take part. Said at once, so that nobody waits for it with the address released. */
static void refuse_message(struct node *node, size_t peer, const struct handover *message)
{
	struct handover answer = {.id = message->id};

	if (message->type == HANDOVER_TAKE)
		answer.type = HANDOVER_TAKEN;
	else if (message->type == HANDOVER_REQUEST)
		answer.type = HANDOVER_DONE;
	else
		return;
	snprintf(answer.text, sizeof(answer.text), "node %s has no service section",
	         node->config->node);
	if (op_send(node, peer, &answer) < 0)
		log_debug("peer %zu is gone before it could be refused", peer);
}

void roles_message(struct node *node, size_t peer, const uint8_t *payload, size_t n_payload)
{
	struct handover message;

	if (handover_decode(payload, n_payload, &message) < 0)
		log_warning("peer %zu sent a hand-over message that this version does not know; "
		            "upgrade the older node",
		            peer);
	else if (node->switchover)
		switchover_message(node->switchover, peer, &message);
	else
		refuse_message(node, peer, &message);
}

static void refuse(struct control_request *request, const char *error)
{
	control_answer(request, json_pack("{s:b, s:s}", "ok", 0, "error", error));
}

void roles_command(struct node *node, struct control_request *request, const char *name,
                   const json_t *args)
{
	char why[REPL_NAME_MAX + 32];
	bool start = strcmp(name, "switchover") == 0;
	json_int_t timeout_ms = json_integer_value(json_object_get(args, "timeout_ms"));

	if (!start && strcmp(name, "promote") != 0 && strcmp(name, "demote") != 0) {
		refuse(
		    request,
		    "unknown command; this tlsbatond knows status, rekey, switchover, promote and "
		    "demote");
		return;
	}
	if (!node->switchover) {
		refuse(
		    request,
		    "this node has no service address: add a service section to its configuration");
		return;
	}
	if (timeout_ms < 0 || timeout_ms > 3600000) {
		refuse(request, "timeout_ms is out of range (0 to 3600000)");
		return;
	}
	if (!start) {
		snprintf(why, sizeof(why), "%s was told to %s", node->config->node, name);
		switchover_cancel(node->switchover, why);
	}
	if (switchover_busy(node->switchover)) {
		control_answer(request,
		               json_pack("{s:b, s:b, s:s}", "ok", 0, "busy", 1, "error",
		                         "another change of the service address is under way; try "
		                         "again when it is over"));
		return;
	}
	node->request = request;
	if (start)
		switchover_start(node->switchover, json_string_value(json_object_get(args, "to")),
		                 json_is_true(json_object_get(args, "force")),
		                 (unsigned)timeout_ms);
	else if (strcmp(name, "promote") == 0)
		switchover_promote(node->switchover);
	else
		switchover_demote(node->switchover);
}
