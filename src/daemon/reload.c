/*
 * A new configuration for a running daemon: what can be taken over is, what needs a restart is said, and
 * stays as it was in what counts as the configuration. Nothing is taken over by halves: what can fail
 * comes first.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "daemon/parts.h"

static bool same(const char *a, const char *b)
{
	return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static bool same_peers(const struct config *a, const struct config *b)
{
	if (a->n_peers != b->n_peers)
		return false;
	for (size_t i = 0; i < a->n_peers; i++)
		if (!same(a->peers[i].name, b->peers[i].name))
			return false;
	return true;
}

static bool same_service(const struct config *a, const struct config *b)
{
	if (a->has_service != b->has_service || a->announce_s != b->announce_s)
		return false;
	if (!a->has_service)
		return true;
	if (!same(a->service.interface, b->service.interface) ||
	    a->service.interface_down != b->service.interface_down ||
	    a->service.n_addresses != b->service.n_addresses)
		return false;
	for (size_t i = 0; i < a->service.n_addresses; i++)
		if (!same(a->service.addresses[i], b->service.addresses[i]))
			return false;
	return true;
}

static void say_what_needs_a_restart(const struct config *running, const struct config *next)
{
	if (!same(running->node, next->node))
		log_warning("reload: node needs a restart");
	if (!same(running->group, next->group))
		log_warning("reload: group needs a restart");
	if (!same(running->run_directory, next->run_directory))
		log_warning("reload: run-directory needs a restart");
	if (running->table_bytes != next->table_bytes)
		log_warning("reload: table-size needs a restart (the peers refill the new table)");
	if (running->uid != next->uid || running->gid != next->gid)
		log_warning("reload: user needs a restart");
	if (!same_service(running, next))
		log_warning("reload: service needs a restart");
}

static void swap(char **a, char **b)
{
	char *other = *a;

	*a = *b;
	*b = other;
}

/* What is in force stays in the configuration: the status shows it, and the next reload is compared with it. */
static void keep_what_needs_a_restart(struct config *running, struct config *next)
{
	struct vip_config service = next->service;
	bool has_service = next->has_service;

	swap(&running->node, &next->node);
	swap(&running->group, &next->group);
	swap(&running->run_directory, &next->run_directory);
	swap(&running->user, &next->user);
	next->uid = running->uid;
	next->gid = running->gid;
	next->table_bytes = running->table_bytes;
	next->announce_s = running->announce_s;
	next->service = running->service;
	next->has_service = running->has_service;
	running->service = service;
	running->has_service = has_service;
}

/* Status is worth less than service: an address that cannot be had keeps the listener that there is. */
static void reload_http(struct node *node, struct config *next)
{
	struct http *http;
	char error[256];

	if (same(node->config->http, next->http))
		return;
	if (node_open_http(node, next, &http, error, sizeof(error)) < 0) {
		log_error("reload: %s; %s%s", error,
		          node->http ? "still serving " : "there is no HTTP", node->config->http);
		swap(&node->config->http, &next->http);
		return;
	}
	http_free(node->http);
	node->http = http;
}

void node_reload(struct node *node, struct config *config)
{
	struct repl_config rc = node_repl_config(config);
	struct workers_config wc;
	char error[256], path[PATH_MAX];

	if (!same_peers(node->config, config) && node->switchover &&
	    switchover_busy(node->switchover)) {
		log_error("reload: the service address is being moved, and peers would change; "
		          "reload again "
		          "when it is over");
		config_free(config);
		return;
	}
	rc.node = node->config->node;
	rc.group = node->config->group;
	if (repl_configure(node->repl, &rc, error, sizeof(error)) < 0) {
		log_error("reload: %s; the old configuration stays in force", error);
		config_free(config);
		return;
	}
	memset(node->n_differs, 0, sizeof(node->n_differs)); /* peers are numbered anew */
	say_what_needs_a_restart(node->config, config);
	reload_http(node, config);
	keep_what_needs_a_restart(node->config, config);
	config_free(node->config);
	node->config = config;
	log_open("tlsbatond", config->log_target, config->log_level);
	wc = node_workers_config(config, path, sizeof(path));
	workers_configure(node->workers, &wc);
	keys_configure(node);
	/* Last: what hears of peers finds them under their new numbers everywhere. */
	repl_report(node->repl);
	log_notice("configuration reloaded from %s", config->path);
}
