/* The client of the control socket (src/daemon/control.h has the protocol). Blocking, with a limit. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ANSWER_MAX                                                                                 \
	(1 << 20) /* bytes of a line from the daemon; a status with 15 peers has some 6,000 */

/* How often, and how long in between, to try at a daemon whose backlog is full: it hangs, or has a lot to do. */
#define CONNECT_TRIES 40
#define CONNECT_PAUSE_MS 50

struct conversation {
	const char *path;
	int fd;
	char *buffer; /* ANSWER_MAX bytes */
	size_t n;
};

static int unreachable(const char *path, int error)
{
	switch (error) {
	case ENOENT:
	case ECONNREFUSED:
		cli_error("%s: no tlsbatond listens here; start it (systemctl start tlsbatond), or "
		          "name its socket "
		          "with --control",
		          path);
		break;
	case EACCES:
	case EPERM:
		cli_error("%s: only root and tlsbatond's own user may ask it; use sudo", path);
		break;
	case EAGAIN:
		cli_error("%s: tlsbatond does not take connections; see its log", path);
		break;
	default:
		cli_error("%s: tlsbatond cannot be reached: %s", path, strerror(error));
	}
	return CLI_UNREACHABLE;
}

static int ask_connect(struct conversation *c)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(c->path) >= sizeof(address.sun_path))
		return unreachable(c->path, ENAMETOOLONG);
	memcpy(address.sun_path, c->path, strlen(c->path));
	/* Non-blocking for the connect: a blocking one would wait for a hanging daemon without end. */
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return unreachable(c->path, errno);
	for (int i = 0; connect(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0; i++) {
		if (errno != EAGAIN || i == CONNECT_TRIES)
			return unreachable(c->path, errno);
		poll(NULL, 0, CONNECT_PAUSE_MS);
	}
	return fcntl(c->fd, F_SETFL, 0) < 0 ? unreachable(c->path, errno) : CLI_DONE;
}

/* A daemon that refuses a connection says why and closes: the write fails, and what it said is read all
 * the same. */
static int ask_send(const struct conversation *c, const char *command, json_t *args)
{
	json_auto_t *request = json_pack("{s:s, s:o*}", "command", command, "args", args);
	_cleanup_(freep) char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;

	if (!text) {
		cli_error("%s", strerror(ENOMEM));
		return CLI_FAILED;
	}
	text[strlen(text)] = '\n'; /* in the place of its NUL */
	for (size_t sent = 0, n = strcspn(text, "\n") + 1; sent < n;) {
		ssize_t r = send(c->fd, text + sent, n - sent, MSG_NOSIGNAL);

		if (r < 0)
			return errno == EPIPE || errno == ECONNRESET ? CLI_DONE
			                                             : unreachable(c->path, errno);
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

		if (r == 0) {
			cli_error("%s: tlsbatond does not answer; see its log", c->path);
			return CLI_UNREACHABLE;
		}
		if (c->n == ANSWER_MAX) {
			cli_error("%s: what listens here is no tlsbatond: it says more than 1 MiB",
			          c->path);
			return CLI_UNREACHABLE;
		}
		if (r > 0)
			got = recv(c->fd, c->buffer + c->n, ANSWER_MAX - c->n, 0);
		if (r < 0 || got < 0)
			return unreachable(c->path, errno);
		if (got == 0) {
			cli_error(
			    "%s: tlsbatond closed the connection before its answer; see its log",
			    c->path);
			return CLI_UNREACHABLE;
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
	cli_error("%s: what listens here is no tlsbatond of this version", c->path);
	return CLI_UNREACHABLE;
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
		cli_error("%s", text ? text : "tlsbatond says no, and not why");
		json_decref(line);
		return CLI_FAILED;
	}
}

int cli_ask(const struct cli *cli, const char *command, json_t *args, int timeout_ms,
            json_t **answer)
{
	_cleanup_(freep) char *directory = NULL, *path = NULL, *buffer = malloc(ANSWER_MAX);
	struct conversation c = {.fd = -1, .buffer = buffer};
	int r = CLI_DONE;

	if (cli->control_path) {
		path = strdup(cli->control_path);
	} else {
		r = cli_run_directory(cli, &directory);
		if (r == CLI_DONE && asprintf(&path, "%s/control.sock", directory) < 0)
			path = NULL;
	}
	if (r == CLI_DONE && (!path || !buffer)) {
		cli_error("%s", strerror(ENOMEM));
		r = CLI_FAILED;
	}
	if (r != CLI_DONE) {
		json_decref(args);
		return r;
	}
	c.path = path;
	r = ask_connect(&c);
	if (r == CLI_DONE)
		r = ask_send(&c, command, args);
	else
		json_decref(args);
	if (r == CLI_DONE)
		r = ask_answer(&c, timeout_ms, answer);
	closep(&c.fd);
	return r;
}
