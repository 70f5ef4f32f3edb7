#include "repl/testing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>

const uint8_t testing_key[REPL_KEY_BYTES] = "0123456789abcdef0123456789abcde";

static void testing_acked(void *arg)
{
	((struct node *)arg)->n_acked++;
}

static void testing_control(void *arg, size_t peer, const uint8_t *payload, size_t n_payload)
{
	struct node *node = arg;

	node->control_from = peer;
	memcpy(node->control, payload, n_payload);
	node->n_control = n_payload;
}

static void testing_peer_changed(void *arg, size_t peer)
{
	(void)peer;
	((struct node *)arg)->n_changed++;
}

static void testing_say_tickets(void *arg, struct ticket_state *out)
{
	*out = ((struct node *)arg)->says;
}

static void testing_hear_tickets(void *arg, size_t peer, const struct ticket_state *tickets)
{
	struct node *node = arg;

	(void)peer;
	node->heard = *tickets;
	node->n_heard++;
}

const struct repl_ops testing_ops = {
    .acked = testing_acked,
    .control = testing_control,
    .peer_changed = testing_peer_changed,
    .say_tickets = testing_say_tickets,
    .hear_tickets = testing_hear_tickets,
};

int64_t testing_now_us(void)
{
	return repl_clock_system.mono_us(NULL);
}

static int64_t testing_now_s(void)
{
	return repl_clock_system.wall_ms(NULL) / 1000;
}

void testing_run(struct event_base *base)
{
	struct timeval limit = {0, 10000};

	event_base_loopexit(base, &limit);
	event_base_loop(base, EVLOOP_ONCE);
}

static struct sockaddr_in testing_address(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

int testing_listen(uint16_t port)
{
	struct sockaddr_in address = testing_address(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	assert_true(fd >= 0);
	assert_return_code(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), errno);
	assert_return_code(bind(fd, (struct sockaddr *)&address, sizeof(address)), errno);
	assert_return_code(listen(fd, 16), errno);
	return fd;
}

static int64_t ahead_us; /* of the node whose time the test has */

static int64_t ahead_mono_us(void *arg)
{
	(void)arg;
	return testing_now_us() + ahead_us;
}

static int64_t ahead_wall_ms(void *arg)
{
	(void)arg;
	return repl_clock_system.wall_ms(NULL);
}

void node_control_time(struct node *node)
{
	static const struct repl_clock clock = {ahead_mono_us, ahead_wall_ms, NULL};

	ahead_us = 0;
	node->repl->clock = &clock;
}

void node_pass_ms(struct node *node, int64_t ms)
{
	ahead_us += ms * 1000;
	repl_tick(node->repl, ahead_mono_us(NULL));
}

int testing_connect(uint16_t port)
{
	struct sockaddr_in address = testing_address(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 16384;

	assert_true(fd >= 0);
	/* So that a test that does not read is felt soon. */
	assert_return_code(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), errno);
	assert_return_code(connect(fd, (struct sockaddr *)&address, sizeof(address)), errno);
	return fd;
}

void node_init(struct node *node, struct event_base *base, const char *name, uint64_t table_bytes)
{
	memset(node, 0, sizeof(*node));
	node->says.resumption = TICKET_STATEFUL;
	node->says.rotation_ms = TICKET_ROTATION_MS_MIN;
	node->base = base;
	snprintf(node->name, sizeof(node->name), "%s", name);
	snprintf(node->directory, sizeof(node->directory), "/tmp/tlsbaton-repl-XXXXXX");
	assert_non_null(mkdtemp(node->directory));
	snprintf(node->path, sizeof(node->path), "%s/table", node->directory);
	node->port = reserve_port();
	snprintf(node->listen, sizeof(node->listen), "127.0.0.1:%u", node->port);
	node->config = (struct repl_config){
	    .node = node->name,
	    .group = "g",
	    .listen = node->listen,
	    .peers = node->peers,
	    .group_key = testing_key,
	    .gate_deadline_ms = 1000,
	    .heartbeat_ms = 200,
	};
	node_new_table(node, table_bytes);
}

void node_new_table(struct node *node, uint64_t table_bytes)
{
	char why[128];

	table_free(node->table);
	unlink(node->path);
	assert_int_equal(table_open(&node->table, node->path, table_bytes, false, testing_now_s(),
	                            why, sizeof(why)),
	                 TABLE_CREATED);
}

void node_add_peer(struct node *node, const char *name, uint16_t port)
{
	size_t i = node->config.n_peers++;

	snprintf(node->addresses[i], sizeof(node->addresses[i]), "127.0.0.1:%u", port);
	node->peers[i] = (struct repl_peer_config){name, node->addresses[i]};
}

void node_start(struct node *node)
{
	char error[256] = "";
	int r = repl_new(&node->repl, node->base, &node->config, node->table, &testing_ops, node,
	                 error, sizeof(error));

	if (r != 0)
		fail_msg("%s", error);
}

void node_stop(struct node *node)
{
	repl_free(node->repl);
	node->repl = NULL;
}

void node_deinit(struct node *node)
{
	node_stop(node);
	table_free(node->table);
	unlink(node->path);
	rmdir(node->directory);
}

/* A record's ID and DER follow from its number. */
static void testing_record(unsigned number, uint8_t id[32], uint8_t der[126],
                           struct table_record *out)
{
	memset(id, 0x5a, 32);
	memcpy(id, &number, sizeof(number));
	memset(der, 0x30, 126);
	memcpy(der + 2, &number, sizeof(number));
	*out = (struct table_record){
	    .id = id, .n_id = 32, .der = der, .n_der = 126, .expires_s = testing_now_s() + 300};
}

void node_put_flags(struct node *node, unsigned first, unsigned n, unsigned flags)
{
	uint8_t id[32], der[126];
	struct table_record record;

	for (unsigned i = first; i < first + n; i++) {
		testing_record(i, id, der, &record);
		record.flags = flags;
		assert_int_equal(table_put(node->table, &record, testing_now_s(), NULL), 0);
	}
	if (node->repl)
		repl_push(node->repl);
}

void node_put(struct node *node, unsigned first, unsigned n)
{
	node_put_flags(node, first, n, TABLE_LOCAL);
}

void node_remove(struct node *node, unsigned number)
{
	uint8_t id[32], der[126];
	struct table_record record;

	testing_record(number, id, der, &record);
	record.der = NULL;
	record.n_der = 0;
	record.flags = TABLE_LOCAL | TABLE_TOMBSTONE;
	assert_int_equal(table_put(node->table, &record, testing_now_s(), NULL), 0);
	if (node->repl)
		repl_push(node->repl);
}

unsigned node_count(const struct node *node, unsigned first, unsigned n)
{
	struct table_view *view = NULL;
	uint8_t id[32], der[126], found[TABLE_DER_MAX];
	struct table_record record;
	size_t n_found;
	unsigned count = 0;
	int fd = table_fd(node->table);

	assert_true(fd >= 0);
	assert_int_equal(table_view_open(&view, fd), 0);
	close(fd);
	for (unsigned i = first; i < first + n; i++) {
		testing_record(i, id, der, &record);
		if (table_view_get(view, id, sizeof(id), testing_now_s(), found, sizeof(found),
		                   &n_found, NULL, NULL) == 0) {
			assert_int_equal(n_found, sizeof(der));
			assert_memory_equal(found, der, sizeof(der));
			count++;
		}
	}
	table_view_free(view);
	return count;
}

bool node_has(const struct node *node, unsigned number)
{
	return node_count(node, number, 1) == 1;
}

struct repl_peer_status node_status(const struct node *node, size_t peer)
{
	struct repl_peer_status status;

	repl_peer_status(node->repl, peer, &status);
	return status;
}

enum repl_peer_state node_state(const struct node *node, size_t peer)
{
	return node_status(node, peer).state;
}

struct repl_stats node_stats(const struct node *node)
{
	struct repl_stats stats;

	repl_stats(node->repl, &stats);
	return stats;
}
