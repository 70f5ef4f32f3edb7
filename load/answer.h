/* Reads one HTTP/1.x answer as it arrives, in pieces of any size: its status and how long its body is. */
#ifndef TLSBATON_LOAD_ANSWER_H
#define TLSBATON_LOAD_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "util/macro.h"

#define ANSWER_HEAD_MAX 65536 /* bytes of status line and fields */

enum answer_state {
	ANSWER_HEAD,      /* more of the head is to come */
	ANSWER_BODY,      /* more of the body is to come */
	ANSWER_COMPLETE,  /* all of it is there; only with a Content-Length */
	ANSWER_MALFORMED, /* not HTTP, or a head beyond the limit */
};

struct answer {
	enum answer_state state;
	unsigned status;    /* once the head is there */
	bool has_length;    /* without it the body ends with the connection */
	uint64_t n_length;  /* what Content-Length says */
	uint64_t n_body;    /* bytes of the body so far */
	uint32_t n_head;    /* bytes of the head so far */
	uint8_t n_line;     /* of the line that is being read: what is kept of it */
	bool line_too_long; /* its end did not fit, which only the values of unknown fields may */
	char line[64];
};

/* Takes the next `n` bytes. `answer` is all zeros at first. Never allocates. */
void answer_feed(struct answer *answer, const char *bytes, size_t n);

#endif
