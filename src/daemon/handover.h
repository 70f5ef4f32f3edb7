/*
 * The messages that two daemons exchange when the service address moves, as payloads of
 * replication's control messages (docs/protocol.md, "Control").
 */
#ifndef TLSBATON_DAEMON_HANDOVER_H
#define TLSBATON_DAEMON_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repl/repl.h"
#include "util/macro.h"

#define HANDOVER_VERSION 1
#define HANDOVER_TEXT_MAX 255

enum handover_type {
	HANDOVER_REQUEST = 1,  /* to the active: hand over to me; `flag`: also if I am not in sync;
	                          `value`: ms it may take */
	HANDOVER_PROGRESS = 2, /* to who requested: `text` */
	HANDOVER_DONE = 3,     /* to who requested: `flag` success, `text` the error */
	HANDOVER_TAKE = 4,  /* to the new active: the address is free, take it; `value`: its term */
	HANDOVER_TAKEN = 5, /* to the old active: `flag` success, `text` the error */
	HANDOVER_CANCEL = 6, /* to the active: the request is given up; `text`: why */
};

/*
 * Layout: version (1 byte), type (1), flag (1, 0 or 1), id (8, big-endian), value (8, big-endian),
 * then the text, printable ASCII (other bytes but NUL are read as '?'), to the end of the payload.
 */
struct handover {
	enum handover_type type;
	bool flag;
	uint64_t id; /* of the request or take; answers repeat it, others are dropped */
	uint64_t value;
	char text[HANDOVER_TEXT_MAX + 1];
};

/* Returns the number of bytes written to `out`. A longer text is cut. */
size_t handover_encode(const struct handover *message, uint8_t out[REPL_CONTROL_MAX]);

/* -EPROTO: not a message of this version, or malformed. A term is at most ROLE_TERM_MAX. */
int handover_decode(const uint8_t *payload, size_t n_payload, struct handover *out) MUST_CHECK;

#endif
