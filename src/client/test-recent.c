/* The sessions that a process keeps as objects: what is handed out, what is replaced, what is freed and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/recent.h"

#define NOW_S 1000
#define LATER_S (NOW_S + 300)
#define MANY 20000 /* several times as many as there are places */

static int index_of_freed;
static atomic_uint n_freed;

/* OpenSSL calls it with the last reference to a session, which it then wipes and frees. */
static void on_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (ptr)
		atomic_fetch_add(&n_freed, 1);
}

static int set_up(void **state)
{
	if (!index_of_freed)
		index_of_freed = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, on_free);
	assert_true(index_of_freed > 0);
	atomic_store(&n_freed, 0);
	return recent_new((struct recent **)state);
}

static int tear_down(void **state)
{
	recent_free(*state);
	return 0;
}

static void make_id(unsigned char id[32], uint32_t i)
{
	memset(id, 0x44, 32);
	memcpy(id + 16, &i, sizeof(i));
}

static SSL_SESSION *new_session(uint32_t i)
{
	unsigned char id[32], key[48] = {1};
	SSL_SESSION *session = SSL_SESSION_new();

	make_id(id, i);
	assert_non_null(session);
	assert_int_equal(SSL_SESSION_set1_id(session, id, sizeof(id)), 1);
	assert_int_equal(SSL_SESSION_set1_master_key(session, key, sizeof(key)), 1);
	assert_int_equal(SSL_SESSION_set_ex_data(session, index_of_freed, session), 1);
	return session;
}

static void put(struct recent *recent, uint32_t i, int64_t expires_s, int64_t now_s)
{
	SSL_SESSION *session = new_session(i);

	recent_put(recent, session, expires_s, now_s);
	SSL_SESSION_free(session);
}

/* True when it is there. */
static bool get(struct recent *recent, uint32_t i, int64_t now_s)
{
	unsigned char id[32];
	SSL_SESSION *session;
	unsigned n;

	make_id(id, i);
	session = recent_get(recent, id, sizeof(id), now_s);
	if (!session)
		return false;
	assert_memory_equal(SSL_SESSION_get_id(session, &n), id, sizeof(id));
	SSL_SESSION_free(session);
	return true;
}

static void drop(struct recent *recent, uint32_t i)
{
	unsigned char id[32];

	make_id(id, i);
	recent_drop(recent, id, sizeof(id));
}

static void test_what_was_put_is_handed_out(void **state)
{
	unsigned char id[32];
	SSL_SESSION *session = new_session(1), *got;

	recent_put(*state, session, LATER_S, NOW_S);
	make_id(id, 1);
	got = recent_get(*state, id, sizeof(id), NOW_S);
	assert_ptr_equal(got, session); /* the object, not a copy */
	SSL_SESSION_free(session);
	SSL_SESSION_free(got);
	assert_int_equal(n_freed, 0); /* a reference is kept */
	assert_true(get(*state, 1, NOW_S));
	assert_false(get(*state, 2, NOW_S));
}

static void test_one_of_tls_1_3_is_handed_out_once(void **state)
{
	unsigned char id[32];
	SSL_SESSION *session = new_session(1), *got;

	assert_int_equal(SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION), 1);
	recent_put(*state, session, LATER_S, NOW_S);
	make_id(id, 1);
	got = recent_get(*state, id, sizeof(id), NOW_S);
	assert_ptr_equal(got, session);
	assert_false(get(*state, 1, NOW_S));
	SSL_SESSION_free(session);
	assert_int_equal(n_freed, 0);
	SSL_SESSION_free(got);
	assert_int_equal(n_freed, 1); /* no reference is left here */
}

static void test_an_id_is_compared_whole(void **state)
{
	unsigned char id[32];

	put(*state, 1, LATER_S, NOW_S);
	make_id(id, 1);
	assert_null(recent_get(*state, id, 31, NOW_S));
	assert_null(recent_get(*state, id, 1, NOW_S));
	id[31] ^= 1;
	assert_null(recent_get(*state, id, 32, NOW_S));
	assert_true(get(*state, 1, NOW_S));
}

static void test_what_is_dropped_is_freed(void **state)
{
	put(*state, 1, LATER_S, NOW_S);
	drop(*state, 2);
	assert_true(get(*state, 1, NOW_S));
	drop(*state, 1);
	assert_int_equal(n_freed, 1);
	assert_false(get(*state, 1, NOW_S));
	drop(*state, 1);
	assert_int_equal(n_freed, 1);
}

static void test_the_same_id_replaces(void **state)
{
	put(*state, 1, LATER_S, NOW_S);
	put(*state, 1, LATER_S, NOW_S);
	assert_int_equal(n_freed, 1);
	assert_true(get(*state, 1, NOW_S));
}

/* Newer ones take the places of older ones, whose memory is given back: it is bounded. */
static void test_newer_ones_replace_older_ones(void **state)
{
	unsigned n_there = 0;

	for (uint32_t i = 0; i < MANY; i++) {
		put(*state, i, LATER_S, NOW_S);
		assert_true(get(*state, i, NOW_S));
	}
	for (uint32_t i = 0; i < MANY; i++)
		n_there += get(*state, i, NOW_S);
	assert_int_equal(n_freed, MANY - n_there);
	/* All IDs begin with the same bytes, and still nearly all places are in use. */
	assert_in_range(n_there, 120, 128);
}

/* Freed by whatever calls come, for whichever session: nobody asks for an expired one again. */
static void test_the_expired_go_by_themselves(void **state)
{
	unsigned n_there = 0, n_calls = 0;

	for (uint32_t i = 0; i < 500; i++)
		put(*state, i, i < 250 ? NOW_S + 10 : LATER_S, NOW_S);
	for (uint32_t i = 0; i < 500; i++)
		n_there += get(*state, i, NOW_S);
	assert_int_equal(n_freed, 500 - n_there);
	while (n_calls++ < 4096)
		assert_false(get(*state, 1000000, NOW_S + 9));
	assert_int_equal(n_freed, 500 - n_there);
	while (n_calls++ < 2 * 4096)
		assert_false(get(*state, 1000000, NOW_S + 10));
	for (uint32_t i = 0; i < 250; i++)
		assert_false(get(*state, i, NOW_S + 10));
	n_there = 0;
	for (uint32_t i = 250; i < 500; i++)
		n_there += get(*state, i, NOW_S + 10);
	assert_true(n_there > 0);
	assert_int_equal(n_freed, 500 - n_there);
}

static void test_puts_sweep_as_well(void **state)
{
	put(*state, 1, NOW_S + 10, NOW_S);
	for (unsigned n = 0; n < 4096 && n_freed == 0; n++) {
		SSL_SESSION *session = new_session(2);

		/* One object, put again and again: only the expired one can go. */
		(void)SSL_SESSION_set_ex_data(session, index_of_freed, NULL);
		recent_put(*state, session, LATER_S, NOW_S + 10);
		SSL_SESSION_free(session);
	}
	assert_int_equal(n_freed, 1);
	assert_false(get(*state, 1, NOW_S + 10));
}

/* What a connection spoilt is forgotten, so that its user parses the record, which knows nothing of it. */
static void test_what_cannot_be_resumed_is_forgotten(void **state)
{
	SSL_SESSION *session = SSL_SESSION_new();
	unsigned char id[32];

	make_id(id, 1);
	assert_int_equal(SSL_SESSION_set1_id(session, id, sizeof(id)), 1);
	(void)SSL_SESSION_set_ex_data(session, index_of_freed, session);
	SSL_SESSION_set_timeout(session, 300);
	assert_true(SSL_SESSION_is_resumable(session));
	recent_put(*state, session, LATER_S, NOW_S);
	assert_true(get(*state, 1, NOW_S));
	/* OpenSSL marks it so when it leaves the internal cache. */
	{
		SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

		assert_int_equal(SSL_CTX_add_session(ctx, session), 1);
		assert_int_equal(SSL_CTX_remove_session(ctx, session), 1);
		SSL_CTX_free(ctx);
	}
	assert_false(SSL_SESSION_is_resumable(session));
	SSL_SESSION_free(session);
	assert_int_equal(n_freed, 0);
	assert_false(get(*state, 1, NOW_S));
	assert_int_equal(n_freed, 1);
}

static void test_free_frees_all(void **state)
{
	for (uint32_t i = 0; i < 100; i++)
		put(*state, i, LATER_S, NOW_S);
	recent_free(*state);
	*state = NULL;
	assert_int_equal(n_freed, 100);
}

/* A taken lock is not waited for: fork(2) is under way, or another thread is there. */
static void test_locked_it_is_passed_by(void **state)
{
	put(*state, 1, LATER_S, NOW_S);
	recent_lock_all(*state);
	assert_false(get(*state, 1, NOW_S));
	put(*state, 2, LATER_S, NOW_S);
	drop(*state, 1);
	assert_int_equal(n_freed, 1); /* the one that found no place */
	recent_unlock_all(*state);
	assert_true(get(*state, 1, NOW_S));
	assert_false(get(*state, 2, NOW_S));
}

/* Held by the test until the threads have ended: OpenSSL orders the last free of a session by its count of references,
 * inside a library that ThreadSanitizer does not see into. */
static SSL_SESSION *shared[64];

static void *use(void *arg)
{
	uint32_t random = (uint32_t)pthread_self();

	for (unsigned n = 0; n < 20000; n++) {
		random = random * 1664525 + 1013904223;
		if (random >> 30 == 0)
			drop(arg, (random >> 8) % 64);
		else if (random >> 30 == 1)
			recent_put(arg, shared[(random >> 8) % 64], NOW_S + n % 3, NOW_S + 1);
		else
			(void)get(arg, (random >> 8) % 64, NOW_S + 1);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];

	for (uint32_t i = 0; i < ARRAY_SIZE(shared); i++)
		shared[i] = new_session(i);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use, *state), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(shared); i++)
		SSL_SESSION_free(shared[i]);
	recent_free(*state);
	*state = NULL;
	assert_int_equal(n_freed, ARRAY_SIZE(shared));
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_what_was_put_is_handed_out),
	    T(test_one_of_tls_1_3_is_handed_out_once),
	    T(test_an_id_is_compared_whole),
	    T(test_what_is_dropped_is_freed),
	    T(test_the_same_id_replaces),
	    T(test_newer_ones_replace_older_ones),
	    T(test_the_expired_go_by_themselves),
	    T(test_puts_sweep_as_well),
	    T(test_what_cannot_be_resumed_is_forgotten),
	    T(test_free_frees_all),
	    T(test_locked_it_is_passed_by),
	    T(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
