/*
 * libtlsbaton's lines. They go to standard error for as long as that is what it was when the program started to use
 * TLS, and to syslog(3) when it is not: a program that goes to the background closes it, and may have a
 * client's connection under its number by now. What several processes have to say is said once (adapters/said.h).
 */
#include "log.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <unistd.h>

#include "said.h"

#define NULL_DEVICE makedev(1, 3)

static struct stat at_start; /* st_nlink is 0 where there was no standard error */

void log_init(void)
{
	said_init();
	if (fstat(STDERR_FILENO, &at_start) < 0 ||
	    (S_ISCHR(at_start.st_mode) && at_start.st_rdev == NULL_DEVICE))
		at_start = (struct stat){0};
}

static bool is_as_at_start(void)
{
	struct stat now;

	return at_start.st_nlink != 0 && fstat(STDERR_FILENO, &now) == 0 &&
	       now.st_dev == at_start.st_dev && now.st_ino == at_start.st_ino;
}

void log_line(void *arg, int level, const char *line)
{
	(void)arg;
	if (!said_may(level, line))
		return;
	if (is_as_at_start())
		(void)dprintf(STDERR_FILENO, "tlsbaton: %s\n", line);
	else
		syslog(LOG_DAEMON | level, "tlsbaton: %s", line);
}
