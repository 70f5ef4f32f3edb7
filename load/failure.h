/* What went wrong with a visit, as a short name that is counted: these names are in docs/load.md and the man page. */
#ifndef TLSBATON_LOAD_FAILURE_H
#define TLSBATON_LOAD_FAILURE_H

#include <stdbool.h>
#include <openssl/ssl.h>

#include "util/macro.h"

#define FAILURE_NAME_MAX 64

struct failure {
	char name[FAILURE_NAME_MAX];
};

enum failure_phase { FAILURE_CONNECT, FAILURE_HANDSHAKE, FAILURE_REPLY };

/* Of socket(2), bind(2) or connect(2). */
void failure_of_socket(struct failure *failure, int error);

/* Of an OpenSSL call that returned `result`, not for want of reading or writing; `error` is errno after it. Empties
 * OpenSSL's error queue. */
void failure_of_ssl(struct failure *failure, enum failure_phase phase, SSL *ssl, int result,
                    int error);

/* "connect_timeout", "handshake_timeout", "reply_timeout"; or with another word than "timeout". */
void failure_of_phase(struct failure *failure, enum failure_phase phase, const char *what);

/* "http_404" … */
void failure_of_status(struct failure *failure, unsigned status);

/* The server's certificate is not to be trusted. */
bool failure_is_trust(const struct failure *failure);

/* Any other, by its name. */
void failure_set(struct failure *failure, const char *name);

#endif
