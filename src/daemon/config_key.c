/*
 * The group key's file. Whoever reads it can join the group and be sent every session, and whoever
 * writes it can cut a node off; so a file that others may read or change is refused, not merely
 * reported. So is one in a directory where others may put another in its place. Directories further up
 * are not looked at: whoever may write there has more of this machine than a key.
 *
 * There is one recipe, and every remedy names it: owner root, the group of the daemon's user, mode 0640.
 * The packaged unit starts the daemon as its user. Where root starts it, a key that belongs to root with mode
 * 0600 is read at the start, but not at a reload, when root is long gone; a private key of X.509 not even then
 * (config_machine.c).
 */
#include "daemon/config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define KEY_LINE_BYTES (sizeof(CONFIG_KEY_PREFIX) - 1 + (size_t)2 * REPL_KEY_BYTES + 1)

const char *config_key_recipe(const char *path, gid_t gid, char text[CONFIG_RECIPE_MAX])
{
	const struct group *gr = getgrgid(gid);

	if (gr)
		snprintf(text, CONFIG_RECIPE_MAX, "chown root:%s %s && chmod 0640 %s", gr->gr_name,
		         path, path);
	else
		snprintf(text, CONFIG_RECIPE_MAX, "chown root:%u %s && chmod 0640 %s",
		         (unsigned)gid, path, path);
	return text;
}

static int key_fail(const char *path, const char *what, char *error, size_t error_size)
{
	snprintf(error, error_size, "%s: %s", path, what);
	return -EINVAL;
}

static int key_fail_errno(const char *path, gid_t gid, int r, char *error, size_t error_size)
{
	char recipe[CONFIG_RECIPE_MAX];
	const char *remedy = "";

	if (r == -ENOENT)
		remedy =
		    "; write one with `tlsbaton keygen` and copy it to every node of the group";
	else if (r == -EACCES)
		remedy = config_key_recipe(path, gid, recipe);
	snprintf(error, error_size, "%s: cannot be read: %s%s%s", path, strerror(-r),
	         r == -EACCES ? "; " : "", remedy);
	return r;
}

/* Others who may write a directory can replace what is in it. In a sticky one only its owner can. */
static bool key_directory_is_safe(const struct stat *st, uid_t owner)
{
	if (st->st_uid != 0 && st->st_uid != geteuid() && st->st_uid != owner)
		return false;
	return st->st_mode & S_ISVTX ||
	       !(st->st_mode & S_IWOTH || (st->st_mode & S_IWGRP && st->st_gid != 0));
}

static int key_check_directory(const char *real, const char *path, uid_t owner, gid_t gid,
                               char *error, size_t error_size)
{
	char copy[PATH_MAX];
	struct stat st;
	char *parent;

	snprintf(copy, sizeof(copy), "%s", real);
	parent = dirname(copy);
	if (stat(parent, &st) < 0)
		return key_fail_errno(path, gid, -errno, error, error_size);
	if (!key_directory_is_safe(&st, owner)) {
		snprintf(error, error_size,
		         "%s: lies in a directory that others may write; chown root %s && "
		         "chmod go-w %s",
		         path, parent, parent);
		return -EINVAL;
	}
	return 0;
}

/* What fstat(2) says, but for the kind of file; `path` is for the message. */
static int key_check_mode(const struct stat *st, const char *path, uid_t owner, gid_t gid,
                          char *error, size_t error_size)
{
	char recipe[CONFIG_RECIPE_MAX];

	config_key_recipe(path, gid, recipe);
	/* What may stand: 0600, 0400, 0640, 0440. */
	if (st->st_mode & (S_IXUSR | S_IWGRP | S_IXGRP | S_IRWXO)) {
		snprintf(error, error_size,
		         "%s: has mode %04o, so others may read or change it; %s", path,
		         st->st_mode & 07777, recipe);
		return -EINVAL;
	}
	if (st->st_uid != 0 && st->st_uid != geteuid() && st->st_uid != owner) {
		snprintf(error, error_size, "%s: belongs to user %u, who may change it; %s", path,
		         (unsigned)st->st_uid, recipe);
		return -EINVAL;
	}
	if ((st->st_mode & S_IRGRP) && st->st_gid != 0 && st->st_gid != gid) {
		snprintf(error, error_size,
		         "%s: may be read by group %u, which is not that of the daemon; %s", path,
		         (unsigned)st->st_gid, recipe);
		return -EINVAL;
	}
	return 0;
}

int config_check_private(int fd, const char *path, uid_t owner, gid_t gid, char *error,
                         size_t error_size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return key_fail_errno(path, gid, -errno, error, error_size);
	if (!S_ISREG(st.st_mode))
		return key_fail(path, "is not a regular file; write one with `tlsbaton keygen`",
		                error, error_size);
	return key_check_mode(&st, path, owner, gid, error, error_size);
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

int config_read_key(const char *path, uid_t owner, gid_t gid, uint8_t key[REPL_KEY_BYTES],
                    char *error, size_t error_size)
{
	char line[KEY_LINE_BYTES + 1]; /* one more than fits, so that a longer file shows */
	_cleanup_(closep) int fd = -1;
	char real[PATH_MAX];
	size_t n = 0;
	ssize_t got;
	int r;

	if (!realpath(path, real))
		return key_fail_errno(path, gid, -errno, error, error_size);
	r = key_check_directory(real, path, owner, gid, error, error_size);
	if (r < 0)
		return r;
	fd = open(real, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0)
		return key_fail_errno(path, gid, -errno, error, error_size);
	r = config_check_private(fd, path, owner, gid, error, error_size);
	if (r < 0)
		return r;
	while (n < sizeof(line) && (got = read(fd, line + n, sizeof(line) - n)) != 0) {
		if (got < 0) {
			r = key_fail_errno(path, gid, -errno, error, error_size);
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
