#include "daemon/config_value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "repl/repl.h"

static int PRINTF_LIKE(2, 3) value_fail(char *why, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, CONFIG_WHY_MAX, fmt, args);
	va_end(args);
	return -EINVAL;
}

/* strtoull() also takes signs, spaces and other bases; a configuration file should not. */
static int value_digits(uint64_t *out, const char *text, const char **end)
{
	uint64_t n = 0;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
			return -EINVAL;
	*out = n;
	*end = text;
	return 0;
}

static const char *value_size_words(uint64_t n, char *buffer, size_t size)
{
	static const char units[] = {'G', 'M', 'K'};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		unsigned shift = 30 - 10 * (unsigned)i;

		if (n >> shift && (n & ((UINT64_C(1) << shift) - 1)) == 0) {
			snprintf(buffer, size, "%" PRIu64 "%c", n >> shift, units[i]);
			return buffer;
		}
	}
	snprintf(buffer, size, "%" PRIu64, n);
	return buffer;
}

int config_value_size(uint64_t *out, const char *text, uint64_t min, uint64_t max, char *why)
{
	char low[24], high[24];
	unsigned shift = 0;
	const char *end;
	uint64_t n;

	value_size_words(min, low, sizeof(low));
	value_size_words(max, high, sizeof(high));
	if (value_digits(&n, text, &end) < 0)
		return value_fail(
		    why, "'%s' is not a size; write a number with K, M or G, from %s to %s", text,
		    low, high);
	switch (toupper((unsigned char)*end)) {
	case 'K':
		shift = 10;
		break;
	case 'M':
		shift = 20;
		break;
	case 'G':
		shift = 30;
		break;
	}
	if (shift)
		end++;
	if (*end != '\0')
		return value_fail(
		    why, "'%s' is not a size; write a number with K, M or G, from %s to %s", text,
		    low, high);
	if (n > UINT64_MAX >> shift || n << shift < min || n << shift > max)
		return value_fail(why, "'%s' is out of range; write a size from %s to %s", text,
		                  low, high);
	*out = n << shift;
	return 0;
}

int config_value_number(unsigned *out, const char *text, unsigned min, unsigned max,
                        const char *unit, char *why)
{
	const char *space = *unit ? " " : "";
	const char *end;
	uint64_t n;

	if (value_digits(&n, text, &end) < 0 || *end != '\0')
		return value_fail(why, "'%s' is not a number; write one from %u to %u%s%s", text,
		                  min, max, *unit ? ", in " : "", unit);
	if (n < min || n > max)
		return value_fail(why, "%s is out of range; write a number from %u to %u%s%s", text,
		                  min, max, space, unit);
	*out = (unsigned)n;
	return 0;
}

int config_value_bool(bool *out, const char *text, char *why)
{
	static const char *const words[] = {"true", "on", "yes", "false", "off", "no"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*out = i < 3;
			return 0;
		}
	}
	return value_fail(why, "'%s' is neither true nor false; write true or false", text);
}

int config_value_word(unsigned *out, const char *text, const char *const *words, size_t n,
                      char *why)
{
	char list[128];
	size_t used = 0;

	for (unsigned i = 0; i < n; i++) {
		if (strcmp(text, words[i]) == 0) {
			*out = i;
			return 0;
		}
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
		                         i == 0 ? "" : (i + 1 < n ? ", " : " or "), words[i]);
	}
	return value_fail(why, "'%s' is not known; write %s", text, list);
}

int config_value_name(const char *text, char *why)
{
	size_t n = strlen(text);

	if (n == 0 || n > REPL_NAME_MAX)
		return value_fail(why, "a name has %zu bytes; write 1 to %d", n, REPL_NAME_MAX);
	if (*text == '.' || *text == '-')
		return value_fail(why,
		                  "the name '%s' starts with '%c'; start it with a letter or digit",
		                  text, *text);
	for (const char *c = text; *c; c++)
		if (!isascii((unsigned char)*c) ||
		    (!isalnum((unsigned char)*c) && !strchr("._-", *c)))
			return value_fail(
			    why, "'%s' is not a name; write letters, digits and . _ - only", text);
	return 0;
}

int config_value_interface(const char *text, char *why)
{
	size_t n = strlen(text);

	if (n == 0 || n >= IF_NAMESIZE)
		return value_fail(why, "the interface name '%s' has %zu bytes; write 1 to %d", text,
		                  n, IF_NAMESIZE - 1);
	if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0 || strpbrk(text, "/: \t\r\n"))
		return value_fail(
		    why, "'%s' is not an interface name; see `ip link` for those of this node",
		    text);
	return 0;
}

int config_value_path(const char *text, size_t max, char *why)
{
	if (*text != '/')
		return value_fail(why, "'%s' is not a full path; write one that starts with /",
		                  text);
	if (strlen(text) > max)
		return value_fail(why, "the path has %zu bytes; write one of at most %zu",
		                  strlen(text), max);
	return 0;
}

static int value_ip(struct sockaddr_storage *out, int family, const char *text, uint16_t port)
{
	struct sockaddr_storage ss = {.ss_family = (sa_family_t)family};
	void *address;

	if (family == AF_INET6) {
		((struct sockaddr_in6 *)&ss)->sin6_port = htons(port);
		address = &((struct sockaddr_in6 *)&ss)->sin6_addr;
	} else {
		((struct sockaddr_in *)&ss)->sin_port = htons(port);
		address = &((struct sockaddr_in *)&ss)->sin_addr;
	}
	if (inet_pton(family, text, address) != 1)
		return -EINVAL;
	*out = ss;
	return 0;
}

int config_value_endpoint(struct sockaddr_storage *out, const char *text, char *why)
{
	int family = *text == '[' ? AF_INET6 : AF_INET;
	char host[INET6_ADDRSTRLEN];
	const char *colon = strrchr(text, ':');
	const char *start = text, *stop = colon, *end;
	uint64_t port;

	if (family == AF_INET6 && colon && colon > text + 1 && colon[-1] == ']') {
		start++;
		stop--;
	} else if (family == AF_INET6) {
		stop = NULL;
	}
	if (!stop || (size_t)(stop - start) >= sizeof(host))
		return value_fail(
		    why,
		    "'%s' is not an address and port; write one like 192.0.2.7:7410 or "
		    "[2001:db8::7]:7410",
		    text);
	memcpy(host, start, (size_t)(stop - start));
	host[stop - start] = '\0';
	if (value_digits(&port, colon + 1, &end) < 0 || *end != '\0' || port == 0 ||
	    port > UINT16_MAX)
		return value_fail(
		    why,
		    "'%s' has no port from 1 to 65535 after its last colon; write one like "
		    "192.0.2.7:7410 or [2001:db8::7]:7410",
		    text);
	if (value_ip(out, family, host, (uint16_t)port) < 0)
		return value_fail(
		    why,
		    "'%s' does not start with an IP address; write one like 192.0.2.7:7410 or "
		    "[2001:db8::7]:7410",
		    text);
	return 0;
}

int config_value_user(uid_t *uid, gid_t *gid, const char *text, char *why)
{
	const struct passwd *pw = getpwnam(text);

	if (!pw)
		return value_fail(
		    why, "this machine has no user '%s'; create it, or write one that exists",
		    text);
	*uid = pw->pw_uid;
	if (gid)
		*gid = pw->pw_gid;
	return 0;
}

int config_value_group(gid_t *gid, const char *text, char *why)
{
	const struct group *gr = getgrnam(text);

	if (!gr)
		return value_fail(
		    why, "this machine has no group '%s'; create it, or write one that exists",
		    text);
	*gid = gr->gr_gid;
	return 0;
}

bool config_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)a;
	const struct sockaddr_in6 *b6 = (const struct sockaddr_in6 *)b;
	const struct sockaddr_in *a4 = (const struct sockaddr_in *)a;
	const struct sockaddr_in *b4 = (const struct sockaddr_in *)b;

	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET6)
		return a6->sin6_port == b6->sin6_port &&
		       IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr);
	return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
}

bool config_is_loopback(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
	return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* Edit distance, for "did you mean". Names are short: rows of at most 32. */
static unsigned value_distance(const char *a, const char *b)
{
	unsigned row[33];
	size_t n = strlen(b);

	if (n >= ARRAY_SIZE(row) || strlen(a) >= ARRAY_SIZE(row))
		return UINT_MAX;
	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; *a; i++, a++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			unsigned change = diagonal + (*a != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[n];
}

const char *config_nearest(const char *word, const char *const *names, size_t n)
{
	const char *nearest = NULL;
	/* With more letters wrong than these, or than half of them, a guess is noise. */
	unsigned best = (unsigned)MIN(3, strlen(word) / 2) + 1;

	for (size_t i = 0; i < n; i++) {
		unsigned distance = value_distance(word, names[i]);

		if (distance < best) {
			best = distance;
			nearest = names[i];
		}
	}
	return nearest;
}
