/* The schedule: every planned start is what the plan says, in order, and nothing is left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>

#include "schedule.h"

static const struct schedule_plan paper = {
    .rate_milli = 800000,
    .duration_us = 2000000,
    .n_visits = 3,
    .seed = 7,
    .n_thinks = 4,
    .thinks = {{5000000, 1}, {10000000, 1}, {30000000, 1}, {60000000, 1}},
};

static struct schedule *make(const struct schedule_plan *plan)
{
	struct schedule *schedule;

	assert_int_equal(schedule_new(&schedule, plan), 0);
	return schedule;
}

static struct schedule_start take(struct schedule *schedule)
{
	struct schedule_start start, again;

	assert_true(schedule_peek(schedule, &start));
	assert_true(schedule_peek(schedule, &again));
	assert_int_equal(again.at_us, start.at_us);
	schedule_advance(schedule);
	return start;
}

static void check_over(struct schedule *schedule)
{
	struct schedule_start start;

	assert_false(schedule_peek(schedule, &start));
	schedule_advance(schedule);
	assert_false(schedule_peek(schedule, &start));
	schedule_free(schedule);
}

static void test_one_think_time(void **state)
{
	const struct schedule_plan plan = {.rate_milli = 3000, /* 3 users a second */
	                                   .duration_us = 1000000,
	                                   .n_visits = 2,
	                                   .n_thinks = 1,
	                                   .thinks = {{500000, 1}}};
	const struct schedule_start expected[] = {
	    {0, 0, 0},      {333333, 1, 0}, {500000, 0, 1},
	    {666666, 2, 0}, {833333, 1, 1}, {1166666, 2, 1},
	};
	struct schedule *schedule = make(&plan);

	(void)state;
	assert_int_equal(schedule_n_users(schedule), 3);
	assert_int_equal(schedule_n_visits(schedule), 6);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		struct schedule_start start = take(schedule);

		assert_int_equal(start.at_us, expected[i].at_us);
		assert_int_equal(start.user, expected[i].user);
		assert_int_equal(start.visit, expected[i].visit);
	}
	check_over(schedule);
}

/* Each user arrives on time and keeps to one of the think times; all come; time never runs backwards. */
static void test_paper(void **state)
{
	struct schedule *schedule = make(&paper);
	uint32_t n_users = schedule_n_users(schedule);
	int64_t *think = calloc(n_users, sizeof(*think)), last_us = 0;
	unsigned *n_visits = calloc(n_users, sizeof(*n_visits)), shares[4] = {0};

	(void)state;
	assert_int_equal(n_users, 1600);
	for (uint64_t i = 0; i < schedule_n_visits(schedule); i++) {
		struct schedule_start start = take(schedule);
		int64_t arrival_us = (int64_t)start.user * 1250;

		assert_true(start.user < n_users);
		assert_true(start.at_us >= last_us);
		last_us = start.at_us;
		assert_int_equal(start.visit, n_visits[start.user]++);
		if (start.visit == 1)
			think[start.user] = start.at_us - arrival_us;
		assert_int_equal(start.at_us, arrival_us + start.visit * think[start.user]);
	}
	check_over(schedule);
	for (uint32_t i = 0; i < n_users; i++)
		for (unsigned j = 0; j < paper.n_thinks; j++)
			shares[j] += think[i] == paper.thinks[j].us;
	assert_int_equal(shares[0] + shares[1] + shares[2] + shares[3], n_users);
	for (unsigned j = 0; j < paper.n_thinks; j++)
		assert_in_range(shares[j], 320, 480); /* of 400; the seed is fixed */
	free(think);
	free(n_visits);
}

static void test_weights(void **state)
{
	struct schedule_plan plan = paper;
	struct schedule *schedule;
	unsigned n_rare = 0;

	(void)state;
	plan.n_visits = 2;
	plan.n_thinks = 2;
	plan.thinks[0].weight = 9;
	schedule = make(&plan);
	for (uint64_t i = 0; i < 3200; i++) {
		struct schedule_start start = take(schedule);

		n_rare += start.visit == 1 &&
		          start.at_us - (int64_t)start.user * 1250 == plan.thinks[1].us;
	}
	check_over(schedule);
	assert_in_range(n_rare, 120, 200); /* of 160 */
}

static void test_seed(void **state)
{
	struct schedule_plan other = paper;
	struct schedule *a = make(&paper), *b = make(&paper), *c;
	unsigned n_different = 0;

	(void)state;
	other.seed++;
	c = make(&other);
	for (uint64_t i = 0; i < schedule_n_visits(a); i++) {
		struct schedule_start of_a = take(a), of_b = take(b), of_c = take(c);

		assert_int_equal(of_a.at_us, of_b.at_us);
		assert_int_equal(of_a.user, of_b.user);
		n_different += of_a.user != of_c.user;
	}
	assert_true(n_different > 0);
	check_over(a);
	check_over(b);
	check_over(c);
}

static void test_one_visit_and_no_think_time(void **state)
{
	struct schedule_plan plan = paper;
	struct schedule *schedule;

	(void)state;
	plan.n_visits = 1;
	schedule = make(&plan);
	for (uint32_t i = 0; i < 1600; i++)
		assert_int_equal(take(schedule).user, i);
	check_over(schedule);
	plan = (struct schedule_plan){
	    .rate_milli = 1, .duration_us = 1, .n_visits = 3, .n_thinks = 1, .thinks = {{0, 1}}};
	schedule = make(&plan);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(take(schedule).visit, i);
	check_over(schedule);
}

static void check_refused(struct schedule_plan plan)
{
	struct schedule *schedule = NULL;

	assert_int_equal(schedule_new(&schedule, &plan), -ERANGE);
	assert_null(schedule);
}

static void test_refused_plans(void **state)
{
	struct schedule_plan plan;

	(void)state;
	plan = paper, plan.rate_milli = 0, check_refused(plan);
	plan = paper, plan.duration_us = 0, check_refused(plan);
	plan = paper, plan.n_visits = 0, check_refused(plan);
	plan = paper, plan.n_visits = SCHEDULE_VISITS_MAX + 1, check_refused(plan);
	plan = paper, plan.n_thinks = 0, check_refused(plan);
	plan = paper, plan.n_thinks = SCHEDULE_THINKS_MAX + 1, check_refused(plan);
	plan = paper, plan.thinks[1].us = -1, check_refused(plan);
	plan = paper, plan.thinks[1].weight = 0, check_refused(plan);
	plan = paper, plan.rate_milli = UINT64_MAX, check_refused(plan);
	plan = paper, plan.duration_us = INT64_MAX, check_refused(plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_think_time),
	    cmocka_unit_test(test_paper),
	    cmocka_unit_test(test_weights),
	    cmocka_unit_test(test_seed),
	    cmocka_unit_test(test_refused_plans),
	    cmocka_unit_test(test_one_visit_and_no_think_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
