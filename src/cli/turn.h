/*
 * Whose turn it is among commands that wait for a daemon to come up. keepalived starts its notify scripts side by side: a
 * `promote` that still waits must not carry out, once the daemon is there, what a later `demote` was to undo. So each
 * waiting command puts its mark into a file beside the run directory, which may not be there yet, and gives up when
 * another's is found in it.
 */
#ifndef TLSBATON_CLI_TURN_H
#define TLSBATON_CLI_TURN_H

#include <limits.h>
#include <stdbool.h>

struct turn {
	char path[PATH_MAX];
	char mark[64]; /* "": it could not be written, and nobody's is looked for */
};

/* Takes the turn over from whoever waits for the daemon at `control_path`. */
void turn_take(struct turn *turn, const char *control_path);

/* Whether no later command has taken it. */
bool turn_is_ours(const struct turn *turn);

void turn_end(const struct turn *turn);

#endif
