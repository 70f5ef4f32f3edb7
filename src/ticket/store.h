/*
 * The page of ticket keys as a file in RUN: what the daemon writes, hands to workers, and finds again after a restart.
 * store.c has the rules.
 */
#ifndef TLSBATON_TICKET_STORE_H
#define TLSBATON_TICKET_STORE_H

#include "ticket/page.h"

struct ticket_store;

enum ticket_store_outcome {
	TICKET_REBUILT = 1, /* what stood at the path was not our page of keys; a new one does */
};

/*
 * Opens the page at `path`, or makes it: a file of mode 0600, ours. Locked in memory, left out of core dumps. Out:
 * `*store`, to be closed; and in `*ring` (wiped before) what a daemon before this one left and that is good now, see
 * keyring_restore(). Returns 0; TICKET_REBUILT (with what was wrong in `why`); -errno.
 */
int ticket_store_open(struct ticket_store **store, const char *path, const struct keyring_time *now,
                      struct keyring *ring, char *why, size_t why_size) MUST_CHECK;
/* The file stays, with its keys, for the next daemon; and so do the workers' mappings of it. NULL is fine. */
void ticket_store_close(struct ticket_store *store);

/* A read-only descriptor of the page, the caller's, for a worker. -errno. Needs no name in any directory. */
int ticket_store_fd(const struct ticket_store *store) MUST_CHECK;

/* As ticket_page_publish() and ticket_page_configure(). */
void ticket_store_publish(struct ticket_store *store, const struct keyring *ring);
void ticket_store_configure(struct ticket_store *store, enum ticket_resumption resumption);

/*
 * To be called now and then: if the file at the path is not the one that was put there, makes it again, with the keys of
 * `ring`; workers notice nothing. Returns 0 (all is well), TICKET_REBUILT, -errno (try again).
 */
int ticket_store_look(struct ticket_store *store, const struct keyring *ring) MUST_CHECK;

#endif
