/*
 * ngx_http_tlsbaton_module's parts: sessions.c is what OpenSSL's callbacks do, gate.c holds a connection's
 * responses back until its session is safe, config.c reads and checks the configuration, variables.c is for
 * nginx's logs, log.c brings libtlsbaton's lines to the error log, module.c hooks them up.
 *
 * All is called on the one thread of a worker process.
 */
#ifndef NGX_HTTP_TLSBATON_MODULE_H
#define NGX_HTTP_TLSBATON_MODULE_H

#include <stdbool.h>
#include <stdint.h>

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>
#include <ngx_http_ssl_module.h>

#include "tlsbaton.h"

extern ngx_module_t ngx_http_tlsbaton_module;

/* ---- config.c ---- */

/* One `tlsbaton on|off|/path`. */
struct server_conf {
	ngx_flag_t enable;
	ngx_str_t path; /* terminated by a NUL; empty: the library's default */
};

struct main_conf {
	const char *path; /* NULL: the library's default */
	bool used;        /* a server with TLS has tlsbaton on */
};

extern ngx_command_t config_commands[];
void *config_create_main(ngx_conf_t *cf);
void *config_create_server(ngx_conf_t *cf);
char *config_merge_server(ngx_conf_t *cf, void *parent, void *child);

/* After the whole configuration has been read: refuses or warns of what cannot work. */
ngx_int_t config_check(ngx_conf_t *cf);

/* ---- Connections ---- */

enum lookup { LOOKUP_NONE, LOOKUP_HIT, LOOKUP_MISS };

enum gate_state {
	GATE_NONE,    /* the peers have its session: never waits */
	GATE_PENDING, /* a notice is out, nobody has asked for its ack */
	GATE_CLOSED,  /* asked, and not acked yet */
	GATE_OPEN,
};

#define GATE_HELD_MAX 64

/* What is remembered of a client's connection whose handshake came to us; in its pool. */
struct connection {
	ngx_connection_t *c;
	SSL *ssl;
	enum lookup lookup;
	bool removed; /* its session was removed on all nodes */

	/* The rest is the gate's. */
	enum gate_state gate;
	bool blocked;     /* something waits to be sent */
	bool lent_active; /* the write event passes for registered */
	uint64_t notice;
	uint64_t asked_us, wait_us; /* monotonic; how long it was closed */
	ngx_time_t opened;
	ngx_msec_t until_ms;
	ngx_event_t timer;
	ngx_queue_t waiting; /* in the queue of closed gates */
	ngx_send_pt send;
	ngx_send_chain_pt send_chain;
	size_t n_held;
	u_char held[GATE_HELD_MAX];
};

/* ---- sessions.c ---- */

/* Makes what the others need, once a process. */
ngx_int_t sessions_init(void);

/* In a worker, before its first client: this context's sessions are shared from now on. */
ngx_int_t sessions_attach(tlsbaton *baton, SSL_CTX *ctx);

/* NULL when the connection is not one of ours. */
struct connection *connection_of(const ngx_connection_t *c);

/* nginx's log phase: replicates a removal that nginx asked for. */
ngx_int_t sessions_log(ngx_http_request_t *r);

/* ---- gate.c ---- */

/* In a worker, after the handle is there. */
void gate_init(tlsbaton *baton);
void gate_exit(void);

/* A notice was sent for this connection, in its handshake. NULL is fine: served without gate. */
void gate_expect(struct connection *connection);

/* nginx's preaccess phase: who asks for an upgrade (WebSocket) waits here. */
ngx_int_t gate_preaccess(ngx_http_request_t *r);

/* ---- variables.c ---- */

ngx_int_t variables_add(ngx_conf_t *cf);

/* ---- log.c ---- */

/* In the master: lines that several workers have to say are said once. */
void log_init(void);
/* libtlsbaton's log hook; `arg` is not used. */
void log_line(void *arg, int level, const char *line);

#endif
