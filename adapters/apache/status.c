/*
 * What mod_status shows. A status request is answered by one child, which knows its own figures
 * only, and says so; those of the node are the daemon's (`tlsbaton status`).
 */
#include "mod_tlsbaton.h" /* first: Apache's headers need httpd.h before them */

#include <unistd.h>
#include <http_protocol.h>
#include <mod_status.h>
#include <util_script.h>

struct row {
	const char *text; /* for people */
	const char *name; /* for programs: server-status?auto */
	uint64_t value;
};

static void show_page(request_rec *r, const char *socket_path, bool connected,
                      const struct row *rows, size_t n_rows)
{
	ap_rprintf(r,
	           "cache type: <b>tlsbaton</b>, daemon at <b>%s</b>: <b>%s</b><br>\n"
	           "since its start, this child (process %ld) counted:<br>\n<table>\n",
	           ap_escape_html(r->pool, socket_path), connected ? "connected" : "not connected",
	           (long)getpid());
	for (size_t i = 0; i < n_rows; ++i)
		ap_rprintf(r, "<tr><td>%s</td><td><b>%" APR_UINT64_T_FMT "</b></td></tr>\n",
		           rows[i].text, rows[i].value);
	ap_rputs("</table>\n", r);
}

static void show_lines(request_rec *r, const char *socket_path, bool connected,
                       const struct row *rows, size_t n_rows)
{
	ap_rprintf(
	    r,
	    "CacheType: tlsbaton\nTlsbatonSocket: %s\nTlsbatonConnected: %d\nTlsbatonChild: %ld\n",
	    socket_path, connected, (long)getpid());
	for (size_t i = 0; i < n_rows; ++i)
		ap_rprintf(r, "Tlsbaton%s: %" APR_UINT64_T_FMT "\n", rows[i].name, rows[i].value);
}

void status_show(ap_socache_instance_t *cache, request_rec *r, int flags)
{
	struct tlsbaton_counters n;
	bool connected = tlsbaton_connected(cache->baton) == 1;

	tlsbaton_count(cache->baton, &n);
	const struct row rows[] = {
	    {"new sessions sent to the daemon", "Puts", n.puts},
	    {"new sessions lost (no room, no daemon)", "Lost", n.lost},
	    {"sessions not stored: their state is in the client's ticket", "Stateless",
	     n.stateless},
	    {"stateless tickets issued, with a key of the group", "TicketsIssued",
	     n.tickets_issued},
	    {"tickets opened", "TicketsOpened", n.tickets_opened},
	    {"tickets refused: their key is void, too old or unknown", "TicketsRefused",
	     n.tickets_refused},
	    {"look-ups that found a session", "Hits", n.hits},
	    {"look-ups that did not", "Misses", n.misses},
	    {"sessions not honoured here: another policy, name or time", "RefusedPolicy",
	     n.refused_policy},
	    {"removals at unclean ends, ignored", "RemovalsIgnored", n.removals_ignored},
	    {"responses that waited for the peers", "GateWaits", n.gate_waits},
	    {"responses that went out at the deadline", "GateTimeouts", n.gate_timeouts},
	    {"responses that went out without a daemon to wait for", "GateNoDaemon",
	     n.gate_no_daemon},
	    {"reconnections to the daemon", "Reconnects", n.reconnects},
	};

	if (flags & AP_STATUS_SHORT)
		show_lines(r, cache->socket_path, connected, rows, sizeof(rows) / sizeof(rows[0]));
	else
		show_page(r, cache->socket_path, connected, rows, sizeof(rows) / sizeof(rows[0]));
}
