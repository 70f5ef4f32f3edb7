/*
 * The process that may change the network.
 *
 * It is small on purpose: it reads eight bytes at a time from a socket pair that only the daemon holds, and
 * calls four functions of vip.h whose configuration was fixed before the fork. Whoever takes over the
 * daemon can make it take or let go of the one configured address, and no more.
 *
 * It also watches the interface. A NIC that is brought up needs seconds until frames leave it, and the
 * announcements of a take may all have come too early; and a cable that is plugged into another port leaves
 * switches with the old one. So when the carrier returns, a holder announces as after a take.
 *
 * Its life is the socket pair's: when the daemon's end closes, whichever way the daemon ended, the next
 * poll sees it and the helper exits without touching the network. So it ignores the signals that a
 * terminal or a service manager sends to the whole group: the daemon, on its way down, may still need it.
 */
#include "vip/vip_child.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "util/log.h"
#include "vip/vip_helper.h"
#include "vip/vip_internal.h"
#include "vip/vip_message.h"
#include "vip/vip_schedule.h"
#include "util/clock.h"

enum { CHILD_FD = 3 };

struct child {
	struct vip *vip;
	struct vip_schedule schedule;
	struct mnl_socket *watch;
	bool had_carrier;
};

/* Leaves stderr (last words, sanitizers) and the socket, at CHILD_FD. */
static int child_keep_descriptors(int fd)
{
	int null;

	if (fd != CHILD_FD && dup3(fd, CHILD_FD, O_CLOEXEC) < 0)
		return -errno;
	if (close_range(CHILD_FD + 1, ~0U, 0) < 0)
		return -errno;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return -errno;
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return -errno;
	if (null > CHILD_FD)
		close(null);
	return 0;
}

static void child_ignore_signals(void)
{
	static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2};
	sigset_t none;

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* From here on: `uid`, `gid`, two capabilities, and no way to more. */
static int child_confine(uid_t uid, gid_t gid, char *error, size_t error_size)
{
	bool same_user = uid == geteuid() && gid == getegid() && uid != 0;
	int r;

	capng_get_caps_process();
	if (!capng_have_capability(CAPNG_PERMITTED, CAP_NET_ADMIN) ||
	    !capng_have_capability(CAPNG_PERMITTED, CAP_NET_RAW))
		return vip_fail(error, error_size, -EPERM,
		                "%s to move a service address: start it as root, or with these "
		                "two (systemd: AmbientCapabilities=)",
		                vip_why(-EPERM));
	capng_clear(CAPNG_SELECT_BOTH);
	capng_updatev(CAPNG_ADD, (capng_type_t)(CAPNG_EFFECTIVE | CAPNG_PERMITTED), CAP_NET_ADMIN,
	              CAP_NET_RAW, -1);
	/* Started as that user already, with ambient capabilities: there is nothing to change to, and no
	 * right to (the inheritable set is emptied, and the ambient one with it). */
	if (same_user)
		r = capng_apply(CAPNG_SELECT_CAPS);
	else
		r = capng_change_id((int)uid, (int)gid,
		                    (capng_flags_t)(CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING));
	if (r != 0)
		return vip_fail(error, error_size, -EPERM,
		                "the helper process cannot become uid %u, gid %u with only "
		                "CAP_NET_ADMIN and CAP_NET_RAW (libcap-ng: %d): start tlsbatond as "
		                "root",
		                uid, gid, r);
	/* A change of user sets dumpable back (prctl(2)). */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		return vip_fail(error, error_size, -errno, "prctl: %s", strerror(errno));
	return 0;
}

/* False: the daemon is gone. */
static bool child_reply(unsigned op, int result, const char *error)
{
	struct vip_reply reply = {.version = VIP_MESSAGE_VERSION, .op = op, .result = result};

	if (result < 0)
		snprintf(reply.error, sizeof(reply.error), "%s", error);
	return send(CHILD_FD, &reply, sizeof(reply), 0) == (ssize_t)sizeof(reply);
}

/* False: the daemon is gone, or not itself. */
static bool child_serve(struct child *child)
{
	struct vip_request request;
	char error[VIP_MESSAGE_ERROR_BYTES] = "";
	ssize_t n = recv(CHILD_FD, &request, sizeof(request), MSG_TRUNC);
	int r;

	if (n != (ssize_t)sizeof(request) || request.version != VIP_MESSAGE_VERSION)
		return false;
	switch (request.op) {
	case VIP_TAKE:
		r = vip_take(child->vip, error, sizeof(error));
		if (r == 0)
			vip_schedule_taken(&child->schedule, clock_monotonic_us() / 1000);
		break;
	case VIP_RELEASE:
		r = vip_release(child->vip, error, sizeof(error));
		if (r == 0)
			vip_schedule_released(&child->schedule, clock_monotonic_us() / 1000);
		break;
	case VIP_HELD:
		r = vip_held(child->vip);
		if (r < 0)
			vip_fail(error, sizeof(error), r, "cannot tell who holds the address: %s",
			         vip_why(r));
		break;
	default:
		return false;
	}
	return child_reply(request.op, r, error);
}

/* Another process may have let go of the address since: a node that announces what it does not hold would
 * take it from the one that does. */
static void child_announce(struct child *child)
{
	char error[VIP_MESSAGE_ERROR_BYTES];

	if (vip_held(child->vip) == 1 && vip_announce(child->vip, error, sizeof(error)) < 0)
		log_warning("%s", error);
	vip_schedule_announced(&child->schedule, clock_monotonic_us() / 1000);
}

static void child_look_at_carrier(struct child *child)
{
	bool has_carrier = vip_has_carrier(child->vip);

	if (has_carrier && !child->had_carrier)
		vip_schedule_taken(&child->schedule, clock_monotonic_us() / 1000);
	child->had_carrier = has_carrier;
}

static _Noreturn void child_loop(struct child *child)
{
	struct pollfd ready[] = {
	    {.fd = CHILD_FD, .events = POLLIN},
	    {.fd = mnl_socket_get_fd(child->watch), .events = POLLIN},
	};
	int n;

	for (;;) {
		n = poll(ready, ARRAY_SIZE(ready),
		         vip_schedule_wait(&child->schedule, clock_monotonic_us() / 1000));
		if (n < 0 && errno != EINTR)
			_exit(EXIT_FAILURE);
		if (n > 0 && ready[0].revents && !child_serve(child))
			_exit(EXIT_SUCCESS);
		if (n > 0 && ready[1].revents) {
			netlink_drain(child->watch);
			child_look_at_carrier(child);
		}
		if (vip_schedule_wait(&child->schedule, clock_monotonic_us() / 1000) == 0)
			child_announce(child);
	}
}

_Noreturn void vip_child_run(int fd, struct vip *vip, unsigned announce_s, uid_t uid, gid_t gid)
{
	char error[VIP_MESSAGE_ERROR_BYTES] = "";
	struct child child = {.vip = vip};
	int r;

	prctl(PR_SET_NAME, "tlsbatond-vip");
	child_ignore_signals();
	r = child_keep_descriptors(fd);
	if (r < 0)
		_exit(EXIT_FAILURE); /* no socket to say it over: the daemon sees it closed */
	r = child_confine(uid, gid, error, sizeof(error));
	if (r == 0) {
		r = netlink_watch(&child.watch);
		if (r < 0)
			vip_fail(error, sizeof(error), r, "cannot watch interfaces: %s",
			         vip_why(r));
	}
	if (!child_reply(0, r, error) || r < 0)
		_exit(EXIT_FAILURE);
	child.had_carrier = vip_has_carrier(vip);
	vip_schedule_init(&child.schedule, announce_s, clock_monotonic_us() / 1000);
	child_loop(&child);
}
