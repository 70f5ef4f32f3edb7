/* The files around a configuration: it itself, and the group key's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>

#include "daemon/test-config.h"

static void test_not_a_file(void **state)
{
	struct test_config *place = *state;
	char error[512];
	struct config *c = NULL;
	char *big;

	assert_int_equal(config_load(&c, "/no/such.conf", error, sizeof(error)), -ENOENT);
	assert_non_null(strstr(error, "/no/such.conf: cannot be read: No such file"));
	assert_int_equal(config_load(&c, "/tmp", error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "not a regular file"));
	assert_int_equal(mkfifo(place->file, 0600), 0);
	assert_int_equal(config_load(&c, place->file, error, sizeof(error)), -EINVAL);
	unlink(place->file);
	big = malloc(70001);
	assert_non_null(big);
	memset(big, '#', 70000);
	big[70000] = '\0';
	test_config_put(place->file, big, 0600);
	free(big);
	assert_int_equal(config_load(&c, place->file, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "longer than 65536 bytes"));
	assert_null(c);
	/* An error that does not fit is cut, not overrun. */
	memset(error, 'x', sizeof(error));
	assert_int_equal(config_load(&c, "/no/such.conf", error, 5), -ENOENT);
	assert_string_equal(error, "/no/");
	assert_int_equal(error[5], 'x');
}

static void test_key_files(void **state)
{
	struct test_config *place = *state;
	uint8_t key[REPL_KEY_BYTES];
	char error[512], bad[sizeof(test_config_key) + 2], directory[96], inside[128];
	static const mode_t refused[] = {0644, 0604, 0660, 0602, 0700, 0610};
	static const mode_t taken[] = {0600, 0400, 0640, 0440};
	const gid_t own = getegid();

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		chmod(place->key, refused[i]);
		assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)),
		                 -EINVAL);
		assert_non_null(strstr(error, " && chmod 0640 "));
	}
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
		chmod(place->key, taken[i]);
		memset(key, 0xee, sizeof(key));
		assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)), 0);
		for (unsigned k = 0; k < REPL_KEY_BYTES; k++)
			assert_int_equal(key[k], k);
	}

	/* Its group counts where that may read it. */
	chmod(place->key, 0640);
	assert_int_equal(config_read_key(place->key, 0, own + 1, key, error, sizeof(error)),
	                 getegid() == 0 ? 0 : -EINVAL);
	if (geteuid() == 0) {
		assert_int_equal(chown(place->key, 0, 12345), 0);
		assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)),
		                 -EINVAL);
		assert_non_null(strstr(error, "may be read by group 12345"));
		assert_non_null(strstr(error, "; chown root:root /tmp/tb-config-"));
		assert_int_equal(config_read_key(place->key, 0, 12345, key, error, sizeof(error)),
		                 0);
		chmod(place->key, 0600);
		assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)), 0);
		assert_int_equal(chown(place->key, 0, 0), 0);
	}

	snprintf(directory, sizeof(directory), "%s/open", place->directory);
	snprintf(inside, sizeof(inside), "%s/key", directory);
	assert_int_equal(mkdir(directory, 0700), 0);
	test_config_put(inside, test_config_key, 0600);
	assert_int_equal(chmod(directory, 0777), 0);
	unlink(place->key);
	assert_int_equal(symlink(inside, place->key), 0);
	assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "chmod go-w"));
	assert_int_equal(chmod(directory, 01777), 0);
	assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)), 0);
	if (geteuid() == 0) {
		assert_int_equal(chmod(directory, 0775), 0);
		assert_int_equal(chown(directory, 0, 12345), 0);
		assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)),
		                 -EINVAL);
		assert_int_equal(chown(directory, 0, 0), 0); /* root's own group */
		assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)), 0);
		assert_int_equal(chown(directory, 12345, 0), 0);
		assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)),
		                 -EINVAL);
		assert_int_equal(config_read_key(place->key, 12345, own, key, error, sizeof(error)),
		                 0);
		assert_int_equal(chown(directory, 0, 0), 0);
	}
	assert_int_equal(chmod(directory, 0755), 0);
	assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(inside, 12345, 0), 0);
		assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)),
		                 -EINVAL);
		assert_non_null(strstr(error, "chown root"));
		assert_int_equal(config_read_key(place->key, 12345, own, key, error, sizeof(error)),
		                 0);
	}
	unlink(inside);
	rmdir(directory);
	unlink(place->key);

	test_config_put(place->key, "", 0600);
	assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "does not hold one group key"));
	snprintf(bad, sizeof(bad), "%s\n", test_config_key);
	test_config_put(place->key, bad, 0600);
	assert_int_equal(config_read_key(place->key, 0, own, key, error, sizeof(error)), -EINVAL);
}

static void test_key_lines(void **state)
{
	const size_t n = sizeof(test_config_key) - 1;
	uint8_t key[REPL_KEY_BYTES];
	char bad[sizeof(test_config_key)];

	(void)state;
	assert_int_equal(config_parse_key(test_config_key, n, key), 0);
	assert_int_equal(config_parse_key(test_config_key, n - 1, key),
	                 0); /* an editor that leaves out the newline */
	memset(key, 0xee, sizeof(key));
	for (size_t i = 0; i < n - 1; i++) {
		assert_int_equal(config_parse_key(test_config_key, i, key), -EINVAL);
		memcpy(bad, test_config_key, sizeof(bad));
		bad[i] = 'g'; /* no hexadecimal digit; one place of the prefix has it by right */
		if (test_config_key[i] != 'g')
			assert_int_equal(config_parse_key(bad, n, key), -EINVAL);
	}
	for (size_t i = 0; i < sizeof(key); i++)
		assert_int_equal(key[i], 0xee);
}

/* A command finds the daemon also where the key is not its to read, or not there. */
static void test_run_directory(void **state)
{
	struct test_config *place = *state;
	char error[512], *directory = NULL;

	test_config_put(place->file, "run-directory = /run/x\nkey-file = /none\n", 0644);
	assert_int_equal(config_run_directory(&directory, place->file, error, sizeof(error)), 0);
	assert_string_equal(directory, "/run/x");
	free(directory);
	directory = NULL;
	test_config_put(place->file, "\nrun-directory = x\n", 0644);
	assert_int_equal(config_run_directory(&directory, place->file, error, sizeof(error)),
	                 -EINVAL);
	assert_non_null(strstr(error, ":2: run-directory: 'x' is not a full path"));
	assert_null(directory);
}

/* Others may enter, or a group that is not the daemon's own. */
static void test_who_reaches_the_socket(void **state)
{
	struct test_config *place = *state;
	static const struct {
		mode_t mode;
		gid_t gid;
		bool reached;
	} cases[] = {
	    {0755, 0, true},  {0711, 0, true}, {0700, 0, false},
	    {0750, 7, false}, {0750, 8, true}, {0700, 8, false},
	};
	uid_t server = 33, daemon = 7;
	struct config c = {
	    .uid = 7, .gid = 7, .run_directory = place->directory, .n_worker_uids = 1};
	char text[512];

	if (geteuid() != 0)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(chmod(place->directory, cases[i].mode), 0);
		assert_int_equal(chown(place->directory, 7, cases[i].gid), 0);
		c.worker_uids = &server;
		assert_int_equal(config_unreachable(&c, text, sizeof(text)), !cases[i].reached);
		c.worker_uids = &daemon; /* one of its own user comes in anyway */
		assert_false(config_unreachable(&c, text, sizeof(text)));
	}
	assert_non_null(strstr(text, "chmod 0755 /tmp/tb-config-"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_not_a_file, test_config_up, test_config_down),
	    cmocka_unit_test_setup_teardown(test_run_directory, test_config_up, test_config_down),
	    cmocka_unit_test_setup_teardown(test_key_files, test_config_up, test_config_down),
	    cmocka_unit_test_setup_teardown(test_who_reaches_the_socket, test_config_up,
	                                    test_config_down),
	    cmocka_unit_test(test_key_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
