/* tlsbaton keygen: a new group key. Its bytes stand in this process only as long as it takes to write them. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>

#include "daemon/config.h"

#define LINE_BYTES (sizeof(CONFIG_KEY_PREFIX) - 1 + (size_t)2 * REPL_KEY_BYTES + 1)

static int make_line(char line[LINE_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t key[REPL_KEY_BYTES];
	char *to = line + sizeof(CONFIG_KEY_PREFIX) - 1;
	int r = RAND_priv_bytes(key, sizeof(key));

	memcpy(line, CONFIG_KEY_PREFIX, sizeof(CONFIG_KEY_PREFIX) - 1);
	for (size_t i = 0; i < sizeof(key); i++) {
		*to++ = digits[key[i] >> 4];
		*to++ = digits[key[i] & 15];
	}
	*to = '\n';
	explicit_bzero(key, sizeof(key));
	return r == 1 ? 0 : -EIO;
}

static int write_all(int fd, const char *line, size_t n)
{
	while (n > 0) {
		ssize_t written = write(fd, line, n);

		if (written < 0)
			return -errno;
		line += written;
		n -= (size_t)written;
	}
	return 0;
}

/* A key that may not have reached the disk whole does not stay. */
static int write_file(const char *path, const char *line)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = write_all(fd, line, LINE_BYTES);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r < 0)
		unlink(path);
	return r;
}

static int keygen_run(struct cli *cli, int argc, char **argv)
{
	const char *path = "-";
	char line[LINE_BYTES];
	int done, r;

	cli_option(cli, &cli_keygen, argc, argv, NULL, &done);
	if (done < 0)
		done = cli_arguments(&cli_keygen, argc, argv, 1);
	if (done >= 0)
		return done;
	if (optind < argc)
		path = argv[optind];
	r = make_line(line);
	if (r < 0)
		cli_error("no random numbers: OpenSSL's generator failed");
	else if (strcmp(path, "-") == 0)
		r = write_all(STDOUT_FILENO, line, sizeof(line));
	else
		r = write_file(path, line);
	explicit_bzero(line, sizeof(line));
	if (r == -EEXIST)
		cli_error("%s: exists, and a key is not overwritten; remove it first, or name "
		          "another file",
		          path);
	else if (r == -ENOENT)
		cli_error("%s: its directory does not exist; make it first", path);
	else if (r < 0 && r != -EIO)
		cli_error("%s: %s", path, strerror(-r));
	if (r < 0)
		return CLI_FAILED;
	if (strcmp(path, "-") != 0)
		printf("%s: written; tlsbatond reads it after chown root:tlsbaton %s && chmod 0640 "
		       "%s\n",
		       path, path, path);
	return cli_flush();
}

const struct cli_command cli_keygen = {
    .name = "keygen",
    .arguments = "[FILE]",
    .summary = "Write a new group key to FILE, which must not exist, or to stdout (default)",
    .options = "FILE is made with mode 0600; the daemon reads it with its group:\n"
               "  chown root:tlsbaton FILE && chmod 0640 FILE\n"
               "The same key goes to every node.\n\n",
    .run = keygen_run,
};
