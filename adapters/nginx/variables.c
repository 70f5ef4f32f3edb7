/*
 * Variables for nginx's logs (and whatever else takes variables): ngx_http_tlsbaton_module(5) says what they
 * mean. Both are of the connection, not of the request; but only requests that were there while the gate was
 * closed say that they waited.
 */
#include "module.h"

static void set_text(ngx_http_variable_value_t *value, const char *text)
{
	value->len = (unsigned)strlen(text) & 0xfffffff;
	value->data = (u_char *)(uintptr_t)text;
	value->valid = 1;
	value->no_cacheable = 0;
	value->not_found = 0;
}

static const char *outcome_of(const struct connection *connection)
{
	if (connection == NULL)
		return "none";
	/* A session that was found may be refused by OpenSSL all the same. */
	if (connection->lookup == LOOKUP_HIT && SSL_session_reused(connection->ssl))
		return "hit";
	if (SSL_session_reused(connection->ssl))
		return "none"; /* from a ticket */
	if (connection->gate == GATE_NONE)
		return "none";
	return connection->lookup == LOOKUP_NONE ? "new" : "miss";
}

static ngx_int_t get_outcome(ngx_http_request_t *r, ngx_http_variable_value_t *value,
                             uintptr_t data)
{
	(void)data;
	set_text(value, outcome_of(connection_of(r->connection)));
	return NGX_OK;
}

static bool has_waited(const struct connection *connection, const ngx_http_request_t *r)
{
	if (connection == NULL || connection->gate != GATE_OPEN || connection->wait_us == 0)
		return false;
	return r->start_sec < connection->opened.sec ||
	       (r->start_sec == connection->opened.sec && r->start_msec <= connection->opened.msec);
}

static ngx_int_t get_wait(ngx_http_request_t *r, ngx_http_variable_value_t *value, uintptr_t data)
{
	const struct connection *connection = connection_of(r->connection);
	const uint64_t wait_us = has_waited(connection, r) ? connection->wait_us : 0;
	u_char *text = ngx_pnalloc(r->pool, NGX_INT64_LEN + sizeof(".000"));

	(void)data;
	if (text == NULL)
		return NGX_ERROR;
	*ngx_sprintf(text, "%uL.%03uL", wait_us / 1000, wait_us % 1000) = '\0';
	set_text(value, (const char *)text);
	return NGX_OK;
}

ngx_int_t variables_add(ngx_conf_t *cf)
{
	static const struct {
		ngx_str_t name;
		ngx_http_get_variable_pt get;
	} variables[] = {
	    {ngx_string("tlsbaton"), get_outcome},
	    {ngx_string("tlsbaton_gate_wait"), get_wait},
	};

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		ngx_str_t name = variables[i].name;
		ngx_http_variable_t *variable =
		    ngx_http_add_variable(cf, &name, NGX_HTTP_VAR_NOCACHEABLE);

		if (variable == NULL)
			return NGX_ERROR;
		variable->get_handler = variables[i].get;
	}
	return NGX_OK;
}
