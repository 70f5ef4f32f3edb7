/*
 * What users of replication call, and the tick: one timer for all deadlines of all connections. A
 * deadline that is set asks for a tick (repl_schedule()); one that is no longer needed lets it
 * pass, and the tick finds nothing to do. So setting and meeting deadlines costs nothing at the
 * rate of notices.
 */
#include "repl/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <openssl/crypto.h>

_Static_assert(REPL_NAME_MAX == WIRE_NAME_MAX, "names travel whole");
_Static_assert(WIRE_FINGERPRINT_BYTES == 32, "policies travel whole");
_Static_assert(REPL_CONTROL_MAX == WIRE_CONTROL_MAX, "control messages travel whole");

void repl_log(struct repl *repl, enum log_level level, const char *source, const char *fmt, ...)
{
	char line[512];
	unsigned n_held;
	va_list args;

	if (!log_limit_pass(&repl->log_limit, source, repl_now_us(repl) / 1000, &n_held))
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (n_held > 0)
		log_write(level, "%s (and %u more like it, not shown)", line, n_held);
	else
		log_write(level, "%s", line);
}

void repl_schedule(struct repl *repl, int64_t due_us)
{
	int64_t left_us;
	struct timeval left;

	if (due_us >= repl->tick_us)
		return;
	repl->tick_us = due_us;
	if (!repl->tick)
		return;
	left_us = MAX(due_us - repl_now_us(repl), 0);
	left.tv_sec = left_us / 1000000;
	left.tv_usec = left_us % 1000000;
	event_add(repl->tick, &left);
}

void repl_tick(struct repl *repl, int64_t now_us)
{
	int64_t due_us = INT64_MAX;
	struct receiver *receiver;

	repl->tick_us = INT64_MAX;
	if (repl->listener)
		evconnlistener_enable(repl->listener);
	for (size_t i = 0; i < repl->n_peers; i++)
		due_us = MIN(due_us, push_tick(&repl->peers[i]->push, now_us));
	TAILQ_FOREACH (receiver, &repl->receivers, entry)
		due_us = MIN(due_us, receiver_tick(receiver, now_us));
	if (due_us != INT64_MAX)
		repl_schedule(repl, due_us);
}

static void repl_on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct repl *repl = arg;

	(void)fd;
	(void)what;
	repl_tick(repl, repl_now_us(repl));
}

void repl_fill_hello(const struct repl *repl, struct wire_hello *hello)
{
	memset(hello, 0, sizeof(*hello));
	hello->version = WIRE_VERSION;
	memcpy(hello->node, repl->node, sizeof(hello->node));
	memcpy(hello->group, repl->group, sizeof(hello->group));
	hello->dialect = (uint32_t)OpenSSL_version_num();
	hello->epoch = table_epoch(repl->table);
	hello->wall_ms = repl_wall_ms(repl);
	hello->heartbeat_ms = (uint32_t)(repl->heartbeat_us / 1000);
	hello->role = repl->role;
	hello->policies = repl->policies;
}

static bool repl_same_role(const struct wire_role *a, const struct wire_role *b)
{
	return a->term == b->term && a->active == b->active && a->has_service == b->has_service &&
	       a->has_workers == b->has_workers && a->refuses_workers == b->refuses_workers;
}

void repl_take_role(struct peer *peer, const struct wire_role *role)
{
	if (repl_same_role(&peer->role, role))
		return;
	peer->role = *role;
	peer->repl->ops->peer_changed(peer->repl->arg, peer->index);
}

void repl_take_hello(struct peer *peer, const struct wire_hello *hello)
{
	struct repl *repl = peer->repl;
	char source[REPL_NAME_MAX + 16];
	uint32_t ours = (uint32_t)OpenSSL_version_num();
	int64_t offset_ms = hello->wall_ms - repl_wall_ms(repl);

	peer->clock_offset_ms = offset_ms;
	if (offset_ms > REPL_CLOCK_WARN_MS || offset_ms < -REPL_CLOCK_WARN_MS) {
		snprintf(source, sizeof(source), "clock of %s", peer->name);
		repl_log(repl, LOG_LEVEL_WARNING, source,
		         "the clock of peer %s differs from ours by %" PRId64 ".%03" PRId64
		         " s, so sessions live too long or too short there: set both by NTP",
		         peer->name, offset_ms / 1000,
		         (offset_ms < 0 ? -offset_ms : offset_ms) % 1000);
	}
	if (hello->dialect >> 20 != ours >> 20) {
		snprintf(source, sizeof(source), "dialect of %s", peer->name);
		repl_log(repl, LOG_LEVEL_WARNING, source,
		         "peer %s runs OpenSSL %u.%u, we run %u.%u: sessions of one may not resume "
		         "on the "
		         "other; run the same on both",
		         peer->name, hello->dialect >> 28, hello->dialect >> 20 & 0xff, ours >> 28,
		         ours >> 20 & 0xff);
	}
	peer->policies = hello->policies;
	repl_take_role(peer, &hello->role);
}

struct peer *repl_find_peer(struct repl *repl, const char *name)
{
	for (size_t i = 0; i < repl->n_peers; i++)
		if (strcmp(repl->peers[i]->name, name) == 0)
			return repl->peers[i];
	return NULL;
}

int peer_new(struct peer **out, struct repl *repl, const struct repl_peer_config *config,
             char *error, size_t error_size)
{
	struct sockaddr_storage sockaddr = {0};
	int n_sockaddr = sizeof(sockaddr);
	struct peer *peer;

	if (!wire_name_valid(config->name, strlen(config->name)) ||
	    strcmp(config->name, repl->node) == 0) {
		snprintf(error, error_size,
		         "peer \"%.70s\": every node needs a name of its own, of up to 63 letters, "
		         "digits, "
		         "dots, dashes and underscores",
		         config->name);
		return -EINVAL;
	}
	if (evutil_parse_sockaddr_port(config->address, (struct sockaddr *)&sockaddr, &n_sockaddr) <
	        0 ||
	    strlen(config->address) >= sizeof(peer->address)) {
		snprintf(error, error_size,
		         "peer %s: \"%.70s\" is no address and port, like \"192.0.2.7:7410\" or "
		         "\"[2001:db8::7]:7410\"",
		         config->name, config->address);
		return -EINVAL;
	}
	peer = calloc(1, sizeof(*peer));
	if (!peer)
		return -ENOMEM;
	peer->repl = repl;
	peer->sockaddr = sockaddr;
	peer->n_sockaddr = n_sockaddr;
	snprintf(peer->name, sizeof(peer->name), "%s", config->name);
	snprintf(peer->address, sizeof(peer->address), "%s", config->address);
	push_init(&peer->push, peer);
	*out = peer;
	return 0;
}

void peer_free(struct peer *peer)
{
	struct receiver *from;

	if (!peer)
		return;
	push_close(&peer->push);
	from = peer->from;
	if (from) {
		receiver_detach(from);
		link_fail(&from->link, "it is no longer a peer");
	}
	free(peer);
}

int repl_init(struct repl *repl, const struct repl_config *config, struct table *table,
              const struct repl_ops *ops, void *arg, const struct repl_clock *clock, char *error,
              size_t error_size)
{
	struct peer *peers[REPL_PEERS_MAX];
	int r;

	repl->table = table;
	repl->epoch = table_epoch(table);
	repl->ops = ops;
	repl->arg = arg;
	repl->clock = clock;
	repl_set_times(repl, config->gate_deadline_ms, config->heartbeat_ms);
	repl->tick_us = INT64_MAX; /* there is no timer yet */
	TAILQ_INIT(&repl->receivers);
	if (!wire_name_valid(config->node, strlen(config->node)) ||
	    !wire_name_valid(config->group, strlen(config->group)) ||
	    config->n_peers > REPL_PEERS_MAX) {
		snprintf(error, error_size,
		         "node and group names are 1 to 63 letters, digits, dots, dashes and "
		         "underscores, "
		         "and there may be %d peers",
		         REPL_PEERS_MAX);
		return -EINVAL;
	}
	snprintf(repl->node, sizeof(repl->node), "%s", config->node);
	snprintf(repl->group, sizeof(repl->group), "%s", config->group);
	r = repl_make_peers(repl, config, peers, error, error_size);
	if (r == 0)
		repl_use_peers(repl, peers, config->n_peers);
	return r;
}

void repl_deinit(struct repl *repl)
{
	for (size_t i = 0; i < repl->n_peers; i++)
		peer_free(repl->peers[i]);
	repl->n_peers = 0;
}

int repl_new(struct repl **out, struct event_base *base, const struct repl_config *config,
             struct table *table, const struct repl_ops *ops, void *arg, char *error,
             size_t error_size)
{
	struct repl *repl = calloc(1, sizeof(*repl));
	int r;

	if (!repl)
		return -ENOMEM;
	snprintf(error, error_size, "out of memory");
	repl->base = base;
	r = repl_init(repl, config, table, ops, arg, &repl_clock_system, error, error_size);
	if (r == 0)
		r = tls_new(&repl->tls, config, error, error_size);
	if (r == 0) {
		repl->tick = evtimer_new(base, repl_on_tick, repl);
		r = repl->tick ? accept_open(repl, config->listen, error, error_size) : -ENOMEM;
	}
	if (r == 0)
		snprintf(repl->listen, sizeof(repl->listen), "%s", config->listen);
	if (r < 0) {
		repl_free(repl);
		return r;
	}
	/* A peer that is gone shows itself as EPIPE. */
	signal(SIGPIPE, SIG_IGN);
	repl_schedule(repl, repl_now_us(repl));
	*out = repl;
	return 0;
}

void repl_free(struct repl *repl)
{
	if (!repl)
		return;
	accept_close(repl);
	repl_deinit(repl);
	if (repl->tick)
		event_free(repl->tick);
	tls_free(repl->tls);
	free(repl);
}

void repl_watch_epoch(struct repl *repl)
{
	uint64_t epoch = table_epoch(repl->table);

	if (epoch == repl->epoch)
		return;
	repl->epoch = epoch;
	for (size_t i = 0; i < repl->n_peers; i++) {
		push_redial(&repl->peers[i]->push, "the table's positions start over");
		push_report(&repl->peers[i]->push);
	}
}

void repl_push(struct repl *repl)
{
	int64_t now_us = repl_now_us(repl);

	repl_watch_epoch(repl);

	for (size_t i = 0; i < repl->n_peers; i++) {
		push_note_head(&repl->peers[i]->push, now_us);
		push_pump(&repl->peers[i]->push);
	}
}

uint64_t repl_acked(const struct repl *repl, unsigned *waited_for)
{
	uint64_t acked = table_head(repl->table);
	unsigned n = 0;

	for (size_t i = 0; i < repl->n_peers; i++) {
		if (repl->peers[i]->push.state != REPL_IN_SYNC)
			continue;
		acked = MIN(acked, repl->peers[i]->push.acked);
		n++;
	}
	*waited_for = n;
	/* Until repl_watch_epoch() has looked, what peers acked says nothing about where the head is now. */
	return n > 0 && table_epoch(repl->table) != repl->epoch ? 0 : acked;
}

static bool repl_flushed(const struct repl *repl)
{
	for (size_t i = 0; i < repl->n_peers; i++)
		if (repl->peers[i]->push.phase == PUSH_STREAMING &&
		    repl->peers[i]->push.acked < table_head(repl->table))
			return false;
	return true;
}

void repl_flush(struct repl *repl, unsigned flush_ms)
{
	int64_t until_us = repl_now_us(repl) + flush_ms * 1000LL;

	repl_push(repl);
	while (!repl_flushed(repl) && repl_now_us(repl) < until_us) {
		repl_schedule(repl, until_us);
		if (event_base_loop(repl->base, EVLOOP_ONCE) != 0)
			break;
	}
}

void repl_set_role(struct repl *repl, const struct wire_role *role)
{
	if (repl_same_role(&repl->role, role))
		return;
	repl->role = *role;
	for (size_t i = 0; i < repl->n_peers; i++) {
		struct push *push = &repl->peers[i]->push;

		/* In greeting the hello may have told the old role already. */
		push->role_due = push->phase == PUSH_GREETING || push->phase == PUSH_STREAMING;
		push_pump(push);
	}
}

void repl_tell_tickets(struct repl *repl, size_t peer)
{
	struct push *push = &repl->peers[peer]->push;

	/* Who is not connected is told after the hello. */
	push->tickets_due = push->phase == PUSH_STREAMING;
	push_pump(push);
}

static bool same_policies(const struct wire_policies *a, const struct wire_policies *b)
{
	return a->n == b->n &&
	       memcmp(a->fingerprints, b->fingerprints, a->n * WIRE_FINGERPRINT_BYTES) == 0;
}

void repl_set_policies(struct repl *repl, const uint8_t (*policies)[32], size_t n)
{
	struct wire_policies next = {.n = (uint8_t)MIN(n, (size_t)WIRE_FINGERPRINTS_MAX)};

	memcpy(next.fingerprints, policies, next.n * WIRE_FINGERPRINT_BYTES);
	if (same_policies(&repl->policies, &next))
		return;
	repl->policies = next;
	for (size_t i = 0; i < repl->n_peers; i++) {
		struct push *push = &repl->peers[i]->push;

		push->policies_due = push->phase == PUSH_GREETING || push->phase == PUSH_STREAMING;
		push_pump(push);
	}
}

static enum repl_policies compare_policies(const struct peer *peer)
{
	const struct wire_policies *ours = &peer->repl->policies, *theirs = &peer->policies;

	/* What was said over a connection that is gone may not be so any more. */
	if (!peer->from || ours->n == 0 || theirs->n == 0)
		return REPL_POLICIES_UNKNOWN;
	return same_policies(ours, theirs) ? REPL_POLICIES_SAME : REPL_POLICIES_DIFFER;
}

int repl_control(struct repl *repl, size_t peer, const uint8_t *payload, size_t n_payload)
{
	struct push *push;
	struct wire_writer writer;

	if (peer >= repl->n_peers || repl->peers[peer]->push.phase != PUSH_STREAMING)
		return -ENOTCONN;
	if (n_payload < 1 || n_payload > REPL_CONTROL_MAX)
		return -EMSGSIZE;
	push = &repl->peers[peer]->push;
	writer =
	    wire_writer(push->control + push->n_control, sizeof(push->control) - push->n_control);
	if (wire_room(&writer) < WIRE_HEADER_BYTES + n_payload)
		return -ENOBUFS;
	wire_encode_control(&writer, payload, n_payload);
	push->n_control += (size_t)(writer.at - writer.start);
	push_pump(push);
	return 0;
}

size_t repl_n_peers(const struct repl *repl)
{
	return repl->n_peers;
}

void repl_peer_status(const struct repl *repl, size_t index, struct repl_peer_status *out)
{
	const struct peer *peer = repl->peers[index];
	const struct push *push = &peer->push;

	memset(out, 0, sizeof(*out));
	memcpy(out->name, peer->name, sizeof(out->name));
	memcpy(out->address, peer->address, sizeof(out->address));
	out->state = push->state;
	out->from_connected = peer->from != NULL;
	out->from_in_sync = peer->from_in_sync;
	out->lag_records = push_lag_records(push);
	out->lag_ms = (unsigned)(push_age_us(push, repl_now_us(repl)) / 1000);
	out->n_sent = push->n_sent;
	out->n_acked = push->n_acked;
	out->n_received = peer->n_received;
	out->n_connects = push->n_connects;
	out->n_gate_lagging = push->n_gate_lagging;
	out->clock_offset_ms = peer->clock_offset_ms;
	out->policies = compare_policies(peer);
	out->term = peer->role.term;
	out->active = peer->role.active;
	out->has_service = peer->role.has_service;
	out->has_workers = peer->role.has_workers;
	out->refuses_workers = peer->role.refuses_workers;
	memcpy(out->error, push->error, sizeof(out->error));
}

void repl_stats(const struct repl *repl, struct repl_stats *out)
{
	*out = repl->stats;
}
