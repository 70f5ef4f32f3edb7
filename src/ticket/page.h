/*
 * The ticket keys as the workers see them: one page, a file in RUN that the daemon writes and workers map read-only.
 * page.c has the layout. One writer; any number of readers, which never wait.
 */
#ifndef TLSBATON_TICKET_PAGE_H
#define TLSBATON_TICKET_PAGE_H

#include "ticket/keyring.h"

#define TICKET_PAGE_BYTES 4096

struct ticket_page;

enum ticket_outcome {
	TICKET_NONE = 1, /* no such key */
	TICKET_OLD,      /* found, and another one encrypts by now */
	TICKET_REBUILT,  /* what stood in the file was no page of keys, and is gone */
};

/* ---- The writer ---- */

/*
 * Opens the page at `path`, or makes it: a file of mode 0600, ours. Locked in memory, left out of core dumps. Out:
 * `*page`, to be closed; and in `*ring` (wiped before) the keys that a daemon before this one left and that are good at
 * `now_ms`. Returns 0; TICKET_REBUILT (with what was wrong in `why`); -errno.
 */
int ticket_page_open(struct ticket_page **page, const char *path, int64_t now_ms,
                     struct keyring *ring, char *why, size_t why_size) MUST_CHECK;
/* Unmaps; the file stays, with its keys, for the next daemon. NULL is fine. */
void ticket_page_close(struct ticket_page *page);
/* A read-only descriptor of the page at `path`, the caller's, for a worker. -errno. */
int ticket_page_fd(const char *path) MUST_CHECK;

/* Makes the page hold exactly the keys of `ring`: new ones come before old ones are wiped. */
void ticket_page_publish(struct ticket_page *page, const struct keyring *ring);
void ticket_page_configure(struct ticket_page *page, enum ticket_resumption resumption);

/* ---- Readers ---- */

/* A page without keys, private to the caller: where keys will be. -ENOMEM. */
int ticket_page_map_empty(const struct ticket_page **out) MUST_CHECK;
/* Maps the page behind `fd` in the place of the one at `page`, while others may be reading it. Returns 0, -EPROTO (it
 * is no page of keys; `page` is what it was), -errno. */
int ticket_page_map_over(const struct ticket_page *page, int fd) MUST_CHECK;
void ticket_page_unmap(const struct ticket_page *page); /* NULL is fine */

/* 0: nobody has said. */
unsigned ticket_page_resumption(const struct ticket_page *page);

/* Out: the key that encrypts now, the caller's to wipe. Returns 0 or TICKET_NONE. Bounded, no system call. */
int ticket_page_current(const struct ticket_page *page, int64_t now_ms,
                        struct ticket_key *out) MUST_CHECK;
/* Out: the key of this name, if its time is not over. Returns 0, TICKET_OLD (with `*out`), TICKET_NONE. */
int ticket_page_find(const struct ticket_page *page, const uint8_t name[TICKET_NAME_BYTES],
                     int64_t now_ms, struct ticket_key *out) MUST_CHECK;

#endif
