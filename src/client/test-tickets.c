/* Stateless tickets under the group's keys: real handshakes, TLS 1.2 and 1.3, in this process and another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "client/test-server.h"
#include "ticket/page.h"
#include "util/clock.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static int set_up(void **state)
{
	struct fixture *f;

	assert_int_equal(server_set_up(state), 0);
	f = *state;
	f->node.tickets.resumption = TICKET_BOTH;
	return 0;
}

/* A server that leaves tickets to OpenSSL, whose default they are. */
static void open_contexts(struct fixture *f, int version)
{
	server_open_contexts(f, version);
	SSL_CTX_clear_options(f->server, SSL_OP_NO_TICKET);
}

static void attach(struct fixture *f)
{
	assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
}

static bool has_tickets(const struct fixture *f)
{
	return !(SSL_CTX_get_options(f->server) & SSL_OP_NO_TICKET);
}

/* On contexts that are open: with a session of its own, or a ticket, the client resumes. */
static void attach_and_resume(struct fixture *f, bool tickets)
{
	SSL_SESSION *session = NULL;

	attach(f);
	assert_int_equal(has_tickets(f), tickets);
	assert_false(server_visit(f, &session));
	assert_true(server_visit(f, &session));
	SSL_SESSION_free(session);
}

static void rekey(struct fixture *f)
{
	struct workers_stats stats;

	atomic_fetch_add(&f->node.control->n_rekeys, 1);
	node_stats(&f->node, &stats); /* two turns of the node's loop later */
}

/* The name of the key that sealed the client's ticket. */
static void key_name(SSL_SESSION *session, uint8_t name[TICKET_NAME_BYTES])
{
	const unsigned char *ticket;
	size_t n;

	SSL_SESSION_get0_ticket(session, &ticket, &n);
	assert_true(n > TICKET_NAME_BYTES);
	memcpy(name, ticket, TICKET_NAME_BYTES);
}

/* The keys that a worker would see. */
static const struct ticket_page *map_page(struct fixture *f)
{
	const struct ticket_page *page;
	_cleanup_(closep) int fd = open(f->node.tickets_path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(ticket_page_map_empty(&page), 0);
	assert_int_equal(ticket_page_map_over(page, fd), 0);
	return page;
}

/* ---- Resuming ---- */

static void test_a_ticket_resumes_and_nothing_is_stored(void **state)
{
	struct fixture *f = *state;
	const struct ticket_page *page;
	uint8_t name[TICKET_NAME_BYTES];
	struct ticket_key key;

	server_start(f);
	page = map_page(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;

		open_contexts(f, versions[i]);
		attach(f);
		assert_true(has_tickets(f));
		assert_false(server_visit(f, &session));
		key_name(session, name);
		assert_int_equal(ticket_page_find(page, name, clock_wall_ms(), &key), 0);
		assert_true(server_visit(f, &session));
		assert_true(server_visit(f, &session));
		SSL_SESSION_free(session);
	}
	ticket_page_unmap(page);
	assert_int_equal(server_count(f).puts, 0);
	assert_int_equal(server_count(f).tickets_opened, 4);
	assert_int_equal(server_count(f).tickets_refused, 0);
	assert_true(server_count(f).tickets_issued >= 3);
	assert_int_equal(atomic_load(&f->node.control->n_notices), 0);
}

static void test_another_process_opens_it(void **state)
{
	struct fixture *f = *state;

	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;
		int status;
		pid_t pid;

		open_contexts(f, versions[i]);
		attach(f);
		assert_false(server_visit(f, &session));
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			/* A handle and a context of its own. */
			tlsbaton *other;
			bool resumed = false;

			server_close_contexts(f);
			if (tlsbaton_new(&other, &f->options) == 0) {
				f->baton = other;
				open_contexts(f, versions[i]);
				attach(f);
				resumed = server_visit(f, &session);
			}
			_exit(resumed ? 0 : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		SSL_SESSION_free(session);
	}
}

static void test_both_stores_for_clients_without_tickets(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session = NULL;

	server_start(f);
	open_contexts(f, TLS1_2_VERSION);
	attach(f);
	SSL_CTX_set_options(f->client, SSL_OP_NO_TICKET);
	assert_false(server_visit(f, &session));
	assert_true(server_visit(f, &session));
	assert_int_equal(server_count(f).puts, 1);
	assert_int_equal(server_count(f).tickets_issued, 0);
	SSL_SESSION_free(session);
}

static void test_tickets_alone_stores_nothing(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session = NULL;

	f->node.tickets.resumption = TICKET_TICKETS;
	server_start(f);
	open_contexts(f, TLS1_2_VERSION);
	attach(f);
	SSL_CTX_set_options(f->client, SSL_OP_NO_TICKET);
	assert_false(server_visit(f, &session));
	assert_false(server_visit(f, &session));
	assert_int_equal(server_count(f).puts, 0);
	SSL_SESSION_free(session);
}

static void test_stateful_turns_tickets_off(void **state)
{
	struct fixture *f = *state;

	f->node.tickets.resumption = TICKET_STATEFUL;
	server_start(f);
	assert_int_equal(tlsbaton_resumption(f->baton), TLSBATON_STATEFUL);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		open_contexts(f, versions[i]);
		attach_and_resume(f, false);
	}
	assert_true(server_count(f).puts >= 2);
	assert_int_equal(server_count(f).tickets_issued, 0);
}

static void test_a_server_that_wants_none_keeps_it(void **state)
{
	struct fixture *f = *state;

	f->node.tickets.resumption = TICKET_TICKETS;
	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		server_open_contexts(f, versions[i]); /* with SSL_OP_NO_TICKET */
		attach_and_resume(f, false);
	}
	assert_true(server_count(f).puts >= 2);
}

/* ---- Keys that come and go ---- */

static void test_an_old_key_opens_and_its_ticket_is_renewed(void **state)
{
	struct fixture *f = *state;

	f->node.tickets.rotation_ms = 4000;
	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		uint8_t before[TICKET_NAME_BYTES], after[TICKET_NAME_BYTES];
		const struct ticket_page *page = map_page(f);
		SSL_SESSION *session = NULL;
		struct ticket_key key;

		open_contexts(f, versions[i]);
		attach(f);
		assert_false(server_visit(f, &session));
		key_name(session, before);
		node_until(ticket_page_find(page, before, clock_wall_ms(), &key) == TICKET_OLD);
		/* The worker's clock is that of the last tick. */
		node_until(ticket_page_current(page, clock_coarse_wall_ms(), &key) == 0 &&
		           memcmp(key.name, before, sizeof(before)) != 0);
		assert_true(server_visit(f, &session));
		key_name(session, after);
		assert_memory_not_equal(before, after, sizeof(before));
		assert_true(server_visit(f, &session));
		SSL_SESSION_free(session);
		ticket_page_unmap(page);
	}
	assert_int_equal(server_count(f).tickets_refused, 0);
}

static void test_a_rekey_voids_tickets_at_once(void **state)
{
	struct fixture *f = *state;

	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;

		open_contexts(f, versions[i]);
		attach(f);
		assert_false(server_visit(f, &session));
		assert_true(server_visit(f, &session));
		rekey(f);
		assert_false(server_visit(f, &session));
		assert_true(server_visit(f, &session));
		SSL_SESSION_free(session);
	}
	assert_int_equal(server_count(f).tickets_refused, 2);
}

static void test_garbage_for_a_ticket_is_a_full_handshake(void **state)
{
	struct fixture *f = *state;

	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;
		const unsigned char *ticket;
		size_t n;

		open_contexts(f, versions[i]);
		attach(f);
		assert_false(server_visit(f, &session));
		SSL_SESSION_get0_ticket(session, &ticket, &n);
		/* Each part of it: the key's name, the IV, what is sealed, the MAC. */
		for (size_t k = 0; k < n; k += n / 4) {
			SSL_SESSION *bad = SSL_SESSION_dup(session);

			SSL_SESSION_get0_ticket(bad, &ticket, &n);
			((unsigned char *)(uintptr_t)ticket)[k] ^= 1;
			assert_false(server_visit(f, &bad));
			SSL_SESSION_free(bad);
		}
		assert_true(server_visit(f, &session));
		SSL_SESSION_free(session);
	}
}

/* ---- Without a daemon ---- */

static void test_without_a_daemon_no_handshake_fails(void **state)
{
	struct fixture *f = *state;

	f->options.connect_ms = 1;
	assert_int_equal(tlsbaton_new(&f->baton, &f->options), 0);
	assert_int_equal(tlsbaton_resumption(f->baton), TLSBATON_UNKNOWN);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;

		open_contexts(f, versions[i]);
		attach(f);
		assert_false(has_tickets(f));
		/* And if the server insists on them, they are of no use. */
		SSL_CTX_clear_options(f->server, SSL_OP_NO_TICKET);
		for (unsigned k = 0; k < 3; k++)
			assert_false(server_visit(f, &session));
		SSL_SESSION_free(session);
	}
	assert_int_equal(server_count(f).tickets_issued, 0);
}

static void test_a_worker_goes_on_when_its_daemon_dies(void **state)
{
	struct fixture *f = *state;

	server_start(f);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;

		open_contexts(f, versions[i]);
		attach(f);
		assert_false(server_visit(f, &session));
		node_kill(&f->node);
		assert_true(server_visit(f, &session));
		assert_true(server_visit(f, &session));
		/* And so does the daemon, with the keys it left. */
		node_start(&f->node);
		node_until(tlsbaton_connected(f->baton));
		assert_true(server_visit(f, &session));
		SSL_SESSION_free(session);
	}
	assert_int_equal(server_count(f).tickets_refused, 0);
}

static void test_a_child_has_the_keys_without_a_daemon(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session = NULL;
	int status;
	pid_t pid;

	server_start(f);
	open_contexts(f, TLS1_3_VERSION);
	attach(f);
	assert_false(server_visit(f, &session));
	node_kill(&f->node);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(server_visit(f, &session) ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	SSL_SESSION_free(session);
}

static void test_a_damaged_page_is_replaced_and_found(void **state)
{
	struct fixture *f = *state;
	SSL_SESSION *session = NULL;
	int fd;

	server_start(f);
	open_contexts(f, TLS1_3_VERSION);
	attach(f);
	assert_false(server_visit(f, &session));
	node_kill(&f->node);
	node_until(!tlsbaton_connected(f->baton));
	fd = open(f->node.tickets_path, O_WRONLY);
	assert_int_equal(pwrite(fd, "garbage!", 8, 0), 8);
	close(fd);
	node_start(&f->node);
	node_until(tlsbaton_connected(f->baton));
	assert_false(server_visit(f, &session));
	assert_true(server_visit(f, &session));
	SSL_SESSION_free(session);
}

static void test_a_page_that_is_removed_keeps_nobody_out(void **state)
{
	struct fixture *f = *state;
	tlsbaton *first;

	server_start(f);
	first = f->baton;
	assert_int_equal(unlink(f->node.tickets_path), 0);
	assert_int_equal(tlsbaton_new(&f->baton, &f->options), 0);
	assert_true(tlsbaton_connected(f->baton));
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		open_contexts(f, versions[i]);
		attach_and_resume(f, true);
	}
	node_until(access(f->node.tickets_path, F_OK) == 0);
	tlsbaton_free(first);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, server_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_a_ticket_resumes_and_nothing_is_stored),
	    T(test_another_process_opens_it),
	    T(test_both_stores_for_clients_without_tickets),
	    T(test_tickets_alone_stores_nothing),
	    T(test_stateful_turns_tickets_off),
	    T(test_a_server_that_wants_none_keeps_it),
	    T(test_an_old_key_opens_and_its_ticket_is_renewed),
	    T(test_a_rekey_voids_tickets_at_once),
	    T(test_garbage_for_a_ticket_is_a_full_handshake),
	    T(test_without_a_daemon_no_handshake_fails),
	    T(test_a_worker_goes_on_when_its_daemon_dies),
	    T(test_a_child_has_the_keys_without_a_daemon),
	    T(test_a_damaged_page_is_replaced_and_found),
	    T(test_a_page_that_is_removed_keeps_nobody_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
