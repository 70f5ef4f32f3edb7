#include "daemon/config_option.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "daemon/config_value.h"

#define WORKER_IDS_MAX 64 /* of users, and of groups */
#define RUN_DIRECTORY_MAX                                                                          \
	90 /* a Unix socket's path has 107 bytes, and a name in the directory up to 16 */

int config_store(char **slot, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

static int set_name(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                    char *why)
{
	int r = config_value_name(value, why);

	(void)p, (void)section;
	return r < 0 ? r : config_store(slot, value);
}

static int set_user(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                    char *why)
{
	int r = config_value_user(&p->config->uid, &p->config->gid, value, why);

	(void)section;
	return r < 0 ? r : config_store(slot, value);
}

static int set_path(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                    char *why)
{
	int r = config_value_path(value, PATH_MAX - 1, why);

	(void)p, (void)section;
	return r < 0 ? r : config_store(slot, value);
}

static int set_run_directory(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                             char *why)
{
	int r = config_value_path(value, RUN_DIRECTORY_MAX, why);

	(void)p, (void)section;
	return r < 0 ? r : config_store(slot, value);
}

static int set_table_size(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                          char *why)
{
	(void)p, (void)section;
	return config_value_size(slot, value, TABLE_SIZE_MIN, UINT64_C(1) << 40, why);
}

static int set_ring_size(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                         char *why)
{
	(void)p, (void)section;
	return config_value_size(slot, value, 64 << 10, 256 << 20, why);
}

static int set_worker_user(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                           char *why)
{
	struct config *c = p->config;

	(void)section, (void)slot;
	if (c->n_worker_uids == WORKER_IDS_MAX) {
		snprintf(why, CONFIG_WHY_MAX, "there are too many; write at most %d",
		         WORKER_IDS_MAX);
		return -EINVAL;
	}
	if (!c->worker_uids)
		c->worker_uids = calloc(WORKER_IDS_MAX, sizeof(*c->worker_uids));
	if (!c->worker_uids)
		return -ENOMEM;
	if (config_value_user(&c->worker_uids[c->n_worker_uids], NULL, value, why) < 0)
		return -EINVAL;
	c->n_worker_uids++;
	return 0;
}

static int set_worker_group(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                            char *why)
{
	struct config *c = p->config;

	(void)section, (void)slot;
	if (c->n_worker_gids == WORKER_IDS_MAX) {
		snprintf(why, CONFIG_WHY_MAX, "there are too many; write at most %d",
		         WORKER_IDS_MAX);
		return -EINVAL;
	}
	if (!c->worker_gids)
		c->worker_gids = calloc(WORKER_IDS_MAX, sizeof(*c->worker_gids));
	if (!c->worker_gids)
		return -ENOMEM;
	if (config_value_group(&c->worker_gids[c->n_worker_gids], value, why) < 0)
		return -EINVAL;
	c->n_worker_gids++;
	return 0;
}

static int set_workers_max(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                           char *why)
{
	(void)p, (void)section;
	return config_value_number(slot, value, 1, 65536, "", why);
}

static int set_gate_deadline(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                             char *why)
{
	(void)p, (void)section;
	return config_value_number(slot, value, 1, 10000, "ms", why);
}

static int set_heartbeat(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                         char *why)
{
	(void)p, (void)section;
	return config_value_number(slot, value, 50, 60000, "ms", why);
}

static int set_resumption(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                          char *why)
{
	static const char *const words[] = {"stateful", "tickets", "both"};
	unsigned i;
	int r = config_value_word(&i, value, words, ARRAY_SIZE(words), why);

	(void)section, (void)slot;
	if (r == 0)
		p->config->resumption = (enum ticket_resumption)(TICKET_STATEFUL + i);
	return r;
}

static int set_ticket_rotation(struct config_parse *p, cfg_t *section, const char *value,
                               void *slot, char *why)
{
	(void)p, (void)section;
	return config_value_number(slot, value, TICKET_ROTATION_MS_MIN / 1000,
	                           TICKET_ROTATION_MS_MAX / 1000, "s", why);
}

static int set_announce(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                        char *why)
{
	(void)p, (void)section;
	return config_value_number(slot, value, 0, 3600, "s", why);
}

static int set_listen(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                      char *why)
{
	int r = config_value_endpoint(&p->listen, value, why);

	(void)section;
	return r < 0 ? r : config_store(slot, value);
}

static int set_http(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                    char *why)
{
	struct sockaddr_storage address;
	int r;

	(void)p, (void)section;
	if (*value == '\0')
		return config_store(slot, value);
	r = config_value_endpoint(&address, value, why);
	if (r < 0)
		return r;
	if (!config_is_loopback(&address)) {
		snprintf(why, CONFIG_WHY_MAX,
		         "%s is not a loopback address, and what is served there is for this "
		         "machine only; write "
		         "127.0.0.1:PORT or [::1]:PORT, or \"\" for none",
		         value);
		return -EINVAL;
	}
	return config_store(slot, value);
}

static int set_log(struct config_parse *p, cfg_t *section, const char *value, void *slot, char *why)
{
	static const char *const words[] = {
	    [LOG_TARGET_STDERR] = "stderr", [LOG_TARGET_SYSLOG] = "syslog"};
	unsigned i;
	int r = config_value_word(&i, value, words, ARRAY_SIZE(words), why);

	(void)section, (void)slot;
	if (r == 0)
		p->config->log_target = (enum log_target)i;
	return r;
}

static int set_log_level(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                         char *why)
{
	static const char *const words[] = {
	    [LOG_LEVEL_ERROR] = "error",
	    [LOG_LEVEL_WARNING] = "warning",
	    [LOG_LEVEL_NOTICE] = "notice",
	    [LOG_LEVEL_DEBUG] = "debug",
	};
	unsigned i;
	int r = config_value_word(&i, value, words, ARRAY_SIZE(words), why);

	(void)section, (void)slot;
	if (r == 0)
		p->config->log_level = (enum log_level)i;
	return r;
}

static int set_start_as(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                        char *why)
{
	static const char *const words[] = {"standby", "active"};
	unsigned i;
	int r = config_value_word(&i, value, words, ARRAY_SIZE(words), why);

	(void)section, (void)slot;
	if (r == 0)
		p->config->start_active = i == 1;
	return r;
}

static int set_bool(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                    char *why)
{
	(void)p, (void)section;
	return config_value_bool(slot, value, why);
}

int config_section_line(const struct config_parse *p)
{
	size_t n = (size_t)cfg_size(p->cfg, "peer") + cfg_size(p->cfg, "service");

	return n > 0 && n <= p->text.n_sections ? p->text.section_lines[n - 1] : p->cfg->line;
}

static int set_peer_address(struct config_parse *p, cfg_t *section, const char *value, void *slot,
                            char *why)
{
	struct config *c = p->config;
	struct repl_peer_config peer = {0};
	struct sockaddr_storage address;
	const char *name = section->title ? section->title : "";
	char name_why[CONFIG_WHY_MAX];
	int r;

	(void)slot;
	if (c->n_peers == REPL_PEERS_MAX) {
		snprintf(why, CONFIG_WHY_MAX, "there are more than %d peers; remove one",
		         REPL_PEERS_MAX);
		return -EINVAL;
	}
	/* The name comes first in the file, so an error in it does, too. */
	if (config_value_name(name, name_why) < 0)
		return config_fail(&p->errors, config_section_line(p), "peer: %s", name_why);
	r = config_value_endpoint(&address, value, why);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->n_peers; i++) {
		if (config_same_address(&address, &p->peers[i])) {
			snprintf(why, CONFIG_WHY_MAX,
			         "%s is the address of peer '%s' already; write that of '%s'",
			         value, c->peers[i].name, name);
			return -EINVAL;
		}
	}
	peer.name = strdup(name);
	peer.address = strdup(value);
	p->peers[c->n_peers] = address;
	p->peer_lines[c->n_peers] = config_section_line(p);
	c->peers[c->n_peers++] = peer; /* config_free() frees what came of a failed strdup(), too */
	return peer.name && peer.address ? 0 : -ENOMEM;
}

static int set_service_address(struct config_parse *p, cfg_t *section, const char *value,
                               void *slot, char *why)
{
	struct vip_config *service = &p->config->service;
	int r;

	(void)section, (void)slot;
	if (service->n_addresses == VIP_ADDRESSES_MAX) {
		snprintf(why, CONFIG_WHY_MAX, "there are more than %d; remove one",
		         VIP_ADDRESSES_MAX);
		return -EINVAL;
	}
	r = vip_check_address(service, value, why, CONFIG_WHY_MAX);
	if (r < 0)
		return r;
	service->addresses[service->n_addresses] = strdup(value);
	if (!service->addresses[service->n_addresses])
		return -ENOMEM;
	service->n_addresses++;
	return 0;
}

#define AT(member) offsetof(struct config, member)
const struct config_option config_options[] = {
    {"root", "node", false, set_name, AT(node)},
    {"root", "group", false, set_name, AT(group)},
    {"root", "user", false, set_user, AT(user)},
    {"root", "run-directory", false, set_run_directory, AT(run_directory)},
    {"root", "table-size", false, set_table_size, AT(table_bytes)},
    {"root", "worker-users", true, set_worker_user, 0},
    {"root", "worker-groups", true, set_worker_group, 0},
    {"root", "workers-max", false, set_workers_max, AT(workers_max)},
    {"root", "ring-size", false, set_ring_size, AT(ring_bytes)},
    {"root", "gate-deadline", false, set_gate_deadline, AT(gate_deadline_ms)},
    {"root", "heartbeat", false, set_heartbeat, AT(heartbeat_ms)},
    {"root", "resumption", false, set_resumption, 0},
    {"root", "ticket-rotation", false, set_ticket_rotation, AT(ticket_rotation_s)},
    {"root", "listen", false, set_listen, AT(listen)},
    {"root", "key-file", false, set_path, AT(key_file)},
    {"root", "certificate", false, set_path, AT(certificate_file)},
    {"root", "private-key", false, set_path, AT(private_key_file)},
    {"root", "ca", false, set_path, AT(ca_file)},
    {"root", "http", false, set_http, AT(http)},
    {"root", "log", false, set_log, 0},
    {"root", "log-level", false, set_log_level, 0},
    {"peer", "address", false, set_peer_address, 0},
    {"service", "addresses", true, set_service_address, 0},
    {"service", "start-as", false, set_start_as, 0},
    {"service", "interface-down", false, set_bool, AT(service.interface_down)},
    {"service", "announce", false, set_announce, AT(announce_s)},
};
#undef AT
const size_t config_n_options = ARRAY_SIZE(config_options);
