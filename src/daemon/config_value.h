/*
 * The kinds of values in a configuration file. Each function checks one value's text, and on
 * failure says what is wrong and what to write instead, without file and line, in `why`
 * (CONFIG_WHY_MAX bytes). None touches the machine's state but for the user and group databases.
 */
#ifndef TLSBATON_DAEMON_CONFIG_VALUE_H
#define TLSBATON_DAEMON_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "util/macro.h"

#define CONFIG_WHY_MAX 320

/* All return 0 or -EINVAL. */

/* "256M", "64K", "2G", or bytes. */
int config_value_size(uint64_t *out, const char *text, uint64_t min, uint64_t max,
                      char *why) MUST_CHECK;

/* A decimal number; `unit` ("ms", "s" or "") is for the message. */
int config_value_number(unsigned *out, const char *text, unsigned min, unsigned max,
                        const char *unit, char *why) MUST_CHECK;

/* true, on, yes, false, off, no. */
int config_value_bool(bool *out, const char *text, char *why) MUST_CHECK;

/* One of `n` words; out: its index. */
int config_value_word(unsigned *out, const char *text, const char *const *words, size_t n,
                      char *why) MUST_CHECK;

/* A node's or group's name: 1 to REPL_NAME_MAX of A-Z a-z 0-9 . _ -, not starting with '.' or '-'.
 */
int config_value_name(const char *text, char *why) MUST_CHECK;

/* An interface's name as Linux takes it. */
int config_value_interface(const char *text, char *why) MUST_CHECK;

/* A full path of at most `max` bytes. */
int config_value_path(const char *text, size_t max, char *why) MUST_CHECK;

/* "192.0.2.7:7410" or "[2001:db8::7]:7410". `out` may not be NULL. */
int config_value_endpoint(struct sockaddr_storage *out, const char *text, char *why) MUST_CHECK;

int config_value_user(uid_t *uid, gid_t *gid, const char *text, char *why) MUST_CHECK;
int config_value_group(gid_t *gid, const char *text, char *why) MUST_CHECK;

/* Same family, address and port. */
bool config_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
bool config_is_loopback(const struct sockaddr_storage *a);

/* The one of `n` names that `word` was probably meant to be; NULL if none is near. */
const char *config_nearest(const char *word, const char *const *names, size_t n);

#endif
