/*
 * A slot of the page that changes twice while it is read, so that what is there at the end is what was there at the
 * beginning: at every two steps of a reader. A race would show it once in a long while; here the writer runs in the midst
 * of the reader's loads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdatomic.h>
#include <stdint.h>
#include <cmocka.h>

static uint64_t plain_load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static uint64_t step(const _Atomic uint64_t *word);

#undef atomic_load_explicit
#define atomic_load_explicit(word, order) step(word)
#include "ticket/page.c" /* NOLINT(bugprone-suspicious-include): its loads are what is hooked */

#define R INT64_C(60000)
#define NOW INT64_C(1700000000000)

static struct ticket_page page;
static struct keyring rings[2]; /* which take turns */
static unsigned n_steps, change_at[2];
static bool is_writing;

static void publish(size_t i)
{
	is_writing = true;
	ticket_page_publish(&page, &rings[i]);
	is_writing = false;
}

static uint64_t step(const _Atomic uint64_t *word)
{
	if (!is_writing) {
		n_steps++;
		if (n_steps == change_at[0])
			publish(1);
		if (n_steps == change_at[1])
			publish(0);
	}
	return plain_load(word);
}

static bool is_whole(const struct ticket_key *key)
{
	return memcmp(key, &rings[0].keys[0], sizeof(*key)) == 0 ||
	       memcmp(key, &rings[1].keys[0], sizeof(*key)) == 0;
}

/* Reads once, with changes before these steps. Returns how many steps it took. */
static unsigned read_with(bool by_name, unsigned first, unsigned second)
{
	struct ticket_key key;
	int r;

	publish(0);
	change_at[0] = first;
	change_at[1] = second;
	n_steps = 0;
	r = by_name ? ticket_page_find(&page, rings[0].keys[0].name, NOW, &key)
	            : ticket_page_current(&page, NOW, &key);
	if (r != TICKET_NONE && !is_whole(&key))
		fail_msg("changes at %u and %u: what was read is of no key", first, second);
	return n_steps;
}

static void test_a_key_that_comes_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rings); i++) {
		rings[i].n = 1;
		assert_int_equal(ticket_key_make(&rings[i].keys[0], NOW, NOW + R, R), 0);
	}
	for (unsigned by_name = 0; by_name < 2; by_name++) {
		const unsigned n = read_with(by_name, 0, 0);

		assert_true(n > WORDS_USED);
		for (unsigned first = 1; first <= n; first++)
			for (unsigned second = first; second <= n; second++)
				(void)read_with(by_name, first, second);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_key_that_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
