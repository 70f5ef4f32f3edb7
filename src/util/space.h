/* Room for a file, before anything is stored in it through a mapping. */
#ifndef TLSBATON_UTIL_SPACE_H
#define TLSBATON_UTIL_SPACE_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>

#include "util/macro.h"

/* At once: some ms of work, for a signal undoes all of one call. */
#define SPACE_STEP_BYTES (UINT64_C(16) << 20)

/* Makes the first `n_bytes` of the file real, so that no store to them can fail. What is allocated already costs
 * nothing, so this also mends a file with holes. Returns 0 or a negated errno. */
static inline MUST_CHECK int space_allocate(int fd, uint64_t n_bytes)
{
	for (uint64_t at = 0; at < n_bytes;) {
		uint64_t n = MIN(n_bytes - at, SPACE_STEP_BYTES);
		int r = posix_fallocate(fd, (off_t)at, (off_t)n);

		if (r != 0 && r != EINTR)
			return -r;
		at += r == 0 ? n : 0;
	}
	return 0;
}

#endif
