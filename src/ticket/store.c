/*
 * The file of ticket keys is the daemon's memory: one that restarts finds its keys there, checks them, and voids no
 * ticket. Nobody else may read it. What does not look like a page of ours is replaced by an empty one, and said; the
 * peers refill it. A file that workers have mapped is never truncated (SIGBUS), only wiped.
 *
 * What runs does not need its name. Workers map it through duplicates of one descriptor, so if somebody removes the
 * file, all go on with the page that they have, those that come later too. The name is for the next daemon: a copy is
 * made there, and keys are written to both from then on.
 */
#include "ticket/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "util/space.h"

/* A file that holds a page. */
struct file {
	struct ticket_page *page;
	int fd; /* read-only */
	dev_t device;
	ino_t inode;
};

struct ticket_store {
	char *path;
	struct file page; /* what workers map */
	struct file
	    copy; /* what stands at `path`, if that is another one; `page` NULL: it is not */
};

static const struct file no_file = {.fd = -1};

static void file_close(struct file *file)
{
	if (file->page)
		munmap(file->page, TICKET_PAGE_BYTES);
	closep(&file->fd);
	*file = no_file;
}

/* Of the file that `fd` has open for writing, and that stands at `path`. */
static int file_map(struct file *out, const char *path, int fd)
{
	struct file file = no_file;
	struct stat ours = {0}, theirs = {0};
	int r = 0;

	file.fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (file.fd < 0 || fstat(fd, &ours) < 0 || fstat(file.fd, &theirs) < 0)
		r = -errno;
	else if (ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino)
		r = -ESTALE;
	if (r == 0) {
		void *page =
		    mmap(NULL, TICKET_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		file.page = page == MAP_FAILED ? NULL : page;
		r = page == MAP_FAILED ? -errno : 0;
	}
	if (r < 0) {
		file_close(&file);
		return r;
	}
	ticket_page_keep_private(file.page);
	file.device = ours.st_dev;
	file.inode = ours.st_ino;
	*out = file;
	return 0;
}

/* Beside it, then over it: at no time is there half a page. */
static int file_make(struct file *out, const char *path)
{
	_cleanup_(closep) int fd = -1;
	struct file file = no_file;
	char next[4096];
	int r;

	if ((size_t)snprintf(next, sizeof(next), "%s.new", path) >= sizeof(next))
		return -ENAMETOOLONG;
	if (unlink(next) < 0 && errno != ENOENT)
		return -errno;
	fd = open(next, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* The mode again, for the umask may have taken more than it should. Allocated, so that no store fails. */
	r = fchmod(fd, 0600) < 0 ? -errno : space_allocate(fd, TICKET_PAGE_BYTES);
	if (r == 0)
		r = file_map(&file, next, fd);
	if (r == 0) {
		ticket_page_format(file.page);
		r = rename(next, path) < 0 ? -errno : 0;
	}
	if (r < 0) {
		file_close(&file);
		unlink(next);
		return r;
	}
	*out = file;
	return 0;
}

static const char *check_file(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return "it cannot be examined";
	if (!S_ISREG(st.st_mode))
		return "it is no regular file";
	if (st.st_uid != geteuid())
		return "it belongs to another user";
	if ((st.st_mode & 07777) != 0600)
		return "its mode is not 0600";
	if (st.st_size != TICKET_PAGE_BYTES)
		return "its size is not that of a page of keys";
	return NULL;
}

/* A page that is not ours to use any more; workers may still have it. */
static void wipe_file(int fd)
{
	static const uint8_t zeros[TICKET_PAGE_BYTES];
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > 65536)
		return;
	for (off_t at = 0; at < st.st_size; at += TICKET_PAGE_BYTES)
		(void)!pwrite(fd, zeros, (size_t)MIN(st.st_size - at, TICKET_PAGE_BYTES), at);
}

/* ---- A store ---- */

static void adopt(struct ticket_store *store, const struct keyring_time *now, struct keyring *ring)
{
	struct keyring left;

	ticket_page_recall(store->page.page, &left);
	keyring_restore(ring, &left, now);
	ticket_page_publish(store->page.page, ring);
	keyring_wipe(&left);
}

static int open_file(struct ticket_store *store, const struct keyring_time *now,
                     struct keyring *ring, char *why, size_t why_size)
{
	_cleanup_(closep) int fd =
	    open(store->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	const char *wrong;
	int r;

	if (fd < 0 && errno == ENOENT)
		return file_make(&store->page, store->path);
	wrong = fd < 0 ? strerror(errno) : check_file(fd);
	if (!wrong) {
		r = file_map(&store->page, store->path, fd);
		if (r < 0)
			return r;
		if (ticket_page_is_one(store->page.page)) {
			adopt(store, now, ring);
			return 0;
		}
		file_close(&store->page);
		wrong = "what stands in it is no page of keys";
	}
	snprintf(why, why_size, "%s", wrong);
	if (fd >= 0)
		wipe_file(fd);
	r = file_make(&store->page, store->path);
	return r < 0 ? r : TICKET_REBUILT;
}

int ticket_store_open(struct ticket_store **out, const char *path, const struct keyring_time *now,
                      struct keyring *ring, char *why, size_t why_size)
{
	struct ticket_store *store = calloc(1, sizeof(*store));
	int r = -ENOMEM;

	if (!store)
		return -ENOMEM;
	store->page = store->copy = no_file;
	store->path = strdup(path);
	if (store->path) {
		memset(ring, 0, sizeof(*ring));
		r = open_file(store, now, ring, why, why_size);
	}
	if (r < 0) {
		ticket_store_close(store);
		return r;
	}
	*out = store;
	return r;
}

void ticket_store_close(struct ticket_store *store)
{
	if (!store)
		return;
	file_close(&store->page);
	file_close(&store->copy);
	free(store->path);
	free(store);
}

int ticket_store_fd(const struct ticket_store *store)
{
	int fd = fcntl(store->page.fd, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

void ticket_store_publish(struct ticket_store *store, const struct keyring *ring)
{
	ticket_page_publish(store->page.page, ring);
	if (store->copy.page)
		ticket_page_publish(store->copy.page, ring);
}

void ticket_store_configure(struct ticket_store *store, enum ticket_resumption resumption)
{
	ticket_page_configure(store->page.page, resumption);
	if (store->copy.page)
		ticket_page_configure(store->copy.page, resumption);
}

int ticket_store_look(struct ticket_store *store, const struct keyring *ring)
{
	const struct file *there = store->copy.page ? &store->copy : &store->page;
	static const struct keyring no_keys;
	struct file next = no_file;
	struct stat st;
	int r;

	if (lstat(store->path, &st) == 0 && st.st_dev == there->device && st.st_ino == there->inode)
		return 0;
	r = file_make(&next, store->path);
	if (r < 0)
		return r;
	ticket_page_configure(next.page, ticket_page_resumption(store->page.page));
	ticket_page_publish(next.page, ring);
	/* A copy that was removed in its turn is in nobody's hands; the page is in the workers'. */
	if (store->copy.page)
		ticket_page_publish(store->copy.page, &no_keys);
	file_close(&store->copy);
	store->copy = next;
	return TICKET_REBUILT;
}
