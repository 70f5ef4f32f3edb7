/*
 * What peers say of their `resumption`, beside this node's own. Where two differ, a client whom one of them gave a ticket, or
 * a session of its own, may not resume at the other. What was heard stays over a reload, which may number peers anew: so a
 * node compares at its own reload, too.
 */
#ifndef TLSBATON_DAEMON_RESUMPTIONS_H
#define TLSBATON_DAEMON_RESUMPTIONS_H

#include <stdbool.h>

#include "repl/repl.h"
#include "ticket/keyring.h"

#define RESUMPTION_UNHEARD ((enum ticket_resumption)0)

/* Zeroed: no peers. */
struct resumptions {
	struct {
		char name[REPL_NAME_MAX + 1];
		enum ticket_resumption theirs;
		enum ticket_resumption said_theirs, said_ours; /* what was last found to differ */
	} peers[REPL_PEERS_MAX];
	size_t n_peers;
};

/* Peers are these from now on, and numbered like this. */
void resumptions_configure(struct resumptions *resumptions, const struct repl_peer_config *peers,
                           size_t n_peers);

void resumptions_hear(struct resumptions *resumptions, size_t peer, enum ticket_resumption theirs);

/* RESUMPTION_UNHEARD: it has said nothing yet. */
enum ticket_resumption resumptions_of(const struct resumptions *resumptions, size_t peer);

/* Whether the peer's differs from `ours` in another way than when this was last asked: true once for each difference. */
bool resumptions_is_news(struct resumptions *resumptions, size_t peer, enum ticket_resumption ours);

#endif
