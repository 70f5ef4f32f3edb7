/*
 * The session table as mapped by this process. A daemon that comes back usually serves the same file, and
 * nothing changes; after a rebuild it is another one. Then the old view may be in use by a lookup in any
 * thread, and lookups leave no trace to wait for, so it is kept: its file was wiped, it reads as empty and
 * costs only address space. Of these there are at most RETIRED_VIEWS_MAX. The oldest makes room once it was
 * out of use for longer than any thread can plausibly be in the middle of a lookup; where a daemon
 * rebuilds its table faster than that, the connection is refused and tried again later.
 */
#include "client/handle.h"
#include "util/clock.h"

#include <errno.h>
#include <sys/stat.h>

#define RETIRED_MS_MIN (60 * 1000)

static int retire(struct tlsbaton *baton, struct table_view *view)
{
	size_t oldest = 0;

	for (size_t i = 0; i < RETIRED_VIEWS_MAX; i++)
		if (baton->retired[i].since_ms < baton->retired[oldest].since_ms)
			oldest = i;
	if (baton->retired[oldest].view) {
		if ((uint64_t)clock_coarse_ms() - baton->retired[oldest].since_ms < RETIRED_MS_MIN)
			return -EBUSY;
		table_view_free(baton->retired[oldest].view);
	}
	baton->retired[oldest].view = view;
	baton->retired[oldest].since_ms = (uint64_t)clock_coarse_ms();
	return 0;
}

int views_take(struct tlsbaton *baton, int fd)
{
	_cleanup_(table_view_freep) struct table_view *view = NULL;
	struct view_name name;
	struct table_view *old;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	r = table_view_open(&view, fd);
	if (r < 0)
		return r;
	name = (struct view_name){st.st_dev, st.st_ino, table_view_epoch(view)};
	/* Relaxed: only written under the lock, which we hold. */
	old = atomic_load_explicit(&baton->view, memory_order_relaxed);
	if (old) {
		if (name.device == baton->view_name.device &&
		    name.inode == baton->view_name.inode && name.epoch == baton->view_name.epoch)
			return 0;
		r = retire(baton, old);
		if (r < 0)
			return r;
	}
	baton->view_name = name;
	/* Release: pairs with the acquire in tlsbaton_session_get(), which then sees the view filled in. */
	atomic_store_explicit(&baton->view, view, memory_order_release);
	view = NULL;
	return 0;
}

void views_free(struct tlsbaton *baton)
{
	table_view_free(atomic_load_explicit(&baton->view, memory_order_relaxed));
	for (size_t i = 0; i < RETIRED_VIEWS_MAX; i++)
		table_view_free(baton->retired[i].view);
}
