/*
 * This node's role: whether it answers for the service address, and its term, a number that grows
 * with every take-over in the group. Kept in RUN/role, so that a daemon that restarts goes on as
 * what it was; after a reboot (RUN is gone) there is none.
 *
 * Beside its own term a node keeps the latest that it knows of, for its next take-over must come after
 * all those. Whatever a member says, terms do not wrap: more than ROLE_TERM_MAX is malformed.
 */
#ifndef TLSBATON_DAEMON_ROLE_H
#define TLSBATON_DAEMON_ROLE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/macro.h"

#define ROLE_TERM_MAX ((uint64_t)INT64_MAX)

struct role {
	bool active;
	uint64_t term;
	uint64_t latest; /* term that this node knows of, its own or a peer's: >= term */
};

enum role_outcome {
	ROLE_NONE = 1, /* nothing is recorded, or what is there does not parse */
};

/* Out: untouched unless 0. */
int role_load(const char *directory, struct role *out) MUST_CHECK;
/* Whole, or as before: beside it, and renamed over. */
int role_save(const char *directory, const struct role *role) MUST_CHECK;

/*
 * Two nodes that both hold the address (a partition that healed, a crashed node that came back):
 * one of them must let go. The later term wins; at the same term, the name that sorts first. Both
 * sides come to the same answer by themselves.
 */
bool role_yields(const struct role *mine, const char *my_name, const struct role *theirs,
                 const char *their_name);

#endif
