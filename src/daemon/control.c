/*
 * The control socket's server. A client has at most one request under way: what it sends meanwhile waits
 * in its input buffer, which is bounded by the read watermark, so a client can cost the daemon no more
 * than CONTROL_LINE_MAX bytes of input. What is written to it is bounded by the commands' own few lines
 * and the write timeout.
 *
 * A client that has shut down its sending side still gets its answer. One that has gone altogether looks
 * the same until something is written to it; only then, or at the write timeout, is it closed and the
 * command told.
 */
#include "daemon/control.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdio.h>
#include <sys/socket.h>

#include "daemon/control_socket.h"
#include "util/log.h"

struct control_request {
	struct control_client *client;
};

struct control_client {
	struct control *control;
	struct bufferevent *bev; /* NULL: this place is free */
	struct control_request *request;
	bool no_more; /* it will send nothing more: close it after what is under way */
};

struct control {
	struct control_ops ops;
	void *arg;
	char *path;
	struct evconnlistener *listener;
	struct event *again; /* listens again after it had to stop */
	struct control_client clients[CONTROL_CLIENTS_MAX];
};

static void client_close(struct control_client *client)
{
	struct control_request *request = client->request;

	bufferevent_free(client->bev);
	client->bev = NULL;
	client->request = NULL;
	client->no_more = false;
	if (request) {
		client->control->ops.gone(client->control->arg, request);
		free(request);
	}
}

/* Nothing is left to do for a client that will ask no more. */
static bool client_done(const struct control_client *client)
{
	return client->no_more && !client->request &&
	       evbuffer_get_length(bufferevent_get_output(client->bev)) == 0;
}

/* Idle time counts only while the daemon waits for the client. */
static void client_set_timeouts(struct control_client *client)
{
	const struct timeval limit = {.tv_sec = CONTROL_IDLE_S};

	bufferevent_set_timeouts(client->bev, client->request ? NULL : &limit, &limit);
}

/* Writes one line; takes `line` over. Whether there was memory for it. */
static bool client_write(struct control_client *client, json_t *line)
{
	char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	bool written =
	    text && evbuffer_add_printf(bufferevent_get_output(client->bev), "%s\n", text) >= 0;

	free(text);
	json_decref(line);
	return written;
}

static json_t *refusal(const char *error)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", error);
}

/* Answers what is no request; nothing more is read from that client. */
static void client_refuse(struct control_client *client, const char *error)
{
	client->no_more = true;
	bufferevent_disable(client->bev, EV_READ);
	if (!client_write(client, refusal(error)))
		client_close(client);
}

static void client_request(struct control_client *client, json_t *line)
{
	struct control *control = client->control;
	const char *name = json_string_value(json_object_get(line, "command"));
	json_t *args = json_object_get(line, "args");
	json_auto_t *none = NULL;
	struct control_request *request;

	if (!name || (args && !json_is_object(args))) {
		client_refuse(client, "a request is {\"command\": \"NAME\", \"args\": {...}}");
		return;
	}
	if (!args)
		args = none = json_object();
	request = calloc(1, sizeof(*request));
	if (!args || !request) {
		free(request);
		client_close(client);
		return;
	}
	request->client = client;
	client->request = request;
	client_set_timeouts(client);
	if (strcmp(name, "status") == 0)
		control_answer(request, json_pack("{s:b, s:o}", "ok", 1, "status",
		                                  control->ops.status(control->arg)));
	else
		control->ops.command(control->arg, request, name, args);
}

/* Takes the lines that are there, one at a time, until one is under way. */
static void client_read(struct control_client *client)
{
	struct evbuffer *input = bufferevent_get_input(client->bev);

	while (client->bev && !client->request && !client->no_more &&
	       evbuffer_get_length(input) > 0) {
		size_t n = 0;
		_cleanup_(freep) char *text = evbuffer_readln(input, &n, EVBUFFER_EOL_LF);
		json_auto_t *line = NULL;

		if (!text) {
			if (evbuffer_get_length(input) >= CONTROL_LINE_MAX)
				client_refuse(client, "the request is longer than 65536 bytes");
			return;
		}
		line = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
		if (!json_is_object(line)) {
			client_refuse(client, "a request is one JSON object a line");
			return;
		}
		client_request(client, line);
	}
}

static void on_read(struct bufferevent *bev, void *arg)
{
	(void)bev;
	client_read(arg);
}

static void on_written(struct bufferevent *bev, void *arg)
{
	struct control_client *client = arg;

	(void)bev;
	if (client_done(client))
		client_close(client);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct control_client *client = arg;

	(void)bev;
	if ((what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING)) {
		client_read(client);
		if (!client->bev)
			return;
		client->no_more = true;
		if (client_done(client))
			client_close(client);
		return;
	}
	client_close(client);
}

/* Refuses a connection with one line, if the socket takes it at once; it always does when it is new. */
static void refuse_connection(int fd, const char *error)
{
	json_auto_t *line = refusal(error);
	_cleanup_(freep) char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	struct iovec parts[] = {{text, text ? strlen(text) : 0}, {(char[]){'\n'}, 1}};
	const struct msghdr message = {.msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts)};

	if (text)
		(void)!sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int address_size, void *arg)
{
	struct control *control = arg;
	struct control_client *client = NULL;

	(void)address, (void)address_size;
	if (control_socket_allowed(fd) < 0) {
		refuse_connection(fd, "only root and the daemon's own user may give it commands");
		return;
	}
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX && !client; i++)
		if (!control->clients[i].bev)
			client = &control->clients[i];
	if (!client) {
		refuse_connection(
		    fd, "too many tlsbaton commands at once; try again when one has ended");
		return;
	}
	client->bev =
	    bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
	if (!client->bev) {
		close(fd);
		return;
	}
	client->control = control;
	bufferevent_setcb(client->bev, on_read, on_written, on_event, client);
	bufferevent_setwatermark(client->bev, EV_READ, 0, CONTROL_LINE_MAX);
	client_set_timeouts(client);
	if (bufferevent_enable(client->bev, EV_READ | EV_WRITE) < 0)
		client_close(client);
}

/* Out of descriptors, say. The connection stays in the backlog, so without a pause this would spin. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	const struct timeval pause = {.tv_sec = 1};
	struct control *control = arg;

	log_warning("control socket: %s; trying again in a second", strerror(errno));
	if (event_add(control->again, &pause) == 0)
		evconnlistener_disable(listener);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct control *control = arg;

	(void)fd, (void)what;
	evconnlistener_enable(control->listener);
}

int control_new(struct control **out, struct event_base *base, const char *path,
                const struct control_ops *ops, void *arg, char *error, size_t error_size)
{
	_cleanup_(control_freep) struct control *control = calloc(1, sizeof(*control));
	int fd = -1, r;

	snprintf(error, error_size, "%s: %s", path, strerror(ENOMEM));
	if (!control)
		return -ENOMEM;
	control->ops = *ops;
	control->arg = arg;
	r = control_socket_listen(&fd, path, error, error_size);
	if (r < 0)
		return r;
	/* From here on the name at `path` is ours to remove. */
	control->path = strdup(path);
	control->again = event_new(base, -1, 0, on_again, control);
	control->listener = evconnlistener_new(
	    base, on_accept, control, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!control->listener)
		close(fd);
	if (!control->path || !control->again || !control->listener) {
		snprintf(error, error_size, "%s: %s", path, strerror(ENOMEM));
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(control->listener, on_accept_error);
	*out = control;
	control = NULL;
	return 0;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (control->clients[i].bev)
			client_close(&control->clients[i]);
	if (control->listener)
		evconnlistener_free(control->listener);
	if (control->again)
		event_free(control->again);
	if (control->path)
		unlink(control->path);
	free(control->path);
	free(control);
}

void control_progress(struct control_request *request, const char *text)
{
	/* Without memory the client misses a line; its answer still comes. */
	(void)client_write(request->client, json_pack("{s:s}", "progress", text));
}

void control_answer(struct control_request *request, json_t *answer)
{
	struct control_client *client = request->client;

	free(request);
	client->request = NULL;
	if (!client_write(client, answer)) {
		client_close(client);
		return;
	}
	client_set_timeouts(client);
	/* What it sent meanwhile is taken from the loop, not from here: the caller is in the midst of a
	 * command, and must not find itself in the next one. */
	if (evbuffer_get_length(bufferevent_get_input(client->bev)) > 0)
		bufferevent_trigger(client->bev, EV_READ,
		                    BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
}
