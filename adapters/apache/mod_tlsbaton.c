/*
 * mod_tlsbaton: Apache's TLS sessions, on all nodes of the group.
 *
 *     LoadModule tlsbaton_module /usr/lib/apache2/modules/mod_tlsbaton.so
 *     SSLSessionCache tlsbaton
 *
 * That is all of it. No directive is added: mod_ssl takes its session cache from a provider by name
 * (cache.c); through one optional hook it says when it has set up a server, whose tickets then are
 * the group's or turned off (below), and through another when a handshake is about to start
 * (connection.c).
 *
 * Order. Nothing depends on the order of the LoadModule lines: modules register providers and hooks
 * as they are loaded, before the first other directive is read; mod_ssl looks the provider up when
 * it reads SSLSessionCache, and an optional hook needs no module behind it until it is run.
 *
 * The module stays in memory. Apache unloads and reloads its modules at each restart; this one is
 * linked with -z nodelete. It keeps its handle from one configuration to the next (cache.c), and
 * what libtlsbaton hands to others, its fork handlers first, points into this object. The price is
 * some 100 kB that stay mapped, and that a new version of the file takes effect with a stop and
 * start, not with a reload.
 */
#include "mod_tlsbaton.h" /* first: Apache's headers need httpd.h before them */

#include <http_log.h>
#include <http_core.h>
#include <ap_provider.h>
#include <apr_optional_hooks.h>

APLOG_USE_MODULE(tlsbaton);

static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
	if (ap_find_linked_module("mod_ssl.c") != NULL)
		return OK;
	ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s,
	             "mod_tlsbaton shares the sessions of mod_ssl, which is not loaded: "
	             "load it too (on Debian: a2enmod ssl), or do not load mod_tlsbaton");
	return HTTP_INTERNAL_SERVER_ERROR;
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
	/* The first of the two passes at start: mod_ssl has not set up its cache, and will be asked
	 * again. */
	if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG)
		return OK;
	if (cache_active() == NULL) {
		cache_forget();
		ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
		             "mod_tlsbaton is loaded, but no session is shared: "
		             "write 'SSLSessionCache tlsbaton' (the last SSLSessionCache counts)");
	}
	return OK;
}

/*
 * mod_ssl has configured a virtual host; called for each, after the cache's init. Where the group's resumption is
 * stateful, or there is no daemon to say, its tickets are turned off; else their keys are the group's.
 * mod_ssl ties sessions to the name and port of the virtual host, and chooses it before OpenSSL looks for a
 * session; the guard adds what clients have to show there, which may differ between nodes, or from one configuration to
 * the next.
 */
static int init_server(server_rec *s, apr_pool_t *p, int is_proxy, SSL_CTX *ctx)
{
	ap_socache_instance_t *cache = cache_active();
	int r;

	if (cache == NULL || is_proxy)
		return OK;
	r = tlsbaton_attach_tickets(cache->baton, ctx);
	if (tlsbaton_resumption(cache->baton) == TLSBATON_UNKNOWN)
		cache->tickets_unasked = true;
	if (r == 0)
		r = tlsbaton_guard(cache->baton, ctx);
	if (r == 0)
		return OK;
	ap_log_error(APLOG_MARK, APLOG_EMERG, -r, s, "cannot share the TLS sessions of %s:%u",
	             s->server_hostname, s->port);
	return HTTP_INTERNAL_SERVER_ERROR;
}

static void child_init(apr_pool_t *pchild, server_rec *s)
{
	ap_socache_instance_t *cache = cache_active();

	if (cache != NULL)
		cache_connect(cache->baton);
}

static void register_hooks(apr_pool_t *p)
{
	ap_register_provider(p, AP_SOCACHE_PROVIDER_GROUP, cache_provider.name,
	                     AP_SOCACHE_PROVIDER_VERSION, &cache_provider);
	connection_register_gate();
	ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_MIDDLE);
	ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_LAST);
	ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
	APR_OPTIONAL_HOOK(ssl, init_server, init_server, NULL, NULL, APR_HOOK_MIDDLE);
	APR_OPTIONAL_HOOK(ssl, pre_handshake, connection_pre_handshake, NULL, NULL,
	                  APR_HOOK_MIDDLE);
}

/* Apache finds it by name in the shared object. */
__attribute__((visibility("default"))) module tlsbaton_module = {
    STANDARD20_MODULE_STUFF,
    .register_hooks = register_hooks,
};
