/*
 * The configuration file of tlsbatond (libconfuse's syntax; man tlsbaton.conf). Parsing checks
 * everything that can be checked without touching the machine's state; every error names file, line
 * and remedy.
 */
#ifndef TLSBATON_DAEMON_CONFIG_H
#define TLSBATON_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "repl/repl.h"
#include "util/log.h"
#include "util/macro.h"
#include "vip/vip.h"

#define CONFIG_PATH_DEFAULT "/etc/tlsbaton/tlsbaton.conf"
#define CONFIG_RUN_DIRECTORY_DEFAULT "/run/tlsbaton"

struct config {
	char *path;  /* of the file itself */
	char *node;  /* default: the host's name */
	char *group; /* default "default" */
	char *user;  /* whom the daemon runs as; default "tlsbaton" */
	uid_t uid;
	gid_t gid;
	char *run_directory;  /* default /run/tlsbaton: table, worker.sock, control.sock, role */
	uint64_t table_bytes; /* "256M" */
	uid_t *worker_uids;   /* worker-users = {"www-data"}; the default where that user exists */
	size_t n_worker_uids;
	gid_t *worker_gids; /* worker-groups = {} */
	size_t n_worker_gids;
	unsigned workers_max;              /* 1024 */
	uint64_t ring_bytes;               /* "1M" */
	unsigned gate_deadline_ms;         /* 20 */
	unsigned heartbeat_ms;             /* 500 */
	enum ticket_resumption resumption; /* resumption = stateful (default) | tickets | both */
	unsigned ticket_rotation_s;        /* 3600 */
	char *listen;                      /* "[::]:7410" */
	struct repl_peer_config peers[REPL_PEERS_MAX];
	size_t n_peers;
	char *key_file;                    /* either this … */
	uint8_t group_key[REPL_KEY_BYTES]; /* read from key_file; wiped by config_free() */
	char *certificate_file, *private_key_file, *ca_file; /* … or these */
	bool has_service;                                    /* service "eth0" { … } given */
	struct vip_config service;
	bool start_active;   /* start-as = active | standby (default): when no role is recorded */
	unsigned announce_s; /* 10 */
	char *http;          /* "127.0.0.1:7411"; loopback only; "" none */
	int http_line, listen_line; /* where they are set, or could be: the file's last line */
	enum log_target log_target;
	enum log_level log_level;
};

/* Reads `path`. On failure `error` holds one line: "FILE:LINE: what is wrong; what to write
 * instead". Returns 0 or a negated errno (-EINVAL for bad contents). */
int config_load(struct config **out, const char *path, char *error, size_t error_size) MUST_CHECK;
/*
 * What is allowed but probably not meant, looked up on this machine: an interface that does not exist, a key
 * that the daemon's user cannot read, no peer, nobody who may connect … Calls `warn` with "FILE: what is odd; what to do" for each. Returns how
 * many there were.
 */
unsigned config_warnings(const struct config *config, void (*warn)(void *arg, const char *text),
                         void *arg);

/*
 * Whether this machine, as it is now, would keep the daemon from starting with `config`: the interface of
 * its service address is set up so that it cannot work (vip_new()), its user cannot read a file that it
 * needs, or its certificate is one that no peer would take. Changes nothing. Returns 0, or a negated errno with "FILE: what is wrong; what to do" in `error`.
 * What cannot be found out here is no refusal; config_warnings() says so.
 */
int config_refused(const struct config *config, char *error, size_t error_size) MUST_CHECK;

/* Whether the daemon's user cannot read its key, so that a reload would fail, or this could not be found out:
 * then there is a line in `text`. */
bool config_unreadable(const struct config *config, char *text, size_t size);

/* Whether the run directory is there, and workers that the configuration admits can hardly enter it: then there is a
 * line in `text`. They can where everybody may, or a group other than the daemon's, which is then taken for theirs. */
bool config_unreachable(const struct config *config, char *text, size_t size);

/* Only where the file says that the daemon keeps its sockets, the caller's to free: for a command that has
 * to find the daemon, and needs neither its key nor its users. Fails as config_load(). */
int config_run_directory(char **out, const char *path, char *error, size_t error_size) MUST_CHECK;

void config_free(struct config *config); /* wipes the group key; NULL is fine */

/* A key file is this, twice REPL_KEY_BYTES hexadecimal digits, and a newline. */
#define CONFIG_KEY_PREFIX "tlsbaton-group-key-1:"

/* Reads a key file: one line as `tlsbaton keygen` writes it, of mode and owner as
 * config_check_private() wants, and not in a directory (of a link, its target's) that others may write.
 * `owner` and `gid` are the daemon's user and its group. */
int config_read_key(const char *path, uid_t owner, gid_t gid, uint8_t key[REPL_KEY_BYTES],
                    char *error, size_t error_size) MUST_CHECK;

/* Whether nobody else may read or change the regular file `fd`: mode 0600, 0400, 0640 or 0440, owned by
 * root, the caller or `owner`, and its group, if that may read it, is root's or `gid`. `path` is for the
 * message, which has the remedy. Returns 0 or a negated errno. */
int config_check_private(int fd, const char *path, uid_t owner, gid_t gid, char *error,
                         size_t error_size) MUST_CHECK;

#define CONFIG_RECIPE_MAX 512
/* Writes the commands that give a key file the owner, group and mode that it should have; returns `text`. */
const char *config_key_recipe(const char *path, gid_t gid, char text[CONFIG_RECIPE_MAX]);

/* The same for what stands in such a file: `n` bytes at `line`. Returns 0 or -EINVAL. */
int config_parse_key(const char *line, size_t n, uint8_t key[REPL_KEY_BYTES]) MUST_CHECK;

DEFINE_CLEANUP(struct config *, config_free)

#endif
