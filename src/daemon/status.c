/* What `tlsbaton status --json`, GET /status and GET /metrics show. Shapes and units: man
 * tlsbaton(1), "STATUS". */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "daemon/parts.h"
#include "util/clock.h"

static const char *peer_state(enum repl_peer_state state)
{
	static const char *const names[] = {
	    [REPL_ABSENT] = "absent",   [REPL_CATCHING_UP] = "catching-up",
	    [REPL_IN_SYNC] = "in-sync", [REPL_LAGGING] = "lagging",
	    [REPL_REFUSED] = "refused",
	};

	return names[state];
}

static const char *policies(enum repl_policies policies)
{
	static const char *const names[] = {
	    [REPL_POLICIES_UNKNOWN] = "unknown",
	    [REPL_POLICIES_SAME] = "same",
	    [REPL_POLICIES_DIFFER] = "differ",
	};

	return names[policies];
}

static json_t *integer(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *service_status(const struct node *node)
{
	const struct vip_config *service = &node->config->service;
	json_t *addresses;

	if (!node->config->has_service)
		return json_null();
	addresses = json_array();
	for (size_t i = 0; i < service->n_addresses; i++)
		json_array_append_new(addresses, json_string(service->addresses[i]));
	return json_pack("{s:s, s:o, s:b, s:b, s:s, s:s}", "interface", service->interface,
	                 "addresses", addresses, "held", node->held, "helper",
	                 node->helper && vip_helper_is_alive(node->helper), "error",
	                 node->service_error, "advice", node->advice);
}

static json_t *table_status(const struct node *node)
{
	char path[512], epoch[17];
	struct table_stats t;

	table_stats(node->table, &t);
	snprintf(path, sizeof(path), "%s/table", node->config->run_directory);
	snprintf(epoch, sizeof(epoch), "%016" PRIx64, table_epoch(node->table));
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "path",
	                 path, "epoch", epoch, "size_bytes", integer(t.size_bytes), "log_bytes",
	                 integer(t.log_bytes), "used_bytes", integer(t.used_bytes), "live",
	                 integer(t.n_live), "appended", integer(t.n_appended), "expired",
	                 integer(t.n_expired), "removed", integer(t.n_removed), "evicted",
	                 integer(t.n_evicted), "displaced", integer(t.n_displaced), "bytes_wanted",
	                 integer(t.bytes_wanted));
}

/* The upper edge of the histogram's bucket that holds the given share of all gates. */
static uint64_t quantile_us(const struct workers_stats *w, double share)
{
	uint64_t total = 0, seen = 0;

	for (size_t i = 0; i < ARRAY_SIZE(w->gate_wait_us); i++)
		total += w->gate_wait_us[i];
	for (size_t i = 0; i < ARRAY_SIZE(w->gate_wait_us); i++) {
		seen += w->gate_wait_us[i];
		if (total && (double)seen >= share * (double)total)
			return UINT64_C(1) << i;
	}
	return 0;
}

static json_t *refused_users(const struct node *node)
{
	struct refusal refused[REFUSALS_USERS];
	size_t n = workers_refused(node->workers, refused);
	char user[REFUSALS_NAME_MAX];
	json_t *out = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(out, json_pack("{s:s, s:I, s:o, s:i}", "user",
		                                     refusals_user(refused[i].uid, user), "uid",
		                                     (json_int_t)refused[i].uid, "refused",
		                                     integer(refused[i].n), "last_s",
		                                     (int)refused[i].last_s));
	return out;
}

static json_t *workers_status(const struct node *node)
{
	struct workers_stats w;
	json_t *out;

	workers_stats(node->workers, &w);
	out = json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "connected",
	                (int)w.n_connected, "refused", integer(w.n_refused), "malformed",
	                integer(w.n_malformed), "puts", integer(w.puts), "lost", integer(w.lost),
	                "hits", integer(w.hits), "misses", integer(w.misses), "removals",
	                integer(w.removals), "removals_ignored", integer(w.removals_ignored),
	                "stateless", integer(w.stateless));
	json_object_set_new(out, "refused_users", refused_users(node));
	json_object_set_new(out, "tickets_issued", integer(w.tickets_issued));
	json_object_set_new(out, "tickets_opened", integer(w.tickets_opened));
	json_object_set_new(out, "tickets_refused", integer(w.tickets_refused));
	json_object_set_new(out, "hits_early", integer(w.hits_early));
	json_object_set_new(out, "refused_policy", integer(w.refused_policy));
	json_object_set_new(out, "gate_waits", integer(w.gate_waits));
	json_object_set_new(out, "gate_timeouts", integer(w.gate_timeouts));
	json_object_set_new(out, "gate_no_daemon", integer(w.gate_no_daemon));
	json_object_set_new(out, "gate_no_peer", integer(node->n_gate_no_peer));
	json_object_set_new(out, "gate_wait_us",
	                    json_pack("{s:o, s:o}", "p50", integer(quantile_us(&w, 0.5)), "p99",
	                              integer(quantile_us(&w, 0.99))));
	return out;
}

/* Never a key, nor its name. */
static json_t *tickets_status(const struct node *node)
{
	struct tickets_stats t;
	json_t *out;

	tickets_stats(node->tickets, &t);
	out =
	    json_pack("{s:s, s:i, s:i, s:b, s:o, s:o, s:o}", "resumption",
	              tickets_word(t.resumption), "rotation_s", (int)(t.rotation_ms / 1000), "keys",
	              (int)t.n_keys, "staged", t.staged, "rekeyed_s", integer(t.rekeyed_s), "made",
	              integer(t.n_made), "heard", integer(t.n_heard));
	json_object_set_new(out, "current_age_s",
	                    t.encrypts ? json_integer(t.current_age_ms / 1000) : json_null());
	json_object_set_new(out, "next_s",
	                    t.encrypts ? json_integer(t.next_ms / 1000) : json_null());
	return out;
}

static const char *peer_role(const struct repl_peer_status *peer)
{
	if (!repl_is_connected(peer))
		return "unknown";
	if (!peer->has_service)
		return "none";
	return peer->active ? "active" : "standby";
}

/* The share of our live sessions that a peer holds: all but those that it has yet to acknowledge.
 */
static double peer_share(const struct repl_peer_status *peer, uint64_t n_live)
{
	if (!repl_is_connected(peer))
		return 0;
	if (n_live == 0)
		return 1;
	return peer->lag_records >= n_live ? 0
	                                   : (double)(n_live - peer->lag_records) / (double)n_live;
}

/* What was said over a connection that is gone may not be so any more. */
static const char *peer_resumption(const struct node *node, size_t i,
                                   const struct repl_peer_status *peer)
{
	enum ticket_resumption theirs = resumptions_of(&node->resumptions, i);

	return repl_is_connected(peer) && theirs != RESUMPTION_UNHEARD ? tickets_word(theirs)
	                                                               : "unknown";
}

static json_t *peer_status(const struct repl_peer_status *p, uint64_t n_live)
{
	json_t *out = json_pack(
	    "{s:s, s:s, s:s, s:s, s:b, s:b, s:o, s:i, s:o, s:o, s:o}", "name", p->name, "address",
	    p->address, "state", peer_state(p->state), "error", p->error, "from_connected",
	    p->from_connected, "from_in_sync", p->from_in_sync, "lag_records",
	    integer(p->lag_records), "lag_ms", (int)p->lag_ms, "sent", integer(p->n_sent), "acked",
	    integer(p->n_acked), "received", integer(p->n_received));

	json_object_set_new(out, "connects", integer(p->n_connects));
	json_object_set_new(out, "set_aside", integer(p->n_gate_lagging));
	json_object_set_new(out, "clock_offset_ms", json_integer(p->clock_offset_ms));
	json_object_set_new(out, "role", json_string(peer_role(p)));
	json_object_set_new(out, "has_workers",
	                    repl_is_connected(p) ? json_boolean(p->has_workers) : json_null());
	json_object_set_new(out, "refuses_workers",
	                    repl_is_connected(p) ? json_boolean(p->refuses_workers) : json_null());
	json_object_set_new(out, "term", integer(p->term));
	json_object_set_new(out, "policies", json_string(policies(p->policies)));
	json_object_set_new(out, "share", json_real(peer_share(p, n_live)));
	return out;
}

static json_t *replication_status(const struct node *node)
{
	struct repl_stats r;

	repl_stats(node->repl, &r);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "refused_auth",
	                 integer(r.n_refused_auth), "refused_hello", integer(r.n_refused_hello),
	                 "malformed", integer(r.n_malformed), "refused_limit",
	                 integer(r.n_refused_limit), "bytes_sent", integer(r.bytes_sent),
	                 "bytes_received", integer(r.bytes_received));
}

json_t *node_status(struct node *node)
{
	const char *role = !node->switchover ? "none" : node->role.active ? "active" : "standby";
	json_t *peers = json_array(), *out, *one;
	struct repl_peer_status peer;
	struct table_stats table;
	double best = -1;

	table_stats(node->table, &table);
	for (size_t i = 0; i < repl_n_peers(node->repl); i++) {
		repl_peer_status(node->repl, i, &peer);
		/* Whether or not a server is connected there: one that has nothing to do is not, after its
		 * daemon's restart. */
		best = fmax(best, peer_share(&peer, table.n_live));
		one = peer_status(&peer, table.n_live);
		json_object_set_new(one, "resumption",
		                    json_string(peer_resumption(node, i, &peer)));
		json_array_append_new(peers, one);
	}
	out = json_pack("{s:s, s:s, s:s, s:I, s:s, s:o}", "version", TLSBATON_VERSION, "node",
	                node->config->node, "group", node->config->group, "uptime_s",
	                (json_int_t)((clock_monotonic_us() / 1000 - node->started_ms) / 1000),
	                "role", role, "term", integer(node->role.term));
	json_object_set_new(out, "service", service_status(node));
	json_object_set_new(out, "table", table_status(node));
	json_object_set_new(out, "workers", workers_status(node));
	json_object_set_new(out, "tickets", tickets_status(node));
	json_object_set_new(out, "peers", peers);
	json_object_set_new(out, "replication", replication_status(node));
	json_object_set_new(out, "expected_resumption", best < 0 ? json_null() : json_real(best));
	return out;
}
