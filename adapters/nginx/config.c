/*
 * The directive, `tlsbaton on|off|/path/of/worker.sock` in http or server, and what is said to a
 * configuration that is wrong or shares less than its author thinks. All of that is said at `nginx -t`, too.
 *
 * One nginx has one daemon: two paths are refused.
 */
#include "module.h"

#include <sys/un.h>

static char *set_tlsbaton(ngx_conf_t *cf, ngx_command_t *command, void *conf);

ngx_command_t config_commands[] = {
    {ngx_string("tlsbaton"), NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_CONF_TAKE1, set_tlsbaton,
     NGX_HTTP_SRV_CONF_OFFSET, 0, NULL},
    ngx_null_command,
};

static char *set_tlsbaton(ngx_conf_t *cf, ngx_command_t *command, void *conf)
{
	const size_t path_max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	struct server_conf *server = conf;
	ngx_str_t *value = (ngx_str_t *)cf->args->elts + 1;

	(void)command;
	if (server->enable != NGX_CONF_UNSET) {
		ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"tlsbaton\" is here twice: remove one");
		return NGX_CONF_ERROR;
	}
	server->enable = ngx_strcmp(value->data, "off") != 0;
	if (!server->enable || ngx_strcmp(value->data, "on") == 0)
		return NGX_CONF_OK;
	if (value->len == 0 || value->data[0] != '/') {
		ngx_conf_log_error(
		    NGX_LOG_EMERG, cf, 0,
		    "\"%V\" is not an absolute path; write \"tlsbaton /path/of/worker.sock\", "
		    "or \"tlsbaton on\" for " TLSBATON_SOCKET_DEFAULT,
		    value);
		return NGX_CONF_ERROR;
	}
	if (value->len > path_max) {
		ngx_conf_log_error(
		    NGX_LOG_EMERG, cf, 0,
		    "the path of \"tlsbaton\" has %uz bytes; a Unix socket's may have %uz",
		    value->len, path_max);
		return NGX_CONF_ERROR;
	}
	server->path = *value;
	return NGX_CONF_OK;
}

void *config_create_main(ngx_conf_t *cf)
{
	return ngx_pcalloc(cf->pool, sizeof(struct main_conf));
}

void *config_create_server(ngx_conf_t *cf)
{
	struct server_conf *conf = ngx_pcalloc(cf->pool, sizeof(*conf));

	if (conf != NULL)
		conf->enable = NGX_CONF_UNSET;
	return conf;
}

char *config_merge_server(ngx_conf_t *cf, void *parent, void *child)
{
	const struct server_conf *outer = parent;
	struct server_conf *conf = child;

	(void)cf;
	if (conf->path.len == 0 && conf->enable != 0)
		conf->path = outer->path;
	ngx_conf_merge_value(conf->enable, outer->enable, 0);
	return NGX_CONF_OK;
}

/* ---- Checks ---- */

static bool is_on(const ngx_http_core_srv_conf_t *core)
{
	const struct server_conf *conf = core->ctx->srv_conf[ngx_http_tlsbaton_module.ctx_index];

	return conf->enable;
}

static ngx_http_ssl_srv_conf_t *ssl_of(const ngx_http_core_srv_conf_t *core)
{
	return core->ctx->srv_conf[ngx_http_ssl_module.ctx_index];
}

static ngx_int_t take_path(ngx_conf_t *cf, struct main_conf *conf,
                           const ngx_http_core_srv_conf_t *core)
{
	const struct server_conf *server = core->ctx->srv_conf[ngx_http_tlsbaton_module.ctx_index];
	const char *path =
	    server->path.len > 0 ? (const char *)server->path.data : TLSBATON_SOCKET_DEFAULT;

	if (conf->path != NULL && ngx_strcmp(conf->path, path) != 0) {
		ngx_log_error(
		    NGX_LOG_EMERG, cf->log, 0,
		    "tlsbaton: the server in %s:%ui uses %s, another one %s; one nginx has one "
		    "tlsbatond: write the same path for all",
		    core->file_name, core->line, path, conf->path);
		return NGX_ERROR;
	}
	conf->path = path;
	return NGX_OK;
}

/* What each finding is said of, once. */
struct said {
	bool tickets, cache, early_data;
};

static void check_server(ngx_conf_t *cf, const ngx_http_core_srv_conf_t *core, struct said *said)
{
	ngx_http_ssl_srv_conf_t *ssl = ssl_of(core);

	if (ssl->session_ticket_keys != NULL && !said->tickets) {
		said->tickets = true;
		ngx_log_error(
		    NGX_LOG_WARN, cf->log, 0,
		    "tlsbaton: \"ssl_session_ticket_key\" has no effect for the server in %s:%ui, "
		    "and perhaps others: tickets have the keys of the group; remove it",
		    core->file_name, core->line);
	}
	if ((ssl->shm_zone != NULL || ssl->builtin_session_cache != NGX_SSL_NONE_SCACHE) &&
	    !said->cache) {
		said->cache = true;
		ngx_log_error(
		    NGX_LOG_WARN, cf->log, 0,
		    "tlsbaton: \"ssl_session_cache\" has no effect for the server in %s:%ui, and "
		    "perhaps others: tlsbaton takes its place; remove it",
		    core->file_name, core->line);
	}
	if (SSL_CTX_get_max_early_data(ssl->ssl.ctx) == 0)
		return;
	SSL_CTX_set_max_early_data(ssl->ssl.ctx, 0);
	if (said->early_data)
		return;
	said->early_data = true;
	ngx_log_error(
	    NGX_LOG_WARN, cf->log, 0,
	    "tlsbaton: \"ssl_early_data\" has no effect for the server in %s:%ui, and perhaps "
	    "others: early data of a session that several nodes know could be replayed",
	    core->file_name, core->line);
}

static ngx_int_t check_servers(ngx_conf_t *cf, struct main_conf *conf,
                               const ngx_http_core_main_conf_t *http)
{
	ngx_http_core_srv_conf_t **servers = http->servers.elts;
	struct said said = {0};
	bool any_on = false;

	for (ngx_uint_t i = 0; i < http->servers.nelts; i++) {
		if (!is_on(servers[i]))
			continue;
		any_on = true;
		if (ssl_of(servers[i])->ssl.ctx == NULL)
			continue;
		conf->used = true;
		if (take_path(cf, conf, servers[i]) != NGX_OK)
			return NGX_ERROR;
		check_server(cf, servers[i], &said);
	}
	if (any_on && !conf->used)
		ngx_log_error(
		    NGX_LOG_WARN, cf->log, 0,
		    "tlsbaton is on, but no server has a certificate: no session is shared");
	return NGX_OK;
}

/* sessions.c says why the default server decides. */
static void check_address(ngx_conf_t *cf, const ngx_http_conf_addr_t *address)
{
	ngx_http_core_srv_conf_t **servers = address->servers.elts;

	if (!address->opt.ssl || is_on(address->default_server))
		return;
	for (ngx_uint_t i = 0; i < address->servers.nelts; i++) {
		if (!is_on(servers[i]))
			continue;
		ngx_log_error(
		    NGX_LOG_WARN, cf->log, 0,
		    "tlsbaton: sessions of the server in %s:%ui are not shared on %V: the default "
		    "server there, in %s:%ui, decides; write \"tlsbaton on\" in it, or in http",
		    servers[i]->file_name, servers[i]->line, &address->opt.addr_text,
		    address->default_server->file_name, address->default_server->line);
		return;
	}
}

ngx_int_t config_check(ngx_conf_t *cf)
{
	struct main_conf *conf = ngx_http_conf_get_module_main_conf(cf, ngx_http_tlsbaton_module);
	const ngx_http_core_main_conf_t *http =
	    ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
	const ngx_http_conf_port_t *ports;

	if (check_servers(cf, conf, http) != NGX_OK)
		return NGX_ERROR;
	if (!conf->used)
		return NGX_OK;
	ports = http->ports->elts;
	for (ngx_uint_t i = 0; i < http->ports->nelts; i++) {
		const ngx_http_conf_addr_t *addresses = ports[i].addrs.elts;

		for (ngx_uint_t k = 0; k < ports[i].addrs.nelts; k++)
			check_address(cf, &addresses[k]);
	}
	return NGX_OK;
}
