/*
 * A line that all processes of a server have to say stands in its error log once.
 *
 * Each worker has its own connection to the daemon and says when that is lost and when it is back. With hundreds
 * of workers one restart of the daemon would fill the log with hundreds of equal lines, at whatever time
 * each finds out. So all processes share a small page on which the hashes of the last few lines stand with
 * the time at which one of them wrote it: a line is written once a minute, by the first that has it to say.
 * Lines that differ in their figures only are equal: each process has its own. A notice (sharing goes on) may be written
 * again when a fault (it has stopped) was written since, so that the last line of the log is true.
 */
#ifndef TLSBATON_ADAPTERS_SAID_H
#define TLSBATON_ADAPTERS_SAID_H

#include <stdbool.h>

/* In the parent, before it forks: makes the page, which stays for good. Further calls do nothing. Without it, or
 * without memory, each process says its own. */
void said_init(void);

/* Whether this process is to write `line`, of one of syslog(3)'s levels. May be called by any thread. */
bool said_may(int level, const char *line);

#endif
