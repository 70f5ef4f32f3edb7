/* Whether servers would serve at the node that the service address goes to, as far as its daemon says. */
#ifndef TLSBATON_DAEMON_SERVING_H
#define TLSBATON_DAEMON_SERVING_H

#include "daemon/handover.h"
#include "repl/repl.h"

/* Writes a warning to `text` and returns true where there is reason for doubt. */
bool serving_doubt(const struct repl_peer_status *peer, char text[HANDOVER_TEXT_MAX + 1]);

#endif
