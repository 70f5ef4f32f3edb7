/*
 * A program may have several libssls: a plugin, a wheel of Python's or a native library of Java's brings its own, under
 * another name or built in, and its references find that one since they find no other. With us in the program they find us
 * first. The call must go on to where it would have gone: another libssl knows nothing of these contexts, and may be of
 * another version.
 *
 * The caller does not tell where. A function that ends in a call leaves no trace of itself (OpenSSL's SSL_CTX_new() ends in
 * SSL_CTX_new_ex(), which in Debian's build comes here), and what a JIT compiles is in no object. What is passed tells:
 *
 *  a method, for a new context   is a constant of the libssl that it is from, so it lies within it
 *  a connection                  Each libssl of which a context was made is asked for the connection's method, by its own
 *                                SSL_get_ssl_method(), which reads one field near the beginning. From a connection of its own it gets
 *                                something that lies within itself; from another's something of that one's, or of the
 *                                heap. One that has no such function has what no other claims
 *
 * One libssl is served, that which the second object is linked to (preload.h). The others are passed on as if we were not there:
 * nothing is attached, nothing waits. That is said when one of them first accepts a connection; one that only
 * connects to other servers, as a database's driver does, loses nothing.
 *
 * As long as there are no others, which is nearly always, this costs a call one load. A libssl that is known is held in
 * place, as is what is known of it (a plugin that has one built in stays, too): the list only grows, and takes no lock that a
 * fork could leave closed. One that is new needs the loader's.
 */
#include "other.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

#include "log.h"

atomic_bool other_known;
static _Atomic(struct libssl *) known; /* all, the one that is served among them */

static bool is_within(const struct libssl *libssl, const void *address)
{
	return (const char *)address >= libssl->begin && (const char *)address < libssl->end;
}

static struct libssl *find_at(struct libssl *first, const char *begin)
{
	while (first && first->begin != begin)
		first = first->next;
	return first;
}

static void libssl_free(struct libssl *libssl)
{
	if (libssl && libssl->handle)
		(void)dlclose(libssl->handle);
	free(libssl);
}

static struct libssl *libssl_new(const struct dl_find_object *object, const void *served)
{
	struct libssl *libssl = calloc(1, sizeof(*libssl));

	if (!libssl)
		return NULL;
	libssl->begin = object->dlfo_map_start;
	libssl->end = object->dlfo_map_end;
	libssl->path = object->dlfo_link_map->l_name;
	libssl->is_served = is_within(libssl, served);
	libssl->handle = dlopen(libssl->path, RTLD_LAZY | RTLD_NOLOAD);
	if (!libssl->handle) {
		libssl_free(libssl);
		return NULL;
	}
	libssl->get_method =
	    (__typeof__(libssl->get_method))dlsym(libssl->handle, "SSL_get_ssl_method");
	return libssl;
}

/* NULL: no memory. */
static struct libssl *know(const struct dl_find_object *object, const void *(*served)(void))
{
	/* Acquire, here and below: pairs with the release with which one is added, so that it is seen whole. */
	struct libssl *first = atomic_load_explicit(&known, memory_order_acquire);
	struct libssl *found = find_at(first, object->dlfo_map_start), *added;

	if (found)
		return found;
	added = libssl_new(object, served());
	if (!added)
		return NULL;
	/* Before anybody can find it. */
	if (!added->is_served)
		atomic_store_explicit(&other_known, true, memory_order_relaxed);
	do {
		found = find_at(first, added->begin);
		if (found) { /* another thread was faster */
			libssl_free(added);
			return found;
		}
		added->next = first;
	} while (!atomic_compare_exchange_weak_explicit(&known, &first, added, memory_order_release,
	                                                memory_order_acquire));
	return added;
}

int other_of_method(const SSL_METHOD *method, const void *(*served)(void), struct libssl **other)
{
	struct dl_find_object object;
	struct libssl *libssl;

	/* The program itself, which has no name here, stands before us in each search: it does not call its own through us. */
	if (_dl_find_object((void *)(uintptr_t)method, &object) != 0 ||
	    !*object.dlfo_link_map->l_name) {
		*other = NULL;
		return 0;
	}
	libssl = know(&object, served);
	if (!libssl)
		return -ENOMEM;
	*other = libssl->is_served ? NULL : libssl;
	return 0;
}

struct libssl *other_search(const SSL *ssl)
{
	struct libssl *at = atomic_load_explicit(&known, memory_order_acquire), *mute = NULL;

	if (!ssl)
		return NULL;
	for (; at; at = at->next) {
		if (!at->get_method)
			mute = at;
		else if (is_within(at, at->get_method(ssl)))
			return at->is_served ? NULL : at;
	}
	return mute;
}

void other_serves(struct libssl *other)
{
	char line[512];

	if (atomic_load_explicit(&other->said, memory_order_relaxed) ||
	    atomic_exchange_explicit(&other->said, true, memory_order_relaxed))
		return;
	(void)snprintf(line, sizeof(line),
	               "this program accepts connections with another libssl, %s: their sessions "
	               "are not shared",
	               other->path);
	log_line(NULL, LOG_WARNING, line);
}
