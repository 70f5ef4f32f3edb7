/*
 * libtlsbaton's lines in nginx's error log. Each worker has its own connection to the daemon; what several have
 * to say is said once (adapters/said.h), and is a line of level debug from the others.
 */
#include "module.h"

#include "said.h"

#include <syslog.h>

void log_init(void)
{
	said_init();
}

void log_line(void *arg, int level, const char *line)
{
	(void)arg;
	if (level < LOG_EMERG || level > LOG_DEBUG)
		level = LOG_NOTICE;
	if (!said_may(level, line))
		level = LOG_DEBUG;
	/* nginx's levels are those of syslog(3) in the same order, and begin at 1. */
	ngx_log_error((ngx_uint_t)level + NGX_LOG_EMERG, ngx_cycle->log, 0, "tlsbaton: %s", line);
}
