/*
 * The status as a table for people. The JSON comes from the daemon, and parts of it (names, errors) from its
 * peers: a member that is missing or of another type is shown as nothing or 0, never trusted, and text goes
 * through cli_print_text().
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <math.h>

static const char *text_of(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text ? text : "";
}

static uint64_t count_of(const json_t *object, const char *member)
{
	json_int_t n = json_integer_value(json_object_get(object, member));

	return n < 0 ? 0 : (uint64_t)n;
}

/* "1,234,567" */
static const char *count_words(uint64_t n, char out[32])
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%" PRIu64, n);
	char *to = out;

	for (int i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return out;
}

/* "224.0 MiB" */
static const char *bytes_words(uint64_t n, char out[32])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	double value = (double)n;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(out, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return out;
}

/* A table-size to write into the configuration: whole MiB, rounded up. */
static const char *size_words(uint64_t n, char out[32])
{
	snprintf(out, 32, "%" PRIu64 "M", (n >> 20) + ((n & ((1 << 20) - 1)) != 0));
	return out;
}

/* "1 d 2 h", "3 min 4 s" */
static const char *time_words(uint64_t s, char out[32])
{
	if (s >= 86400)
		snprintf(out, 32, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(out, 32, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(out, 32, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else
		snprintf(out, 32, "%" PRIu64 " s", s);
	return out;
}

/* Rounded down: "100 %" is said of nothing less than all. */
static const char *share_words(double share, char out[32])
{
	double percent = floor(share * 10000) / 100;

	if (percent >= 100)
		snprintf(out, 32, "100 %%");
	else
		snprintf(out, 32, "%.2f %%", percent > 0 ? percent : 0);
	return out;
}

static void label(FILE *out, const char *name)
{
	fprintf(out, "%-10s", name);
}

static void render_node(FILE *out, const json_t *status)
{
	const json_t *service = json_object_get(status, "service");
	const json_t *addresses = json_object_get(service, "addresses");
	char words[32];

	label(out, "Node");
	cli_print_text(out, text_of(status, "node"));
	fputs(", group ", out);
	cli_print_text(out, text_of(status, "group"));
	fputs("; tlsbatond ", out);
	cli_print_text(out, text_of(status, "version"));
	fprintf(out, ", up %s\n", time_words(count_of(status, "uptime_s"), words));
	label(out, "Role");
	cli_print_text(out, text_of(status, "role"));
	fprintf(out, ", term %" PRIu64 "\n", count_of(status, "term"));
	label(out, "Service");
	if (!json_is_object(service)) {
		fputs("none configured\n", out);
		return;
	}
	for (size_t i = 0; i < json_array_size(addresses); i++) {
		const char *address = json_string_value(json_array_get(addresses, i));

		fputs(i ? ", " : "", out);
		cli_print_text(out, address ? address : "");
	}
	fputs(" on ", out);
	cli_print_text(out, text_of(service, "interface"));
	fprintf(out, ", %s\n",
	        json_is_true(json_object_get(service, "held")) ? "held here" : "not held here");
	if (json_is_false(json_object_get(service, "helper")))
		fprintf(out,
		        "%-10sthe process that moves it has ended: this node can neither take nor\n"
		        "%-10slet go of it; restart tlsbatond\n",
		        "", "");
	if (*text_of(service, "error")) {
		label(out, "");
		cli_print_text(out, text_of(service, "error"));
		fputc('\n', out);
	}
	if (*text_of(service, "advice")) {
		label(out, "");
		cli_print_text(out, text_of(service, "advice"));
		fputc('\n', out);
	}
}

static void render_table(FILE *out, const json_t *table)
{
	uint64_t used = count_of(table, "used_bytes"), room = count_of(table, "log_bytes");
	uint64_t evicted = count_of(table, "evicted"), displaced = count_of(table, "displaced");
	uint64_t wanted = count_of(table, "bytes_wanted");
	char a[32], b[32];

	label(out, "Sessions");
	fprintf(out, "%s live; ", count_words(count_of(table, "live"), a));
	fprintf(out, "%s of %s in use (%.0f %%)\n", bytes_words(used, a), bytes_words(room, b),
	        room ? floor(100.0 * (double)used / (double)room) : 0.0);
	label(out, "");
	fprintf(out, "%s stored, ", count_words(count_of(table, "appended"), a));
	fprintf(out, "%s expired, ", count_words(count_of(table, "expired"), a));
	fprintf(out, "%s removed, ", count_words(count_of(table, "removed"), a));
	fprintf(out, "%s evicted, %s displaced\n", count_words(evicted, a),
	        count_words(displaced, b));
	if (evicted && wanted) {
		label(out, "");
		fprintf(out, "the table is too small: table-size = %s would have held them all\n",
		        size_words(wanted, a));
	}
}

/* "1 wait", "2,000 waits" */
static void print_count(FILE *out, uint64_t n, const char *one, const char *many)
{
	char words[32];

	fprintf(out, "%s %s", count_words(n, words), n == 1 ? one : many);
}

static void render_refused_users(FILE *out, const json_t *users)
{
	char a[32], b[32];

	for (size_t i = 0; i < json_array_size(users); i++) {
		const json_t *user = json_array_get(users, i);

		label(out, "");
		fputs("user ", out);
		cli_print_text(out, text_of(user, "user"));
		fprintf(out, " is refused (%s times, the last %s ago):\n",
		        count_words(count_of(user, "refused"), a),
		        time_words(count_of(user, "last_s"), b));
		label(out, "");
		fputs("add it to worker-users, and systemctl reload tlsbatond\n", out);
	}
}

static void render_workers(FILE *out, const json_t *workers)
{
	const json_t *waits = json_object_get(workers, "gate_wait_us");
	uint64_t hits = count_of(workers, "hits"), misses = count_of(workers, "misses");
	char a[32], b[32];

	label(out, "Workers");
	fprintf(out, "%s connected; ", count_words(count_of(workers, "connected"), a));
	fprintf(out, "%s refused, ", count_words(count_of(workers, "refused"), a));
	print_count(out, count_of(workers, "malformed"), "malformed notice\n",
	            "malformed notices\n");
	render_refused_users(out, json_object_get(workers, "refused_users"));
	label(out, "Notices");
	fprintf(out, "%s sent, ", count_words(count_of(workers, "puts"), a));
	fprintf(out, "%s lost; ", count_words(count_of(workers, "lost"), a));
	print_count(out, count_of(workers, "stateless"), "session in a stateless ticket\n",
	            "sessions in stateless tickets\n");
	label(out, "Tickets");
	fprintf(out, "%s issued, ", count_words(count_of(workers, "tickets_issued"), a));
	fprintf(out, "%s opened, %s refused\n", count_words(count_of(workers, "tickets_opened"), a),
	        count_words(count_of(workers, "tickets_refused"), b));
	label(out, "Lookups");
	print_count(out, hits, "hit, ", "hits, ");
	print_count(out, misses, "miss", "misses");
	if (hits + misses)
		fprintf(out, " (%s found)", share_words((double)hits / (double)(hits + misses), a));
	if (count_of(workers, "refused_policy"))
		fprintf(out, "; %s refused by policy",
		        count_words(count_of(workers, "refused_policy"), a));
	fputc('\n', out);
	label(out, "Removals");
	fprintf(out, "%s shared, %s ignored\n", count_words(count_of(workers, "removals"), a),
	        count_words(count_of(workers, "removals_ignored"), b));
	label(out, "Gate");
	print_count(out, count_of(workers, "gate_waits"), "wait, ", "waits, ");
	print_count(out, count_of(workers, "gate_timeouts"), "timeout; ", "timeouts; ");
	fprintf(out, "%s without a peer, %s without a daemon\n",
	        count_words(count_of(workers, "gate_no_peer"), a),
	        count_words(count_of(workers, "gate_no_daemon"), b));
	if (count_of(workers, "gate_waits") == 0)
		return;
	/* Upper edges of a histogram's buckets. */
	label(out, "");
	fprintf(out, "half took <= %s us, 99 %% took <= %s us\n",
	        count_words(count_of(waits, "p50"), a), count_words(count_of(waits, "p99"), b));
}

static void render_tickets(FILE *out, const json_t *tickets)
{
	const bool staged = json_is_true(json_object_get(tickets, "staged"));
	char words[32];

	label(out, "Resuming");
	cli_print_text(out, text_of(tickets, "resumption"));
	fputs("; ", out);
	print_count(out, count_of(tickets, "keys"), "ticket key", "ticket keys");
	if (json_is_integer(json_object_get(tickets, "current_age_s"))) {
		fprintf(out, ", in use for %s, ",
		        time_words(count_of(tickets, "current_age_s"), words));
		fprintf(out, "%s in %s", staged ? "the next one" : "to be replaced",
		        time_words(count_of(tickets, "next_s"), words));
	} else {
		fputs(", none in use", out);
	}
	fputc('\n', out);
}

static void render_refused(FILE *out, const json_t *replication)
{
	uint64_t auth = count_of(replication, "refused_auth"),
	         hello = count_of(replication, "refused_hello");
	uint64_t malformed = count_of(replication, "malformed"),
	         limit = count_of(replication, "refused_limit");
	char a[32], b[32];

	if (auth + hello + malformed + limit == 0)
		return;
	label(out, "Refused");
	fprintf(out, "connections: %s by authentication, %s by hello, ", count_words(auth, a),
	        count_words(hello, b));
	fprintf(out, "%s malformed, %s over the limit\n", count_words(malformed, a),
	        count_words(limit, b));
}

static void pad_text(FILE *out, const char *text, int width)
{
	cli_print_text(out, text);
	fprintf(out, "%*s", MAX(width - (int)strlen(text), 0) + 2, "");
}

static void render_difference(FILE *out, const json_t *peer, int indent)
{
	static const char *const lines[] = {
	    "its servers ask other things of clients than ours, or some have had no",
	    "client yet or are down: what only one node asks resumes only there;",
	    "make ssl_verify_client, trusted certificates and their like the same",
	    "on both, and reload the servers",
	};

	if (strcmp(text_of(peer, "policies"), "differ") != 0)
		return;
	/* Names of up to 8 leave 80 columns enough. */
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		fprintf(out, "%*s%s\n", indent, "", lines[i]);
}

static void render_resumption(FILE *out, const json_t *peer, const char *ours, int indent)
{
	const char *theirs = text_of(peer, "resumption");

	if (!*ours || !*theirs || strcmp(theirs, "unknown") == 0 || strcmp(theirs, ours) == 0)
		return;
	fprintf(out, "%*sits resumption is ", indent, "");
	cli_print_text(out, theirs);
	fputs(", ours is ", out);
	cli_print_text(out, ours);
	fprintf(out, ": clients may not resume\n%*sthere; set the same in both configurations\n",
	        indent, "");
}

/* What its daemon says of the servers there. */
static void render_servers(FILE *out, const json_t *peer, int indent)
{
	if (json_is_true(json_object_get(peer, "refuses_workers")))
		fprintf(out,
		        "%*sits tlsbatond refuses workers of a server: see tlsbaton status there\n",
		        indent, "");
	if (json_is_false(json_object_get(peer, "has_workers")))
		fprintf(out,
		        "%*sno server is connected to its tlsbatond: whether one serves there is\n"
		        "%*snot known (after its restart, each comes back with its next client)\n",
		        indent, "", indent, "");
}

static void render_peers(FILE *out, const json_t *peers, const char *resumption)
{
	int name_width = 4;
	char a[32], b[32], c[32];

	if (json_array_size(peers) == 0) {
		fputs("No peers configured.\n", out);
		return;
	}
	for (size_t i = 0; i < json_array_size(peers); i++)
		name_width =
		    MAX(name_width, (int)strlen(text_of(json_array_get(peers, i), "name")));
	/* 80 columns, with names of up to 16. */
	fprintf(out, "%-*s  %-11s  %-7s  %11s  %7s  %8s  %8s\n", name_width, "Peer", "State",
	        "Role", "Lag records", "Lag ms", "Holds", "Clock ms");
	for (size_t i = 0; i < json_array_size(peers); i++) {
		const json_t *peer = json_array_get(peers, i);

		pad_text(out, text_of(peer, "name"), name_width);
		pad_text(out, text_of(peer, "state"), 11);
		pad_text(out, text_of(peer, "role"), 7);
		fprintf(out, "%11s  %7s  %8s  %8" JSON_INTEGER_FORMAT "\n",
		        count_words(count_of(peer, "lag_records"), a),
		        count_words(count_of(peer, "lag_ms"), b),
		        share_words(json_number_value(json_object_get(peer, "share")), c),
		        json_integer_value(json_object_get(peer, "clock_offset_ms")));
		fprintf(out, "%*s", name_width + 2, "");
		cli_print_text(out, text_of(peer, "address"));
		fputc('\n', out);
		render_servers(out, peer, MIN(name_width + 2, 10));
		if (*text_of(peer, "error")) {
			fprintf(out, "%*s", name_width + 2, "");
			cli_print_text(out, text_of(peer, "error"));
			fputc('\n', out);
		}
		render_resumption(out, peer, resumption, MIN(name_width + 2, 10));
		render_difference(out, peer, MIN(name_width + 2, 10));
	}
}

void cli_render_status(FILE *out, const json_t *status)
{
	const json_t *expected = json_object_get(status, "expected_resumption");
	const json_t *table = json_object_get(status, "table");
	const json_t *tickets = json_object_get(status, "tickets");
	char words[32];

	render_node(out, status);
	render_table(out, table);
	render_workers(out, json_object_get(status, "workers"));
	render_tickets(out, tickets);
	render_refused(out, json_object_get(status, "replication"));
	fputc('\n', out);
	render_peers(out, json_object_get(status, "peers"), text_of(tickets, "resumption"));
	if (json_is_number(expected) && count_of(table, "live") > 0) /* of none there is no share */
		fprintf(out, "\nAfter a switchover now, %s of the live sessions can resume.\n",
		        share_words(json_number_value(expected), words));
}
