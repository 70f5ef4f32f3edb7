/* What concerns several options, or files that they name: checked after the last line was parsed.
 */
#include "daemon/config_option.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "daemon/config_value.h"

#define USER_DEFAULT "tlsbaton"
#define WORKER_USER_DEFAULT "www-data"

/* Where an option was set (sections aside, no two options share a name); 0: it was not. */
static int parse_line(const struct config_parse *p, const char *name)
{
	for (size_t i = 0; i < p->n_seen; i++)
		if (strcmp(p->seen[i].opt->name, name) == 0)
			return p->seen[i].line;
	return 0;
}

static int where_to_set(const struct config_parse *p, const char *name)
{
	int line = parse_line(p, name);

	return line ? line : p->text.n_lines;
}

/* Nodes talk to each other over addresses that stay where they are. */
static int check_moving(struct config_parse *p)
{
	struct config *c = p->config;

	if (vip_is_moving(&c->service, &p->listen))
		return config_fail(&p->errors, parse_line(p, "listen"),
		                   "listen: %s is a service address, which only the active node "
		                   "answers for; write an address of this node's own",
		                   c->listen);
	for (size_t i = 0; i < c->n_peers; i++)
		if (vip_is_moving(&c->service, &p->peers[i]))
			return config_fail(&p->errors, p->peer_lines[i],
			                   "peer '%s' has a service address, which moves; write an "
			                   "address of the peer's own",
			                   c->peers[i].name);
	return 0;
}

static int check_node(struct config_parse *p)
{
	struct config *c = p->config;
	char host[HOST_NAME_MAX + 1] = "";
	char why[CONFIG_WHY_MAX];

	if (!c->node) {
		gethostname(host, sizeof(host) - 1);
		if (config_value_name(host, why) < 0)
			return config_fail(&p->errors, 0,
			                   "node: is not set, and this host's name will not do "
			                   "(%s); write node = NAME",
			                   why);
		if (config_store(&c->node, host) < 0)
			return -ENOMEM;
	}
	for (size_t i = 0; i < c->n_peers; i++) {
		if (strcmp(c->peers[i].name, c->node) == 0)
			return config_fail(
			    &p->errors, p->peer_lines[i],
			    "peer '%s' has this node's own name; name the other node, or set node",
			    c->node);
		if (config_same_address(&p->peers[i], &p->listen))
			return config_fail(&p->errors, p->peer_lines[i],
			                   "peer '%s' has the address that this node listens on; "
			                   "write the peer's own",
			                   c->peers[i].name);
	}
	return 0;
}

/* OpenSSL reads these later; here, that they are there, and that the private one is. */
static int check_file(struct config_parse *p, const char *name, const char *path, bool private)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char why[PATH_MAX + CONFIG_RECIPE_MAX];
	struct stat st;

	if (fd < 0 && errno == EACCES)
		return config_fail(&p->errors, parse_line(p, name),
		                   "%s: user %s cannot read %s; %s", name, p->config->user, path,
		                   config_key_recipe(path, p->config->gid, why));
	if (fd < 0 || fstat(fd, &st) < 0)
		return config_fail(&p->errors, parse_line(p, name),
		                   "%s: %s cannot be read: %s; write the path of a PEM file", name,
		                   path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return config_fail(&p->errors, parse_line(p, name),
		                   "%s: %s is not a regular file; write the path of a PEM file",
		                   name, path);
	if (private &&
	    config_check_private(fd, path, p->config->uid, p->config->gid, why, sizeof(why)) < 0)
		return config_fail(&p->errors, parse_line(p, name), "%s: %s", name, why);
	return 0;
}

static int check_certificates(struct config_parse *p)
{
	const struct config *c = p->config;
	const struct {
		const char *name, *path;
	} files[] = {
	    {"certificate", c->certificate_file},
	    {"private-key", c->private_key_file},
	    {"ca", c->ca_file},
	};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (files[i].path && c->key_file)
			return config_fail(
			    &p->errors, parse_line(p, files[i].name),
			    "%s: cannot stand beside key-file; remove one of the two",
			    files[i].name);
		for (size_t j = 0; files[i].path && j < ARRAY_SIZE(files); j++)
			if (!files[j].path)
				return config_fail(
				    &p->errors, parse_line(p, files[i].name),
				    "%s: needs %s, too; write %s = \"/path/of/a.pem\"",
				    files[i].name, files[j].name, files[j].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		r = files[i].path ? check_file(p, files[i].name, files[i].path, i == 1) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_authentication(struct config_parse *p)
{
	struct config *c = p->config;
	char why[PATH_MAX + CONFIG_RECIPE_MAX];
	int r;

	r = check_certificates(p);
	if (r < 0)
		return r;
	if (!c->key_file && !c->certificate_file)
		return config_fail(
		    &p->errors, 0,
		    "key-file: is not set, and nothing else says how nodes prove who "
		    "they are; write key-file = \"/path\" (tlsbaton keygen makes "
		    "one), or certificate, private-key and ca");
	if (!c->key_file)
		return 0;
	r = config_read_key(c->key_file, c->uid, c->gid, c->group_key, why, sizeof(why));
	if (r < 0)
		config_fail(&p->errors, parse_line(p, "key-file"), "key-file: %s", why);
	return r;
}

static int check_users(struct config_parse *p)
{
	struct config *c = p->config;
	char why[CONFIG_WHY_MAX];
	uid_t uid;

	if (!c->user) {
		if (config_value_user(&c->uid, &c->gid, USER_DEFAULT, why) < 0)
			return config_fail(
			    &p->errors, 0,
			    "user: is not set, and this machine has no user '" USER_DEFAULT
			    "'; create it (systemd-sysusers), or write user = NAME");
		if (config_store(&c->user, USER_DEFAULT) < 0)
			return -ENOMEM;
	}
	if (!(cfg_getopt(p->cfg, "worker-users")->flags & CFGF_MODIFIED) &&
	    config_value_user(&uid, NULL, WORKER_USER_DEFAULT, why) == 0) {
		c->worker_uids = calloc(1, sizeof(*c->worker_uids));
		if (!c->worker_uids)
			return -ENOMEM;
		c->worker_uids[c->n_worker_uids++] = uid;
	} else if (cfg_size(p->cfg, "worker-users") != c->n_worker_uids) {
		return config_fail(&p->errors, parse_line(p, "worker-users"),
		                   "worker-users: is set twice; write one list");
	}
	if (cfg_size(p->cfg, "worker-groups") != c->n_worker_gids)
		return config_fail(&p->errors, parse_line(p, "worker-groups"),
		                   "worker-groups: is set twice; write one list");
	return 0;
}

int config_check(struct config_parse *p)
{
	int r;

	p->config->http_line = where_to_set(p, "http");
	p->config->listen_line = where_to_set(p, "listen");
	r = check_node(p);
	if (r == 0)
		r = check_moving(p);
	if (r == 0)
		r = check_users(p);
	if (r == 0)
		r = check_authentication(p);
	return r;
}
