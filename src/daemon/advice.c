#include "daemon/advice.h"

#include <stdio.h>

void advice_on_roles(char text[ADVICE_MAX], const char *node, const struct role *ours,
                     const struct repl_peer_status *peers, size_t n_peers)
{
	const struct repl_peer_status *rival = NULL;
	size_t n_unknown = 0;

	for (size_t i = 0; i < n_peers; i++) {
		if (!repl_is_connected(&peers[i]))
			n_unknown++;
		else if (peers[i].active)
			rival = &peers[i];
	}
	text[0] = '\0';
	if (ours->active && rival) {
		struct role theirs = {.active = true, .term = rival->term};
		bool we_yield = role_yields(ours, node, &theirs, rival->name);

		snprintf(text, ADVICE_MAX,
		         "%s and %s both hold the service address: use `tlsbaton demote` on %s",
		         node, rival->name, we_yield ? node : rival->name);
	} else if (!ours->active && !rival) {
		snprintf(
		    text, ADVICE_MAX,
		    "no %snode holds the service address: %suse `tlsbaton promote` on the node "
		    "that is to serve",
		    n_unknown ? "connected " : "",
		    n_unknown ? "if those that are not connected are down, or do not hold it "
		                "either, "
		              : "");
	}
}
