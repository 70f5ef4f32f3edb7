/*
 * The group key's file. Whoever reads it can join the group and be sent every session, and whoever
 * writes it can cut a node off; so a file that others may read or replace is refused, not merely
 * reported.
 */
#include "daemon/config.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define KEY_LINE_BYTES (sizeof(CONFIG_KEY_PREFIX) - 1 + (size_t)2 * REPL_KEY_BYTES + 1)

static int key_fail(const char *path, const char *what, char *error, size_t error_size)
{
	snprintf(error, error_size, "%s: %s", path, what);
	return -EINVAL;
}

static int key_fail_errno(const char *path, int r, char *error, size_t error_size)
{
	const char *remedy = "";

	if (r == -ENOENT)
		remedy =
		    "; write one with `tlsbaton keygen` and copy it to every node of the group";
	else if (r == -EACCES)
		remedy = "; give it to root and the daemon's group, with chmod 0640";
	snprintf(error, error_size, "%s: cannot be read: %s%s", path, strerror(-r), remedy);
	return r;
}

/* A file in a directory that others may write can be replaced by them. Sticky directories are safe.
 */
static int key_check_directory(const char *real, const char *path, char *error, size_t error_size)
{
	char copy[PATH_MAX];
	struct stat st;
	char *parent;

	snprintf(copy, sizeof(copy), "%s", real);
	parent = dirname(copy);
	if (stat(parent, &st) < 0)
		return key_fail_errno(path, -errno, error, error_size);
	if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX)) {
		snprintf(error, error_size,
		         "%s: lies in a directory that everybody may write; chmod o-w %s", path,
		         parent);
		return -EINVAL;
	}
	return 0;
}

static int key_check_file(int fd, const char *path, uid_t owner, char *error, size_t error_size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return key_fail_errno(path, -errno, error, error_size);
	if (!S_ISREG(st.st_mode))
		return key_fail(path, "is not a regular file; write one with `tlsbaton keygen`",
		                error, error_size);
	/* What may stand: 0600, 0400, 0640, 0440. */
	if (st.st_mode & (S_IXUSR | S_IWGRP | S_IXGRP | S_IRWXO)) {
		snprintf(error, error_size,
		         "%s: has mode %04o, so others may read or change it; chmod 0600 %s", path,
		         st.st_mode & 07777, path);
		return -EINVAL;
	}
	if (st.st_uid != 0 && st.st_uid != geteuid() && st.st_uid != owner) {
		snprintf(error, error_size,
		         "%s: belongs to user %u, who may change it; chown root %s", path,
		         (unsigned)st.st_uid, path);
		return -EINVAL;
	}
	return 0;
}

static int key_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int config_parse_key(const char *line, size_t n, uint8_t key[REPL_KEY_BYTES])
{
	const char *hex = line + sizeof(CONFIG_KEY_PREFIX) - 1;
	uint8_t parsed[REPL_KEY_BYTES];
	int r = 0;

	if (n > 0 && line[n - 1] == '\n')
		n--;
	if (n != KEY_LINE_BYTES - 1 ||
	    memcmp(line, CONFIG_KEY_PREFIX, sizeof(CONFIG_KEY_PREFIX) - 1) != 0)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(parsed); i++) {
		int high = key_digit(hex[2 * i]), low = key_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			r = -EINVAL;
		else
			parsed[i] = (uint8_t)(high << 4 | low);
	}
	if (r == 0)
		memcpy(key, parsed, sizeof(parsed));
	explicit_bzero(parsed, sizeof(parsed));
	return r;
}

int config_read_key(const char *path, uid_t owner, uint8_t key[REPL_KEY_BYTES], char *error,
                    size_t error_size)
{
	char line[KEY_LINE_BYTES + 1]; /* one more than fits, so that a longer file shows */
	_cleanup_(closep) int fd = -1;
	char real[PATH_MAX];
	size_t n = 0;
	ssize_t got;
	int r;

	if (!realpath(path, real))
		return key_fail_errno(path, -errno, error, error_size);
	r = key_check_directory(real, path, error, error_size);
	if (r < 0)
		return r;
	fd = open(real, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0)
		return key_fail_errno(path, -errno, error, error_size);
	r = key_check_file(fd, path, owner, error, error_size);
	if (r < 0)
		return r;
	while (n < sizeof(line) && (got = read(fd, line + n, sizeof(line) - n)) != 0) {
		if (got < 0) {
			r = key_fail_errno(path, -errno, error, error_size);
			goto out;
		}
		n += (size_t)got;
	}
	r = config_parse_key(line, n, key);
	if (r < 0)
		key_fail(path,
		         "does not hold one group key; write a new one with `tlsbaton keygen`",
		         error, error_size);
out:
	explicit_bzero(line, sizeof(line));
	return r;
}
