/*
 * Configuration files and key files. Whatever stands in one, the answer is a configuration within its limits, or
 * one line of text that names a line that the file has.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/config.h"
#include "fuzz.h"

static void check_error(const char *path, const char *error, const uint8_t *data, size_t n_data)
{
	size_t n_lines = 1;
	unsigned long line;

	for (size_t i = 0; i < n_data; i++)
		n_lines += data[i] == '\n';
	for (const char *c = error; *c; c++)
		FUZZ_CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
	FUZZ_CHECK(strncmp(error, path, strlen(path)) == 0);
	error += strlen(path);
	FUZZ_CHECK(*error++ == ':');
	if (*error == ' ')
		return; /* it concerns the file as a whole */
	line = strtoul(error, NULL, 10);
	FUZZ_CHECK(line >= 1 && line <= n_lines);
}

static void check_config(const struct config *config)
{
	FUZZ_CHECK(strlen(config->node) > 0 && strlen(config->node) <= REPL_NAME_MAX);
	FUZZ_CHECK(strlen(config->group) > 0 && strlen(config->group) <= REPL_NAME_MAX);
	FUZZ_CHECK(config->run_directory[0] == '/');
	FUZZ_CHECK(config->n_peers <= REPL_PEERS_MAX);
	for (size_t i = 0; i < config->n_peers; i++)
		FUZZ_CHECK(strcmp(config->peers[i].name, config->node) != 0);
	FUZZ_CHECK(config->service.n_addresses <= VIP_ADDRESSES_MAX);
	FUZZ_CHECK(!config->has_service || config->service.n_addresses > 0);
	FUZZ_CHECK(config->gate_deadline_ms > 0 && config->heartbeat_ms > 0 &&
	           config->workers_max > 0);
}

static void ignore_warning(void *arg, const char *text)
{
	(void)arg;
	FUZZ_CHECK(strchr(text, '\n') == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	struct config *config = NULL;
	char path[64], error[512], *directory = NULL;
	uint8_t key[REPL_KEY_BYTES];
	int fd = memfd_create("config", MFD_CLOEXEC);

	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(write(fd, data, n_data) == (ssize_t)n_data);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (config_load(&config, path, error, sizeof(error)) == 0) {
		check_config(config);
		config_warnings(config, ignore_warning, NULL);
	} else {
		check_error(path, error, data, n_data);
	}
	config_free(config);
	if (config_run_directory(&directory, path, error, sizeof(error)) == 0)
		FUZZ_CHECK(directory[0] == '/');
	else
		check_error(path, error, data, n_data);
	free(directory);
	close(fd);
	(void)!config_parse_key((const char *)data, n_data, key);
	return 0;
}
