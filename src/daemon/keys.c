/* Ticket keys in a node: glue between tickets.c, the configuration, the peers and the operator's command. */
#include <limits.h>
#include <stdio.h>

#include "daemon/parts.h"

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

static void on_changed(void *arg)
{
	struct node *node = arg;

	if (node->repl)
		repl_tell_tickets(node->repl);
}

int keys_start(struct node *node, char *error, size_t error_size)
{
	struct tickets_config tc = keys_config(node);
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/ticket-keys", node->config->run_directory);
	return tickets_new(&node->tickets, node->base, path, &tc, on_changed, node, error,
	                   error_size);
}

void keys_configure(struct node *node)
{
	struct tickets_config tc = keys_config(node);

	tickets_configure(node->tickets, &tc);
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
}

/* Who is told now; the others are when they come back. */
static json_t *told(const struct node *node, json_t *untold)
{
	json_t *names = json_array();
	struct repl_peer_status peer;

	for (size_t i = 0; i < repl_n_peers(node->repl); i++) {
		repl_peer_status(node->repl, i, &peer);
		json_array_append_new(
		    peer.state == REPL_ABSENT || peer.state == REPL_REFUSED ? untold : names,
		    json_string(peer.name));
	}
	return names;
}

void keys_rekey(struct node *node, struct control_request *request)
{
	json_t *untold, *names;

	if (tickets_rekey(node->tickets) < 0) {
		control_answer(request, json_pack("{s:b, s:s}", "ok", 0, "error",
		                                  "there are no random bytes for new keys; the old "
		                                  "ones stay in force"));
		return;
	}
	untold = json_array();
	names = told(node, untold);
	control_answer(request,
	               json_pack("{s:b, s:o, s:o}", "ok", 1, "told", names, "untold", untold));
}
