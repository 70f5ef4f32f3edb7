#include "daemon/control_socket.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 16

/* Whether a socket file is one that nobody listens on any more: 1, 0, or a negated errno. */
static int socket_is_stale(const struct sockaddr_un *address)
{
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
		return 0; /* EAGAIN: its backlog is full, so it has one */
	return errno == ECONNREFUSED ? 1 : -errno;
}

/* Makes way for a new socket. */
static int socket_clear(const struct sockaddr_un *address, char *error, size_t error_size)
{
	const char *path = address->sun_path;
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode)) {
		snprintf(error, error_size, "%s: is in the way and not a socket; move it elsewhere",
		         path);
		return -EEXIST;
	}
	r = socket_is_stale(address);
	if (r == 0) {
		snprintf(
		    error, error_size,
		    "%s: another tlsbatond listens here; stop it, or set another run-directory",
		    path);
		return -EADDRINUSE;
	}
	if (r < 0)
		return r;
	return unlink(path) < 0 ? -errno : 0;
}

int control_socket_listen(int *out, const char *path, char *error, size_t error_size)
{
	_cleanup_(closep) int fd = -1;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r;

	*error = '\0';
	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(error, error_size,
		         "%s: the path is too long for a socket; set a shorter run-directory",
		         path);
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, strlen(path));
	r = socket_clear(&address, error, error_size);
	if (r < 0)
		goto out;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The mode is set before the name exists: no moment in which others could connect. */
	if (fd < 0 || fchmod(fd, 0600) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0) {
		r = -errno;
		goto out;
	}
	*out = fd;
	fd = -1;
out:
	if (r < 0 && *error == '\0')
		snprintf(error, error_size, "%s: %s", path, strerror(-r));
	return r;
}

int control_socket_allowed(int fd)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
		return -errno;
	return peer.uid == 0 || peer.uid == geteuid() ? 0 : -EACCES;
}
