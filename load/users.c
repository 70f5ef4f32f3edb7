#include "users.h"

#include <errno.h>
#include <openssl/asn1.h>
#include <openssl/crypto.h>

#define CHUNK_USERS 1024
#define TAG_CERTIFICATE 3 /* of the server's certificate in the DER of an SSL_SESSION */

struct chunk {
	unsigned n_here; /* users that may still come */
	struct user users[CHUNK_USERS];
};

struct users {
	uint32_t n_users;
	unsigned n_visits;
	uint64_t n_waiting;
	struct chunk *chunks[]; /* NULL: nobody came yet, or all have gone */
};

int users_new(struct users **out, uint32_t n_users, unsigned n_visits)
{
	size_t n_chunks = ((size_t)n_users + CHUNK_USERS - 1) / CHUNK_USERS;
	struct users *users = calloc(1, sizeof(*users) + n_chunks * sizeof(struct chunk *));

	if (!users)
		return -ENOMEM;
	users->n_users = n_users;
	users->n_visits = n_visits;
	*out = users;
	return 0;
}

void users_free(struct users *users)
{
	if (!users)
		return;
	for (size_t i = 0; i * CHUNK_USERS < users->n_users; i++) {
		struct chunk *chunk = users->chunks[i];

		for (size_t j = 0; chunk && j < CHUNK_USERS; j++)
			user_drop_session(&chunk->users[j]);
		free(chunk);
	}
	free(users);
}

struct user *users_get(struct users *users, uint32_t i)
{
	struct chunk **chunk = &users->chunks[i / CHUNK_USERS];
	struct user *user;

	if (!*chunk) {
		*chunk = calloc(1, sizeof(**chunk));
		if (!*chunk)
			return NULL;
		(*chunk)->n_here = MIN(CHUNK_USERS, users->n_users - i / CHUNK_USERS * CHUNK_USERS);
	}
	user = &(*chunk)->users[i % CHUNK_USERS];
	return user->n_ended < users->n_visits ? user : NULL;
}

static struct user *user_of(const struct users *users, uint32_t i)
{
	return &users->chunks[i / CHUNK_USERS]->users[i % CHUNK_USERS];
}

static bool is_waiting(const struct users *users, const struct user *user)
{
	return user->n_open == 0 && user->n_ended > 0 && user->n_ended < users->n_visits;
}

void users_visit_begin(struct users *users, uint32_t i)
{
	struct user *user = user_of(users, i);

	users->n_waiting -= is_waiting(users, user);
	user->n_open++;
}

void users_visit_end(struct users *users, uint32_t i)
{
	struct chunk **chunk = &users->chunks[i / CHUNK_USERS];
	struct user *user = user_of(users, i);

	user->n_open--;
	user->n_ended++;
	users->n_waiting += is_waiting(users, user);
	if (user->n_ended < users->n_visits)
		return;
	user_drop_session(user);
	if (--(*chunk)->n_here == 0) {
		free(*chunk);
		*chunk = NULL;
	}
}

uint64_t users_n_waiting(const struct users *users)
{
	return users->n_waiting;
}

/* Takes the certificate out of a session's DER, in place; `n` is its length. Returns the new length, or 0 where the DER is
 * not what it should be. */
static size_t strip_certificate(unsigned char *der, size_t n)
{
	const unsigned char *in = der, *end = der + n;
	unsigned char *start, *out;
	long n_object;
	int tag, class;

	if (ASN1_get_object(&in, &n_object, &tag, &class, (long)n) & 0x80 || in + n_object != end)
		return 0;
	start = out = der + (in - der);
	while (in < end) {
		const unsigned char *object = in;

		if (ASN1_get_object(&in, &n_object, &tag, &class, end - in) & 0x80)
			return 0;
		in += n_object;
		if (class == V_ASN1_CONTEXT_SPECIFIC && tag == TAG_CERTIFICATE)
			continue;
		memmove(out, object, (size_t)(in - object));
		out += in - object;
	}
	/* The outer header is rewritten, and may have become shorter. */
	n_object = out - start;
	out = der;
	ASN1_put_object(&out, 1, (int)n_object, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
	memmove(out, start, (size_t)n_object);
	return (size_t)(out - der) + (size_t)n_object;
}

int user_keep_session(struct user *user, const SSL_SESSION *session)
{
	unsigned char *whole = NULL, *copy;
	int n = i2d_SSL_SESSION(session, NULL);
	unsigned char *end;
	size_t n_copy;

	if (n <= 0)
		return -EINVAL;
	whole = end = OPENSSL_malloc((size_t)n);
	if (!whole)
		return -ENOMEM;
	n_copy = i2d_SSL_SESSION(session, &end) == n ? strip_certificate(whole, (size_t)n) : 0;
	copy = n_copy > 0 ? OPENSSL_memdup(whole, n_copy) : NULL;
	OPENSSL_clear_free(whole, (size_t)n);
	if (!copy)
		return n_copy > 0 ? -ENOMEM : -EINVAL;
	user_drop_session(user);
	user->session = copy;
	user->n_session = (uint32_t)n_copy;
	return 0;
}

void user_drop_session(struct user *user)
{
	OPENSSL_clear_free(user->session, user->n_session);
	user->session = NULL;
	user->n_session = 0;
	user->generation++;
}

SSL_SESSION *user_get_session(const struct user *user)
{
	const unsigned char *der = user->session;

	return der ? d2i_SSL_SESSION(NULL, &der, user->n_session) : NULL;
}
