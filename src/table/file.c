/*
 * The table's file: who holds it, and how another takes its place.
 *
 * The writer holds an OFD lock on the file that stands at the path. Holding it, after checking that this file
 * still stands there, is the right to replace it; so of two daemons started at once one wins and the other
 * is refused. OFD, because the classic fcntl lock vanishes when any descriptor of the file is closed.
 *
 * A file that others may have mapped is never truncated: a reader would get SIGBUS. What is replaced is
 * ended first: its index is zeros, and its tail is beyond every position, so that readers find nothing, and touch
 * nothing but the header, the index and, for slots that are zero, the first page of the log. Those stay real. The rest
 * is a hole from then on. It must not be looked at: on tmpfs a read of a hole takes a page, and where /run is full
 * that is a SIGBUS as well. Who was between a slot and its record while all this went on still reads there, once; that
 * takes a page of those which the hole has just set free.
 * Space is allocated when a file is made, so that a full /run is an error then and not a signal later.
 */
#include "table/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define FILE_OPEN_TRIES 8
#define FILE_PAGE_BYTES 4096

static int file_lock(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EWOULDBLOCK : -errno;
}

/* 0: `fd` is the regular file at `path`; 1: another file has taken its place. */
static int file_stands_at(int fd, const char *path)
{
	struct stat opened, standing;

	if (fstat(fd, &opened) < 0)
		return -errno;
	if (!S_ISREG(opened.st_mode))
		return -EINVAL;
	if (lstat(path, &standing) < 0)
		return errno == ENOENT ? 1 : -errno;
	return opened.st_dev != standing.st_dev || opened.st_ino != standing.st_ino;
}

/* Opens and locks the file at `path`; an empty one is made where there is none. */
int file_open(int *out, const char *path)
{
	for (int i = 0; i < FILE_OPEN_TRIES; i++) {
		_cleanup_(closep) int fd = -1;
		int r;

		fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
		r = file_stands_at(fd, path);
		if (r < 0)
			return r;
		r = file_lock(fd);
		if (r < 0)
			return r;
		/* Between open and lock, another writer may have replaced it. */
		r = file_stands_at(fd, path);
		if (r < 0)
			return r;
		if (r == 0) {
			*out = fd;
			fd = -1;
			return 0;
		}
	}
	return -EWOULDBLOCK;
}

/* A read-only descriptor of the file that `writer_fd` has open. */
int file_open_read_only(int *out, const char *path, int writer_fd)
{
	struct stat ours, theirs;
	_cleanup_(closep) int fd = -1;

	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(writer_fd, &ours) < 0 || fstat(fd, &theirs) < 0)
		return -errno;
	if (ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino)
		return -ESTALE;
	*out = fd;
	fd = -1;
	return 0;
}

/* NULL if nobody but its owner, who is us, can have opened the file; or what is wrong, in words. */
const char *file_check_owner(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return "it cannot be examined";
	if (st.st_uid != geteuid())
		return "it belongs to another user";
	if ((st.st_mode & 07777) != 0600)
		return "its mode is not 0600";
	return NULL;
}

/* Gives an empty file its mode and size. */
int file_size(int fd, uint64_t size_bytes)
{
	/* The mode again, for the umask may have taken more than it should. */
	return fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)size_bytes) < 0 ? -errno : 0;
}

static int file_write_zeros(int fd, off_t at, off_t end)
{
	static const uint8_t zeros[65536];

	while (at < end) {
		ssize_t n = pwrite(fd, zeros, MIN(sizeof(zeros), (size_t)(end - at)), at);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			at += n;
	}
	return 0;
}

/* What readers of a table of this size look at becomes that of a table which has ended. Out: `*n_bytes`, how much that
 * is. */
static int file_end(int fd, off_t size, off_t *n_bytes)
{
	struct layout_header ended;
	struct layout layout;
	ssize_t n;

	*n_bytes = 0;
	if (!layout_init(&layout, (uint64_t)size))
		return 0; /* nobody has taken this for a table */
	memset(&ended, 0, sizeof(ended));
	word_store(&ended.tail, UINT64_MAX);
	word_store(&ended.acked, UINT64_MAX);
	n = pwrite(fd, &ended, sizeof(ended), 0);
	if (n != sizeof(ended))
		return n < 0 ? -errno : -EIO;
	*n_bytes = (off_t)layout.log_offset + FILE_PAGE_BYTES;
	return file_write_zeros(fd, sizeof(ended), *n_bytes);
}

static int file_wipe(int fd)
{
	struct stat st;
	off_t n_kept;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	r = file_end(fd, st.st_size, &n_kept);
	if (r < 0 || st.st_size == 0 ||
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, n_kept,
	              st.st_size - n_kept) == 0)
		return r;
	return file_write_zeros(fd, n_kept, st.st_size);
}

/*
 * Wipes the file that `*fd` holds locked, and puts an empty one in its place, locked too. `*fd` is the new one
 * then; the old one is closed. Dying on the way leaves at the path what is no table.
 */
int file_replace(int *fd, const char *path)
{
	_cleanup_(closep) int new_fd = -1;
	char new_path[PATH_MAX];
	int r;

	if ((size_t)snprintf(new_path, sizeof(new_path), "%s.new", path) >= sizeof(new_path))
		return -ENAMETOOLONG;
	r = file_wipe(*fd);
	if (r < 0)
		return r;
	/* What stands there is a leftover: only the holder of the lock comes here. */
	if (unlink(new_path) < 0 && errno != ENOENT)
		return -errno;
	new_fd = open(new_path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (new_fd < 0)
		return -errno;
	r = file_lock(new_fd);
	if (r == 0 && rename(new_path, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(new_path);
		return r;
	}
	close(*fd);
	*fd = new_fd;
	new_fd = -1;
	return 0;
}

static int file_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The kernel's random name for this boot; zeros where there is none to be had. */
void file_boot_id(uint64_t boot[2])
{
	_cleanup_(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	unsigned n_digits = 0;

	boot[0] = boot[1] = 0;
	for (ssize_t i = 0; i < n && n_digits < 32; i++) {
		int digit = file_hex(text[i]);

		if (digit < 0)
			continue;
		boot[n_digits / 16] = boot[n_digits / 16] << 4 | (uint64_t)digit;
		n_digits++;
	}
}
