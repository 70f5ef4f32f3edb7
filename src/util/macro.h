/* Small helpers that every module uses. Nothing here has state. */
#ifndef TLSBATON_UTIL_MACRO_H
#define TLSBATON_UTIL_MACRO_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The error convention, for every function that can fail:
 *   0    done
 *   < 0  fatal: a negated errno, passed up unchanged
 *   > 0  an outcome, named by an enum beside the function, which the caller must handle
 * Outputs come last and are untouched on failure.
 */
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Destroy a local on every way out of its block: `_cleanup_(xyz_freep) struct xyz *x = NULL;` */
#define _cleanup_(f) __attribute__((cleanup(f)))

/* Defines xyz_freep() for use with _cleanup_, from xyz_free(type), which must accept NULL; `type` is a pointer. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type cannot stand in parentheses there */
#define DEFINE_CLEANUP(type, func)                                                                 \
	static inline void func##p(type *p)                                                        \
	{                                                                                          \
		func(*p);                                                                          \
	}
/* NOLINTEND(bugprone-macro-parentheses) */

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void closep(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#endif
