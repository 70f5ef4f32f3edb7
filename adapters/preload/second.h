/* Inside the second object (preload.h): attach.c, gate.c. */
#ifndef TLSBATON_ADAPTERS_PRELOAD_SECOND_H
#define TLSBATON_ADAPTERS_PRELOAD_SECOND_H

#include "preload.h"
#include "tlsbaton.h"

/* Once, before the first connection. False: no memory; connections then wait at no gate. */
bool gate_init(void);

/* struct preload_ops' may_write(), with the process's handle. */
bool gate_may_write(tlsbaton *baton, SSL *ssl);

#endif
