/* Inside the second object (preload.h): attach.c, gate.c, log.c. */
#ifndef TLSBATON_ADAPTERS_PRELOAD_SECOND_H
#define TLSBATON_ADAPTERS_PRELOAD_SECOND_H

#include "preload.h"
#include "tlsbaton.h"

/* ---- gate.c ---- */

/* Once, before the first connection. False: no memory; connections then wait at no gate. */
bool gate_init(void);

/* struct preload_ops' may_write(), with the process's handle. */
bool gate_may_write(tlsbaton *baton, SSL *ssl);

/* ---- log.c ---- */

/* Once, while standard error is what the program's user gave it. */
void log_init(void);

/* libtlsbaton's log hook; `arg` is not used. Any thread. */
void log_line(void *arg, int level, const char *line);

#endif
