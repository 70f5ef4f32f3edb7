/*
 * mod_tlsbaton's parts: cache.c is what mod_ssl stores to and looks up in, connection.c holds a
 * response back until its session is safe, status.c shows both in mod_status, mod_tlsbaton.c hooks
 * them up.
 */
#ifndef MOD_TLSBATON_H
#define MOD_TLSBATON_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <httpd.h>
#include <http_config.h>
#include <ap_socache.h>
#include <mod_ssl_openssl.h>

#include "tlsbaton.h"

extern module tlsbaton_module;

/* One `SSLSessionCache tlsbaton[:path]`; Apache leaves the struct of this name to the provider. */
struct ap_socache_instance_t {
	const char *socket_path;
	tlsbaton *baton;      /* NULL before init */
	bool tickets_unasked; /* off, since there was no daemon to ask when servers were set up */
};

extern const ap_socache_provider_t cache_provider;

/* libtlsbaton's log hook; `arg` is not used. */
void log_line(void *arg, int level, const char *line);
/* In the parent: whose error log gets the lines from now on; NULL: the main one. */
void log_set_server(server_rec *s);

/* The instance that mod_ssl uses under the current configuration; NULL before init or if it uses
 * another. */
ap_socache_instance_t *cache_active(void);

/* Whether tickets are off under this configuration although the group, as is known by now, resumes by them. */
bool cache_lacks_tickets(void);

/* Waits a little for the daemon; for a process that is about to serve. */
void cache_connect(tlsbaton *baton);

/* Drops the handle that was kept for a next configuration, when that does not use the cache. */
void cache_forget(void);

/* What is remembered of a client's connection, in its pool. Used by the thread that has the
 * connection in hand; Apache hands connections between threads with the ordering that this needs.
 */
struct connection {
	SSL *ssl;
	tlsbaton *baton;
	uint64_t notice; /* the response must wait for this one; 0: for none */
};

/* The connection that owns `pool`; NULL when mod_ssl never announced it. */
struct connection *connection_of(apr_pool_t *pool);

/* mod_ssl's pre_handshake hook: starts remembering. */
int connection_pre_handshake(conn_rec *c, SSL *ssl, int is_proxy);

/* Makes the gate known to Apache's filter chains; once, when hooks are registered. */
void connection_register_gate(void);

/* ap_socache_provider_t's status(). */
void status_show(ap_socache_instance_t *cache, request_rec *r, int flags);

#endif
