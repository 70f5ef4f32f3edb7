/*
 * One table says which member of the status becomes which metric; names follow Prometheus' conventions:
 * base units, _total for what only grows. Sums over peers are left to the query: each peer is a label.
 */
#include "daemon/metrics.h"

#include <errno.h>
#include <stdbool.h>

struct metric {
	const char *section; /* of the status; "" for its top level */
	const char *member;
	const char *name;
	const char *help;
	double scale; /* to base units */
};

#define METRIC_TYPE(m)                                                                             \
	(strcmp((m)->name + strlen((m)->name) - 6, "_total") == 0 ? "counter" : "gauge")

static const struct metric metrics[] = {
    {"", "uptime_s", "tlsbaton_uptime_seconds", "Seconds since the daemon started.", 1},
    {"", "term", "tlsbaton_term",
     "Number of the last take-over of the service address that this node knows.", 1},
    {"", "expected_resumption", "tlsbaton_expected_resumption_ratio",
     "Share of live sessions that the peer which holds the most of them holds.", 1},
    {"service", "held", "tlsbaton_service_held",
     "1 while this node answers for the service address.", 1},
    {"service", "helper", "tlsbaton_service_helper",
     "1 while the process that moves the service address runs.", 1},
    {"table", "size_bytes", "tlsbaton_table_size_bytes", "Size of the session table's file.", 1},
    {"table", "log_bytes", "tlsbaton_table_log_bytes", "Room for records in the session table.", 1},
    {"table", "used_bytes", "tlsbaton_table_used_bytes", "Room that records take.", 1},
    {"table", "live", "tlsbaton_table_sessions", "Sessions that can be resumed.", 1},
    {"table", "appended", "tlsbaton_table_appended_total", "Records appended to the session table.",
     1},
    {"table", "expired", "tlsbaton_table_expired_total",
     "Records wiped because their time had come.", 1},
    {"table", "removed", "tlsbaton_table_removed_total",
     "Records wiped because the session was removed.", 1},
    {"table", "evicted", "tlsbaton_table_evicted_total", "Live records wiped for want of room.", 1},
    {"table", "displaced", "tlsbaton_table_displaced_total",
     "Live records that lost their index slot.", 1},
    {"table", "bytes_wanted", "tlsbaton_table_wanted_bytes",
     "Table size that would have held every session; 0 if none was evicted.", 1},
    {"workers", "connected", "tlsbaton_workers", "Connected worker processes.", 1},
    {"workers", "refused", "tlsbaton_workers_refused_total",
     "Workers refused by credentials or the limit.", 1},
    {"workers", "malformed", "tlsbaton_workers_malformed_total", "Notices that did not parse.", 1},
    {"workers", "puts", "tlsbaton_notices_total", "Notices that workers sent.", 1},
    {"workers", "lost", "tlsbaton_notices_lost_total", "Notices that found no room or no daemon.",
     1},
    {"workers", "hits", "tlsbaton_lookup_hits_total", "Lookups that found a live session.", 1},
    {"workers", "hits_early", "tlsbaton_lookup_hits_early_total",
     "Lookups that found a session before all peers had it, and had to wait for them.", 1},
    {"workers", "misses", "tlsbaton_lookup_misses_total", "Lookups that did not.", 1},
    {"workers", "removals", "tlsbaton_removals_total", "Sessions removed by workers.", 1},
    {"workers", "removals_ignored", "tlsbaton_removals_ignored_total",
     "Removals after unclean ends, which are not shared.", 1},
    {"workers", "stateless", "tlsbaton_stateless_total",
     "Sessions in stateless tickets, which are not stored.", 1},
    {"workers", "tickets_issued", "tlsbaton_tickets_issued_total",
     "Stateless tickets sealed with a key of the group.", 1},
    {"workers", "tickets_opened", "tlsbaton_tickets_opened_total",
     "Clients' tickets whose key was known.", 1},
    {"workers", "tickets_refused", "tlsbaton_tickets_refused_total",
     "Clients' tickets whose key was not known.", 1},
    {"tickets", "keys", "tlsbaton_ticket_keys", "Ticket keys that this node holds.", 1},
    {"tickets", "current_age_s", "tlsbaton_ticket_key_age_seconds",
     "Time since the ticket key in use took over.", 1},
    {"tickets", "next_s", "tlsbaton_ticket_key_next_seconds",
     "Time until the next ticket key takes over.", 1},
    {"workers", "refused_policy", "tlsbaton_refused_policy_total",
     "Sessions not honoured: of another policy or server name, or beyond their end.", 1},
    {"workers", "gate_waits", "tlsbaton_gate_waits_total",
     "Gates that were closed when first asked.", 1},
    {"workers", "gate_timeouts", "tlsbaton_gate_timeouts_total",
     "Gates that opened at the deadline.", 1},
    {"workers", "gate_no_daemon", "tlsbaton_gate_no_daemon_total",
     "Gates that opened because the daemon hung or was gone.", 1},
    {"workers", "gate_no_peer", "tlsbaton_gate_no_peer_total",
     "Notices whose gate had no peer to wait for.", 1},
    {"replication", "refused_auth", "tlsbaton_peers_refused_authentication_total",
     "Connections whose TLS handshake failed.", 1},
    {"replication", "refused_hello", "tlsbaton_peers_refused_hello_total",
     "Connections of another version, group or name.", 1},
    {"replication", "refused_limit", "tlsbaton_peers_refused_limit_total",
     "Connections beyond the limit.", 1},
    {"replication", "malformed", "tlsbaton_peers_malformed_total", "Messages that did not parse.",
     1},
    {"replication", "bytes_sent", "tlsbaton_replication_sent_bytes_total", "Bytes sent to peers.",
     1},
    {"replication", "bytes_received", "tlsbaton_replication_received_bytes_total",
     "Bytes received from peers.", 1},
};

static const struct metric peer_metrics[] = {
    {"", "from_connected", "tlsbaton_peer_from_connected",
     "1 while the peer pushes its records to this node.", 1},
    {"", "from_in_sync", "tlsbaton_peer_from_in_sync",
     "1 if this node holds all that the peer holds.", 1},
    {"", "lag_records", "tlsbaton_peer_lag_records", "Records that the peer has yet to store.", 1},
    {"", "lag_ms", "tlsbaton_peer_lag_seconds", "Age of the oldest of those.", 1e-3},
    {"", "sent", "tlsbaton_peer_sent_total", "Records sent to the peer.", 1},
    {"", "acked", "tlsbaton_peer_acked_total", "Records that the peer has stored.", 1},
    {"", "received", "tlsbaton_peer_received_total", "Records received from the peer.", 1},
    {"", "connects", "tlsbaton_peer_connects_total", "Connections made to the peer.", 1},
    {"", "set_aside", "tlsbaton_peer_set_aside_total", "Times gates stopped waiting for the peer.",
     1},
    {"", "clock_offset_ms", "tlsbaton_peer_clock_offset_seconds",
     "The peer's clock less this node's.", 1e-3},
    {"", "has_workers", "tlsbaton_peer_has_workers",
     "1 while servers are connected to the peer's daemon.", 1},
    {"", "refuses_workers", "tlsbaton_peer_refuses_workers",
     "1 while the peer's daemon has refused workers within the last five minutes.", 1},
    {"", "share", "tlsbaton_peer_held_ratio",
     "Share of this node's live sessions that the peer holds.", 1},
};

static const char *const peer_states[] = {"absent", "catching-up", "in-sync", "lagging", "refused"};

static int metric_head(struct evbuffer *out, const char *name, const char *help, const char *type)
{
	int n = evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);

	return n < 0 ? -ENOMEM : 0;
}

/* Names are [A-Za-z0-9._-] where they come from a configuration; this holds for any other, too. */
static int metric_label(struct evbuffer *out, const char *value)
{
	for (; *value; value++) {
		int r;

		if (*value == '\\' || *value == '"')
			r = evbuffer_add_printf(out, "\\%c", *value);
		else if (*value == '\n')
			r = evbuffer_add_printf(out, "\\n");
		else
			r = evbuffer_add(out, value, 1);
		if (r < 0)
			return -ENOMEM;
	}
	return 0;
}

static bool metric_value(const json_t *value, double *out)
{
	if (json_is_number(value))
		*out = json_number_value(value);
	else if (json_is_boolean(value))
		*out = json_is_true(value);
	else
		return false;
	return true;
}

/* Integers are written as such: a double's shortest form would be 1e+06 where people expect 1000000. */
static int metric_number(struct evbuffer *out, const json_t *value, double scale)
{
	double number = 0;
	int n;

	if (json_is_integer(value) && scale == 1)
		n = evbuffer_add_printf(out, "%" JSON_INTEGER_FORMAT "\n",
		                        json_integer_value(value));
	else if (metric_value(value, &number))
		n = evbuffer_add_printf(out, "%.9g\n", number * scale);
	else
		n = evbuffer_add_printf(out, "NaN\n");
	return n < 0 ? -ENOMEM : 0;
}

static int write_metric(struct evbuffer *out, const json_t *status, const struct metric *m)
{
	const json_t *section = *m->section ? json_object_get(status, m->section) : status;
	const json_t *value = json_object_get(section, m->member);
	double number;
	int r;

	if (!metric_value(value, &number))
		return 0;
	r = metric_head(out, m->name, m->help, METRIC_TYPE(m));
	if (r < 0)
		return r;
	if (evbuffer_add_printf(out, "%s ", m->name) < 0)
		return -ENOMEM;
	return metric_number(out, value, m->scale);
}

/* One line: name{label="value",peer="..."} — `label` may be NULL. */
static int write_peer_line(struct evbuffer *out, const char *name, const json_t *peer,
                           const char *label, const char *label_value)
{
	const char *peer_name = json_string_value(json_object_get(peer, "name"));
	int r;

	if (evbuffer_add_printf(out, "%s{peer=\"", name) < 0)
		return -ENOMEM;
	r = metric_label(out, peer_name ? peer_name : "");
	if (r < 0)
		return r;
	if (label)
		r = evbuffer_add_printf(out, "\",%s=\"%s\"} ", label, label_value);
	else
		r = evbuffer_add_printf(out, "\"} ");
	return r < 0 ? -ENOMEM : 0;
}

static int write_peer_metric(struct evbuffer *out, const json_t *peers, const struct metric *m)
{
	const json_t *peer;
	size_t i;
	int r;

	if (json_array_size(peers) == 0)
		return 0;
	r = metric_head(out, m->name, m->help, METRIC_TYPE(m));
	if (r < 0)
		return r;
	json_array_foreach((json_t *)(uintptr_t)peers, i, peer)
	{
		const json_t *value = json_object_get(peer, m->member);
		double number;

		if (!metric_value(value, &number))
			continue;
		r = write_peer_line(out, m->name, peer, NULL, NULL);
		if (r == 0)
			r = metric_number(out, value, m->scale);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A state is one of several: 1 for the one that holds, 0 for the others. */
static int write_peer_states(struct evbuffer *out, const json_t *peers)
{
	static const char name[] = "tlsbaton_peer_state";
	const json_t *peer;
	size_t i;
	int r;

	if (json_array_size(peers) == 0)
		return 0;
	r = metric_head(out, name, "1 for the state that replication to the peer is in.", "gauge");
	if (r < 0)
		return r;
	json_array_foreach((json_t *)(uintptr_t)peers, i, peer)
	{
		const char *state = json_string_value(json_object_get(peer, "state"));

		for (size_t k = 0; k < ARRAY_SIZE(peer_states); k++) {
			r = write_peer_line(out, name, peer, "state", peer_states[k]);
			if (r < 0)
				return r;
			if (evbuffer_add_printf(out, "%d\n",
			                        state && strcmp(state, peer_states[k]) == 0) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static int write_info(struct evbuffer *out, const json_t *status)
{
	static const char *const members[] = {"version", "node", "group"};
	int r = metric_head(out, "tlsbaton_info", "Who this is; always 1.", "gauge");

	if (r < 0 || evbuffer_add_printf(out, "tlsbaton_info{") < 0)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const char *value = json_string_value(json_object_get(status, members[i]));

		if (evbuffer_add_printf(out, "%s%s=\"", i ? "," : "", members[i]) < 0)
			return -ENOMEM;
		r = metric_label(out, value ? value : "");
		if (r < 0 || evbuffer_add_printf(out, "\"") < 0)
			return -ENOMEM;
	}
	return evbuffer_add_printf(out, "} 1\n") < 0 ? -ENOMEM : 0;
}

static int write_quantiles(struct evbuffer *out, const json_t *status)
{
	static const char name[] = "tlsbaton_gate_wait_seconds";
	const json_t *waits = json_object_get(json_object_get(status, "workers"), "gate_wait_us");
	static const char *const members[] = {"p50", "p99"}, *const quantiles[] = {"0.5", "0.99"};
	int r;

	if (!json_is_object(waits))
		return 0;
	r = metric_head(out, name, "How long gates waited, by quantile, since the start.", "gauge");
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(members); i++) {
		if (evbuffer_add_printf(out, "%s{quantile=\"%s\"} ", name, quantiles[i]) < 0)
			return -ENOMEM;
		r = metric_number(out, json_object_get(waits, members[i]), 1e-6);
	}
	return r;
}

int metrics_write(struct evbuffer *out, const json_t *status)
{
	const json_t *peers = json_object_get(status, "peers");
	int r = write_info(out, status);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(metrics); i++)
		r = write_metric(out, status, &metrics[i]);
	if (r == 0)
		r = write_quantiles(out, status);
	if (r == 0)
		r = write_peer_states(out, peers);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(peer_metrics); i++)
		r = write_peer_metric(out, peers, &peer_metrics[i]);
	return r;
}
