/* The libssls of a program that has several: which one a call belongs to (other.c). In the first object (preload.h). */
#ifndef TLSBATON_ADAPTERS_PRELOAD_OTHER_H
#define TLSBATON_ADAPTERS_PRELOAD_OTHER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <openssl/ssl.h>

#define OTHER_FUNCTIONS_MAX 64

/* A libssl that is known. It stays until the process ends. */
struct libssl {
	struct libssl *next;
	const char *begin, *end; /* where it is in memory */
	const char *path;
	void *handle;                                    /* dlopen(3)'s */
	const SSL_METHOD *(*get_method)(const SSL *ssl); /* its SSL_get_ssl_method(); may be NULL */
	bool is_served;
	atomic_bool said; /* that it is not */
	/* Its functions, as interpose.c numbers and finds them. */
	_Atomic(void *) functions[OTHER_FUNCTIONS_MAX];
};

/*
 * Whose a context of `method` is. `served` gives an address within the libssl that is served, NULL if there is none; asked when
 * a libssl is new.
 * Out: `*other`, NULL for the one that is served, and for a method that is nobody's. Returns 0 or -ENOMEM. Any thread; takes no
 * lock but the loader's.
 */
__attribute__((warn_unused_result)) int
other_of_method(const SSL_METHOD *method, const void *(*served)(void), struct libssl **other);

/* Whose connection `ssl` is, which may be NULL: as above. Any thread; takes no lock, allocates nothing. */
static inline struct libssl *other_of(const SSL *ssl);

/* `other` begins to serve: says, once, that its sessions are not shared. */
void other_serves(struct libssl *other);

/* ---- Inside ---- */

extern atomic_bool other_known; /* there is one that is not served */
struct libssl *other_search(const SSL *ssl);

static inline struct libssl *other_of(const SSL *ssl)
{
	/* Relaxed: who has a connection of another's has it from who made its context, after this was set. */
	return atomic_load_explicit(&other_known, memory_order_relaxed) ? other_search(ssl) : NULL;
}

#endif
