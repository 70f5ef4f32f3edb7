/*
 * The control socket: how the tlsbaton command talks to the daemon. A Unix stream socket, mode 0600; only
 * root and the daemon's own user are served. JSON, one object a line:
 *
 *   request   {"command": "switchover", "args": {"force": true, "timeout_ms": 10000}}     args may be left out
 *   answer    {"progress": "waiting for b to store 12 records"}                           none or more of these
 *             {"ok": true, ...}  or  {"ok": false, "error": "what is wrong; what to do"}  then one of these;
 *                                "busy": true beside the error: the same may be taken in a moment
 *
 * A client may ask again on the same connection once it has its answer. "status" is answered here, with
 * {"ok": true, "status": {...}}; every other command is the daemon's. Single-threaded, on its event loop.
 */
#ifndef TLSBATON_DAEMON_CONTROL_H
#define TLSBATON_DAEMON_CONTROL_H

#include <event2/event.h>
#include <jansson.h>

#include "util/macro.h"

#define CONTROL_CLIENTS_MAX 16
#define CONTROL_LINE_MAX 65536 /* bytes of a request, its newline included */
#define CONTROL_IDLE_S                                                                             \
	30 /* a client that says nothing, or does not take its answer, is closed after this */

struct control;
struct control_request; /* one command under way; lives until it is answered or its client goes */

struct control_ops {
	/* The daemon's state, the caller's to json_decref(); NULL: no memory. */
	json_t *(*status)(void *arg);
	/* A command has arrived. `name` and `args` (an object; perhaps empty) are borrowed for the call. It is
	 * answered by control_answer(), at once or later. */
	void (*command)(void *arg, struct control_request *request, const char *name, json_t *args);
	/* The client of `request` has gone before its answer: do not touch `request` any more. The command
	 * itself may go on. */
	void (*gone)(void *arg, struct control_request *request);
};

/*
 * Listens at `path`. A socket that a dead daemon left there is replaced; one that somebody listens on
 * is -EADDRINUSE, and a file of another kind -EEXIST. `error` says what is wrong and what to do.
 */
int control_new(struct control **out, struct event_base *base, const char *path,
                const struct control_ops *ops, void *arg, char *error,
                size_t error_size) MUST_CHECK;

/* Closes all clients (ops->gone() is called for requests without an answer) and removes the socket. NULL
 * is fine. */
void control_free(struct control *control);

/* Tells the client how it goes: one line of text. */
void control_progress(struct control_request *request, const char *text);

/* Ends the request, which is gone after the call. Takes `answer` over: an object with "ok", and "error" if
 * that is false. NULL (no memory to make one) closes the client. */
void control_answer(struct control_request *request, json_t *answer);

DEFINE_CLEANUP(struct control *, control_free)

#endif
