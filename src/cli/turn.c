#include "cli/turn.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/macro.h"

/* Written beside and renamed over: a reader finds the one mark or the other. */
static bool put_mark(const struct turn *turn)
{
	char next[PATH_MAX];
	_cleanup_(closep) int fd = -1;
	size_t n = strlen(turn->mark);

	if (snprintf(next, sizeof(next), "%s.%ld", turn->path, (long)getpid()) >= (int)sizeof(next))
		return false;
	fd = open(next, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	if (write(fd, turn->mark, n) == (ssize_t)n && rename(next, turn->path) == 0)
		return true;
	unlink(next);
	return false;
}

void turn_take(struct turn *turn, const char *control_path)
{
	const char *name = strrchr(control_path, '/');
	int n = name ? (int)(name - control_path) : 0;

	snprintf(turn->mark, sizeof(turn->mark), "%ld %" PRId64 "\n", (long)getpid(),
	         clock_monotonic_us());
	if (n == 0 || snprintf(turn->path, sizeof(turn->path), "%.*s.waiting", n, control_path) >=
	                  (int)sizeof(turn->path))
		turn->mark[0] = '\0';
	else if (!put_mark(turn))
		turn->mark[0] = '\0';
}

bool turn_is_ours(const struct turn *turn)
{
	char mark[sizeof(turn->mark)] = "";
	_cleanup_(closep) int fd = -1;

	if (!turn->mark[0])
		return true;
	fd = open(turn->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	/* Who took it over is done, and has removed it. */
	if (fd < 0)
		return false;
	return read(fd, mark, sizeof(mark) - 1) >= 0 && strcmp(mark, turn->mark) == 0;
}

void turn_end(const struct turn *turn)
{
	if (turn->mark[0] && turn_is_ours(turn))
		unlink(turn->path);
}
