/* What the tests of the configuration share. */
#ifndef TLSBATON_DAEMON_TEST_CONFIG_H
#define TLSBATON_DAEMON_TEST_CONFIG_H

#include "daemon/config.h"

/* A directory with a key file, and whatever configuration a test writes there. */
struct test_config {
	char directory[32];
	char file[64];
	char key[64];
};

/* Three lines that a configuration needs; @ as for test_config_load(). */
#define TEST_CONFIG_BASE "node = a\nuser = root\nkey-file = \"@\"\n"

#define TEST_CONFIG_KEY_BYTES (sizeof(CONFIG_KEY_PREFIX) + (size_t)2 * REPL_KEY_BYTES + 1)
extern const char test_config_key[TEST_CONFIG_KEY_BYTES]; /* a key file's line */

int test_config_up(void **state);
int test_config_down(void **state);

/* Writes a file. */
void test_config_put(const char *path, const char *text, mode_t mode);

/* Writes `text`, with every @ replaced by the key file's path, and loads it. */
int test_config_load(struct test_config *place, const char *text, struct config **config,
                     char error[512]);

#endif
