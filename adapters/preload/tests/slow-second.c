/* In the place of the library's second object, for test-fork.sh: does nothing, and says when it is being loaded. */
#include "preload.h"

extern void second_is_loading(void); /* the program's (forks.c) */

__attribute__((constructor)) static void begin(void)
{
	second_is_loading();
}

static void start(const char *socket_path, bool own_cache_is_fallback,
                  void (*log)(void *arg, int level, const char *line))
{
	(void)socket_path, (void)own_cache_is_fallback, (void)log;
}

static void made(SSL_CTX *ctx)
{
	(void)ctx;
}

static void accepting(SSL *ssl)
{
	(void)ssl;
}

static bool may_write(SSL *ssl)
{
	(void)ssl;
	return true;
}

__attribute__((visibility("default"))) extern const struct preload_ops tlsbaton_preload_ops;
const struct preload_ops tlsbaton_preload_ops = {
    .start = start, .made = made, .accepting = accepting, .may_write = may_write};
