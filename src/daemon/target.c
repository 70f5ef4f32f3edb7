#include "daemon/target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *state_name(enum repl_peer_state state)
{
	static const char *const names[] = {
	    [REPL_ABSENT] = "absent",   [REPL_CATCHING_UP] = "catching up",
	    [REPL_IN_SYNC] = "in sync", [REPL_LAGGING] = "lagging",
	    [REPL_REFUSED] = "refused",
	};

	return names[state];
}

/* Each of these outweighs what comes after it. A server need not be connected before its first client comes
 * (`tlsbaton run`): so one without is no worse than that. */
static unsigned fitness(const struct repl_peer_status *peer)
{
	return 8U * repl_is_connected(peer) + 4U * peer->has_service +
	       2U * (peer->state == REPL_IN_SYNC) + peer->has_workers;
}

/* Why the address cannot go there; false: it can. */
static bool is_unfit(const struct repl_peer_status *peer, bool force,
                     char reason[HANDOVER_TEXT_MAX + 1])
{
	if (!repl_is_connected(peer))
		snprintf(reason, HANDOVER_TEXT_MAX + 1, "%s is %s%s%s: nothing was changed",
		         peer->name, state_name(peer->state), peer->error[0] ? ": " : "",
		         peer->error);
	else if (!peer->has_service)
		snprintf(reason, HANDOVER_TEXT_MAX + 1,
		         "%s has no service address to take: give its configuration a `service` "
		         "section, as on this node",
		         peer->name);
	else if (peer->state != REPL_IN_SYNC && !force)
		snprintf(reason, HANDOVER_TEXT_MAX + 1,
		         "%s is not in sync (%s, %llu records behind): its clients would do full "
		         "handshakes; wait, or use --force",
		         peer->name, state_name(peer->state),
		         (unsigned long long)peer->lag_records);
	else
		return false;
	return true;
}

int target_choose(const struct repl_peer_status *peers, size_t n_peers, const char *to, bool force,
                  char reason[HANDOVER_TEXT_MAX + 1])
{
	const struct repl_peer_status *chosen = NULL;

	for (size_t i = 0; i < n_peers; i++) {
		if (to && strcmp(peers[i].name, to) != 0)
			continue;
		if (!chosen || fitness(&peers[i]) > fitness(chosen))
			chosen = &peers[i];
	}
	if (!chosen) {
		snprintf(reason, HANDOVER_TEXT_MAX + 1,
		         "there is no peer%s%s to hand over to: add it to the configuration",
		         to ? " named " : "", to ? to : "");
		return -EHOSTUNREACH;
	}
	return is_unfit(chosen, force, reason) ? -EHOSTUNREACH : (int)(chosen - peers);
}
