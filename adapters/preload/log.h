/* Lines for the program's user (log.c). In the first object (preload.h); the second is given log_line(). */
#ifndef TLSBATON_ADAPTERS_PRELOAD_LOG_H
#define TLSBATON_ADAPTERS_PRELOAD_LOG_H

/* Once, while standard error is what the program's user gave it. */
void log_init(void);

/* libtlsbaton's log hook; `arg` is not used. Any thread. */
void log_line(void *arg, int level, const char *line);

#endif
