/* The linker prefers a program's own functions to libc's, also for what libraries call. */
#include "client/test-clock.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

static _Atomic time_t stopped_at_s; /* 0: it goes */

EXPORTED int clock_gettime(clockid_t id, struct timespec *out)
{
	const time_t stopped_s = atomic_load(&stopped_at_s);

	if (stopped_s == 0 || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
		return (int)syscall(SYS_clock_gettime, id, out);
	*out = (struct timespec){.tv_sec = stopped_s};
	return 0;
}

EXPORTED time_t time(time_t *out)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}

time_t test_clock_stop(void)
{
	const time_t now_s = time(NULL);

	atomic_store(&stopped_at_s, now_s);
	return now_s;
}

void test_clock_advance(time_t s)
{
	atomic_fetch_add(&stopped_at_s, s);
}

void test_clock_go_on(void)
{
	atomic_store(&stopped_at_s, 0);
}
