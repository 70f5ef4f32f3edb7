/* The helper process: what it may do, that it answers in order, and how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "util/log.h"
#include "vip/test-net.h"
#include "vip/vip_helper.h"

#define NOBODY 65534
#define PATIENCE_MS 5000

static const struct vip_config config = {
    .interface = "eth0", .addresses = {"10.77.0.10/24", "fd77::10/64"}, .n_addresses = 2};
static char error[512];

/* The daemon's side as the tests play it: answers are noted; the loop runs until so many have come. */
struct fixture {
	struct event_base *base;
	struct vip_helper *helper;
	enum vip_op ops[64];
	int results[64];
	char errors[64][256];
	unsigned n, n_wanted;
	bool free_in_done;
};

static void on_done(void *arg, enum vip_op op, int result, const char *text)
{
	struct fixture *f = arg;

	f->ops[f->n] = op;
	f->results[f->n] = result;
	snprintf(f->errors[f->n], sizeof(f->errors[f->n]), "%s", text);
	f->n++;
	if (f->free_in_done) {
		vip_helper_free(f->helper);
		f->helper = NULL;
	}
	if (f->n == f->n_wanted || !f->helper)
		event_base_loopbreak(f->base);
}

/* Runs the loop until `n` answers have come in all. */
static void run_until(struct fixture *f, unsigned n)
{
	const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};

	f->n_wanted = n;
	event_base_loopexit(f->base, &patience);
	while (f->n < n && event_base_loop(f->base, EVLOOP_ONCE) == 0 &&
	       !event_base_got_exit(f->base))
		;
	assert_int_equal(f->n, n);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	test_net_up();
	test_net_enter(NET_A);
	f->base = event_base_new();
	assert_non_null(f->base);
	if (vip_helper_new(&f->helper, &config, 0, NOBODY, NOBODY, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(vip_helper_start(f->helper, f->base, on_done, f), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vip_helper_free(f->helper);
	event_base_free(f->base);
	free(f);
	test_net_down();
	return 0;
}

static int ask(struct fixture *f, enum vip_op op)
{
	int r = vip_helper_ask(f->helper, op);

	if (r == 0)
		run_until(f, f->n + 1);
	return r == 0 ? f->results[f->n - 1] : r;
}

static void test_takes_and_releases_without_privileges_of_its_user(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, VIP_HELD), 0);
	assert_int_equal(ask(f, VIP_TAKE), 0);
	assert_int_equal(ask(f, VIP_HELD), 1);
	assert_int_equal(test_net_who_has("10.77.0.10"), 1U << NET_A);
	assert_int_equal(ask(f, VIP_RELEASE), 0);
	assert_int_equal(ask(f, VIP_HELD), 0);
	assert_int_equal(test_net_who_has("10.77.0.10"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_takes_and_releases_without_privileges_of_its_user,
	                                    setup, teardown),
	};

	test_net_or_skip();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
