/* What an operator should know of the roles in the group, and do. */
#ifndef TLSBATON_DAEMON_ADVICE_H
#define TLSBATON_DAEMON_ADVICE_H

#include "daemon/role.h"
#include "repl/repl.h"

#define ADVICE_MAX 256

/*
 * Looks whether exactly one node holds the service address, as far as this node (`node`, of role `ours`) and
 * the peers that it is connected to say. Out: `text` in words with the command to give; "" if all is well.
 * What a peer that is not connected is, is not known, and said so: it may hold the address.
 */
void advice_on_roles(char text[ADVICE_MAX], const char *node, const struct role *ours,
                     const struct repl_peer_status *peers, size_t n_peers);

#endif
