#include "daemon/node.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>

#include "daemon/parts.h"
#include "ring/ring.h"
#include "util/clock.h"
#include "wire/message.h"

/*
 * A notice becomes a record of the table, whose end is the position that peers must ack before the
 * gate of its worker opens. A batch of notices is pushed at once; each ack moves repl_acked(),
 * which is published to the workers. Without a peer to wait for, that is the table's head: gates
 * open at once, counted.
 */

#define SWEEP_SLICE 4096   /* records a slice: well below a millisecond */
#define CLOCK_JUMP_MS 2000 /* what is said aloud */
#define POLICIES_DIFFER_S 10

static const struct timeval every_second = {.tv_sec = 1};

/* ---- Workers to table ---- */

static int on_table_fd(void *arg)
{
	struct node *node = arg;

	return table_fd(node->table);
}

/* Positions before and after a new epoch do not compare. */
static void watch_epoch(struct node *node)
{
	uint64_t epoch = table_epoch(node->table);

	if (epoch == node->epoch)
		return;
	node->epoch = epoch;
	log_notice("the table's positions have run out: it starts over, empty");
	if (node->workers)
		workers_restarted(node->workers);
}

static void on_notice(void *arg, const struct table_record *given, uint64_t *position)
{
	struct node *node = arg;
	struct table_record record = *given;
	int64_t now_s = clock_wall_ms() / 1000;
	uint64_t end = 0;
	int r;

	record.flags |= TABLE_LOCAL;
	/* A removal holds for as long as any copy of the session could be on its way. */
	if (record.flags & TABLE_TOMBSTONE)
		record.expires_s = now_s + TABLE_LIFETIME_MAX_S;
	r = table_put(node->table, &record, now_s, &end);
	watch_epoch(node);
	if (r == TABLE_DUPLICATE)
		end = table_head(node->table); /* sent again after a restart: its first copy may not
		                                  be acked yet */
	else if (r != 0)
		end = 0;
	if (end && node->n_waited_for == 0)
		node->n_gate_no_peer++;
	*position = end;
}

static uint64_t on_stored(void *arg)
{
	const struct node *node = arg;

	return table_head(node->table);
}

static void publish_acks(struct node *node)
{
	uint64_t acked = repl_acked(node->repl, &node->n_waited_for);

	watch_epoch(node);
	table_set_acked(node->table, acked);
	if (node->workers)
		workers_acked(node->workers, acked);
	if (node->switchover)
		switchover_acked(node->switchover);
}

static void on_batch(void *arg)
{
	struct node *node = arg;

	if (!node->repl)
		return;
	repl_push(node->repl);
	publish_acks(node);
}

static void on_policies(void *arg)
{
	uint8_t policies[RING_POLICIES_MAX][RING_POLICY_BYTES];
	struct node *node = arg;
	size_t n;

	if (!node->repl || !node->workers)
		return;
	n = workers_policies(node->workers, policies, ARRAY_SIZE(policies));
	repl_set_policies(node->repl, (const uint8_t(*)[RING_POLICY_BYTES])policies, n);
}

static const struct workers_ops workers_ops = {
    .table_fd = on_table_fd,
    .tickets_fd = keys_fd,
    .notice = on_notice,
    .stored = on_stored,
    .batch = on_batch,
    .policies = on_policies,
};

/*
 * A worker costs two descriptors for as long as it is connected: its socket and its eventfd. What else the daemon may need at once: its own
 * few dozen, two connections a peer and four that have not said hello, HTTP, commands. Without this, peers
 * would be the first to find none left.
 */
static void fit_workers(const struct config *config, struct workers_config *wc)
{
	const unsigned others = 128 + 6 * REPL_PEERS_MAX, needed = 2 * wc->n_max + others;
	struct rlimit files;
	unsigned most;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur >= needed)
		return;
	most = files.rlim_cur > others + 1 ? (unsigned)(files.rlim_cur - others) / 2 : 1;
	log_warning(
	    "%s: workers-max is %u, and with a limit of %llu open files only %u workers can "
	    "connect: set LimitNOFILE=%u in tlsbatond.service, or a smaller workers-max",
	    config->path, wc->n_max, (unsigned long long)files.rlim_cur, most, needed);
	wc->n_max = most;
}

struct workers_config node_workers_config(const struct config *config, char *path, size_t path_size)
{
	struct workers_config wc = {
	    .socket_path = path,
	    .uids = config->worker_uids,
	    .n_uids = config->n_worker_uids,
	    .gids = config->worker_gids,
	    .n_gids = config->n_worker_gids,
	    .ring_bytes = config->ring_bytes,
	    .n_max = config->workers_max,
	    .gate_deadline_ms = config->gate_deadline_ms,
	};

	snprintf(path, path_size, "%s/worker.sock", config->run_directory);
	fit_workers(config, &wc);
	return wc;
}

/* ---- Table to peers and back ---- */

static void on_acked(void *arg)
{
	struct node *node = arg;

	if (node->repl)
		publish_acks(node);
}

static void on_control_message(void *arg, size_t peer, const uint8_t *payload, size_t n_payload)
{
	roles_message(arg, peer, payload, n_payload);
}

static void on_peer_changed(void *arg, size_t peer)
{
	struct node *node = arg;

	if (!node->repl)
		return;
	publish_acks(node);
	roles_peer_changed(node, peer);
	keys_look(node);
}

static const struct repl_ops repl_ops = {
    .acked = on_acked,
    .control = on_control_message,
    .peer_changed = on_peer_changed,
    .say_tickets = keys_say,
    .hear_tickets = keys_hear,
};

struct repl_config node_repl_config(const struct config *config)
{
	return (struct repl_config){
	    .node = config->node,
	    .group = config->group,
	    .listen = config->listen,
	    .peers = config->peers,
	    .n_peers = config->n_peers,
	    .group_key = config->key_file ? config->group_key : NULL,
	    .certificate_file = config->certificate_file,
	    .private_key_file = config->private_key_file,
	    .ca_file = config->ca_file,
	    .gate_deadline_ms = config->gate_deadline_ms,
	    .heartbeat_ms = config->heartbeat_ms,
	};
}

void node_tell_role(struct node *node)
{
	struct refusal refused[REFUSALS_USERS];
	const struct wire_role role = {
	    .term = node->role.term,
	    .active = node->role.active,
	    .has_service = node->config->has_service,
	    .has_workers = node->workers && workers_n_connected(node->workers) > 0,
	    .refuses_workers = node->workers && workers_refused(node->workers, refused) > 0,
	};

	repl_set_role(node->repl, &role);
}

static int start_repl(struct node *node, const struct config *config, char *error,
                      size_t error_size)
{
	struct repl_config rc = node_repl_config(config);
	char why[256];
	int r =
	    repl_new(&node->repl, node->base, &rc, node->table, &repl_ops, node, why, sizeof(why));

	if (r < 0) {
		/* -EINVAL: about keys, in words that name the file. */
		if (r == -EINVAL)
			snprintf(error, error_size, "%s", why);
		else
			snprintf(error, error_size, "%s:%d: %s", config->path, config->listen_line,
			         why);
		return r;
	}
	node_tell_role(node);
	publish_acks(node);
	return 0;
}

/* ---- Time ---- */

/* Expiry follows the wall clock, which all nodes share. A jump is said aloud: forward, it ends
 * sessions early (a full handshake each); backward, they live longer by as much, but
 * for TABLE_LIFETIME_MAX_S at most, which the next sweep sees to. */
static void watch_clock(struct node *node)
{
	int64_t skew = clock_wall_ms() - clock_monotonic_us() / 1000;
	int64_t jump = skew - node->clock_skew_ms;

	if (jump > CLOCK_JUMP_MS || jump < -CLOCK_JUMP_MS)
		log_warning("the clock jumped by %lld ms: sessions end %s; keep the nodes' clocks "
		            "in step with NTP",
		            (long long)jump, jump > 0 ? "early" : "late");
	node->clock_skew_ms = skew;
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval at_once = {.tv_usec = 1000};
	struct node *node = arg;

	(void)fd;
	(void)what;
	if (table_expire(node->table, clock_wall_ms() / 1000, SWEEP_SLICE))
		event_add(node->sweep, &at_once);
	else
		event_add(node->sweep, &every_second);
}

/* A node that differs is named once, when it has for a while: at a reload old and new servers run side by side. */
static void watch_policies(struct node *node)
{
	struct repl_peer_status peer;

	for (size_t i = 0; i < repl_n_peers(node->repl); i++) {
		repl_peer_status(node->repl, i, &peer);
		if (peer.policies == REPL_POLICIES_SAME)
			node->n_differs[i] = 0;
		if (peer.policies != REPL_POLICIES_DIFFER || node->n_differs[i] > POLICIES_DIFFER_S)
			continue;
		if (node->n_differs[i]++ == POLICIES_DIFFER_S)
			log_warning(
			    "the servers on %s and here do not ask the same of their clients, or "
			    "some have had no client yet or are down: sessions of a policy that "
			    "only one node has do not resume on the other; "
			    "give all nodes the same client-certificate options, trusted "
			    "certificates and session ID contexts",
			    peer.name);
	}
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;

	(void)fd;
	(void)what;
	watch_clock(node);
	node_tell_role(node);
	keys_compare(node);
	watch_policies(node);
	roles_tick(node);
}

/* ---- Operator ---- */

static json_t *on_status(void *arg)
{
	return node_status(arg);
}

static void on_command(void *arg, struct control_request *request, const char *name, json_t *args)
{
	if (strcmp(name, "rekey") == 0)
		keys_rekey(arg, request);
	else
		roles_command(arg, request, name, args);
}

static void on_request_gone(void *arg, struct control_request *request)
{
	struct node *node = arg;

	if (node->request == request)
		node->request = NULL;
	keys_request_gone(node, request);
}

static const struct control_ops control_ops = {
    .status = on_status,
    .command = on_command,
    .gone = on_request_gone,
};

/* ---- Life ---- */

static int open_table(struct node *node, char *error, size_t error_size)
{
	char path[PATH_MAX], why[256] = "";
	bool lock = true;
	int r;

	snprintf(path, sizeof(path), "%s/table", node->config->run_directory);
	r = table_open(&node->table, path, node->config->table_bytes, lock, clock_wall_ms() / 1000,
	               why, sizeof(why));
	if (r == -ENOMEM || r == -EPERM) {
		log_warning(
		    "the session table cannot be locked in memory (%s): sessions may be "
		    "swapped to disk; raise RLIMIT_MEMLOCK, or give a container CAP_IPC_LOCK",
		    strerror(-r));
		r = table_open(&node->table, path, node->config->table_bytes, false,
		               clock_wall_ms() / 1000, why, sizeof(why));
	}
	if (r == -EWOULDBLOCK)
		snprintf(error, error_size,
		         "%s: another tlsbatond writes this table; stop it, or set another "
		         "run-directory",
		         path);
	else if (r == -ENOSPC)
		snprintf(
		    error, error_size,
		    "%s: no room for a table of %llu bytes; make room or set a smaller table-size",
		    path, (unsigned long long)node->config->table_bytes);
	else if (r < 0)
		snprintf(error, error_size, "%s: %s", path, strerror(-r));
	else if (r == TABLE_REBUILT)
		log_warning("%s: %s: a new, empty table took its place; the peers refill it", path,
		            why);
	if (r < 0)
		return r;
	node->epoch = table_epoch(node->table);
	return 0;
}

int node_open_http(struct node *node, const struct config *config, struct http **out, char *error,
                   size_t error_size)
{
	char why[256];
	int r;

	*out = NULL;
	if (!config->http[0])
		return 0;
	r = http_new(out, node->base, config->http, on_status, node, why, sizeof(why));
	if (r < 0)
		snprintf(error, error_size, "%s:%d: %s", config->path, config->http_line, why);
	return r;
}

static int start_operator(struct node *node, char *error, size_t error_size)
{
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "%s/control.sock", node->config->run_directory);
	r = control_new(&node->control, node->base, path, &control_ops, node, error, error_size);
	if (r < 0)
		return r;
	return node_open_http(node, node->config, &node->http, error, error_size);
}

static int start_timers(struct node *node)
{
	node->tick = event_new(node->base, -1, EV_PERSIST, on_tick, node);
	node->sweep = event_new(node->base, -1, 0, on_sweep, node);
	if (!node->tick || !node->sweep)
		return -ENOMEM;
	event_add(node->tick, &every_second);
	event_add(node->sweep, &every_second);
	return 0;
}

static int start_workers(struct node *node, char *error, size_t error_size)
{
	char path[PATH_MAX];
	struct workers_config wc = node_workers_config(node->config, path, sizeof(path));
	int r;

	r = workers_new(&node->workers, node->base, &wc, &workers_ops, node);
	if (r < 0)
		snprintf(error, error_size, "%s: %s", path, strerror(-r));
	return r;
}

int node_new(struct node **out, struct event_base *base, struct config *config,
             struct vip_helper *helper, char *error, size_t error_size)
{
	struct node *node = calloc(1, sizeof(*node));
	int r;

	if (!node)
		return -ENOMEM;
	node->base = base;
	node->config = config;
	node->helper = helper;
	node->started_ms = clock_monotonic_us() / 1000;
	node->clock_skew_ms = clock_wall_ms() - node->started_ms;
	snprintf(error, error_size, "out of memory");
	r = roles_init(node);
	if (r == 0)
		r = open_table(node, error, error_size);
	if (r == 0)
		r = keys_start(node, error, error_size);
	if (r == 0)
		r = start_repl(node, config, error, error_size);
	if (r == 0)
		r = start_workers(node, error, error_size);
	if (r == 0)
		r = start_operator(node, error, error_size);
	if (r == 0)
		r = start_timers(node);
	if (r < 0) {
		node->config = NULL; /* still the caller's */
		node_free(node);
		return r;
	}
	roles_start(node);
	*out = node;
	return 0;
}

void node_stop(struct node *node, unsigned flush_ms)
{
	/* Who asks for the status while the loop runs in repl_flush() would ask for parts that are gone. */
	http_free(node->http);
	node->http = NULL;
	control_free(node->control);
	node->control = NULL;
	workers_free(node->workers);
	node->workers = NULL;
	repl_push(node->repl);
	repl_flush(node->repl, flush_ms);
}

void node_free(struct node *node)
{
	if (!node)
		return;
	workers_free(node->workers);
	http_free(node->http);
	control_free(node->control);
	roles_deinit(node);
	repl_free(node->repl);
	keys_stop(node);
	table_free(node->table);
	if (node->tick)
		event_free(node->tick);
	if (node->sweep)
		event_free(node->sweep);
	config_free(node->config);
	free(node);
}
