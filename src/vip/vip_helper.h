/*
 * The daemon's privileged part: a child process that keeps CAP_NET_ADMIN and CAP_NET_RAW and nothing else,
 * and does what vip.h offers when asked over a socket pair. The daemon, which parses bytes from the
 * network, keeps no capability at all. The helper ends when the daemon does (its socket closes), leaving
 * the address as it is: a daemon that stops or dies does not take the service down.
 */
#ifndef TLSBATON_VIP_VIP_HELPER_H
#define TLSBATON_VIP_VIP_HELPER_H

#include <event2/event.h>

#include "vip/vip.h"

enum vip_op { VIP_TAKE = 1, VIP_RELEASE, VIP_HELD };

struct vip_helper;

/*
 * Forks the helper (call before threads, before privileges are dropped, with the network namespace that
 * the daemon will live in). After a take it repeats the announcement by itself: 5 times within the first
 * 2 seconds, then every 10 s for as long as the address is held (`announce_s`, 0: never).
 * The child runs as `uid`/`gid` with its two capabilities.
 */
int vip_helper_new(struct vip_helper **out, const struct vip_config *config, unsigned announce_s,
                   uid_t uid, gid_t gid, char *error, size_t error_size) MUST_CHECK;

/* Answers arrive on the event loop. Call once the daemon's loop exists. `done` is called once for each
 * vip_helper_ask(), in order; result: as vip.h's functions; -EPIPE when the helper has died. A helper that
 * has not answered after twice `limit_ms` is killed. */
typedef void (*vip_helper_done)(void *arg, enum vip_op op, int result, const char *error);
int vip_helper_start(struct vip_helper *helper, struct event_base *base, unsigned limit_ms,
                     vip_helper_done done, void *arg) MUST_CHECK;
int vip_helper_ask(struct vip_helper *helper, enum vip_op op) MUST_CHECK;
/* Whether it runs; false for good once it has ended. */
bool vip_helper_is_alive(const struct vip_helper *helper);
void vip_helper_free(struct vip_helper *helper);

#endif
