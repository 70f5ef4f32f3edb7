/*
 * The daemon's side of its privileged helper.
 *
 * Requests wait here, in order, and one at a time is under way: so a send never finds the socket full, and
 * an answer always belongs to the first in the queue. The helper's death is told by its end of the pair
 * closing. It is then reported, every waiting request fails with -EPIPE, and so does every later one: a
 * new helper would need the privileges that the daemon gave up, which is the point of having had one.
 *
 * A helper that hangs would keep every later command waiting behind the one that it does not answer. So
 * there is a time limit, after which it is killed, lest it move the address when nobody expects that any
 * more. The limit must pass twice in a row: once, and the whole machine may have been asleep.
 *
 * `done` is the last thing that happens in any call from the event loop, so it may ask again, and it may
 * free the helper.
 */
#include "vip/vip_helper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "util/log.h"
#include "vip/vip_child.h"
#include "vip/vip_internal.h"
#include "vip/vip_message.h"

#define VIP_QUEUE_MAX 32

struct vip_helper {
	int fd;
	pid_t pid;
	bool is_dead;
	struct event *readable;
	struct event *overdue; /* runs while a request is under way */
	struct timeval limit;
	bool is_late; /* the limit has passed once for the first in the queue */
	vip_helper_done done;
	void *arg;
	enum vip_op queue[VIP_QUEUE_MAX]; /* a ring: the first is under way */
	unsigned first, n;
};

/* Waits for the child's word that it is confined, or why not. */
static int helper_wait_ready(int fd, char *error, size_t error_size)
{
	struct vip_reply reply;
	ssize_t n;

	do
		n = recv(fd, &reply, sizeof(reply), 0);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(reply) || reply.version != VIP_MESSAGE_VERSION)
		return vip_fail(error, error_size, -EPIPE,
		                "the helper process for the service address ended at its start");
	reply.error[sizeof(reply.error) - 1] = '\0';
	if (reply.result < 0)
		return vip_fail(error, error_size, reply.result, "%s", reply.error);
	return 0;
}

static void helper_reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int vip_helper_new(struct vip_helper **out, const struct vip_config *config, unsigned announce_s,
                   uid_t uid, gid_t gid, char *error, size_t error_size)
{
	_cleanup_(vip_freep) struct vip *vip = NULL;
	_cleanup_(freep) struct vip_helper *helper = calloc(1, sizeof(*helper));
	sigset_t all, before;
	int pair[2], r;

	if (!helper)
		return vip_fail(error, error_size, -ENOMEM, "out of memory");
	r = vip_new(&vip, config, error, error_size);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return vip_fail(error, error_size, -errno, "cannot make a socket pair: %s",
		                strerror(errno));
	/* The child unblocks them once it ignores them: none may reach it before. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	helper->pid = fork();
	if (helper->pid == 0)
		vip_child_run(pair[1], vip, announce_s, uid, gid);
	r = helper->pid < 0 ? -errno : 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return vip_fail(error, error_size, r, "cannot fork: %s", strerror(-r));
	}
	r = helper_wait_ready(pair[0], error, error_size);
	if (r < 0) {
		close(pair[0]);
		helper_reap(helper->pid);
		return r;
	}
	helper->fd = pair[0];
	*out = helper;
	helper = NULL;
	return 0;
}

/* From here on requests fail: those that wait do so one by one, from the event loop. */
static void helper_die(struct vip_helper *helper, const char *why)
{
	helper->is_dead = true;
	event_del(helper->readable);
	event_del(helper->overdue);
	kill(helper->pid, SIGKILL); /* not reaped yet: nobody else has this number */
	log_error("the helper process for the service address (pid %d) %s: this node can no longer "
	          "take or release the address; restart tlsbatond",
	          (int)helper->pid, why);
	if (helper->n > 0)
		event_active(helper->readable, EV_READ, 0);
}

static void helper_on_overdue(evutil_socket_t fd, short what, void *arg)
{
	struct vip_helper *helper = arg;

	(void)fd;
	(void)what;
	if (helper->is_late) {
		helper_die(helper, "does not answer, and was killed");
		return;
	}
	helper->is_late = true;
	event_add(helper->overdue, &helper->limit);
}

static void helper_send_first(struct vip_helper *helper)
{
	struct vip_request request = {
	    .version = VIP_MESSAGE_VERSION,
	    .op = helper->queue[helper->first],
	};

	helper->is_late = false;
	event_add(helper->overdue, &helper->limit);
	if (send(helper->fd, &request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		helper_die(helper, "has ended");
}

static enum vip_op helper_pop(struct vip_helper *helper)
{
	enum vip_op op = helper->queue[helper->first];

	helper->first = (helper->first + 1) % VIP_QUEUE_MAX;
	helper->n--;
	return op;
}

static void helper_fail_first(struct vip_helper *helper)
{
	enum vip_op op = helper_pop(helper);

	if (helper->n > 0)
		event_active(helper->readable, EV_READ, 0);
	helper->done(helper->arg, op, -EPIPE, "the helper process has ended: restart tlsbatond");
}

static void helper_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct vip_helper *helper = arg;
	struct vip_reply reply;
	enum vip_op op;
	ssize_t n;

	(void)what;
	if (helper->is_dead) {
		helper_fail_first(helper);
		return;
	}
	n = recv(fd, &reply, sizeof(reply), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* Anything but the answer to what was asked is not from a helper that works. */
	if (n != (ssize_t)sizeof(reply) || reply.version != VIP_MESSAGE_VERSION || helper->n == 0 ||
	    reply.op != helper->queue[helper->first]) {
		helper_die(helper, "has ended");
		return;
	}
	event_del(helper->overdue);
	reply.error[sizeof(reply.error) - 1] = '\0';
	op = helper_pop(helper);
	if (helper->n > 0)
		helper_send_first(helper);
	helper->done(helper->arg, op, reply.result, reply.error);
}

int vip_helper_start(struct vip_helper *helper, struct event_base *base, unsigned limit_ms,
                     vip_helper_done done, void *arg)
{
	helper->readable =
	    event_new(base, helper->fd, EV_READ | EV_PERSIST, helper_on_readable, helper);
	helper->overdue = evtimer_new(base, helper_on_overdue, helper);
	if (!helper->readable || !helper->overdue || event_add(helper->readable, NULL) < 0)
		return -ENOMEM; /* the events go with the helper */
	helper->limit = (struct timeval){.tv_sec = limit_ms / 1000,
	                                 .tv_usec = (suseconds_t)(limit_ms % 1000) * 1000};
	helper->done = done;
	helper->arg = arg;
	return 0;
}

int vip_helper_ask(struct vip_helper *helper, enum vip_op op)
{
	if (op != VIP_TAKE && op != VIP_RELEASE && op != VIP_HELD)
		return -EINVAL;
	if (!helper->done || helper->is_dead)
		return -EPIPE;
	if (helper->n == VIP_QUEUE_MAX)
		return -ENOBUFS;
	helper->queue[(helper->first + helper->n++) % VIP_QUEUE_MAX] = op;
	if (helper->n == 1)
		helper_send_first(helper);
	return 0;
}

bool vip_helper_is_alive(const struct vip_helper *helper)
{
	return !helper->is_dead;
}

void vip_helper_free(struct vip_helper *helper)
{
	if (!helper)
		return;
	if (helper->readable)
		event_free(helper->readable);
	if (helper->overdue)
		event_free(helper->overdue);
	close(helper->fd);
	helper_reap(helper->pid);
	free(helper);
}
