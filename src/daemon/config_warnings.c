/* What a configuration allows but its writer hardly meant. Nothing here stops a daemon. */
#include "daemon/config.h"

#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>

#include "daemon/config_machine.h"
#include "daemon/config_value.h"
#include "repl/tls.h"

struct warnings {
	const struct config *config;
	void (*warn)(void *arg, const char *text);
	void *arg;
	unsigned n;
};

static void PRINTF_LIKE(2, 3) warnings_add(struct warnings *w, const char *fmt, ...)
{
	char text[2048];
	va_list args;
	int n = snprintf(text, sizeof(text), "%s: ", w->config->path);

	if (n < 0 || (size_t)n >= sizeof(text))
		return;
	va_start(args, fmt);
	vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, args);
	va_end(args);
	w->n++;
	w->warn(w->arg, text);
}

static bool is_any(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)ss)->sin6_addr);
	return ((const struct sockaddr_in *)ss)->sin_addr.s_addr == htonl(INADDR_ANY);
}

/* Whether an interface of this machine has the address; also true where that cannot be found out. */
static bool is_local(const struct sockaddr_storage *wanted)
{
	struct sockaddr_storage ss;
	struct ifaddrs *all, *i;
	bool found = false;

	if (getifaddrs(&all) < 0)
		return true;
	for (i = all; i && !found; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != wanted->ss_family)
			continue;
		ss = *wanted; /* with its port, which an interface's address has not */
		if (wanted->ss_family == AF_INET6)
			((struct sockaddr_in6 *)&ss)->sin6_addr =
			    ((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr;
		else
			((struct sockaddr_in *)&ss)->sin_addr =
			    ((struct sockaddr_in *)i->ifa_addr)->sin_addr;
		found = config_same_address(&ss, wanted);
	}
	freeifaddrs(all);
	return found;
}

/* What the machine refuses is an error, and config_refused()'s. */
static void warn_service(struct warnings *w)
{
	char why[512] = "";
	int r = config_service_looks(w->config, why, sizeof(why));

	if (r == -ENODEV)
		warnings_add(
		    w,
		    "this node has no interface %s for the service address, so its settings "
		    "could not be checked; see `ip link`",
		    w->config->service.interface);
	else if (r == VIP_WARNS)
		warnings_add(w, "%s", why);
	else if (r < 0 && r != -EINVAL)
		warnings_add(w, "the settings of interface %s could not be checked: %s",
		             w->config->service.interface, why);
}

static void warn_certificates(struct warnings *w)
{
	char why[768] = "";
	int r = config_certificates_look(w->config, why, sizeof(why));

	if (r == TLS_OUT_OF_DATE)
		warnings_add(w, "%s", why);
	else if (r < 0 && r != -EINVAL)
		warnings_add(w, "the certificate could not be checked (%s); check again as root",
		             why);
}

static void warn_files(struct warnings *w)
{
	char text[CONFIG_RECIPE_MAX + 2 * PATH_MAX];

	if (config_unreadable(w->config, text, sizeof(text)))
		warnings_add(w, "%s", text);
	if (config_unreachable(w->config, text, sizeof(text)))
		warnings_add(w, "%s", text);
}

unsigned config_warnings(const struct config *config, void (*warn)(void *arg, const char *text),
                         void *arg)
{
	struct warnings w = {.config = config, .warn = warn, .arg = arg};
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGE_SIZE);
	char why[CONFIG_WHY_MAX];
	struct sockaddr_storage ss;

	if (config->n_peers == 0)
		warnings_add(
		    &w, "there is no peer, so sessions are shared with nobody; add a peer section");
	if (config->n_worker_uids == 0 && config->n_worker_gids == 0)
		warnings_add(&w, "only servers that run as root may connect; set worker-users");
	if (config_value_endpoint(&ss, config->listen, why) == 0 && !is_any(&ss) && !is_local(&ss))
		warnings_add(&w,
		             "no interface of this node has the address of listen, %s; set it to "
		             "one that has",
		             config->listen);
	if (config->has_service)
		warn_service(&w);
	warn_files(&w);
	warn_certificates(&w);
	if (config->table_bytes > memory / 2)
		warnings_add(&w,
		             "table-size is more than half of this node's memory (%llu MiB); set a "
		             "smaller one",
		             (unsigned long long)(memory >> 20));
	if (config->resumption != TICKET_STATEFUL && config->ticket_rotation_s < 300)
		warnings_add(
		    &w,
		    "ticket-rotation (%u s) is shorter than the 300 s for which Apache and "
		    "nginx let a client resume; set a longer one",
		    config->ticket_rotation_s);
	if (config->heartbeat_ms < config->gate_deadline_ms)
		warnings_add(
		    &w, "heartbeat (%u ms) is shorter than gate-deadline (%u ms); set a longer one",
		    config->heartbeat_ms, config->gate_deadline_ms);
	return w.n;
}
