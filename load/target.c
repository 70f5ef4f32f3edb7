#include "target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <event2/http.h>

static bool is_private4(uint32_t address)
{
	return address >> 24 == 127 || address >> 24 == 10 || address >> 20 == 0xac1 ||
	       address >> 16 == 0xc0a8 || address >> 17 == 0xc612 >> 1;
}

bool target_is_private(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return is_private4(
		    ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6) {
		const struct in6_addr *in6 =
		    &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
		const unsigned char *byte = in6->s6_addr;

		if (IN6_IS_ADDR_V4MAPPED(in6))
			return is_private4((uint32_t)byte[12] << 24 | (uint32_t)byte[13] << 16 |
			                   (uint32_t)byte[14] << 8 | byte[15]);
		return IN6_IS_ADDR_LOOPBACK(in6) || (byte[0] & 0xfe) == 0xfc ||
		       IN6_IS_ADDR_LINKLOCAL(in6);
	}
	return false;
}

static int write_text(const struct addrinfo *info, char **out)
{
	char host[INET6_ADDRSTRLEN + 32], port[8];

	if (getnameinfo(info->ai_addr, info->ai_addrlen, host, sizeof(host), port, sizeof(port),
	                NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return -EINVAL;
	return asprintf(out, info->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port) < 0
	           ? -ENOMEM
	           : 0;
}

static int check_all(const struct addrinfo *list, char *error, size_t n_error)
{
	for (const struct addrinfo *info = list; info; info = info->ai_next) {
		_cleanup_(freep) char *text = NULL;
		int r;

		if (target_is_private(info->ai_addr))
			continue;
		r = write_text(info, &text);
		snprintf(error, n_error,
		         "%s is not a private address: give --i-own-this-server if the server and "
		         "the network to it are yours",
		         r < 0 ? "the server's" : text);
		return -EPERM;
	}
	return 0;
}

static int resolve(struct target *target, const char *host, const char *port, bool owned,
                   char *error, size_t n_error)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *list;
	int r = getaddrinfo(host, port, &hints, &list);

	if (r != 0) {
		snprintf(error, n_error, "cannot resolve \"%s\": %s: check the name", host,
		         r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
		return -EHOSTUNREACH;
	}
	r = owned ? 0 : check_all(list, error, n_error);
	if (r == 0) {
		memcpy(&target->address, list->ai_addr, list->ai_addrlen);
		target->n_address = list->ai_addrlen;
		r = write_text(list, &target->text);
		if (r < 0)
			snprintf(error, n_error, "%s", strerror(-r));
	}
	freeaddrinfo(list);
	return r;
}

/* "HOST", "HOST:PORT", "[ADDRESS]", "[ADDRESS]:PORT" in `text`, which is cut up. False: malformed. */
static bool split_host_port(char *text, char **host, char **port)
{
	char *colon, *end;

	*host = text;
	if (*text == '[') {
		end = strchr(text, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			return false;
		*host = text + 1;
		colon = end[1] ? end + 1 : NULL;
		*end = '\0';
	} else {
		colon = strchr(text, ':');
		if (colon && strchr(colon + 1, ':'))
			return false;
	}
	if (colon) {
		unsigned long number;

		*colon = '\0';
		*port = colon + 1;
		number = strtoul(*port, &end, 10);
		if (**port < '0' || **port > '9' || *end || number == 0 || number > 65535)
			return false;
	}
	return **host != '\0';
}

static int write_request(struct target *target, const struct evhttp_uri *uri)
{
	const char *path = evhttp_uri_get_path(uri), *query = evhttp_uri_get_query(uri);
	const char *open = strchr(target->host, ':') ? "[" : "", *close = *open ? "]" : "";
	int port = evhttp_uri_get_port(uri);
	char port_text[16] = "";
	int n;

	if (port > 0 && port != 443)
		snprintf(port_text, sizeof(port_text), ":%d", port);
	n = asprintf(&target->request,
	             "GET %s%s%s HTTP/1.1\r\nHost: %s%s%s%s\r\n"
	             "User-Agent: tlsbaton-load/" TLSBATON_VERSION "\r\n"
	             "Accept: */*\r\nConnection: close\r\n\r\n",
	             path && *path ? path : "/", query ? "?" : "", query ? query : "", open,
	             target->host, close, port_text);
	if (n < 0) {
		target->request = NULL;
		return -ENOMEM;
	}
	target->n_request = (size_t)n;
	return 0;
}

static int take_host(struct target *target, const char *host)
{
	unsigned char scratch[sizeof(struct in6_addr)];
	size_t n = strlen(host);

	target->host = host[0] == '[' && n > 2 ? strndup(host + 1, n - 2) : strdup(host);
	if (!target->host)
		return -ENOMEM;
	target->host_is_address = inet_pton(AF_INET, target->host, scratch) == 1 ||
	                          inet_pton(AF_INET6, target->host, scratch) == 1;
	return 0;
}

static int init_parsed(struct target *target, const struct evhttp_uri *uri, const char *connect,
                       bool owned, char *error, size_t n_error)
{
	_cleanup_(freep) char *elsewhere = connect ? strdup(connect) : NULL;
	char url_port[16], *host, *port = url_port;
	int r;

	snprintf(error, n_error, "%s", strerror(ENOMEM));
	if (connect && !elsewhere)
		return -ENOMEM;
	r = take_host(target, evhttp_uri_get_host(uri));
	if (r == 0)
		r = write_request(target, uri);
	if (r < 0)
		return r;
	snprintf(url_port, sizeof(url_port), "%d",
	         evhttp_uri_get_port(uri) > 0 ? evhttp_uri_get_port(uri) : 443);
	host = target->host;
	if (elsewhere && !split_host_port(elsewhere, &host, &port)) {
		snprintf(error, n_error,
		         "--connect \"%s\" is not HOST, HOST:PORT or [ADDRESS]:PORT", connect);
		return -EINVAL;
	}
	return resolve(target, host, port, owned, error, n_error);
}

int target_init(struct target *target, const char *url, const char *connect, bool owned,
                char *error, size_t n_error)
{
	struct target made = {0};
	struct evhttp_uri *uri = evhttp_uri_parse(url);
	const char *scheme = uri ? evhttp_uri_get_scheme(uri) : NULL;
	const char *host = uri ? evhttp_uri_get_host(uri) : NULL;
	int r = -EINVAL;

	if (!scheme || strcasecmp(scheme, "https") != 0 || !host || !*host)
		snprintf(error, n_error,
		         "\"%s\" is not a URL that works here: give https://HOST[:PORT]/PATH", url);
	else if (evhttp_uri_get_userinfo(uri))
		snprintf(error, n_error,
		         "the URL has a user name, which is not supported: leave it out");
	else
		r = init_parsed(&made, uri, connect, owned, error, n_error);
	if (uri)
		evhttp_uri_free(uri);
	if (r < 0)
		target_deinit(&made);
	else
		*target = made;
	return r;
}

void target_deinit(struct target *target)
{
	free(target->host);
	free(target->request);
	free(target->text);
	*target = (struct target){0};
}
