/* The client of the control socket (src/daemon/control.h has the protocol). Blocking, with a limit. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cli/turn.h"
#include "util/clock.h"

#define ANSWER_MAX                                                                                 \
	(1 << 20) /* bytes of a line from the daemon; a status with 15 peers has some 6,000 */

/* How often, and how long in between, to try at a daemon whose backlog is full: it hangs, or has a lot to do. */
#define CONNECT_TRIES 40
#define CONNECT_PAUSE_MS 50

/* How long a command that may wait does so before it tries again. */
#define WAIT_PAUSE_MS 100

struct conversation {
	const char *path;
	int fd;
	char *buffer; /* ANSWER_MAX bytes */
	size_t n;
	bool again; /* what went wrong is over when the daemon is up, or has done what it is at */
	char error[1024];
};

/* Keeps the reason of a failure, which may not be the last word. */
static int PRINTF_LIKE(3, 4) ask_fail(struct conversation *c, int r, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(c->error, sizeof(c->error), fmt, args);
	va_end(args);
	return r;
}

static int unreachable(struct conversation *c, int error)
{
	switch (error) {
	case ENOENT:
	case ECONNREFUSED:
		c->again = true;
		return ask_fail(c, CLI_UNREACHABLE,
		                "%s: no tlsbatond listens here; start it (systemctl start "
		                "tlsbatond), or name its socket with --control",
		                c->path);
	case EACCES:
	case EPERM:
		return ask_fail(c, CLI_UNREACHABLE,
		                "%s: only root and tlsbatond's own user may ask it; use sudo",
		                c->path);
	case EAGAIN:
		c->again = true;
		return ask_fail(c, CLI_UNREACHABLE,
		                "%s: tlsbatond does not take connections; see its log", c->path);
	default:
		return ask_fail(c, CLI_UNREACHABLE, "%s: tlsbatond cannot be reached: %s", c->path,
		                strerror(error));
	}
}

static int ask_connect(struct conversation *c)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(c->path) >= sizeof(address.sun_path))
		return unreachable(c, ENAMETOOLONG);
	memcpy(address.sun_path, c->path, strlen(c->path));
	/* Non-blocking for the connect: a blocking one would wait for a hanging daemon without end. */
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return unreachable(c, errno);
	for (int i = 0; connect(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0; i++) {
		if (errno != EAGAIN || i == CONNECT_TRIES)
			return unreachable(c, errno);
		poll(NULL, 0, CONNECT_PAUSE_MS);
	}
	return fcntl(c->fd, F_SETFL, 0) < 0 ? unreachable(c, errno) : CLI_DONE;
}

/* A daemon that refuses a connection says why and closes: the write fails, and what it said is read all
 * the same. */
static int ask_send(struct conversation *c, const char *request)
{
	for (size_t sent = 0, n = strlen(request); sent < n;) {
		ssize_t r = send(c->fd, request + sent, n - sent, MSG_NOSIGNAL);

		if (r < 0)
			return errno == EPIPE || errno == ECONNRESET ? CLI_DONE
			                                             : unreachable(c, errno);
		sent += (size_t)r;
	}
	return CLI_DONE;
}

/* Reads one line. Out: its object. */
static int ask_line(struct conversation *c, int timeout_ms, json_t **line)
{
	json_t *object;
	char *end;

	while (!(end = memchr(c->buffer, '\n', c->n))) {
		struct pollfd pollfd = {.fd = c->fd, .events = POLLIN};
		ssize_t got = 0;
		int r = poll(&pollfd, 1, timeout_ms);

		if (r == 0)
			return ask_fail(c, CLI_UNREACHABLE,
			                "%s: tlsbatond does not answer; see its log", c->path);
		if (c->n == ANSWER_MAX)
			return ask_fail(c, CLI_UNREACHABLE,
			                "%s: what listens here is no tlsbatond: it says more than "
			                "1 MiB",
			                c->path);
		if (r > 0)
			got = recv(c->fd, c->buffer + c->n, ANSWER_MAX - c->n, 0);
		if ((r < 0 || got < 0) && errno != ECONNRESET)
			return unreachable(c, errno);
		if (got <= 0) {
			c->again = true;
			return ask_fail(c, CLI_UNREACHABLE,
			                "%s: tlsbatond closed the connection before its answer; "
			                "see its log",
			                c->path);
		}
		c->n += (size_t)got;
	}
	object = json_loadb(c->buffer, (size_t)(end - c->buffer), 0, NULL);
	c->n -= (size_t)(end + 1 - c->buffer);
	memmove(c->buffer, end + 1, c->n);
	if (json_is_object(object)) {
		*line = object;
		return CLI_DONE;
	}
	json_decref(object);
	return ask_fail(c, CLI_UNREACHABLE, "%s: what listens here is no tlsbatond of this version",
	                c->path);
}

/* Up to the last line. */
static int ask_answer(struct conversation *c, int timeout_ms, json_t **answer)
{
	for (;;) {
		const char *text;
		json_t *line = NULL;
		int r = ask_line(c, timeout_ms, &line);

		if (r != CLI_DONE)
			return r;
		text = json_string_value(json_object_get(line, "progress"));
		if (text) {
			cli_print_text(stdout, text);
			putchar('\n');
			fflush(stdout);
			json_decref(line);
			continue;
		}
		if (json_is_true(json_object_get(line, "ok"))) {
			*answer = line;
			return CLI_DONE;
		}
		text = json_string_value(json_object_get(line, "error"));
		c->again = json_is_true(json_object_get(line, "busy"));
		r = ask_fail(c, CLI_FAILED, "%s", text ? text : "tlsbatond says no, and not why");
		json_decref(line);
		return r;
	}
}

static int ask_once(struct conversation *c, const char *request, int timeout_ms, json_t **answer)
{
	int r;

	c->n = 0;
	c->again = false;
	r = ask_connect(c);
	if (r == CLI_DONE)
		r = ask_send(c, request);
	if (r == CLI_DONE)
		r = ask_answer(c, timeout_ms, answer);
	closep(&c->fd);
	c->fd = -1;
	return r;
}

/* For as long as the command may wait, and no later one has taken its place. */
static int ask_in_turn(struct conversation *c, unsigned wait_ms, const char *request,
                       int timeout_ms, json_t **answer)
{
	const int64_t until_us = clock_monotonic_us() + wait_ms * INT64_C(1000);
	struct turn turn;
	int r;

	turn_take(&turn, c->path);
	while ((r = ask_once(c, request, timeout_ms, answer)) != CLI_DONE && c->again &&
	       clock_monotonic_us() < until_us) {
		poll(NULL, 0, WAIT_PAUSE_MS);
		if (turn_is_ours(&turn))
			continue;
		r = ask_fail(c, CLI_FAILED, "a later promote or demote has taken this one's place");
		break;
	}
	turn_end(&turn);
	return r;
}

/* A line of JSON, the caller's to free; NULL: no memory. Takes `args` over. */
static char *ask_request(const char *command, json_t *args)
{
	json_auto_t *request = json_pack("{s:s, s:o*}", "command", command, "args", args);
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL, *line = NULL;

	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	return line;
}

int cli_ask(const struct cli *cli, const char *command, json_t *args, int timeout_ms,
            json_t **answer)
{
	_cleanup_(freep) char *directory = NULL, *path = NULL, *buffer = malloc(ANSWER_MAX);
	_cleanup_(freep) char *request = ask_request(command, args);
	struct conversation c = {.fd = -1, .buffer = buffer};
	int r = CLI_DONE;

	if (cli->control_path) {
		path = strdup(cli->control_path);
	} else {
		r = cli_run_directory(cli, &directory);
		if (r == CLI_DONE && asprintf(&path, "%s/control.sock", directory) < 0)
			path = NULL;
	}
	if (r != CLI_DONE)
		return r;
	if (!path || !buffer || !request) {
		cli_error("%s", strerror(ENOMEM));
		return CLI_FAILED;
	}
	c.path = path;
	if (cli->takes_turn)
		r = ask_in_turn(&c, cli->wait_ms, request, timeout_ms, answer);
	else
		r = ask_once(&c, request, timeout_ms, answer);
	if (r != CLI_DONE)
		cli_error("%s", c.error);
	return r;
}
