/*
 * Stateless tickets under the group's keys: OpenSSL's ticket key callback, on the page that the daemon keeps
 * (ticket/page.h). No message and no lock: a ticket costs what OpenSSL's own costs, and a look at the page.
 *
 * Where there is no key. A worker whose daemon is gone goes on with the keys of the page for as long as each is good;
 * one that never had a daemon has none. It must not fail a handshake, and not make up a key of its own, which would
 * be a secret that nobody rotates. TLS 1.2 has an empty ticket for this (RFC 5077, 3.3). TLS 1.3 has not, and OpenSSL 3.0
 * would send a message that clients take for an error; so there the ticket is sealed with a key that is forgotten
 * at once, and whoever brings it back does a full handshake.
 *
 * Which context's callback runs is decided as for sessions (attach.c): by the one that the SSL was made from.
 */
#include "client/handle.h"
#include "ticket/page.h"
#include "util/clock.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/rand.h>

_Static_assert((int)TLSBATON_STATEFUL == (int)TICKET_STATEFUL &&
                   (int)TLSBATON_TICKETS == (int)TICKET_TICKETS &&
                   (int)TLSBATON_BOTH == (int)TICKET_BOTH,
               "the interface says what the page says");

enum {
	REFUSED = 0,
	TAKEN = 1,
	TAKEN_RENEW = 2
}; /* what OpenSSL wants to hear; below: a fatal error */

static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
static int index_context = -1; /* of SSL_CTX: the handle */
static int index_origin = -1;  /* of SSL: that of the context it was made from */
static EVP_CIPHER *cipher; /* fetched once: a fetch a handshake would cost as much as the ticket */

static void note_origin(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	SSL_CTX *ctx = SSL_get_SSL_CTX(parent);
	void *baton = ctx ? SSL_CTX_get_ex_data(ctx, index_context) : NULL;

	(void)ptr, (void)argl, (void)argp;
	/* Without memory for it this connection's tickets are of no use. */
	if (baton)
		(void)CRYPTO_set_ex_data(ad, idx, baton);
}

static void make_once(void)
{
	cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	index_context = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	index_origin = SSL_get_ex_new_index(0, NULL, note_origin, NULL, NULL);
}

/* Gives OpenSSL the key. False: it would not have it. */
static bool use_key(struct ticket_key *key, const unsigned char *iv, EVP_CIPHER_CTX *cipher_ctx,
                    EVP_MAC_CTX *mac_ctx, int encrypt)
{
	static char digest[] = "SHA256";
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof(key->hmac)),
	    OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
	    OSSL_PARAM_construct_end(),
	};

	return EVP_CipherInit_ex2(cipher_ctx, cipher, key->aes, iv, encrypt, NULL) == 1 &&
	       EVP_MAC_CTX_set_params(mac_ctx, params) == 1;
}

static int seal(const SSL *ssl, struct tlsbaton *baton, struct ticket_key *key)
{
	if (baton && ticket_page_current(baton->tickets, clock_coarse_wall_ms(), key) == 0) {
		ring_count(baton->page, RING_TICKETS_ISSUED);
		return TAKEN;
	}
	if (SSL_version(ssl) < TLS1_3_VERSION)
		return REFUSED;
	/* Its times do not matter. */
	return ticket_key_make(key, 0, 1, 0) == 0 ? TAKEN : -1;
}

/* As with a session that is missed: this process may have slept through a restart of the daemon, and look at a
 * page that is no more. */
static int find_key(struct tlsbaton *baton, const unsigned char *name, struct ticket_key *key)
{
	int r = ticket_page_find(baton->tickets, name, clock_coarse_wall_ms(), key);

	if (r != TICKET_NONE)
		return r;
	(void)link_returned(baton);
	return ticket_page_find(baton->tickets, name, clock_coarse_wall_ms(), key);
}

/* A TLS 1.3 client uses a ticket once (RFC 8446, C.4), and gets another only if this one is renewed. */
static int open_ticket(const SSL *ssl, struct tlsbaton *baton, const unsigned char *name,
                       struct ticket_key *key)
{
	int r = baton ? find_key(baton, name, key) : TICKET_NONE;

	if (baton)
		ring_count(baton->page,
		           r == TICKET_NONE ? RING_TICKETS_REFUSED : RING_TICKETS_OPENED);
	if (r == TICKET_NONE)
		return REFUSED;
	return r == TICKET_OLD || SSL_version(ssl) >= TLS1_3_VERSION ? TAKEN_RENEW : TAKEN;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher_ctx,
                     EVP_MAC_CTX *mac_ctx, int encrypt)
{
	struct tlsbaton *baton = SSL_get_ex_data(ssl, index_origin);
	struct ticket_key key;
	int r;

	if (baton)
		link_tick(baton);
	r = encrypt ? seal(ssl, baton, &key) : open_ticket(ssl, baton, name, &key);
	if (r <= 0)
		return r;
	if (encrypt) {
		memcpy(name, key.name, sizeof(key.name));
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(cipher)) != 1)
			r = -1;
	}
	if (r > 0 && !use_key(&key, iv, cipher_ctx, mac_ctx, encrypt))
		r = -1;
	OPENSSL_cleanse(&key, sizeof(key));
	return r;
}

int tlsbaton_resumption(tlsbaton *baton)
{
	link_tick(baton);
	return (int)ticket_page_resumption(baton->tickets);
}

static bool is_ready(void)
{
	return CRYPTO_THREAD_run_once(&once, make_once) && cipher && index_context >= 0 &&
	       index_origin >= 0;
}

static bool is_wanted(struct tlsbaton *baton)
{
	const int resumption = tlsbaton_resumption(baton);

	return resumption == TLSBATON_TICKETS || resumption == TLSBATON_BOTH;
}

int tickets_prepare(SSL_CTX *ctx)
{
	return is_ready() && SSL_CTX_set_ex_data(ctx, index_context, NULL) ? 0 : -ENOMEM;
}

int tickets_attach_ssl(struct tlsbaton *baton, SSL *ssl)
{
	if (!is_wanted(baton))
		SSL_set_options(ssl, SSL_OP_NO_TICKET);
	return SSL_set_ex_data(ssl, index_origin, baton) ? 0 : -ENOMEM;
}

int tlsbaton_attach_tickets(tlsbaton *baton, SSL_CTX *ctx)
{
	if (!is_ready() || !SSL_CTX_set_ex_data(ctx, index_context, baton) ||
	    !SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket))
		return -ENOMEM;
	if (!is_wanted(baton))
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	return 0;
}
