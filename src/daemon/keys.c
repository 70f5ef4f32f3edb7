/* Ticket keys in a node: glue between tickets.c, the configuration, the peers and the operator's command. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "daemon/parts.h"

/* How long peers may take to confirm a rekey: a few times what one needs to say again what was not heard. */
#define REKEY_S 5

static struct tickets_config keys_config(const struct node *node)
{
	const struct config *config = node->config;
	struct tickets_config tc = {
	    .resumption = config->resumption,
	    .rotation_ms = config->ticket_rotation_s * 1000,
	    .n_peers = (unsigned)config->n_peers,
	};

	/* Of all names of the group, in an order that every node sees alike. */
	for (size_t i = 0; i < config->n_peers; i++)
		tc.rank += strcmp(config->peers[i].name, config->node) < 0;
	return tc;
}

static void on_tell(void *arg, uint32_t peers)
{
	struct node *node = arg;

	for (size_t i = 0; node->repl && i < repl_n_peers(node->repl); i++)
		if (peers & UINT32_C(1) << i)
			repl_tell_tickets(node->repl, i);
}

static void on_rekey_timer(evutil_socket_t fd, short what, void *arg);

int keys_start(struct node *node, char *error, size_t error_size)
{
	static const struct tickets_ops ops = {.tell = on_tell};
	struct tickets_config tc = keys_config(node);
	char path[PATH_MAX];

	resumptions_configure(&node->resumptions, node->config->peers, node->config->n_peers);
	node->rekey_timer = event_new(node->base, -1, 0, on_rekey_timer, node);
	if (!node->rekey_timer)
		return -ENOMEM;
	snprintf(path, sizeof(path), "%s/ticket-keys", node->config->run_directory);
	return tickets_new(&node->tickets, node->base, path, &tc, &ops, node, error, error_size);
}

void keys_stop(struct node *node)
{
	tickets_free(node->tickets);
	if (node->rekey_timer)
		event_free(node->rekey_timer);
}

void keys_configure(struct node *node)
{
	struct tickets_config tc = keys_config(node);

	tickets_configure(node->tickets, &tc);
	resumptions_configure(&node->resumptions, node->config->peers, node->config->n_peers);
	keys_compare(node);
}

void keys_compare(struct node *node)
{
	const enum ticket_resumption ours = node->config->resumption;

	for (size_t i = 0; i < node->config->n_peers; i++)
		if (resumptions_is_news(&node->resumptions, i, ours))
			log_warning(
			    "resumption is %s here and %s at peer %s: a client whom one of them "
			    "gave a ticket, or a session of its own, may not resume at the other; "
			    "set the same in both configurations",
			    tickets_word(ours), tickets_word(resumptions_of(&node->resumptions, i)),
			    node->config->peers[i].name);
}

int keys_fd(void *arg)
{
	struct node *node = arg;

	return tickets_fd(node->tickets);
}

void keys_say(void *arg, struct ticket_state *out)
{
	struct node *node = arg;

	tickets_say(node->tickets, out);
}

void keys_hear(void *arg, size_t peer, const struct ticket_state *tickets)
{
	struct node *node = arg;

	tickets_hear(node->tickets, (unsigned)peer, node->config->peers[peer].name, tickets);
	resumptions_hear(&node->resumptions, peer, tickets->resumption);
	keys_look(node);
}

/* ---- The operator's rekey ---- */

enum rekey_state {
	REKEY_CONFIRMED, /* it has said that it holds the generation which is held here */
	REKEY_WAITING,
	REKEY_AWAY, /* not connected: it hears of it when it comes back */
};

static enum rekey_state rekey_state(const struct node *node, size_t i)
{
	struct repl_peer_status peer;

	repl_peer_status(node->repl, i, &peer);
	if (!repl_is_connected(&peer))
		return REKEY_AWAY;
	return tickets_agrees(node->tickets, (unsigned)i) ? REKEY_CONFIRMED : REKEY_WAITING;
}

static json_t *names_of(const struct node *node, enum rekey_state state)
{
	json_t *names = json_array();

	for (size_t i = 0; i < repl_n_peers(node->repl); i++)
		if (rekey_state(node, i) == state)
			json_array_append_new(names, json_string(node->config->peers[i].name));
	return names;
}

static void rekey_is_over(struct node *node)
{
	struct control_request *request = node->rekey;

	node->rekey = NULL;
	event_del(node->rekey_timer);
	tickets_rekey_end(node->tickets);
	control_answer(request, json_pack("{s:b, s:o, s:o, s:o}", "ok", 1, "confirmed",
	                                  names_of(node, REKEY_CONFIRMED), "unconfirmed",
	                                  names_of(node, REKEY_WAITING), "away",
	                                  names_of(node, REKEY_AWAY)));
}

static void on_rekey_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	rekey_is_over(arg);
}

void keys_look(struct node *node)
{
	if (!node->rekey)
		return;
	for (size_t i = 0; i < repl_n_peers(node->repl); i++)
		if (rekey_state(node, i) == REKEY_WAITING)
			return;
	rekey_is_over(node);
}

void keys_request_gone(struct node *node, const struct control_request *request)
{
	if (node->rekey != request)
		return;
	node->rekey = NULL;
	event_del(node->rekey_timer);
	tickets_rekey_end(node->tickets);
}

void keys_rekey(struct node *node, struct control_request *request)
{
	static const struct timeval wait = {.tv_sec = REKEY_S};
	const char *error = NULL;

	if (node->rekey)
		error = "another rekey is under way; try again when it is over";
	else if (tickets_rekey(node->tickets) < 0)
		error = "there are no random bytes for new keys; the old ones stay in force";
	if (error) {
		control_answer(request, json_pack("{s:b, s:s}", "ok", 0, "error", error));
		return;
	}
	node->rekey = request;
	event_add(node->rekey_timer, &wait);
	keys_look(node);
}
