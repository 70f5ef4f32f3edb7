/* What the daemon gives up before it reads a byte from outside. */
#ifndef TLSBATON_DAEMON_PRIVILEGES_H
#define TLSBATON_DAEMON_PRIVILEGES_H

#include <stddef.h>
#include <sys/types.h>

#include "util/macro.h"

/* Makes the run directory for `uid`:`gid` (mode 0755, whatever the umask: workers must reach the socket in it), or
 * checks that an existing one belongs to them or root and nobody else may write to it. */
int privileges_run_directory(const char *path, uid_t uid, gid_t gid, char *error,
                             size_t error_size) MUST_CHECK;

/* Secrets stay in memory and in this process: no core dump, no ptrace, memory may be locked. */
int privileges_harden(char *error, size_t error_size) MUST_CHECK;

/* Becomes `uid`:`gid` without supplementary groups and with one capability left (if it had that),
 * CAP_IPC_LOCK, to lock the table in memory. Started by another user than root, the process must be `uid` already. */
int privileges_drop(uid_t uid, gid_t gid, char *error, size_t error_size) MUST_CHECK;

/* Gives up that one too, before the event loop runs. */
int privileges_drop_lock(char *error, size_t error_size) MUST_CHECK;

#endif
