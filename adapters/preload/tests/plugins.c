/*
 * A program without a libssl, which loads plugins (plugin.c), each with its own in a scope of its own, for test-plugins.sh.
 *
 * Usage: plugins serve|late|connect 1.2|1.3 CERTIFICATE-AND-KEY PLUGIN…
 *   serve    each plugin makes two connections, the second with the session of the first; all plugins at the same time
 *   late     the same, but no plugin is called before all are loaded
 *   connect  no plugin accepts any: clients only begin
 * A PLUGIN that begins with "g:" is loaded for all that come later to see.
 * Prints a line for each plugin: whether the connections resumed, -1 for one that failed.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "plugin.h"

#define N_PLUGINS_MAX 4

struct loaded {
	__typeof__(&plugin_new) new;
	__typeof__(&plugin_begin) begin;
	__typeof__(&plugin_handshake) handshake;
	__typeof__(&plugin_write) write;
	__typeof__(&plugin_read) read;
	__typeof__(&plugin_end) end;
	struct plugin *plugin;
	SSL *server, *client;
	bool begun, answered;
};

static bool load(struct loaded *loaded, const char *path)
{
	const bool is_global = strncmp(path, "g:", 2) == 0;
	void *object =
	    dlopen(is_global ? path + 2 : path, RTLD_NOW | (is_global ? RTLD_GLOBAL : RTLD_LOCAL));

	if (!object) {
		(void)fprintf(stderr, "%s\n", dlerror());
		return false;
	}
	loaded->new = (__typeof__(loaded->new))dlsym(object, "plugin_new");
	loaded->begin = (__typeof__(loaded->begin))dlsym(object, "plugin_begin");
	loaded->handshake = (__typeof__(loaded->handshake))dlsym(object, "plugin_handshake");
	loaded->write = (__typeof__(loaded->write))dlsym(object, "plugin_write");
	loaded->read = (__typeof__(loaded->read))dlsym(object, "plugin_read");
	loaded->end = (__typeof__(loaded->end))dlsym(object, "plugin_end");
	return loaded->new && loaded->begin && loaded->handshake && loaded->write && loaded->read &&
	       loaded->end;
}

static bool make(struct loaded *loaded, int version, const char *pem)
{
	loaded->plugin = loaded->new (version, pem);
	return loaded->plugin;
}

/* A step of a connection: the server's answer is one byte. */
static void step(struct loaded *loaded)
{
	char byte;

	(void)loaded->handshake(loaded->client);
	if (loaded->handshake(loaded->server) == 1 && !loaded->answered)
		loaded->answered = loaded->write(loaded->server, "x", 1) == 1 &&
		                   loaded->read(loaded->client, &byte, 1) == 1 && byte == 'x';
}

static void connect_all(struct loaded *loaded, int n, int *resumed)
{
	for (int i = 0; i < n; i++) {
		loaded[i].answered = false;
		loaded[i].begun =
		    loaded[i].begin(loaded[i].plugin, true, &loaded[i].server, &loaded[i].client);
	}
	for (int round = 0; round < 10; round++)
		for (int i = 0; i < n; i++)
			step(&loaded[i]);
	for (int i = 0; i < n; i++) {
		resumed[i] = loaded[i].end(loaded[i].server, loaded[i].client);
		if (!loaded[i].begun || !loaded[i].answered)
			resumed[i] = -1;
	}
}

int main(int argc, char **argv)
{
	const int n = argc - 4;
	struct loaded loaded[N_PLUGINS_MAX] = {0};
	int first[N_PLUGINS_MAX], second[N_PLUGINS_MAX];
	int version;
	bool late;

	if (n < 1 || n > N_PLUGINS_MAX)
		return 2;
	late = strcmp(argv[1], "late") == 0;
	version = strcmp(argv[2], "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
	for (int i = 0; i < n; i++)
		if (!load(&loaded[i], argv[4 + i]) ||
		    (!late && !make(&loaded[i], version, argv[3])))
			return 1;
	for (int i = 0; i < n && late; i++)
		if (!make(&loaded[i], version, argv[3]))
			return 1;
	if (strcmp(argv[1], "connect") == 0) {
		for (int i = 0; i < n; i++)
			printf("begun=%d\n", loaded[i].begin(loaded[i].plugin, false,
			                                     &loaded[i].server, &loaded[i].client));
		return 0;
	}
	connect_all(loaded, n, first);
	connect_all(loaded, n, second);
	for (int i = 0; i < n; i++)
		printf("first=%d second=%d\n", first[i], second[i]);
	return 0;
}
