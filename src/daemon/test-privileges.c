/* The run directory, before and after the daemon has become its user. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>

#include "daemon/privileges.h"

struct place {
	char directory[64], path[96], error[256];
};

static int set_up(void **state)
{
	static struct place place;

	strcpy(place.directory, "/tmp/tb-privileges-XXXXXX");
	assert_non_null(mkdtemp(place.directory));
	snprintf(place.path, sizeof(place.path), "%s/run", place.directory);
	*state = &place;
	return 0;
}

static int tear_down(void **state)
{
	struct place *place = *state;

	rmdir(place->path);
	return rmdir(place->directory);
}

static int make(struct place *place, uid_t uid, gid_t gid)
{
	return privileges_run_directory(place->path, uid, gid, place->error, sizeof(place->error));
}

static struct stat look(const struct place *place)
{
	struct stat st;

	assert_int_equal(stat(place->path, &st), 0);
	return st;
}

/* The unit has UMask=0077. */
static void test_umask(void **state)
{
	struct place *place = *state;
	mode_t before = umask(0077);
	int r = make(place, geteuid(), getegid());

	umask(before);
	assert_int_equal(r, 0);
	assert_int_equal(look(place).st_mode, S_IFDIR | 0755);
}

static void test_owner(void **state)
{
	struct place *place = *state;

	if (geteuid() != 0)
		skip();
	assert_int_equal(make(place, 12345, 54321), 0);
	assert_int_equal(look(place).st_uid, 12345);
	assert_int_equal(look(place).st_gid, 54321);
	/* As systemd leaves it for a restart. */
	assert_int_equal(chown(place->path, 0, 0), 0);
	assert_int_equal(make(place, 12345, 54321), 0);
	assert_int_equal(look(place).st_uid, 12345);
	/* Somebody else's. */
	assert_int_equal(make(place, 12346, 54321), -EPERM);
	assert_non_null(strstr(place->error, "12346"));
}

static void test_what_others_may_write(void **state)
{
	struct place *place = *state;

	assert_int_equal(mkdir(place->path, 0700), 0);
	assert_int_equal(make(place, geteuid(), getegid()), 0);
	assert_int_equal(look(place).st_mode, S_IFDIR | 0700); /* its maker's choice */
	assert_int_equal(chmod(place->path, 0770), 0);
	assert_int_equal(make(place, geteuid(), getegid()), -EPERM);
	assert_int_equal(chmod(place->path, 0702), 0);
	assert_int_equal(make(place, geteuid(), getegid()), -EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_umask, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_owner, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_what_others_may_write, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
