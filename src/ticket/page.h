/*
 * The ticket keys as the workers see them: one page, a file in RUN (store.h) that the daemon writes and workers map
 * read-only. page.c has the layout. One writer; any number of readers, which never wait.
 */
#ifndef TLSBATON_TICKET_PAGE_H
#define TLSBATON_TICKET_PAGE_H

#include "ticket/keyring.h"

#define TICKET_PAGE_BYTES 4096

struct ticket_page;

enum ticket_outcome {
	TICKET_NONE = 1, /* no such key */
	TICKET_OLD,      /* found, and another one encrypts by now */
};

/* ---- The writer ---- */

/* Makes a page of zeros one without keys. */
void ticket_page_format(struct ticket_page *page);
/* Whether it is a page of keys at all. */
bool ticket_page_is_one(const struct ticket_page *page);
/* Out: the last generation that was published, and the keys of it that stand on the page, with their ends by the boot
 * clock; the caller's to wipe. */
void ticket_page_recall(const struct ticket_page *page, struct keyring *out);
/* Makes the page hold exactly the keys of `ring`: new ones come before old ones are wiped. */
void ticket_page_publish(struct ticket_page *page, const struct keyring *ring);
/* An enum ticket_resumption; 0: nobody has said. */
void ticket_page_configure(struct ticket_page *page, unsigned resumption);
/* Of a mapping: locked in memory, left out of core dumps, as far as the system allows it. */
void ticket_page_keep_private(void *page);

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
