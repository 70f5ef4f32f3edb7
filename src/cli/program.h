/* What a program's file says of how it would run: for `tlsbaton run`. Reads the file, runs nothing. */
#ifndef TLSBATON_CLI_PROGRAM_H
#define TLSBATON_CLI_PROGRAM_H

#include <stddef.h>

#include "util/macro.h"

enum program_fault {
	PROGRAM_STATIC = 1, /* nothing can be loaded into it */
	PROGRAM_FOREIGN,    /* for another architecture than this program's own */
	PROGRAM_PRIVILEGED, /* set-user-ID, set-group-ID or with capabilities: the loader ignores LD_PRELOAD */
	PROGRAM_OTHER_TLS, /* it is linked to another TLS library, and not to OpenSSL 3's */
};

/*
 * Finds the file that execvp(3) would run for `name`. Out: `path` (of `n` bytes). Returns 0, -ENOENT, -EACCES (there is a
 * file, but none that may be executed), -ENAMETOOLONG.
 */
int program_find(const char *name, char *path, size_t n) MUST_CHECK;

/*
 * Looks whether a library can be preloaded into the program at `path`, and would find OpenSSL 3 there. That of a script is
 * its interpreter. Out, for PROGRAM_OTHER_TLS: the library's name in `tls` (of `n` bytes). Returns 0 (nothing speaks
 * against it), a program_fault, or a negated errno: -ENOEXEC for a file that is neither, -ELOOP for a script whose interpreter
 * is a script, and so on.
 */
int program_check(const char *path, char *tls, size_t n) MUST_CHECK;

#endif
