#include "vip/test-nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

const struct vip_config test_nodes_both = {
    .interface = "eth0", .addresses = {"10.77.0.10/24", "fd77::10/64"}, .n_addresses = 2};

char test_nodes_error[512];

int test_nodes_net_up(void **state)
{
	(void)state;
	test_net_up();
	test_net_enter(NET_A);
	return 0;
}

int test_nodes_net_down(void **state)
{
	(void)state;
	test_net_down();
	return 0;
}

int test_nodes_try(struct vip **out, const struct vip_config *config)
{
	test_net_enter(NET_A);
	test_nodes_error[0] = '\0';
	return vip_new(out, config, test_nodes_error, sizeof(test_nodes_error));
}

void test_nodes_assert_error(const char *text)
{
	if (!strstr(test_nodes_error, text))
		fail_msg("\"%s\" lacks \"%s\"", test_nodes_error, text);
}

struct vip *test_nodes_new(enum test_net_place place, const struct vip_config *config)
{
	struct vip *vip = NULL;

	test_net_enter(place);
	if (vip_new(&vip, config, test_nodes_error, sizeof(test_nodes_error)) < 0)
		fail_msg("%s", test_nodes_error);
	return vip;
}

void test_nodes_change(enum test_net_place place, struct vip *vip,
                       int (*what)(struct vip *, char *, size_t))
{
	test_net_enter(place);
	if (what(vip, test_nodes_error, sizeof(test_nodes_error)) < 0)
		fail_msg("%s", test_nodes_error);
}

struct test_nodes *test_nodes_up(const struct vip_config *config)
{
	struct test_nodes *nodes = calloc(1, sizeof(*nodes));

	assert_non_null(nodes);
	nodes->a = test_nodes_new(NET_A, config);
	nodes->b = test_nodes_new(NET_B, config);
	test_nodes_change(NET_B, nodes->b, vip_release);
	test_nodes_change(NET_A, nodes->a, vip_take);
	return nodes;
}

int test_nodes_down(void **state)
{
	struct test_nodes *nodes = *state;

	vip_free(nodes->a);
	vip_free(nodes->b);
	free(nodes);
	test_net_down();
	return 0;
}
