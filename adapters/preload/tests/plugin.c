/*
 * Both ends of TLS connections, in an object that brings libssl with it, for plugins.c. Built once, against libssl.so.3:
 * test-plugins.sh makes a copy that brings another. What it exports ends in calls of libssl's, as a thin binding's
 * functions do.
 */
#include <stdbool.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "plugin.h"

struct plugin {
	SSL_CTX *server, *client;
	SSL_SESSION *session;
};

static int on_new(SSL *ssl, SSL_SESSION *session)
{
	struct plugin *plugin = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION_free(plugin->session);
	plugin->session = session;
	return 1;
}

static SSL_CTX *make(int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());

	if (!ctx || !SSL_CTX_set_min_proto_version(ctx, version) ||
	    !SSL_CTX_set_max_proto_version(ctx, version))
		return NULL;
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	return ctx;
}

PLUGIN_EXPORT struct plugin *plugin_new(int version, const char *pem)
{
	struct plugin *plugin = OPENSSL_zalloc(sizeof(*plugin));

	if (!plugin)
		return NULL;
	plugin->server = make(version);
	plugin->client = make(version);
	if (!plugin->server || !plugin->client ||
	    SSL_CTX_use_certificate_file(plugin->server, pem, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_PrivateKey_file(plugin->server, pem, SSL_FILETYPE_PEM) != 1)
		return NULL;
	SSL_CTX_set_session_cache_mode(plugin->client, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(plugin->client, on_new);
	SSL_CTX_set_app_data(plugin->client, plugin);
	return plugin;
}

/* A call that fails leaves its error with the libssl that was called. */
static bool complains(SSL_CTX *ctx)
{
	SSL *ssl = SSL_new(ctx);
	int n;

	ERR_clear_error();
	n = SSL_write(ssl, "x", 1);
	SSL_free(ssl);
	return n <= 0 && ERR_get_error() != 0;
}

PLUGIN_EXPORT bool plugin_begin(struct plugin *plugin, bool accepts, SSL **server, SSL **client)
{
	BIO *one, *two;

	*server = SSL_new(plugin->server);
	*client = SSL_new(plugin->client);
	if (!*server || !*client || BIO_new_bio_pair(&one, 65536, &two, 65536) != 1)
		return false;
	SSL_set_bio(*server, one, one);
	SSL_set_bio(*client, two, two);
	if (accepts)
		SSL_set_accept_state(*server);
	if (plugin->session)
		(void)SSL_set_session(*client, plugin->session);
	return SSL_connect(*client) < 0 && SSL_get_error(*client, -1) == SSL_ERROR_WANT_READ &&
	       SSL_want_read(*client) && complains(plugin->server);
}

PLUGIN_EXPORT int plugin_handshake(SSL *ssl)
{
	return SSL_do_handshake(ssl);
}

PLUGIN_EXPORT int plugin_write(SSL *ssl, const void *bytes, int n)
{
	return SSL_write(ssl, bytes, n);
}

PLUGIN_EXPORT int plugin_read(SSL *ssl, void *bytes, int n)
{
	return SSL_read(ssl, bytes, n);
}

PLUGIN_EXPORT int plugin_end(SSL *server, SSL *client)
{
	const int resumed = SSL_session_reused(client);

	(void)SSL_shutdown(client);
	(void)SSL_shutdown(server);
	SSL_free(client);
	SSL_free(server);
	return resumed;
}
