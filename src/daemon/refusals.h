/*
 * Users whose workers were refused of late. A server whose root parent is connected and whose workers are not looks well
 * from outside and shares nothing: so the status names them for a while, with what to do.
 */
#ifndef TLSBATON_DAEMON_REFUSALS_H
#define TLSBATON_DAEMON_REFUSALS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/macro.h"

#define REFUSALS_USERS 8        /* beyond these, whoever was refused longest ago is forgotten */
#define REFUSALS_KEPT_MS 300000 /* refused workers of a server with clients try again each second */
#define REFUSALS_NAME_MAX 64

/* Zeroed: nobody was refused. */
struct refusals {
	struct {
		uid_t uid;
		uint64_t n; /* 0: a free place */
		int64_t last_ms;
	} users[REFUSALS_USERS];
};

struct refusal {
	uid_t uid;
	uint64_t n; /* how often, with no pause as long as REFUSALS_KEPT_MS */
	unsigned last_s;
};

/* `now_ms` is of any monotonic clock, the same in all calls. */
void refusals_note(struct refusals *refusals, uid_t uid, int64_t now_ms);

/* Out: who was refused within the last REFUSALS_KEPT_MS. Returns how many there are. */
size_t refusals_list(const struct refusals *refusals, int64_t now_ms,
                     struct refusal out[REFUSALS_USERS]);

/* The name of a user of /etc/passwd, or "ID 1234": a name service might have to ask the network, and an event loop
 * cannot wait for that. Returns `name`. */
const char *refusals_user(uid_t uid, char name[REFUSALS_NAME_MAX]);

#endif
