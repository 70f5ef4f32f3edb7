/*
 * A process that forks while another of its threads is in the library for the first time, for test-fork.sh: the children can
 * make connections all the same. Usage:
 *   forks accept N   N times: the thread begins its first TLS connection
 *   forks load       the thread makes its first context, and the library's second object is being loaded: it must be the
 *                    one of test-fork.sh, which says so (second_is_loading())
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "client/test-tls.h"

#define PATIENCE_S 20 /* with one connection, which takes some milliseconds */

static SSL_CTX *server, *client;
static atomic_bool begins, done;
static sem_t loading, forked;

__attribute__((visibility("default"))) extern void second_is_loading(void);
void second_is_loading(void)
{
	sem_post(&loading);
	while (sem_wait(&forked) != 0)
		;
}

static bool connects(void)
{
	struct tls_outcome outcome;

	if (tls_connect(server, client, NULL, false, &outcome) < 0)
		return false;
	SSL_SESSION_free(outcome.session);
	return true;
}

static bool make_contexts(void)
{
	EVP_PKEY *pkey;
	X509 *certificate;

	if (tls_credentials(TLS_KEY_ECDSA, &pkey, &certificate) < 0)
		return false;
	server = tls_server_context(TLS1_3_VERSION, pkey, certificate);
	client = tls_client_context(TLS1_3_VERSION);
	EVP_PKEY_free(pkey);
	X509_free(certificate);
	return server && client;
}

/* The child's exit status, 128 for a signal: that of its alarm if it hangs. */
static int fork_once(bool (*child)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		(void)alarm(PATIENCE_S);
		_exit(child() ? 0 : 1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 2;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* ---- The first connection ---- */

/* Only its beginning: in a handshake OpenSSL takes locks of its own, and does not look after them at fork(). */
static void *begin(void *arg)
{
	SSL *ssl = SSL_new(server);

	begins = true;
	SSL_set_accept_state(ssl);
	SSL_free(ssl);
	done = true;
	return arg;
}

static bool fork_while_it_begins(void)
{
	pthread_t thread;
	int r;

	if (pthread_create(&thread, NULL, begin, NULL) != 0)
		return false;
	while (!begins)
		sched_yield();
	do
		r = fork_once(connects);
	while (r == 0 && !done);
	return r == 0 && pthread_join(thread, NULL) == 0;
}

static int fork_at_first_connections(int n)
{
	int r = 0;

	/* One before, so that OpenSSL has what it makes at its first. Without sessions it does not count for the library. */
	if (!make_contexts())
		return 1;
	SSL_CTX_set_session_cache_mode(server, SSL_SESS_CACHE_OFF);
	if (!connects())
		return 1;
	SSL_CTX_set_session_cache_mode(server, SSL_SESS_CACHE_SERVER);
	/* Each in a process of its own. */
	for (int i = 0; i < n && r == 0; i++)
		r = fork_once(fork_while_it_begins);
	return r;
}

/* ---- The second object ---- */

static void *make_first(void *arg)
{
	SSL_CTX_free(SSL_CTX_new(TLS_method()));
	done = true;
	return arg;
}

static bool make_own(void)
{
	return make_contexts() && connects();
}

static int fork_at_load(void)
{
	pthread_t thread;
	int r;

	if (sem_init(&loading, 0, 0) != 0 || sem_init(&forked, 0, 0) != 0 ||
	    pthread_create(&thread, NULL, make_first, NULL) != 0)
		return 1;
	while (sem_wait(&loading) != 0)
		;
	r = fork_once(make_own);
	sem_post(&forked);
	return r == 0 && pthread_join(thread, NULL) == 0 && make_own() ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "accept") == 0)
		return fork_at_first_connections((int)strtol(argv[2], NULL, 10));
	return argc == 2 && strcmp(argv[1], "load") == 0 ? fork_at_load() : 2;
}
