/* Which peer a planned switchover hands the service address to. */
#ifndef TLSBATON_DAEMON_TARGET_H
#define TLSBATON_DAEMON_TARGET_H

#include "daemon/handover.h"
#include "repl/repl.h"

/*
 * `to` names the peer; NULL: the fittest. That is one that is connected, before one that has a service address to
 * answer for, before one that is in sync, before one that servers are connected to; of equals the first. `force`: also one that is not in sync.
 * Returns its index in `peers`, or -EHOSTUNREACH with the reason in words, and what to do, in `reason`.
 */
int target_choose(const struct repl_peer_status *peers, size_t n_peers, const char *to, bool force,
                  char reason[HANDOVER_TEXT_MAX + 1]) MUST_CHECK;

#endif
