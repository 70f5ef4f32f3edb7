/*
 * The gate: no client gets the first byte of a response on a session before the peers have stored it, whether the
 * connection made it or resumes what another one has just made; and no worker of nginx ever sleeps for that.
 *
 * Where. nginx sends through two function pointers of the connection, send and send_chain, which it sets when
 * the handshake is over; whatever it says to a client, over HTTP/1.1 or HTTP/2, static, proxied, redirected,
 * an error page for a request that it could not even parse, goes through them. On a connection with such a
 * session ours stand there until the gate is open. While it is closed they answer what nginx knows from a
 * socket whose buffer is full: nothing sent, try again when there is room. nginx keeps what it has to say,
 * goes on with its other connections, and is told of "room" when the gate opens. So nothing can slip by,
 * and a connection whose session the peers have does not even know of the gate.
 *
 *     OpenSSL's session callbacks    → gate_expect()     in the handshake: the notice is out
 *     first record after it is read  → on_record()       our send and send_chain take their places
 *     first byte of a response       → may_send()        acked already: through; else it waits
 *     ack (gate_fd) or deadline      → gate_open()       nginx' pointers are back, its write event is posted
 *
 * How on_record() comes in: nginx calls no module between the handshake and the first request, which may be handled
 * in the very call that ends the handshake. But no response goes out before the request was read, and OpenSSL has a
 * callback for each record that it reads. Ours is there until the first one. (HTTP/2's SETTINGS, which are no part
 * of a response, may go out before.)
 *
 * What must stay true:
 *  - Nobody learns of an ack but by the descriptor of the worker's handle, which is one for all connections,
 *    or by its timer. Gates wait in the order of their notices, acks are cumulative, so a wake-up costs as
 *    many steps as gates open, and one. Who asks for one gate may take the byte that was to tell of earlier ones
 *    (tlsbaton_gate_poll()), so it looks after these, too.
 *  - nginx takes "100 Continue" to be sent in any case, and has no way to send it later. It waits in
 *    `held` and goes out first. The same is true of "101 Switching Protocols", which may be of any length: so
 *    who asks for an upgrade waits before the request is handled (gate_preaccess()).
 *  - A connection may be closed at any time: its pool's clean-up takes it from the queue.
 *  - While the gate is closed, the write event passes for registered (`active`) although it need not be: so
 *    nginx does not ask the kernel for an event that would come at once and tell nothing.
 */
#include "module.h"

#include "util/clock.h"

/* A deadline that is longer is waited for in steps, to see a daemon that hangs. */
#define GATE_STEP_MS 100

static ngx_queue_t closed; /* struct connection, by notice */
static tlsbaton *gate_baton;
static ngx_connection_t *acks; /* a connection of nginx' for gate_fd; NULL: none yet */

/* ---- Opening ---- */

static void send_held(struct connection *connection)
{
	ngx_connection_t *c = connection->c;

	/* As nginx does it: so few bytes fit, or the connection is broken. */
	if (connection->n_held > 0 &&
	    c->send(c, connection->held, connection->n_held) != (ssize_t)connection->n_held)
		c->error = 1;
	connection->n_held = 0;
}

static void gate_open(struct connection *connection)
{
	ngx_connection_t *c = connection->c;

	c->send = connection->send;
	c->send_chain = connection->send_chain;
	if (connection->gate == GATE_CLOSED) {
		connection->wait_us = (uint64_t)clock_monotonic_us() - connection->asked_us;
		ngx_queue_remove(&connection->waiting);
		if (connection->timer.timer_set)
			ngx_del_timer(&connection->timer);
	}
	connection->gate = GATE_OPEN;
	connection->opened = *ngx_timeofday();
	send_held(connection);
	if (connection->lent_active)
		c->write->active = 0;
	if (connection->blocked) {
		c->write->ready = 1;
		ngx_post_event(c->write, &ngx_posted_events);
	}
}

/* The gates whose notices are acked. Leaves the library with the first that is not, to be told of its ack. */
static void open_acked(void)
{
	while (!ngx_queue_empty(&closed)) {
		struct connection *connection =
		    ngx_queue_data(ngx_queue_head(&closed), struct connection, waiting);

		if (tlsbaton_gate_poll(gate_baton, connection->notice) == TLSBATON_CLOSED)
			return;
		gate_open(connection);
	}
}

static void on_acks(ngx_event_t *event)
{
	(void)event;
	open_acked();
}

static void set_timer(struct connection *connection)
{
	const ngx_msec_int_t left = (ngx_msec_int_t)(connection->until_ms - ngx_current_msec);

	ngx_add_timer(&connection->timer, (ngx_msec_t)ngx_max(0, ngx_min(left, GATE_STEP_MS)));
}

static void on_timer(ngx_event_t *event)
{
	struct connection *connection = event->data;

	open_acked();
	if (connection->gate == GATE_OPEN)
		return;
	if ((ngx_msec_int_t)(connection->until_ms - ngx_current_msec) > 0) {
		set_timer(connection);
		return;
	}
	tlsbaton_gate_expired(gate_baton);
	gate_open(connection);
}

/* ---- Closing ---- */

/* Without a descriptor, or a free connection for it, gates open at their deadline. */
static void watch_acks(void)
{
	const int fd = acks == NULL ? tlsbaton_gate_fd(gate_baton) : -1;
	ngx_connection_t *c;

	if (fd < 0)
		return;
	c = ngx_get_connection(fd, ngx_cycle->log);
	if (c == NULL)
		return;
	c->read->handler = on_acks;
	c->read->log = ngx_cycle->log;
	/* Edge-triggered: the library takes the bytes when a gate is asked, so some may be left when none waits. */
	if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_CLEAR_EVENT) != NGX_OK) {
		c->fd = (ngx_socket_t)-1;
		ngx_free_connection(c);
		return;
	}
	acks = c;
}

static void insert_by_notice(struct connection *connection)
{
	ngx_queue_t *before = ngx_queue_last(&closed);

	while (before != ngx_queue_sentinel(&closed)) {
		const struct connection *other = ngx_queue_data(before, struct connection, waiting);

		if (other->notice < connection->notice)
			break;
		before = ngx_queue_prev(before);
	}
	ngx_queue_insert_after(before, &connection->waiting);
}

static void gate_close(struct connection *connection)
{
	connection->gate = GATE_CLOSED;
	connection->asked_us = (uint64_t)clock_monotonic_us();
	insert_by_notice(connection);
	watch_acks();
	connection->timer.handler = on_timer;
	connection->timer.data = connection;
	connection->timer.log = connection->c->log;
	connection->until_ms = ngx_current_msec + tlsbaton_gate_deadline_ms(gate_baton);
	set_timer(connection);
}

static void ask(struct connection *connection)
{
	connection->notice = tlsbaton_ssl_notice(connection->ssl);
	if (tlsbaton_gate_poll(gate_baton, connection->notice) == TLSBATON_CLOSED)
		gate_close(connection);
	else
		gate_open(connection);
	if (!ngx_queue_empty(&closed) && ngx_queue_head(&closed) != &connection->waiting)
		open_acked();
}

static bool may_send(struct connection *connection)
{
	if (connection->gate == GATE_PENDING)
		ask(connection);
	return connection->gate == GATE_OPEN;
}

static void block(struct connection *connection)
{
	ngx_event_t *write = connection->c->write;

	connection->blocked = true;
	write->ready = 0;
	/* If it is registered indeed, its events come, are answered with "not yet", and harm nothing. */
	if (!write->active) {
		write->active = 1;
		connection->lent_active = true;
	}
}

static ssize_t gate_send(ngx_connection_t *c, u_char *bytes, size_t n)
{
	struct connection *connection = connection_of(c);

	if (may_send(connection))
		return connection->send(c, bytes, n);
	if (n <= GATE_HELD_MAX - connection->n_held) {
		ngx_memcpy(connection->held + connection->n_held, bytes, n);
		connection->n_held += n;
		return (ssize_t)n;
	}
	block(connection);
	return NGX_AGAIN;
}

static ngx_chain_t *gate_send_chain(ngx_connection_t *c, ngx_chain_t *in, off_t limit)
{
	struct connection *connection = connection_of(c);

	if (may_send(connection))
		return connection->send_chain(c, in, limit);
	block(connection);
	return in;
}

ngx_int_t gate_preaccess(ngx_http_request_t *r)
{
	struct connection *connection;

	if (r->headers_in.upgrade == NULL || r->stream != NULL)
		return NGX_DECLINED;
	connection = connection_of(r->connection);
	if (connection == NULL || connection->gate == GATE_NONE || may_send(connection))
		return NGX_DECLINED;
	block(connection);
	r->read_event_handler = ngx_http_test_reading;
	r->write_event_handler = ngx_http_core_run_phases; /* comes back here */
	return NGX_AGAIN;
}

/* ---- From the handshake to the first byte ---- */

static void on_record(int is_write, int version, int type, const void *bytes, size_t n, SSL *ssl,
                      void *arg)
{
	struct connection *connection = arg;
	ngx_connection_t *c = connection->c;

	(void)version;
	(void)type;
	(void)bytes;
	(void)n;
	if (is_write || !c->ssl->handshaked)
		return;
	SSL_set_msg_callback(ssl, NULL);
	connection->send = c->send;
	connection->send_chain = c->send_chain;
	c->send = gate_send;
	c->send_chain = gate_send_chain;
}

static void on_gone(void *data)
{
	struct connection *connection = data;

	if (connection->gate != GATE_CLOSED)
		return;
	ngx_queue_remove(&connection->waiting);
	if (connection->timer.timer_set)
		ngx_del_timer(&connection->timer);
}

void gate_expect(struct connection *connection)
{
	ngx_connection_t *c = connection->c;
	ngx_pool_cleanup_t *cleanup;

	if (connection == NULL || connection->gate != GATE_NONE)
		return;
	cleanup = ngx_pool_cleanup_add(c->pool, 0);
	if (cleanup == NULL)
		return;
	cleanup->handler = on_gone;
	cleanup->data = connection;
	connection->gate = GATE_PENDING;
	SSL_set_msg_callback(connection->ssl, on_record);
	SSL_set_msg_callback_arg(connection->ssl, connection);
}

/* ---- Life ---- */

void gate_init(tlsbaton *baton)
{
	ngx_queue_init(&closed);
	gate_baton = baton;
	watch_acks();
}

/* The descriptor is the library's. nginx complains of connections that a worker leaves open. */
void gate_exit(void)
{
	if (acks == NULL)
		return;
	acks->fd = (ngx_socket_t)-1;
	ngx_free_connection(acks);
	acks = NULL;
}
