/*
 * What happens when OpenSSL makes, looks for and drops a session of an nginx server.
 *
 * Each worker has one handle, and attaches it to the SSL_CTX of every server that has `tlsbaton on`; after
 * the fork, so that the master has neither a handle nor a ring. libtlsbaton's callbacks do the work. Ours
 * stand before them, to see which connection it is about: nginx keeps its connection at the SSL.
 *
 * nginx's own cache (ssl_session_cache) is put out of action, not asked as well: it would hold a session
 * after another node has removed it, and hold each one twice. config.c warns of it.
 *
 * Whose callbacks run. OpenSSL takes them from the context that the SSL was made with, which is that of the
 * default server of the address and port, whatever server the client's name then leads to. So what the
 * default server's `tlsbaton` says counts for all servers of its `listen`; config.c warns of servers that
 * say something else.
 *
 * Removals. OpenSSL calls for one when a connection merely ended uncleanly, and a switchover ends many that
 * way: libtlsbaton counts those and removes nothing. nginx calls for one when it refuses a client for its
 * certificate. That is for security, and is replicated. OpenSSL's callback cannot tell the two apart, so
 * sessions_log() looks at the certificate by itself, as nginx does, when the request is over.
 */
#include "module.h"

static int index_connection = -1; /* of SSL: struct connection */
static int index_attached = -1;   /* of SSL_CTX: struct attached */
static tlsbaton *process_baton;

/* libtlsbaton's callbacks of one context. */
struct attached {
	int (*on_new)(SSL *ssl, SSL_SESSION *session);
	SSL_SESSION *(*on_get)(SSL *ssl, const unsigned char *id, int n_id, int *copy);
};

ngx_int_t sessions_init(void)
{
	if (index_connection < 0)
		index_connection = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	if (index_attached < 0)
		index_attached = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return index_connection < 0 || index_attached < 0 ? NGX_ERROR : NGX_OK;
}

struct connection *connection_of(const ngx_connection_t *c)
{
	return c->ssl && index_connection >= 0
	           ? SSL_get_ex_data(c->ssl->connection, index_connection)
	           : NULL;
}

/* The context that the connection began with. */
static const struct attached *attached_of(const ngx_connection_t *c)
{
	return SSL_CTX_get_ex_data(c->ssl->session_ctx, index_attached);
}

/* Makes it at the first call. NULL without memory: that connection is served without gate. */
static struct connection *connection_get(SSL *ssl, ngx_connection_t *c)
{
	struct connection *connection = SSL_get_ex_data(ssl, index_connection);

	if (connection != NULL)
		return connection;
	connection = ngx_pcalloc(c->pool, sizeof(*connection));
	if (connection == NULL || !SSL_set_ex_data(ssl, index_connection, connection))
		return NULL;
	connection->c = c;
	connection->ssl = ssl;
	return connection;
}

static int on_new(SSL *ssl, SSL_SESSION *session)
{
	ngx_connection_t *c = ngx_ssl_get_connection(ssl);
	int kept = attached_of(c)->on_new(ssl, session);

	if (tlsbaton_ssl_notice(ssl) != 0)
		gate_expect(connection_get(ssl, c));
	return kept;
}

static SSL_SESSION *on_get(SSL *ssl, const unsigned char *id, int n_id, int *copy)
{
	ngx_connection_t *c = ngx_ssl_get_connection(ssl);
	SSL_SESSION *session = attached_of(c)->on_get(ssl, id, n_id, copy);
	struct connection *connection = connection_get(ssl, c);

	if (connection != NULL)
		connection->lookup = session != NULL ? LOOKUP_HIT : LOOKUP_MISS;
	if (tlsbaton_ssl_notice(ssl) != 0)
		gate_expect(connection);
	return session;
}

ngx_int_t sessions_attach(tlsbaton *baton, SSL_CTX *ctx)
{
	struct attached *attached = ngx_pcalloc(ngx_cycle->pool, sizeof(*attached));
	int r;

	if (attached == NULL || !SSL_CTX_set_ex_data(ctx, index_attached, attached))
		return NGX_ERROR;
	/* nginx's own: see above. */
	SSL_CTX_sess_set_new_cb(ctx, NULL);
	SSL_CTX_sess_set_get_cb(ctx, NULL);
	SSL_CTX_sess_set_remove_cb(ctx, NULL);
	r = tlsbaton_attach(baton, ctx);
	if (r != 0)
		return NGX_ERROR;
	attached->on_new = SSL_CTX_sess_get_new_cb(ctx);
	attached->on_get = SSL_CTX_sess_get_get_cb(ctx);
	SSL_CTX_sess_set_new_cb(ctx, on_new);
	SSL_CTX_sess_set_get_cb(ctx, on_get);
	process_baton = baton;
	return NGX_OK;
}

/* ---- Removals ---- */

/* What ngx_http_process_request() refuses. */
static bool is_refused(ngx_connection_t *c, const ngx_http_ssl_srv_conf_t *conf)
{
	const long result = SSL_get_verify_result(c->ssl->connection);
	const char *why;

	if (result != X509_V_OK && (conf->verify != 3 || !ngx_ssl_verify_error_optional(result)))
		return true;
	if (conf->verify == 1 && SSL_get0_peer_certificate(c->ssl->connection) == NULL)
		return true;
	return ngx_ssl_ocsp_get_status(c, &why) != NGX_OK;
}

ngx_int_t sessions_log(ngx_http_request_t *r)
{
	ngx_connection_t *c = r->connection;
	const ngx_http_ssl_srv_conf_t *conf;
	struct connection *connection;
	const unsigned char *id;
	unsigned n_id;

	if (c->ssl == NULL)
		return NGX_OK;
	conf = ngx_http_get_module_srv_conf(r, ngx_http_ssl_module);
	if (conf->verify == 0)
		return NGX_OK;
	connection = connection_of(c);
	if (connection == NULL || connection->removed || !is_refused(c, conf))
		return NGX_OK;
	connection->removed = true;
	id = SSL_SESSION_get_id(SSL_get0_session(c->ssl->connection), &n_id);
	/* Not sent: counted by the library. A session that comes back is refused for its certificate again. */
	if (n_id > 0)
		(void)!tlsbaton_session_remove(process_baton, id, n_id, NULL);
	return NGX_OK;
}
