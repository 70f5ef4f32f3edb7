#include "daemon/serving.h"

#include <stdio.h>

bool serving_doubt(const struct repl_peer_status *peer, char text[HANDOVER_TEXT_MAX + 1])
{
	if (peer->refuses_workers)
		snprintf(text, HANDOVER_TEXT_MAX + 1,
		         "warning: the tlsbatond of %s has refused workers of a server: their "
		         "clients make full handshakes; see `tlsbaton status` there",
		         peer->name);
	else if (!peer->has_workers)
		snprintf(text, HANDOVER_TEXT_MAX + 1,
		         "warning: no server is connected to the tlsbatond of %s: whether one "
		         "serves there is not known",
		         peer->name);
	else
		return false;
	return true;
}
