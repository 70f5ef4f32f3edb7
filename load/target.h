/*
 * Whom the load goes to: the URL, the address behind it, and the guard that keeps a load generator away from
 * other people's servers.
 *
 * Without --i-own-this-server every address that the name resolves to must be one of a machine or network of one's
 * own: 127/8, ::1, 10/8, 172.16/12, 192.168/16, fc00::/7, fe80::/10 or 198.18/15 (RFC 2544's for benchmarks).
 * Names are resolved once, before the load; the first address is used.
 */
#ifndef TLSBATON_LOAD_TARGET_H
#define TLSBATON_LOAD_TARGET_H

#include <stdbool.h>
#include <sys/socket.h>

#include "util/macro.h"

struct target {
	struct sockaddr_storage address; /* with its port */
	socklen_t n_address;
	char *host; /* the URL's, without brackets: for the certificate's check and SNI */
	bool host_is_address;
	char *request; /* the whole HTTP request */
	size_t n_request;
	char *text; /* the address and port, for messages */
};

/* Parses `url`, resolves the host (or `connect`, "HOST[:PORT]", where that is not NULL), and checks the addresses unless
 * `owned`. Returns 0 with a target that target_deinit() ends, or < 0 with what is wrong and what to do in
 * `error`. May block in the resolver. */
int target_init(struct target *target, const char *url, const char *connect, bool owned,
                char *error, size_t n_error) MUST_CHECK;
void target_deinit(struct target *target);

/* Whether load on this address needs no permission. */
bool target_is_private(const struct sockaddr *address);

#endif
