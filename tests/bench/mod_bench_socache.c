/*
 * Times one of Apache's own session caches, in Apache itself: a module for bench-stores only.
 *
 * It runs where `apache2 -t` tests the configuration: then the modules are loaded and their providers stand in
 * Apache's registry, and no socket has been opened. What it finds there it uses as mod_ssl does: the same name and
 * hints at init(), the same mutex around a provider that says it needs one, a buffer of the same size, a pool that
 * is cleared after each lookup as a connection's is. The environment says what to do:
 *
 *   BENCH_PROVIDER         shmcb, dbm or redis; its mod_socache_ module must be loaded
 *   BENCH_ARGUMENT         what follows the colon in SSLSessionCache
 *   BENCH_SESSIONS         how many to store
 *   BENCH_FILL_LIMIT       seconds to store them in, or "filled" when they are there already
 *   BENCH_SECONDS          to measure lookups for
 *   BENCH_SERVER           process ID of the cache's server, or 0
 *
 * A row on stdout and exit status 0, or what is wrong on stderr and another (3: so many cannot be held).
 *
 * DBM gets two rows. mod_ssl asks for its expiry run every 30, meant as seconds, and the providers take
 * microseconds: so each lookup first reads the whole file for expired sessions. "dbm" is with that, as in every
 * Apache 2.4; "dbm-search" is the same file, opened with an interval that never passes: the lookup alone.
 */
#include <httpd.h>
#include <ap_provider.h>
#include <ap_socache.h>
#include <apr_strings.h>
#include <http_config.h>
#include <util_mutex.h>

#include "lookups.h"
#include "sessions.h"

#define MUTEX_TYPE "ssl-cache"
#define LIFETIME_S 3600
#define DER_MAX (10 * 1024) /* mod_ssl's limit */
#define NEVER apr_time_from_sec(100 * LIFETIME_S)

struct cache {
	const ap_socache_provider_t *provider;
	ap_socache_instance_t *instance;
	apr_global_mutex_t *mutex; /* or NULL: the provider needs none */
	server_rec *server;
	apr_pool_t *pool; /* cleared after each use */
};

static void fail(const char *what, apr_status_t status)
{
	char text[128];

	fprintf(stderr, "%s: %s\n", what, apr_strerror(status, text, sizeof(text)));
	exit(1);
}

static const char *setting(const char *name)
{
	const char *value = getenv(name);

	if (!value) {
		fprintf(stderr,
		        "mod_bench_socache: %s is not set: start tests/bench/bench-stores\n", name);
		exit(1);
	}
	return value;
}

static void lock(const struct cache *cache)
{
	apr_status_t r = cache->mutex ? apr_global_mutex_lock(cache->mutex) : APR_SUCCESS;

	if (r != APR_SUCCESS)
		fail("lock", r);
}

static void unlock(const struct cache *cache)
{
	apr_status_t r = cache->mutex ? apr_global_mutex_unlock(cache->mutex) : APR_SUCCESS;

	if (r != APR_SUCCESS)
		fail("unlock", r);
}

static void fill(void *store, uint64_t first, uint64_t end)
{
	const struct cache *cache = store;

	for (uint64_t i = first; i < end; i++) {
		uint8_t id[ID_BYTES], der[DER_BYTES];
		apr_status_t r;

		make_id(id, i);
		make_der(der, i);
		lock(cache);
		r = cache->provider->store(cache->instance, cache->server, id, ID_BYTES,
		                           apr_time_now() + apr_time_from_sec(LIFETIME_S), der,
		                           DER_BYTES, cache->pool);
		unlock(cache);
		apr_pool_clear(cache->pool);
		if (r != APR_SUCCESS) {
			fprintf(stderr, "takes only %llu sessions\n", (unsigned long long)i);
			exit(LOOKUPS_EXIT_TOO_MANY);
		}
	}
}

static void get(void *store, const uint8_t *id)
{
	const struct cache *cache = store;
	unsigned char der[DER_MAX];
	unsigned int n_der = sizeof(der);
	apr_status_t r;

	lock(cache);
	r = cache->provider->retrieve(cache->instance, cache->server, id, ID_BYTES, der, &n_der,
	                              cache->pool);
	unlock(cache);
	apr_pool_clear(cache->pool);
	if (r != APR_SUCCESS)
		fail("a session that was stored is not found", r);
	if (n_der != DER_BYTES)
		fail("a session is not as it was stored", APR_EGENERAL);
}

static apr_status_t count_one(ap_socache_instance_t *instance, server_rec *server, void *arg,
                              const unsigned char *id, unsigned int n_id, const unsigned char *der,
                              unsigned int n_der, apr_pool_t *pool)
{
	++*(uint64_t *)arg;
	return APR_SUCCESS;
}

/* A cache that has thrown some out would be measured with fewer than it is said to hold. */
static void check_all_there(const struct cache *cache, uint64_t n)
{
	uint64_t n_there = 0;
	apr_status_t r = cache->provider->iterate(cache->instance, cache->server, &n_there,
	                                          count_one, cache->pool);

	apr_pool_clear(cache->pool);
	if (r == APR_ENOTIMPL) /* redis: bench-stores asks the server */
		return;
	if (r != APR_SUCCESS)
		fail("iterate", r);
	if (n_there != n) {
		fprintf(stderr, "holds only %llu of %llu sessions\n", (unsigned long long)n_there,
		        (unsigned long long)n);
		exit(LOOKUPS_EXIT_TOO_MANY);
	}
}

static void open_cache(struct cache *cache, apr_interval_time_t expiry_interval, apr_pool_t *pool)
{
	struct ap_socache_hints hints = {
	    .avg_id_len = 30, .avg_obj_size = 150, .expiry_interval = expiry_interval};
	const char *error =
	    cache->provider->create(&cache->instance, setting("BENCH_ARGUMENT"), cache->pool, pool);
	apr_status_t r;

	if (error) {
		fprintf(stderr, "%s\n", error);
		exit(LOOKUPS_EXIT_TOO_MANY); /* shmcb: its size has a limit */
	}
	r = cache->provider->init(cache->instance, "mod_ssl-sess", &hints, cache->server, pool);
	if (r != APR_SUCCESS)
		fail("init", r);
}

static void measure(apr_pool_t *pool, server_rec *server)
{
	struct cache cache = {.server = server};
	const char *name = setting("BENCH_PROVIDER"), *limit = setting("BENCH_FILL_LIMIT");
	uint64_t n = strtoull(setting("BENCH_SESSIONS"), NULL, 10);
	double seconds = atof(setting("BENCH_SECONDS"));
	pid_t pid = atoi(setting("BENCH_SERVER"));
	bool is_dbm = strcmp(name, "dbm") == 0;
	apr_status_t r;

	cache.provider =
	    ap_lookup_provider(AP_SOCACHE_PROVIDER_GROUP, name, AP_SOCACHE_PROVIDER_VERSION);
	if (!cache.provider)
		fail("this Apache has no such session cache", APR_ENOTIMPL);
	apr_pool_create(&cache.pool, pool);
	if (cache.provider->flags & AP_SOCACHE_FLAG_NOTMPSAFE) {
		r = ap_global_mutex_create(&cache.mutex, NULL, MUTEX_TYPE, NULL, server, pool, 0);
		if (r != APR_SUCCESS)
			fail("ap_global_mutex_create", r);
	}
	open_cache(&cache, is_dbm ? NEVER : 30, pool);
	if (strcmp(limit, "filled") != 0)
		lookups_fill(&cache, fill, n, atof(limit));
	check_all_there(&cache, n);
	lookups_measure(is_dbm ? "dbm-search" : name, &cache, get, n, seconds, pid);
	if (is_dbm) {
		open_cache(&cache, 30, pool);
		lookups_measure(name, &cache, get, n, seconds, pid);
	}
}

static int register_mutex(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
	return ap_mutex_register(pconf, MUTEX_TYPE, NULL, APR_LOCK_DEFAULT, 0) == APR_SUCCESS
	           ? OK
	           : HTTP_INTERNAL_SERVER_ERROR;
}

static void register_hooks(apr_pool_t *pool)
{
	ap_hook_pre_config(register_mutex, NULL, NULL, APR_HOOK_MIDDLE);
	ap_hook_test_config(measure, NULL, NULL, APR_HOOK_MIDDLE);
}

__attribute__((visibility("default"))) AP_DECLARE_MODULE(bench_socache) = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, register_hooks, 0};
