/* What plugins.c finds in plugin.c, by name. */
#ifndef TLSBATON_ADAPTERS_PRELOAD_TESTS_PLUGIN_H
#define TLSBATON_ADAPTERS_PRELOAD_TESTS_PLUGIN_H

#include <stdbool.h>
#include <openssl/ssl.h>

#define PLUGIN_EXPORT __attribute__((visibility("default")))

struct plugin;

/* Contexts for both ends; NULL: it failed. They are there until the process ends. */
PLUGIN_EXPORT struct plugin *plugin_new(int version, const char *pem);

/* A connection, up to the client's first message; `accepts`: the server is told that it is one. */
PLUGIN_EXPORT bool plugin_begin(struct plugin *plugin, bool accepts, SSL **server, SSL **client);

PLUGIN_EXPORT int plugin_handshake(SSL *ssl);
PLUGIN_EXPORT int plugin_write(SSL *ssl, const void *bytes, int n);
PLUGIN_EXPORT int plugin_read(SSL *ssl, void *bytes, int n);

/* Its end. Returns whether it was resumed. */
PLUGIN_EXPORT int plugin_end(SSL *server, SSL *client);

#endif
