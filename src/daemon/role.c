#include "daemon/role.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

/* Out: `*end`, what follows the number. */
static bool parse_term(const char *text, char **end, uint64_t *out)
{
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, end, 10);
	return !errno && *out <= ROLE_TERM_MAX;
}

/* "active 3 5" or "standby 3 5", as role_save() writes it. */
static int role_parse(const char *line, struct role *out)
{
	static const struct {
		const char *word;
		size_t n;
	} words[] = {{"standby ", 8}, {"active ", 7}};
	char *end;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		struct role role = {.active = i == 1};

		if (strncmp(line, words[i].word, words[i].n) != 0)
			continue;
		if (!parse_term(line + words[i].n, &end, &role.term) || *end != ' ' ||
		    !parse_term(end + 1, &end, &role.latest) || end[strspn(end, " \n")] != '\0' ||
		    role.latest < role.term)
			return ROLE_NONE;
		*out = role;
		return 0;
	}
	return ROLE_NONE;
}

int role_load(const char *directory, struct role *out)
{
	char path[PATH_MAX], line[64] = "";
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
	return role_parse(line, out);
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
	n = snprintf(line, sizeof(line), "%s %" PRIu64 " %" PRIu64 "\n",
	             role->active ? "active" : "standby", role->term, role->latest);
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
