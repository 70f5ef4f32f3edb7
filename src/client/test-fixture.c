#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <time.h>

#include "client/handle.h"
#include "client/test-fixture.h"

#define PATIENCE_MS (3600 * 1000)

static void keep_line(void *arg, int level, const char *message)
{
	struct fixture *f = arg;

	(void)level;
	snprintf(f->last_line, sizeof(f->last_line), "%s", message);
	if (f->n_lines < LINES_MAX)
		memcpy(f->lines[f->n_lines], f->last_line, sizeof(f->last_line));
	f->n_lines++;
}

int fixture_set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	node_init(&f->node);
	f->options = (struct tlsbaton_options){
	    .size = sizeof(f->options),
	    .socket_path = f->node.socket_path,
	    .log = keep_line,
	    .log_arg = f,
	    .connect_ms = 5000,
	};
	*state = f;
	return 0;
}

int fixture_tear_down(void **state)
{
	struct fixture *f = *state;

	tlsbaton_free(f->baton);
	node_deinit(&f->node);
	free(f);
	return 0;
}

void open_handle(struct fixture *f)
{
	assert_int_equal(tlsbaton_new(&f->baton, &f->options), 0);
	f->baton->dead_ms = PATIENCE_MS;
}

void start_both(struct fixture *f)
{
	node_start(&f->node);
	open_handle(f);
	node_until(tlsbaton_connected(f->baton));
}

void end_patience(struct fixture *f)
{
	f->baton->dead_ms = RING_DEAD_MS;
}

void make_id(unsigned char id[32], uint32_t i)
{
	memset(id, 0x33, 32);
	memcpy(id, &i, sizeof(i));
}

int put(struct fixture *f, uint32_t i, uint64_t *notice)
{
	unsigned char id[32], der[140];

	make_id(id, i);
	memset(der, (int)(i % 251), sizeof(der));
	return tlsbaton_session_put(f->baton, id, sizeof(id), der, sizeof(der), time(NULL) + 300,
	                            notice);
}

int get_noticed(struct fixture *f, uint32_t i, uint64_t *notice)
{
	unsigned char id[32], der[TLSBATON_DER_MAX];
	int64_t expires_s = 0;
	size_t n_der = 0;
	int r;

	make_id(id, i);
	r = tlsbaton_session_get(f->baton, id, sizeof(id), der, sizeof(der), &n_der, &expires_s,
	                         notice);
	if (r == 0) {
		assert_int_equal(n_der, 140);
		assert_int_equal(der[139], i % 251);
		assert_true(expires_s > time(NULL));
	}
	return r;
}

int get(struct fixture *f, uint32_t i)
{
	return get_noticed(f, i, NULL);
}

struct tlsbaton_counters count(struct fixture *f)
{
	struct tlsbaton_counters counters;

	tlsbaton_count(f->baton, &counters);
	return counters;
}
