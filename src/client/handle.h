/*
 * Inside a handle. tlsbaton.c has the calls on sessions, link.c the connection to the daemon, gate.c the
 * gate, fork.c what happens at fork(2), attach.c OpenSSL's callbacks for sessions, tickets.c that for tickets.
 */
#ifndef TLSBATON_CLIENT_HANDLE_H
#define TLSBATON_CLIENT_HANDLE_H

#include <pthread.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/un.h>

#include <openssl/ssl.h>

#include "ring/ring.h"
#include "table/table.h"
#include "ticket/page.h"
/* All but the public functions is hidden (-fvisibility=hidden). */
#pragma GCC visibility push(default)
#include "tlsbaton.h"
#pragma GCC visibility pop

#define RETIRED_VIEWS_MAX 8
#define POLLED_GATES 256   /* a power of two */
#define LEARNED_NAMES 1024 /* a power of two */
#define POLICIES_MAX 8192  /* nginx has one for each certificate */

enum link_state {
	LINK_DOWN,    /* no socket; notices gather in the ring that is there */
	LINK_WAITING, /* connected; the daemon's hello has not come yet */
	LINK_UP,
};

/* What the user's log is told of. */
enum link_news {
	NEWS_NONE,
	NEWS_UP,
	NEWS_GONE,
	NEWS_HUNG,
	NEWS_ABSENT,
	NEWS_REFUSED,
	NEWS_FOREIGN,
	NEWS_FAULT,
	NEWS_POLICIES,
};

/* Which file a view is of. The epoch alone would be the same in a copy of the file. */
struct view_name {
	dev_t device;
	ino_t inode;
	uint64_t epoch;
};

struct tlsbaton {
	LIST_ENTRY(tlsbaton) entry; /* in fork.c's list of all handles */
	struct sockaddr_un address;
	void (*log)(void *arg, int level, const char *message);
	void *log_arg;

	/* The header of the ring in use. The address never changes: a new ring's page is mapped over the old
	 * one's. So gates and counters, which take no lock, need nothing but this pointer. */
	struct ring_page *page;
	/* The table, or NULL before the first connection. Lookups take no lock either, so a view that was
	 * replaced is kept. */
	_Atomic(struct table_view *) view;
	/* The page of ticket keys, without any before the first connection. As with `page`, another is mapped
	 * over it. A child inherits it, and has keys before it has a daemon. */
	const struct ticket_page *tickets;
	_Atomic int state;             /* enum link_state; changed under the lock */
	unsigned dead_ms;              /* RING_DEAD_MS; tests may have more patience */
	_Atomic uint64_t down_at_ms;   /* when LINK_UP ended; 0: long ago */
	_Atomic uint64_t next_look_ms; /* when link_tick() has something to look at again */

	/* Gates that were found closed by tlsbaton_gate_poll(), by number, and since when: statistics. */
	struct {
		_Atomic uint64_t notice, since_us;
	} polled[POLLED_GATES];
	struct recent *recent; /* for attached contexts; NULL without */
	/* For attached contexts: a program's own new-session callback is called for those sessions only that a daemon does
	 * not take. Set before the first is attached. */
	bool own_cache_is_fallback;
	/* For attached contexts: the first bytes of the policies below, by place, 0 for none (known.c); and which of
	 * them names led to (bind.c). */
	_Atomic uint64_t known[POLICIES_MAX];
	_Atomic unsigned n_places; /* of them that were ever in use */
	_Atomic uint64_t learned[LEARNED_NAMES];
	int gate_fd; /* an epoll descriptor over the daemon's socket: stays the same over reconnections */

	pthread_mutex_t
	    contexts_lock;    /* while a context is made known (attach.c); taken before `lock` */
	pthread_mutex_t lock; /* for all that follows; held for a copy, or while another
	                          * daemon's ring and table are mapped, never for a wait */
	struct ring_producer ring;
	uint64_t seq;         /* of the last notice */
	_Atomic bool unwoken; /* the daemon is still to be woken for a notice */
	/* The policies of the contexts that are attached. */
	struct {
		uint8_t policy[RING_POLICY_BYTES];
		unsigned n_contexts; /* 0: this place is free */
	} policies[POLICIES_MAX];
	unsigned n_policies;
	/* XOR of all. Kept: to add it up at each change would cost all of them. */
	uint8_t policies_sum[RING_POLICY_BYTES];
	int socket;  /* -1 when LINK_DOWN */
	int wake_fd; /* the daemon's eventfd; -1 unless LINK_UP */
	int waiting_fd; /* a duplicate of it, with which a thread waits without the lock (link_returned()); -1: none */
	uint64_t connecting_since_ms;
	unsigned backoff_ms;
	bool ever_up;
	/* What the counters stood at before this ring, and in it when its daemon was lost: the daemon has
	 * summed up those, so the next one starts from zero again. */
	uint64_t counted_before[RING_N_COUNTERS], counted_at_loss[RING_N_COUNTERS];
	struct view_name view_name;
	struct {
		struct table_view *view;
		uint64_t since_ms;
	} retired[RETIRED_VIEWS_MAX];
	/* One line for the user's log, written under the lock, said after it. What was said last is not
	 * said again, however many attempts come to the same. */
	enum link_news told;
	int message_level;
	char message[256];
};

/* Coarse clocks: a few ns, exact to some 4 ms. */

/*
 * Looks after the connection when it is time to: finds a daemon dead or hung, tries to connect, takes a
 * hello that has come. Cheap (a clock) when there is nothing to do. Never blocks: if another thread is at
 * it, that one does it.
 */
void link_tick(struct tlsbaton *baton);
/* The same now, whatever the time. */
void link_look(struct tlsbaton *baton);
/* Asked before a miss is believed: this process may have slept through a restart of the daemon, and look into a
 * table that is no more. Reconnects if so, at most once a back-off, and may wait for the hello then, 5 ms at most: one
 * thread, without the lock. True: there is another table to look in. */
bool link_returned(struct tlsbaton *baton);
/* For tlsbaton_new(): connects, and waits at most `wait_ms` for the hello. */
void link_start(struct tlsbaton *baton, unsigned wait_ms);
/* Under the lock: sends the wake-up that ring_must_wake() asked for. */
void link_wake(struct tlsbaton *baton);
/* Under the lock: the daemon is gone. */
void link_lost(struct tlsbaton *baton);
/* Under the lock: closes the socket; the ring stays in use. */
void link_close(struct tlsbaton *baton);
/* Under the lock: closes the descriptor with which a thread waits: that thread itself, or a child, which has no such
 * thread. */
void link_end_wait(struct tlsbaton *baton);

/* carry.c, under the lock: puts the ring behind `fd` in the place of the one in use, with the notices
 * that its daemon has not stored. Out: how many were carried over, and how many found no room. */
int carry_over(struct tlsbaton *baton, int fd, size_t *n_carried, size_t *n_lost) MUST_CHECK;
/* Under the lock: forgets notices at the front of a ring without daemon whose sessions have expired. */
void carry_expire(struct tlsbaton *baton);

/* views.c, under the lock: makes the table behind `fd` the one for lookups, if it is not already. */
int views_take(struct tlsbaton *baton, int fd) MUST_CHECK;
void views_free(struct tlsbaton *baton);

/* gate.c: true when there is no daemon that could ack, and no need to wait for one. */
bool gate_is_moot(struct tlsbaton *baton);
/* True when the gate is open. Unlike tlsbaton_gate_poll() it does not ask the daemon for a wake-up: for who looks again
 * anyway. Counts a gate that is open for want of a daemon, and no waits. */
bool gate_look(struct tlsbaton *baton, uint64_t notice);

/*
 * tlsbaton.c: sends a notice, whose number it sets. WAKE_LATER: another is about to follow, and wakes the daemon for both; the
 * caller sees to it that handle_wake() is called if none does. Returns as tlsbaton_session_put().
 */
enum wake { WAKE_NOW, WAKE_LATER };
int handle_send(struct tlsbaton *baton, struct ring_notice *notice, enum wake wake,
                uint64_t *out) MUST_CHECK;
/* Wakes the daemon if that was left to a notice that has not come. Cheap if not. */
void handle_wake(struct tlsbaton *baton);

/*
 * attach.c, for the preload library, which comes to a context when its program starts to use it as a server.
 *
 * attach_prepare(): at the making of a context, before other threads know of it: so that attaching later moves no memory
 * under a thread that looks into the context. Returns 0 or -ENOMEM.
 */
int attach_prepare(SSL_CTX *ctx) MUST_CHECK;
/* What is true of a connection that has not begun. Returns 0 (its context is attached, and it was made since),
 * ATTACH_NOT, or ATTACH_REPLACED (so it was, but the program has set callbacks of its own over ours). */
enum { ATTACH_NOT = 1, ATTACH_REPLACED };
int attach_state(const SSL *ssl) MUST_CHECK;
/* tlsbaton_attach() for the context of `ssl`, unless it has been, and for `ssl` itself, which was made before. One thread at
 * a time. Returns 0 or -ENOMEM. */
int attach_ssl(struct tlsbaton *baton, SSL *ssl) MUST_CHECK;

/* tickets.c, for attaching late: as attach_prepare() and attach_ssl(), which call them. */
int tickets_prepare(SSL_CTX *ctx) MUST_CHECK;
int tickets_attach_ssl(struct tlsbaton *baton, SSL *ssl) MUST_CHECK;

/*
 * fork.c
 *
 * fork_init(): puts the handlers of fork(2) in place, once; fork_register() does that, too. For who has handlers of its own,
 * for a lock under which it calls the library: they must be put in place after these, to take that lock before these
 * take theirs. Returns 0 or -ENOMEM.
 */
int fork_init(void) MUST_CHECK;
int fork_register(struct tlsbaton *baton) MUST_CHECK;
void fork_unregister(struct tlsbaton *baton);

/* Takes the lock; releases it and then says what was left in `message`. */
void handle_lock(struct tlsbaton *baton);
void handle_unlock(struct tlsbaton *baton);
void handle_tell(struct tlsbaton *baton, enum link_news news, int level, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* True while the daemon is connected and its heartbeat fresh. */
bool handle_alive(const struct tlsbaton *baton);

#endif
