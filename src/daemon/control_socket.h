/* The listening end of the control socket. Used by control.c only. */
#ifndef TLSBATON_DAEMON_CONTROL_SOCKET_H
#define TLSBATON_DAEMON_CONTROL_SOCKET_H

#include "util/macro.h"

/* Binds and listens at `path` as control_new() describes. Out: the descriptor, non-blocking. */
int control_socket_listen(int *out, const char *path, char *error, size_t error_size) MUST_CHECK;

/* Whether the process at the other end of `fd` may give orders: root, or who the daemon runs as. */
int control_socket_allowed(int fd) MUST_CHECK;

#endif
