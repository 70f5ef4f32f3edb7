/*
 * The gate: no client gets the first byte of a response on a new session before the peers have
 * stored it.
 *
 * mod_ssl stores a session during the handshake. To wait there would cost every full handshake a
 * round trip on the notification network. So the handshake only sends the notice; meanwhile the
 * request is read and handled; and the wait, usually over by then, stands where the response goes
 * out: an output filter that looks at what is about to be encrypted. A lookup that finds a session which
 * the peers do not have yet, since another connection has just made it, gives a notice to wait for, too.
 *
 *     handler → HTTP (or HTTP/2 framing) → gate → coalesce → TLS → network
 *
 * What must stay true:
 *  - The gate is above mod_ssl's filters (AP_FTYPE_CONNECTION + 4 and + 5): below them, handshake
 *    records pass by too, and to hold those back would deadlock the handshake. It is on the
 *    connection, below everything of a request, so that HTTP/2 is covered by its one connection to
 *    the client: the streams' own "connections" inside the server end there. HTTP/2's SETTINGS are
 *    bytes like others and wait too.
 *  - mod_ssl has finished the handshake before any response is written: it does the handshake when
 *    the connection is first read. TLS 1.2 stores after the server's Finished is out, TLS 1.3
 *    before each ticket is; both are before the first byte of a response.
 *  - Only data waits. Flush, end-of-request and end-of-connection buckets carry no byte of a
 *    response.
 *  - A later store on the same connection (renegotiation; TLS 1.3's tickets after a client
 *    certificate was asked for in mid-connection) closes the gate again. Notices are acked
 *    cumulatively, so the last number stands for all before it.
 *  - The wait is bounded by the daemon's deadline and by nothing else; its outcome changes no
 *    response.
 */
#include "mod_tlsbaton.h" /* first: Apache's headers need httpd.h before them */

#include <apr_buckets.h>
#include <apr_strings.h>
#include <http_connection.h>
#include <util_filter.h>

#define GATE_FILTER "TLSBATON_GATE"
static const char connection_key[] = "mod_tlsbaton";

struct connection *connection_of(apr_pool_t *pool)
{
	void *connection = NULL;

	if (apr_pool_userdata_get(&connection, connection_key, pool) != APR_SUCCESS)
		return NULL;
	return connection;
}

int connection_pre_handshake(conn_rec *c, SSL *ssl, int is_proxy)
{
	ap_socache_instance_t *cache = cache_active();
	struct connection *connection;

	if (cache == NULL || is_proxy)
		return DECLINED;

	connection = apr_pcalloc(c->pool, sizeof(*connection));
	connection->ssl = ssl;
	connection->baton = cache->baton;
	/* The provider's store and retrieve are given the connection's pool and nothing else of it.
	 */
	apr_pool_userdata_setn(connection, connection_key, NULL, c->pool);
	ap_add_output_filter(GATE_FILTER, connection, NULL, c);
	return OK;
}

static bool brigade_has_data(const apr_bucket_brigade *bb)
{
	for (apr_bucket *b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb);
	     b = APR_BUCKET_NEXT(b)) {
		/* A length of -1 is data too: a pipe that was not read yet. */
		if (!APR_BUCKET_IS_METADATA(b) && b->length != 0)
			return true;
	}
	return false;
}

static apr_status_t gate_filter(ap_filter_t *f, apr_bucket_brigade *bb)
{
	struct connection *connection = f->ctx;

	if (connection->notice != 0 && brigade_has_data(bb)) {
		uint64_t notice = connection->notice;

		connection->notice = 0;
		/* A timeout is counted by the library; the client is answered all the same. */
		(void)tlsbaton_gate_wait(connection->baton, notice);
	}
	return ap_pass_brigade(f->next, bb);
}

void connection_register_gate(void)
{
	ap_register_output_filter(GATE_FILTER, gate_filter, NULL, AP_FTYPE_CONNECTION + 3);
}
