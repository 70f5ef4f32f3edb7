/*
 * A tlsbatond reduced to its workers and its table, for tests of what stands before it: no peers, no
 * network, and acks that a test controls.
 *
 * Usage: test-daemon SOCKET TABLE now|hold|late=MS DEADLINE_MS USER [stateful|tickets|both]
 *   now   every notice is acked as soon as it is in the table, as if a peer had answered
 *   hold  none is, as if a peer hung, until SIGUSR2: from then on as `now`; each further SIGUSR2 changes again
 *   late  each is, so many milliseconds (1 to 999) after it is in the table, as if a peer were far away
 * Says "ready" on standard output when it listens, and at SIGUSR1 one line of figures:
 *   workers=N puts=N stored=N removed=N hits=N refused_policy=N tickets_opened=N gate_waits=N
 *   gate_timeouts=N n_der=BYTES expires=SECONDS held=0|1
 * with length and expiry of the last record that was stored. SIGTERM stops it cleanly.
 */
#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <event2/event.h>

#include "daemon/tickets.h"
#include "daemon/workers.h"
#include "table/table.h"

struct test_daemon {
	struct event_base *base;
	struct table *table;
	struct tickets *tickets;
	struct workers *workers;
	bool hold;
	unsigned late_ms; /* 0: acked at once */
	uint64_t n_stored;
	uint64_t n_removed;
	size_t n_der;
	int64_t expires_s;
};

static int on_table_fd(void *arg)
{
	struct test_daemon *d = arg;

	return table_fd(d->table);
}

static int on_tickets_fd(void *arg)
{
	struct test_daemon *d = arg;

	return tickets_fd(d->tickets);
}

static void on_tickets_tell(void *arg, uint32_t peers)
{
	(void)arg, (void)peers;
}

static void on_notice(void *arg, const struct table_record *record, uint64_t *position)
{
	struct test_daemon *d = arg;
	uint64_t end = 0;
	int r;

	if (record->flags & TABLE_TOMBSTONE) {
		++d->n_removed;
	} else {
		++d->n_stored;
		d->n_der = record->n_der;
		d->expires_s = record->expires_s;
	}
	r = table_put(d->table, record, time(NULL), &end);
	if (r < 0)
		fprintf(stderr, "test-daemon: table_put: %s\n", strerror(-r));
	*position = end; /* 0, which opens the gate at once, if there was nothing to put */
}

static uint64_t on_stored(void *arg)
{
	const struct test_daemon *d = arg;

	return table_head(d->table);
}

static void ack(struct test_daemon *d, uint64_t position)
{
	table_set_acked(d->table, position);
	workers_acked(d->workers, position);
}

struct late_ack {
	struct test_daemon *daemon;
	uint64_t position;
};

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	struct late_ack *late = arg;

	(void)fd;
	(void)what;
	ack(late->daemon, late->position);
	free(late);
}

static void ack_late(struct test_daemon *d)
{
	const struct timeval delay = {.tv_usec = (suseconds_t)d->late_ms * 1000};
	struct late_ack *late = malloc(sizeof(*late));

	if (late == NULL)
		abort();
	*late = (struct late_ack){.daemon = d, .position = table_head(d->table)};
	if (event_base_once(d->base, -1, EV_TIMEOUT, on_late, late, &delay) < 0)
		abort();
}

static void on_batch(void *arg)
{
	struct test_daemon *d = arg;

	if (d->hold)
		return;
	if (d->late_ms > 0)
		ack_late(d);
	else
		ack(d, table_head(d->table));
}

static void on_show(evutil_socket_t signal, short what, void *arg)
{
	struct test_daemon *d = arg;
	struct workers_stats s;

	(void)signal;
	(void)what;
	workers_stats(d->workers, &s);
	printf("workers=%u puts=%" PRIu64 " stored=%" PRIu64 " removed=%" PRIu64 " hits=%" PRIu64
	       " refused_policy=%" PRIu64 " tickets_opened=%" PRIu64 " gate_waits=%" PRIu64
	       " gate_timeouts=%" PRIu64 " n_der=%zu expires=%" PRId64 " held=%d\n",
	       s.n_connected, s.puts, d->n_stored, d->n_removed, s.hits, s.refused_policy,
	       s.tickets_opened, s.gate_waits, s.gate_timeouts, d->n_der, d->expires_s, d->hold);
	fflush(stdout);
}

static void on_release(evutil_socket_t signal, short what, void *arg)
{
	struct test_daemon *d = arg;

	(void)signal;
	(void)what;
	d->hold = !d->hold;
	on_batch(d);
}

static void on_stop(evutil_socket_t signal, short what, void *arg)
{
	struct test_daemon *d = arg;

	(void)signal;
	(void)what;
	event_base_loopbreak(d->base);
}

static int run(struct test_daemon *d, const char *socket_path, const char *table_path,
               unsigned deadline_ms, uid_t uid, enum ticket_resumption resumption)
{
	static const struct tickets_ops tickets_ops = {.tell = on_tickets_tell};
	const struct tickets_config tickets = {
	    .resumption = resumption,
	    .rotation_ms = 3600 * 1000,
	};
	const struct workers_ops ops = {
	    .table_fd = on_table_fd,
	    .tickets_fd = on_tickets_fd,
	    .notice = on_notice,
	    .stored = on_stored,
	    .batch = on_batch,
	};
	const struct workers_config config = {
	    .socket_path = socket_path,
	    .uids = &uid,
	    .n_uids = 1,
	    .ring_bytes = 1024 * 1024,
	    .n_max = 256,
	    .gate_deadline_ms = deadline_ms,
	};
	struct event *show, *release, *stop;
	char path[128], why[128];
	int r;

	r = table_open(&d->table, table_path, 4 * TABLE_SIZE_MIN, false, time(NULL), why,
	               sizeof(why));
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s.keys", table_path);
	r = tickets_new(&d->tickets, d->base, path, &tickets, &tickets_ops, d, why, sizeof(why));
	if (r < 0)
		return r;
	r = workers_new(&d->workers, d->base, &config, &ops, d);
	if (r != 0)
		return r;
	show = evsignal_new(d->base, SIGUSR1, on_show, d);
	release = evsignal_new(d->base, SIGUSR2, on_release, d);
	stop = evsignal_new(d->base, SIGTERM, on_stop, d);
	if (show == NULL || release == NULL || stop == NULL)
		return -ENOMEM;
	event_add(show, NULL);
	event_add(release, NULL);
	event_add(stop, NULL);
	printf("ready\n");
	fflush(stdout);
	event_base_dispatch(d->base);
	event_free(show);
	event_free(release);
	event_free(stop);
	return 0;
}

static enum ticket_resumption resumption_of(const char *word)
{
	enum ticket_resumption resumption = TICKET_STATEFUL;

	while (resumption < TICKET_BOTH && word && strcmp(word, tickets_word(resumption)) != 0)
		++resumption;
	return resumption;
}

int main(int argc, char **argv)
{
	struct test_daemon d = {0};
	struct passwd *user;
	int r;

	if (argc < 6 || argc > 7) {
		fprintf(stderr, "Usage: test-daemon SOCKET TABLE now|hold|late=MS DEADLINE_MS USER "
		                "[stateful|tickets|both]\n");
		return 2;
	}
	user = getpwnam(argv[5]);
	d.base = event_base_new();
	if (user == NULL || d.base == NULL)
		return 1;
	d.hold = strcmp(argv[3], "hold") == 0;
	if (strncmp(argv[3], "late=", 5) == 0)
		d.late_ms = (unsigned)strtoul(argv[3] + 5, NULL, 10) % 1000;
	r = run(&d, argv[1], argv[2], (unsigned)strtoul(argv[4], NULL, 10), user->pw_uid,
	        resumption_of(argv[6]));
	workers_free(d.workers);
	tickets_free(d.tickets);
	table_free(d.table);
	event_base_free(d.base);
	if (r != 0)
		fprintf(stderr, "test-daemon: %s\n", strerror(-r));
	return r == 0 ? 0 : 1;
}
