#include "daemon/test-config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

const char test_config_key[TEST_CONFIG_KEY_BYTES] =
    "tlsbaton-group-key-1:"
    "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F\n";

void test_config_put(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

int test_config_up(void **state)
{
	static struct test_config place;

	strcpy(place.directory, "/tmp/tb-config-XXXXXX");
	assert_non_null(mkdtemp(place.directory));
	snprintf(place.file, sizeof(place.file), "%s/t.conf", place.directory);
	snprintf(place.key, sizeof(place.key), "%s/key", place.directory);
	test_config_put(place.key, test_config_key, 0600);
	*state = &place;
	return 0;
}

int test_config_down(void **state)
{
	struct test_config *place = *state;

	unlink(place->file);
	unlink(place->key);
	return rmdir(place->directory);
}

int test_config_load(struct test_config *place, const char *text, struct config **config,
                     char error[512])
{
	char written[8192];
	size_t n = 0;

	for (; *text; text++) {
		if (*text == '@')
			n += (size_t)snprintf(written + n, sizeof(written) - n, "%s", place->key);
		else
			written[n++] = *text;
		assert_true(n < sizeof(written));
	}
	written[n] = '\0';
	test_config_put(place->file, written, 0644);
	return config_load(config, place->file, error, 512);
}
