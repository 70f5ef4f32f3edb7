#include "daemon/role.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

int role_load(const char *directory, struct role *out)
{
	char path[PATH_MAX], line[64] = "", word[16], rest;
	uint64_t term;
	ssize_t n;
	int fd;

	if (snprintf(path, sizeof(path), "%s/role", directory) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? ROLE_NONE : -errno;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (n < 0)
		return -errno;
	if (sscanf(line, "%15s %" SCNu64 " %c", word, &term, &rest) != 2)
		return ROLE_NONE;
	if (strcmp(word, "active") != 0 && strcmp(word, "standby") != 0)
		return ROLE_NONE;
	*out = (struct role){.active = strcmp(word, "active") == 0, .term = term};
	return 0;
}

/* Written beside and renamed over: a full disk or a crash leaves the old role, never half a line.
 */
int role_save(const char *directory, const struct role *role)
{
	char path[PATH_MAX], next[PATH_MAX], line[64];
	int fd, n, r = 0;

	if (snprintf(path, sizeof(path), "%s/role", directory) >= (int)sizeof(path) ||
	    snprintf(next, sizeof(next), "%s/role.new", directory) >= (int)sizeof(next))
		return -ENAMETOOLONG;
	n = snprintf(line, sizeof(line), "%s %" PRIu64 "\n", role->active ? "active" : "standby",
	             role->term);
	fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	errno = ENOSPC;
	if (write(fd, line, (size_t)n) != n)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(next, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(next);
	return r;
}

bool role_yields(const struct role *mine, const char *my_name, const struct role *theirs,
                 const char *their_name)
{
	if (!mine->active || !theirs->active)
		return false;
	if (mine->term != theirs->term)
		return mine->term < theirs->term;
	return strcmp(my_name, their_name) > 0;
}
