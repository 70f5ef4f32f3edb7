/*
 * libtlsbaton's lines in Apache's error log. Each child has its own connection to the daemon; what several have
 * to say is said once (adapters/said.h), and is a line of level debug from the others.
 */
#include "mod_tlsbaton.h" /* first: Apache's headers need httpd.h before them */

#include <stdio.h>
#include <http_log.h>

#include "said.h"

APLOG_USE_MODULE(tlsbaton);

static server_rec *server;

void log_set_server(server_rec *s)
{
	server = s;
	said_init();
}

void log_line(void *arg, int level, const char *line)
{
	char longer[512];

	/* A notice is that sharing starts or goes on. */
	if (level == APLOG_NOTICE && cache_lacks_tickets()) {
		snprintf(longer, sizeof(longer),
		         "%s; tickets stay off until a reload, since there was no tlsbatond to "
		         "ask when they were set up",
		         line);
		line = longer;
	}
	/* syslog(3)'s priorities are Apache's levels, by number. */
	if (level < APLOG_EMERG || level > APLOG_DEBUG)
		level = APLOG_NOTICE;
	if (!said_may(level, line))
		level = APLOG_DEBUG;
	ap_log_error(APLOG_MARK, level, 0, server, "%s", line);
}
