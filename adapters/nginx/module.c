/*
 * ngx_http_tlsbaton_module: the TLS sessions of nginx's servers on all nodes of a group.
 *
 * When what runs. The master reads and checks the configuration (config.c), and does nothing else: no handle, no
 * connection to the daemon. Each worker, when it starts, opens a handle and attaches it to the contexts of
 * the servers that it inherited from the master (sessions.c). That is the same at a start, at a reload, in
 * place of a worker that crashed, and in the workers of the new binary in an upgrade; old workers keep what
 * they have until they end. nginx's helpers (cache manager and loader) take no part.
 *
 * The handle ends with its process, as the contexts do: what stands in the ring is taken by the daemon.
 *
 * The module stays in memory (-z nodelete): OpenSSL and the C library's fork hold pointers to functions
 * in it.
 */
#include "module.h"

/* How long a worker waits at its start for a daemon that does not answer. */
#define CONNECT_MS 100

static ngx_int_t add_phase(ngx_http_core_main_conf_t *http, ngx_http_phases phase,
                           ngx_http_handler_pt handler)
{
	ngx_http_handler_pt *place = ngx_array_push(&http->phases[phase].handlers);

	if (place == NULL)
		return NGX_ERROR;
	*place = handler;
	return NGX_OK;
}

static ngx_int_t after_configuration(ngx_conf_t *cf)
{
	const struct main_conf *conf =
	    ngx_http_conf_get_module_main_conf(cf, ngx_http_tlsbaton_module);
	ngx_http_core_main_conf_t *http =
	    ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

	if (config_check(cf) != NGX_OK)
		return NGX_ERROR;
	if (!conf->used)
		return NGX_OK;
	log_init();
	if (add_phase(http, NGX_HTTP_PREACCESS_PHASE, gate_preaccess) != NGX_OK ||
	    add_phase(http, NGX_HTTP_LOG_PHASE, sessions_log) != NGX_OK)
		return NGX_ERROR;
	return NGX_OK;
}

/* A server whose context cannot be attached is served without sharing. */
static void attach_all(ngx_cycle_t *cycle, tlsbaton *baton)
{
	ngx_http_core_main_conf_t *http =
	    ngx_http_cycle_get_module_main_conf(cycle, ngx_http_core_module);
	ngx_http_core_srv_conf_t **servers = http->servers.elts;

	for (ngx_uint_t i = 0; i < http->servers.nelts; i++) {
		void **confs = servers[i]->ctx->srv_conf;
		const struct server_conf *conf = confs[ngx_http_tlsbaton_module.ctx_index];
		const ngx_http_ssl_srv_conf_t *ssl = confs[ngx_http_ssl_module.ctx_index];

		if (conf->enable && ssl->ssl.ctx != NULL &&
		    sessions_attach(baton, ssl->ssl.ctx) != NGX_OK)
			ngx_log_error(
			    NGX_LOG_ERR, cycle->log, 0,
			    "tlsbaton: out of memory: sessions of the server in %s:%ui are "
			    "not shared by this worker",
			    servers[i]->file_name, servers[i]->line);
	}
}

static ngx_int_t start_worker(ngx_cycle_t *cycle)
{
	const struct main_conf *conf =
	    ngx_http_cycle_get_module_main_conf(cycle, ngx_http_tlsbaton_module);
	struct tlsbaton_options options = {
	    .size = sizeof(options),
	    .log = log_line,
	    .connect_ms = CONNECT_MS,
	};
	tlsbaton *baton;
	int r;

	if (conf == NULL || !conf->used ||
	    (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE))
		return NGX_OK;
	options.socket_path = conf->path;
	r = sessions_init() == NGX_OK ? tlsbaton_new(&baton, &options) : -NGX_ENOMEM;
	if (r != 0) {
		/* A worker that does not start would be started again and again. */
		ngx_log_error(NGX_LOG_ERR, cycle->log, -r,
		              "tlsbaton: this worker shares no sessions, for it cannot set up");
		return NGX_OK;
	}
	gate_init(baton);
	attach_all(cycle, baton);
	return NGX_OK;
}

static void end_worker(ngx_cycle_t *cycle)
{
	(void)cycle;
	gate_exit();
}

static ngx_http_module_t context = {
    .preconfiguration = variables_add,
    .postconfiguration = after_configuration,
    .create_main_conf = config_create_main,
    .create_srv_conf = config_create_server,
    .merge_srv_conf = config_merge_server,
};

#define EXPORT __attribute__((visibility("default")))

EXPORT ngx_module_t ngx_http_tlsbaton_module = {
    NGX_MODULE_V1,
    .ctx = &context,
    .commands = config_commands,
    .type = NGX_HTTP_MODULE,
    .init_process = start_worker,
    .exit_process = end_worker,
};

/* What nginx looks for in the file of a dynamic module. */
extern ngx_module_t *ngx_modules[];
extern char *ngx_module_names[];
extern char *ngx_module_order[];
EXPORT ngx_module_t *ngx_modules[] = {&ngx_http_tlsbaton_module, NULL};
static char name[] = "ngx_http_tlsbaton_module";
EXPORT char *ngx_module_names[] = {name, NULL};
EXPORT char *ngx_module_order[] = {NULL};
