/*
 * The session cache that mod_ssl sees: a provider for `SSLSessionCache
 * tlsbaton[:/path/worker.sock]`.
 *
 * Life. create() parses the argument. init() runs in the parent, as root, before it forks: the
 * handle that it opens, and with it the mapping of the session table, is inherited by all children,
 * so that one that starts while the daemon is down can resume all the same. Each child connects to
 * the daemon by itself, as the user it runs as, before it takes its first client, so that this
 * client's session is sent and held back like any other. destroy() runs when a configuration is
 * dropped: at a stop, and in the parent at every restart, graceful or not, where a new create() and
 * init() follow. (At its start Apache reads its configuration twice; the first time mod_ssl does
 * not call init(). And it is in the background when init() is called: what fails there stands in
 * the error log.)
 *
 * The handle outlives the configuration: a restart while the daemon is down must not cost the
 * mapping of the table, which only the daemon could give again. So destroy() leaves it, and the
 * next init() goes on with it if the socket is the same. That needs the module to stay in memory
 * (mod_tlsbaton.c). Children of the old configuration go on with the copies that fork gave them.
 *
 * Concurrency. flags is 0: children and threads call in at once, and mod_ssl takes no mutex around
 * us.
 *
 * Secrets. No copy of a DER is made here: libtlsbaton reads mod_ssl's buffer and writes to it, and
 * leaves it untouched when there is nothing to give.
 *
 * What is not stored. With tickets, TLS 1.3's sessions are stateless: OpenSSL reports each as new
 * although its state went into the client's ticket, encrypted by a key of the group, and never
 * looks one up. (TLS 1.2 does not even report them.) And where the group resumes by tickets only,
 * what a client without tickets is given a session ID for.
 *
 * Lifetime. Each TLS 1.3 resumption makes a new session, to which OpenSSL gives a whole new
 * lifetime. A client could so stay authenticated for ever by one certificate check. libtlsbaton's
 * guard (mod_tlsbaton.c sets it at each virtual host) lets sessions end when the first of them would
 * have, or the client's certificate does, and the record here ends with its session.
 *
 * What is not removed. OpenSSL calls for a removal when a connection ends without a close_notify,
 * after a fatal alert, and when a session has expired. None of these removes anything here:
 *  - An unclean end is how most connections end when their server dies or their address moves: to
 *    remove those sessions on every node would delete just what a switchover is to save. RFC 5246,
 *    7.2.1 allows to resume after it (TLS 1.1 dropped the rule of 1.0 that forbade it).
 *  - A fatal alert is harder. RFC 5246, 7.2.2 says that such a session MUST NOT be resumed; RFC
 *    8446, 6.2 makes it SHOULD for what tickets stand for. We do not obey the former. mod_ssl does
 *    not tell the two causes apart for us: both arrive as a bare session ID. And an alert is no
 *    evidence against the master secret: one damaged segment that anybody on the path puts into the
 *    connection is enough to cause it, so the rule would hand out a button that deletes a client's
 *    sessions on every node. What stays is a session that both ends agreed on in a verified
 *    handshake, until its time is over.
 *  - An expired one goes by itself. Removals are counted, and shown by mod_status. Those that
 *    security asks for go through tlsbaton_session_remove(), for which mod_ssl has no caller.
 */
#include "mod_tlsbaton.h" /* first: Apache's headers need httpd.h before them */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <apr_strings.h>
#include <http_log.h>

APLOG_USE_MODULE(tlsbaton);

/* The consumer's name by which mod_ssl's session cache (not its OCSP cache) introduces itself. */
#define MOD_SSL_SESSIONS "mod_ssl-sess"

/* How long a process waits for the daemon at its start: it takes no client yet. The library connects in
 * steps, at each call; a daemon that is there is connected after one or two. */
#define CONNECT_MS 100

/* Both are set in the parent, which has no threads; children inherit them and leave them as they are. */
static ap_socache_instance_t *active;
static struct {
	tlsbaton *baton;
	char *socket_path;
} kept;

ap_socache_instance_t *cache_active(void)
{
	return active;
}

bool cache_lacks_tickets(void)
{
	int resumption;

	if (active == NULL || !active->tickets_unasked)
		return false;
	resumption = tlsbaton_resumption(active->baton);
	return resumption == TLSBATON_TICKETS || resumption == TLSBATON_BOTH;
}

void cache_connect(tlsbaton *baton)
{
	for (int ms = 0; ms < CONNECT_MS && !tlsbaton_connected(baton); ++ms)
		apr_sleep(apr_time_from_msec(1));
}

void cache_forget(void)
{
	tlsbaton_free(kept.baton);
	free(kept.socket_path);
	kept.baton = NULL;
	kept.socket_path = NULL;
}

/* Gives the handle of the last configuration if it is for this socket, or a new one. */
static int keep_handle(const char *socket_path)
{
	struct tlsbaton_options options = {
	    .size = sizeof(options),
	    .socket_path = socket_path,
	    .log = log_line,
	};
	int r;

	if (kept.baton != NULL && strcmp(kept.socket_path, socket_path) == 0) {
		/* The daemon may be another one by now, with another table. */
		cache_connect(kept.baton);
		return 0;
	}
	cache_forget();
	kept.socket_path = strdup(socket_path);
	if (kept.socket_path == NULL)
		return -ENOMEM;
	r = tlsbaton_new(&kept.baton, &options);
	if (r != 0)
		cache_forget();
	return r;
}

static const char *cache_create(ap_socache_instance_t **out, const char *arg, apr_pool_t *tmp,
                                apr_pool_t *p)
{
	const size_t path_max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	ap_socache_instance_t *cache;

	if (arg == NULL)
		arg = TLSBATON_SOCKET_DEFAULT;
	if (arg[0] != '/')
		return apr_psprintf(
		    tmp,
		    "tlsbaton: '%s' is not an absolute path; write tlsbaton:/path/of/worker.sock, "
		    "or tlsbaton alone for " TLSBATON_SOCKET_DEFAULT,
		    arg);
	if (strlen(arg) > path_max)
		return apr_psprintf(tmp,
		                    "tlsbaton: the socket's path has %" APR_SIZE_T_FMT
		                    " bytes; a Unix socket's may have %" APR_SIZE_T_FMT,
		                    strlen(arg), path_max);

	cache = apr_pcalloc(p, sizeof(*cache));
	cache->socket_path = apr_pstrdup(p, arg);
	*out = cache;
	return NULL;
}

static apr_status_t cache_init(ap_socache_instance_t *cache, const char *cname,
                               const struct ap_socache_hints *hints, server_rec *s, apr_pool_t *p)
{
	int r;

	if (strcmp(cname, MOD_SSL_SESSIONS) != 0) {
		ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s,
		             "'%s' cannot use the cache 'tlsbaton': it holds TLS sessions only. "
		             "Use it in SSLSessionCache, and another (shmcb) here",
		             cname);
		return APR_EINVAL;
	}
	log_set_server(s);
	r = keep_handle(cache->socket_path);
	if (r != 0) {
		ap_log_error(APLOG_MARK, APLOG_EMERG, -r, s,
		             "cannot set up the TLS session cache at '%s'", cache->socket_path);
		return -r;
	}
	cache->baton = kept.baton;
	active = cache;
	return APR_SUCCESS;
}

static void cache_destroy(ap_socache_instance_t *cache, server_rec *s)
{
	cache->baton = NULL;
	if (active != cache)
		return;
	active = NULL;
	log_set_server(NULL); /* it goes with the configuration */
}

/* OpenSSL put the session's state into the client's ticket. */
static bool is_stateless(const SSL *ssl)
{
	return SSL_version(ssl) >= TLS1_3_VERSION && !(SSL_get_options(ssl) & SSL_OP_NO_TICKET);
}

static bool is_stored(tlsbaton *baton, const SSL *ssl)
{
	return tlsbaton_resumption(baton) != TLSBATON_TICKETS ||
	       (SSL_get_options(ssl) & SSL_OP_NO_TICKET) != 0;
}

static apr_status_t cache_store(ap_socache_instance_t *cache, server_rec *s,
                                const unsigned char *id, unsigned int id_len, apr_time_t expiry,
                                unsigned char *der, unsigned int der_len, apr_pool_t *pool)
{
	struct connection *connection = connection_of(pool);
	int64_t expires_s = apr_time_sec(expiry);
	uint64_t notice = 0;
	int r;

	if (connection != NULL && is_stateless(connection->ssl)) {
		tlsbaton_note_stateless(cache->baton);
		return APR_ENOTIMPL;
	}
	if (connection != NULL && !is_stored(cache->baton, connection->ssl))
		return APR_ENOTIMPL;
	if (connection != NULL) {
		/* 0: of no policy that we know, so never to be honoured. */
		const int64_t ends_s = tlsbaton_ssl_expires(connection->ssl);

		if (ends_s == 0)
			return APR_ENOTIMPL;
		if (ends_s < expires_s)
			expires_s = ends_s;
	}

	r = tlsbaton_session_put(cache->baton, id, id_len, der, der_len, expires_s, &notice);
	if (r != 0)
		return r < 0 ? -r : APR_EGENERAL; /* counted by the library, which also says when
		                                     sharing stops */
	if (connection != NULL)
		connection->notice = notice;
	return APR_SUCCESS;
}

static apr_status_t cache_retrieve(ap_socache_instance_t *cache, server_rec *s,
                                   const unsigned char *id, unsigned int id_len, unsigned char *der,
                                   unsigned int *der_len, apr_pool_t *pool)
{
	struct connection *connection;
	size_t n_der;
	uint64_t notice;

	/* A record that does not fit into mod_ssl's buffer (10 KiB) is one that mod_ssl cannot have
	 * stored. */
	if (tlsbaton_session_get(cache->baton, id, id_len, der, *der_len, &n_der, NULL, &notice) !=
	    0)
		return APR_NOTFOUND;

	*der_len = (unsigned int)n_der;
	connection = connection_of(pool);
	if (connection != NULL && notice != 0) /* 0 must not open the gate of a store before it */
		connection->notice = notice;
	return APR_SUCCESS;
}

static apr_status_t cache_remove(ap_socache_instance_t *cache, server_rec *s,
                                 const unsigned char *id, unsigned int id_len, apr_pool_t *pool)
{
	tlsbaton_note_removal_ignored(cache->baton);
	return APR_SUCCESS;
}

/* Nobody needs to walk over all secrets. */
static apr_status_t cache_iterate(ap_socache_instance_t *cache, server_rec *s, void *userctx,
                                  ap_socache_iterator_t *iterator, apr_pool_t *pool)
{
	return APR_ENOTIMPL;
}

const ap_socache_provider_t cache_provider = {
    .name = "tlsbaton",
    .flags = 0,
    .create = cache_create,
    .init = cache_init,
    .destroy = cache_destroy,
    .store = cache_store,
    .retrieve = cache_retrieve,
    .remove = cache_remove,
    .status = status_show,
    .iterate = cache_iterate,
};
