/*
 * A new configuration for replication that runs. Everything that can fail comes first, into
 * variables of its own: keys and certificates, the new peers, a new listening address. What follows
 * cannot fail. Whoever stays keeps its `struct peer`, and with it position, acks and connections:
 * gates go on waiting for it as if nothing had been.
 */
#include "repl/internal.h"

#include <errno.h>
#include <stdio.h>

void repl_set_times(struct repl *repl, unsigned gate_deadline_ms, unsigned heartbeat_ms)
{
	repl->gate_deadline_us = MAX(gate_deadline_ms, 1u) * 1000LL;
	repl->heartbeat_us = MAX(heartbeat_ms, 10u) * 1000LL;
	/* All deadlines are worked out again. */
	repl_schedule(repl, repl_now_us(repl));
}

static bool has_peer(const struct repl_peer_config *peers, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(peers[i].name, name) == 0)
			return true;
	return false;
}

/* One that stays moves: its connection to us is as good as before, ours to it is not. */
static void peer_move(struct peer *peer, const struct peer *next)
{
	if (strcmp(peer->address, next->address) == 0)
		return;
	memcpy(peer->address, next->address, sizeof(peer->address));
	peer->sockaddr = next->sockaddr;
	peer->n_sockaddr = next->n_sockaddr;
	push_redial(&peer->push, "its address has changed");
}

int repl_make_peers(struct repl *repl, const struct repl_config *config,
                    struct peer *next[REPL_PEERS_MAX], char *error, size_t error_size)
{
	int r = 0;

	for (size_t i = 0; i < REPL_PEERS_MAX; i++)
		next[i] = NULL;
	if (config->n_peers > REPL_PEERS_MAX) {
		snprintf(error, error_size, "there may be %d peers: remove some", REPL_PEERS_MAX);
		return -EINVAL;
	}
	for (size_t i = 0; r == 0 && i < config->n_peers; i++) {
		r = peer_new(&next[i], repl, &config->peers[i], error, error_size);
		if (r == 0 && has_peer(config->peers, i, config->peers[i].name)) {
			snprintf(error, error_size, "there are two peers named %s: remove one",
			         config->peers[i].name);
			r = -EINVAL;
		}
	}
	if (r == 0)
		return 0;
	for (size_t i = 0; i < config->n_peers; i++)
		peer_free(next[i]);
	return r;
}

/* Of the new list, or NULL. */
static struct peer **find_next(struct peer *next[REPL_PEERS_MAX], size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(next[i]->name, name) == 0)
			return &next[i];
	return NULL;
}

void repl_use_peers(struct repl *repl, struct peer *next[REPL_PEERS_MAX], size_t n)
{
	for (size_t i = 0; i < repl->n_peers; i++) {
		struct peer *peer = repl->peers[i], **place = find_next(next, n, peer->name);

		if (place) {
			peer_move(peer, *place);
			peer_free(*place);
			*place = peer;
		} else {
			peer_free(peer);
		}
	}
	for (size_t i = 0; i < n; i++) {
		repl->peers[i] = next[i];
		repl->peers[i]->index = i;
	}
	repl->n_peers = n;
}

static int configure_listen(struct repl *repl, const char *address, char *error, size_t error_size)
{
	struct evconnlistener *old = repl->listener;
	char reason[160];
	int r;

	if (strcmp(address, repl->listen) == 0)
		return 0;
	r = accept_open(repl, address, error, error_size);
	if (r == -EADDRINUSE) {
		/* Perhaps by ourselves: [::]:7410 takes in 192.0.2.7:7410. */
		evconnlistener_free(old);
		old = repl->listener = NULL;
		r = accept_open(repl, address, error, error_size);
		if (r < 0 && accept_open(repl, repl->listen, reason, sizeof(reason)) < 0)
			log_error("%s: no peer can connect until a restart", reason);
	}
	if (r < 0)
		return r;
	if (old)
		evconnlistener_free(old);
	snprintf(repl->listen, sizeof(repl->listen), "%s", address);
	return 0;
}

static void configure_keys(struct repl *repl, struct tls *next)
{
	const char *why = "the keys have changed";
	struct tls *old = repl->tls;
	struct receiver *receiver;

	repl->tls = next;
	if (!tls_same_trust(old, next)) {
		for (size_t i = 0; i < repl->n_peers; i++)
			push_redial(&repl->peers[i]->push, why);
		TAILQ_FOREACH (receiver, &repl->receivers, entry)
			link_fail(&receiver->link, why);
	} else if (tls_has_key(next)) {
		/* Handshakes under way ask `old` for the key, and it is the same. */
		repl->tls = old;
		old = next;
	}
	tls_free(old);
}

int repl_configure(struct repl *repl, const struct repl_config *config, char *error,
                   size_t error_size)
{
	struct peer *peers[REPL_PEERS_MAX];
	struct tls *tls = NULL;
	int r;

	snprintf(error, error_size, "out of memory");
	r = tls_new(&tls, config, error, error_size);
	if (r < 0)
		return r;
	r = repl_make_peers(repl, config, peers, error, error_size);
	if (r < 0) {
		tls_free(tls);
		return r;
	}
	r = configure_listen(repl, config->listen, error, error_size);
	if (r < 0) {
		for (size_t i = 0; i < config->n_peers; i++)
			peer_free(peers[i]);
		tls_free(tls);
		return r;
	}
	repl_use_peers(repl, peers, config->n_peers);
	configure_keys(repl, tls);
	repl_set_times(repl, config->gate_deadline_ms, config->heartbeat_ms);
	return 0;
}

void repl_report(struct repl *repl)
{
	for (size_t i = 0; i < repl->n_peers; i++)
		push_report(&repl->peers[i]->push);
	repl->ops->acked(repl->arg);
}
