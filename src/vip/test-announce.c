/* The frames to the byte, and the times at which they are repeated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "vip/announce.h"
#include "vip/vip_schedule.h"

static const uint8_t mac[6] = {0x02, 0, 0, 0, 0, 0x0a};
static const uint8_t ip4[4] = {10, 77, 0, 10};
static const uint8_t ip6[16] = {0xfd, 0x77, [15] = 0x10};

static void test_arp_request_form(void **state)
{
	static const uint8_t expected[ANNOUNCE_ARP_BYTES] = {
	    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* to all */
	    0x02, 0,    0,    0,    0,    0x0a, /* from */
	    0x08, 0x06,                         /* ARP */
	    0,    1,    0x08, 0,    6,    4,    /* Ethernet, IPv4, their lengths */
	    0,    1,                            /* request */
	    0x02, 0,    0,    0,    0,    0x0a, /* sender */
	    10,   77,   0,    10,               /* … */
	    0,    0,    0,    0,    0,    0,    /* target: zero (RFC 5227, 2.3) */
	    10,   77,   0,    10,
	};
	uint8_t frame[ANNOUNCE_ARP_BYTES];

	(void)state;
	announce_arp(frame, ANNOUNCE_REQUEST, mac, ip4);
	assert_memory_equal(frame, expected, sizeof(frame));
}

static void test_arp_reply_form(void **state)
{
	uint8_t request[ANNOUNCE_ARP_BYTES], reply[ANNOUNCE_ARP_BYTES];

	(void)state;
	announce_arp(request, ANNOUNCE_REQUEST, mac, ip4);
	announce_arp(reply, ANNOUNCE_REPLY, mac, ip4);
	assert_int_equal(reply[21], 2);
	assert_memory_equal(reply + 32, mac, sizeof(mac));
	/* And nothing else differs. */
	reply[21] = 1;
	memset(reply + 32, 0, sizeof(mac));
	assert_memory_equal(reply, request, sizeof(reply));
}

static void test_neighbour_advertisement(void **state)
{
	static const uint8_t expected[ANNOUNCE_NA_BYTES] = {
	    0x33, 0x33, 0, 0, 0, 1,    /* all nodes */
	    0x02, 0,    0, 0, 0, 0x0a, /* from */
	    0x86, 0xdd,                /* IPv6 */
	    0x60, 0,    0, 0, 0, 32,   /* version, payload length */
	    58,   255,                 /* ICMPv6, hop limit */
	    0xfd, 0x77, 0, 0, 0, 0,    0, 0, 0, 0, 0, 0, 0, 0,   0, 0x10, 0xff, 0x02, 0,
	    0,    0,    0, 0, 0, 0,    0, 0, 0, 0, 0, 0, 1, 136, 0, 0x59, 0x86, /* neighbour advertisement, checksum */
	    0x20, 0,    0, 0, /* override; not solicited, no router */
	    0xfd, 0x77, 0, 0, 0, 0,    0, 0, 0, 0, 0, 0, 0, 0,   0, 0x10, 2,    1, /* target link-layer address */
	    0x02, 0,    0, 0, 0, 0x0a,
	};
	uint8_t frame[ANNOUNCE_NA_BYTES];
	uint32_t sum =
	    32 + 58; /* RFC 4443, 2.3: a receiver's sum, checksum included, is all ones */

	(void)state;
	announce_na(frame, mac, ip6);
	for (size_t i = 22; i < sizeof(frame); i += 2)
		sum += (uint32_t)frame[i] << 8 | frame[i + 1];
	assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff);
	assert_memory_equal(frame, expected, sizeof(frame));
}

static void test_schedule_repeats_five_times_in_two_seconds(void **state)
{
	struct vip_schedule schedule;
	int64_t now = 1000000;
	int n = 0, wait;

	(void)state;
	vip_schedule_init(&schedule, 10, now);
	assert_int_equal(vip_schedule_wait(&schedule, now), 10000);
	vip_schedule_taken(&schedule, now);
	while ((wait = vip_schedule_wait(&schedule, now)) >= 0 && now + wait <= 1000000 + 2000) {
		assert_true(wait > 0);
		now += wait;
		assert_int_equal(vip_schedule_wait(&schedule, now), 0);
		vip_schedule_announced(&schedule, now);
		n++;
	}
	assert_int_equal(n, 5);
	assert_int_equal(vip_schedule_wait(&schedule, now), 10000);
}

static void test_schedule_without_a_period_ends_after_the_burst(void **state)
{
	struct vip_schedule schedule;
	int64_t now = 5;
	int wait, n = 0;

	(void)state;
	vip_schedule_init(&schedule, 0, now);
	assert_int_equal(vip_schedule_wait(&schedule, now), -1);
	vip_schedule_taken(&schedule, now);
	for (; (wait = vip_schedule_wait(&schedule, now)) >= 0; n++) {
		now += wait;
		vip_schedule_announced(&schedule, now);
	}
	assert_int_equal(n, 5);
}

static void test_schedule_release_ends_the_burst(void **state)
{
	struct vip_schedule schedule;

	(void)state;
	vip_schedule_init(&schedule, 10, 0);
	vip_schedule_taken(&schedule, 0);
	vip_schedule_announced(&schedule, 100);
	vip_schedule_released(&schedule, 150);
	assert_int_equal(vip_schedule_wait(&schedule, 150), 10000);
	/* A second take starts from the beginning. */
	vip_schedule_taken(&schedule, 200);
	assert_int_equal(vip_schedule_wait(&schedule, 200), 100);
}

static void test_schedule_that_is_late_catches_up_within_the_burst(void **state)
{
	struct vip_schedule schedule;
	int n = 0;

	(void)state;
	vip_schedule_init(&schedule, 10, 0);
	vip_schedule_taken(&schedule, 0);
	for (; vip_schedule_wait(&schedule, 1000000) == 0; n++)
		vip_schedule_announced(&schedule, 1000000);
	assert_int_equal(n, 5);
	assert_int_equal(vip_schedule_wait(&schedule, 1000000), 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_arp_request_form),
	    cmocka_unit_test(test_arp_reply_form),
	    cmocka_unit_test(test_neighbour_advertisement),
	    cmocka_unit_test(test_schedule_repeats_five_times_in_two_seconds),
	    cmocka_unit_test(test_schedule_without_a_period_ends_after_the_burst),
	    cmocka_unit_test(test_schedule_release_ends_the_burst),
	    cmocka_unit_test(test_schedule_that_is_late_catches_up_within_the_burst),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
