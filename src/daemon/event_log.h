/* libevent's own words. */
#ifndef TLSBATON_DAEMON_EVENT_LOG_H
#define TLSBATON_DAEMON_EVENT_LOG_H

/* From now on they go through util/log.h, each line at its level and begun with "libevent: ". */
void event_log_open(void);

#endif
