/*
 * The preload library is two objects, because it must be in a program before anybody knows whether that program
 * has OpenSSL:
 *
 *  tlsbaton-preload.so           what LD_PRELOAD names. It needs nothing but the C library, stands before libssl in the
 *                                search for some of its functions (interpose.c, other.c), and does nothing by itself.
 *  tlsbaton-preload-openssl3.so  libtlsbaton, and what is done with it (attach.c, gate.c). It needs libssl, and is
 *                                loaded when the program makes its first SSL_CTX: then libssl is there.
 *
 * This is what the first knows of the second.
 */
#ifndef TLSBATON_ADAPTERS_PRELOAD_H
#define TLSBATON_ADAPTERS_PRELOAD_H

#include <stdbool.h>
#include <openssl/ssl.h>

#define PRELOAD_SOCKET_VARIABLE "TLSBATON_SOCKET"
#define PRELOAD_FALLBACK_VARIABLE "TLSBATON_FALLBACK_CACHE" /* set: yes, whatever it says */
#define PRELOAD_SECOND "tlsbaton-preload-openssl3.so"
#define PRELOAD_SECOND_OPS "tlsbaton_preload_ops"

struct preload_ops {
	/* Once, before the others: where the daemon listens (copied; empty: the default), whether the program's own cache is a
	 * fallback, and log.c's log_line(). */
	void (*start)(const char *socket_path, bool own_cache_is_fallback,
	              void (*log)(void *arg, int level, const char *line));
	/* A context was made, and nobody but the caller knows of it. */
	void (*made)(SSL_CTX *ctx);
	/* `ssl` is about to be the server's end of a connection. */
	void (*accepting)(SSL *ssl);
	/* Before bytes of the program's go out on `ssl`, whose handshake is over. May block, see gate.c; false: not yet, the
	 * program must hear SSL_ERROR_WANT_WRITE. */
	bool (*may_write)(SSL *ssl);
};

#endif
