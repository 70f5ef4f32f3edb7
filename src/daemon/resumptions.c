#include "daemon/resumptions.h"

#include <stdio.h>
#include <string.h>

void resumptions_configure(struct resumptions *resumptions, const struct repl_peer_config *peers,
                           size_t n_peers)
{
	struct resumptions next = {.n_peers = MIN(n_peers, (size_t)REPL_PEERS_MAX)};

	for (size_t i = 0; i < next.n_peers; i++) {
		snprintf(next.peers[i].name, sizeof(next.peers[i].name), "%s", peers[i].name);
		for (size_t k = 0; k < resumptions->n_peers; k++)
			if (strcmp(resumptions->peers[k].name, peers[i].name) == 0)
				next.peers[i] = resumptions->peers[k];
	}
	*resumptions = next;
}

void resumptions_hear(struct resumptions *resumptions, size_t peer, enum ticket_resumption theirs)
{
	if (peer < resumptions->n_peers)
		resumptions->peers[peer].theirs = theirs;
}

enum ticket_resumption resumptions_of(const struct resumptions *resumptions, size_t peer)
{
	return peer < resumptions->n_peers ? resumptions->peers[peer].theirs : RESUMPTION_UNHEARD;
}

bool resumptions_is_news(struct resumptions *resumptions, size_t peer, enum ticket_resumption ours)
{
	enum ticket_resumption theirs = resumptions_of(resumptions, peer);
	bool differ = theirs != RESUMPTION_UNHEARD && theirs != ours, known;

	if (peer >= resumptions->n_peers)
		return false;
	known = resumptions->peers[peer].said_theirs == theirs &&
	        resumptions->peers[peer].said_ours == ours;
	resumptions->peers[peer].said_theirs = differ ? theirs : RESUMPTION_UNHEARD;
	resumptions->peers[peer].said_ours = differ ? ours : RESUMPTION_UNHEARD;
	return differ && !known;
}
