#include "daemon/event_log.h"

#include <event2/event.h>

#include "util/log.h"

static void on_words(int severity, const char *text)
{
	enum log_level level = LOG_LEVEL_DEBUG;

	if (severity == EVENT_LOG_ERR)
		level = LOG_LEVEL_ERROR;
	else if (severity == EVENT_LOG_WARN)
		level = LOG_LEVEL_WARNING;
	else if (severity == EVENT_LOG_MSG)
		level = LOG_LEVEL_NOTICE;
	log_write(level, "libevent: %s", text);
}

void event_log_open(void)
{
	event_set_log_callback(on_words);
}
