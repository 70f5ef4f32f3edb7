/*
 * From the file to struct config. libconfuse parses; every option is a string to it, and the
 * callback here gives each value to the checker of its kind while the parser still stands on its
 * line. So a message names the line of the value that is wrong, also within a list. What concerns
 * several options is checked after the last line, and names the line of the option that is to
 * change; what is missing altogether has no line, and is named by its option.
 */
#include "daemon/config.h"

#include <errno.h>
#include <stdio.h>

#include "daemon/config_option.h"
#include "daemon/config_value.h"

#define LISTEN_DEFAULT "[::]:7410"
#define HTTP_DEFAULT "127.0.0.1:7411"

/* libconfuse hands its callbacks no argument. Its lexer is one a process anyway. */
static struct config_parse *parse_current;

/* Notes that `opt` is being set; an error if it was before. The second value of a list is none. */
static int parse_seen(struct config_parse *p, const cfg_t *section, const cfg_opt_t *opt, bool list)
{
	for (size_t i = 0; i < p->n_seen; i++) {
		if (p->seen[i].opt != opt)
			continue;
		if (list && opt->nvalues > 1)
			return 0;
		return config_fail(&p->errors, section->line,
		                   "%s: was set in line %d already; remove one of the two",
		                   opt->name, p->seen[i].line);
	}
	if (p->n_seen == CONFIG_SEEN_MAX)
		return config_fail(&p->errors, section->line,
		                   "there are too many options; remove some");
	p->seen[p->n_seen].opt = opt;
	p->seen[p->n_seen++].line = section->line;
	return 0;
}

static int parse_value(cfg_t *section, cfg_opt_t *opt, const char *value, void *result)
{
	struct config_parse *p = parse_current;
	const struct config_option *option = NULL;
	char why[CONFIG_WHY_MAX] = "";
	int r;

	for (size_t i = 0; i < config_n_options && !option; i++)
		if (strcmp(config_options[i].section, section->name) == 0 &&
		    strcmp(config_options[i].name, opt->name) == 0)
			option = &config_options[i];
	if (!option) /* libconfuse takes "peer=b|address" for a name, too */
		return config_fail(&p->errors, section->line,
		                   "%s: does not belong here; write it in its section", opt->name);
	r = parse_seen(p, section, opt, option->list);
	if (r < 0)
		return r;
	r = option->set(p, section, value, (char *)p->config + option->offset, why);
	if (r == -ENOMEM)
		return config_fail(&p->errors, section->line, "%s: out of memory", opt->name);
	if (r < 0)
		return config_fail(&p->errors, section->line, "%s: %s", opt->name, why);
	*(const char **)result = value;
	return 0;
}

static void parse_unknown(struct config_parse *p, const cfg_t *section, const char *name)
{
	const char *names[40];
	const char *nearest;
	size_t n = 0;

	for (const cfg_opt_t *opt = section->opts; opt->name && n < ARRAY_SIZE(names); opt++)
		names[n++] = opt->name;
	nearest = config_nearest(name, names, n);
	if (nearest)
		config_fail(&p->errors, section->line,
		            "%s: is not an option here; did you mean %s?", name, nearest);
	else
		config_fail(&p->errors, section->line,
		            "%s: is not an option here; tlsbaton.conf(5) lists those that are",
		            name);
}

/* What libconfuse itself finds wrong. */
__attribute__((nonnull, format(printf, 2, 0))) static void
parse_error(cfg_t *section, const char *fmt, va_list args)
{
	struct config_parse *p = parse_current;
	char text[256];

	if (strncmp(fmt, "no such option", 14) == 0) {
		parse_unknown(p, section, va_arg(args, const char *));
		return;
	}
	vsnprintf(text, sizeof(text), fmt, args);
	if (strncmp(fmt, "premature end", 13) == 0)
		config_fail(&p->errors, p->text.n_lines, "%s; write the value that is missing",
		            text);
	else if (strncmp(fmt, "found duplicate title", 21) == 0)
		config_fail(&p->errors, section->line, "%s; give each section a name of its own",
		            text);
	else if (strncmp(fmt, "missing equal sign", 18) == 0)
		config_fail(&p->errors, section->line, "%s; write NAME = VALUE", text);
	else if (strstr(fmt, "section"))
		config_fail(&p->errors, section->line, "%s; write SECTION NAME { OPTION = VALUE }",
		            text);
	else
		config_fail(&p->errors, section->line,
		            "%s; write NAME = VALUE or NAME = {VALUE, VALUE}", text);
}

/* At a peer's closing brace. */
static int parse_peer_end(cfg_t *root, cfg_opt_t *opt)
{
	struct config_parse *p = parse_current;
	cfg_t *section = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);

	(void)root;
	if (!section || cfg_size(section, "address") == 0)
		return config_fail(
		    &p->errors, config_section_line(p),
		    "peer '%s' has no address; write address = \"192.0.2.7:7410\" in it",
		    section ? cfg_title(section) : "");
	return 0;
}

/* At a service's closing brace. */
static int parse_service_end(cfg_t *root, cfg_opt_t *opt)
{
	struct config_parse *p = parse_current;
	cfg_t *section = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	int line = config_section_line(p);
	char why[CONFIG_WHY_MAX];

	(void)root;
	if (!section || cfg_opt_size(opt) > 1)
		return config_fail(
		    &p->errors, line,
		    "this is a second service; write one, with all addresses that move");
	if (config_value_interface(cfg_title(section), why) < 0)
		return config_fail(&p->errors, line, "service: %s", why);
	if (p->config->service.n_addresses == 0)
		return config_fail(
		    &p->errors, line,
		    "service '%s' has no address; write addresses = {\"10.77.0.10/24\"} in it",
		    cfg_title(section));
	if (cfg_size(section, "addresses") != p->config->service.n_addresses)
		return config_fail(&p->errors, line, "addresses: is set twice; write one list");
	p->config->service.interface = strdup(cfg_title(section));
	if (!p->config->service.interface)
		return config_fail(&p->errors, line, "out of memory");
	p->config->has_service = true;
	return 0;
}

/* Gives the parser the options of config_option.c; `opts` has room for all of them and an end. */
static void parse_options(cfg_opt_t *opts, const char *section)
{
	for (size_t i = 0; i < config_n_options; i++) {
		const struct config_option *o = &config_options[i];

		if (strcmp(o->section, section) != 0)
			continue;
		if (o->list)
			*opts++ =
			    (cfg_opt_t)CFG_STR_LIST_CB(o->name, NULL, CFGF_NODEFAULT, parse_value);
		else
			*opts++ = (cfg_opt_t)CFG_STR_CB(o->name, NULL, CFGF_NODEFAULT, parse_value);
	}
	*opts = (cfg_opt_t)CFG_END();
}

static int parse_file(struct config_parse *p)
{
	cfg_opt_t root[32], peer[8], service[8];
	const cfg_flag_t many = CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES;
	size_t n = 0;
	int r;

	parse_options(peer, "peer");
	parse_options(service, "service");
	parse_options(root, "root");
	while (root[n].name)
		n++;
	root[n++] = (cfg_opt_t)CFG_SEC("peer", peer, many);
	root[n++] = (cfg_opt_t)CFG_SEC("service", service, many);
	root[n] = (cfg_opt_t)CFG_END();

	p->cfg = cfg_init(root, CFGF_NONE);
	if (!p->cfg)
		return -ENOMEM;
	cfg_set_error_function(p->cfg, parse_error);
	cfg_set_validate_func(p->cfg, "peer", parse_peer_end);
	cfg_set_validate_func(p->cfg, "service", parse_service_end);
	r = cfg_parse_buf(p->cfg, p->text.text);
	if (r != CFG_SUCCESS)
		return config_fail(
		    &p->errors, p->cfg->line,
		    "cannot be understood; see tlsbaton.conf(5) for what can be written");
	return 0;
}

static int config_defaults(struct config *c, const char *path)
{
	c->table_bytes = UINT64_C(256) << 20;
	c->workers_max = 1024;
	c->ring_bytes = UINT64_C(1) << 20;
	c->gate_deadline_ms = 20;
	c->heartbeat_ms = 500;
	c->resumption = TICKET_STATEFUL;
	c->ticket_rotation_s = 3600;
	c->announce_s = 10;
	c->log_target = LOG_TARGET_STDERR;
	c->log_level = LOG_LEVEL_NOTICE;
	if (config_store(&c->path, path) < 0 || config_store(&c->group, "default") < 0 ||
	    config_store(&c->run_directory, CONFIG_RUN_DIRECTORY_DEFAULT) < 0 ||
	    config_store(&c->listen, LISTEN_DEFAULT) < 0 ||
	    config_store(&c->http, HTTP_DEFAULT) < 0)
		return -ENOMEM;
	return 0;
}

/* `whole`: with all that config_check() looks at. */
static int config_read(struct config **out, const char *path, bool whole, char *error,
                       size_t error_size)
{
	_cleanup_(config_freep) struct config *config = calloc(1, sizeof(*config));
	struct config_parse p = {.config = config, .errors = {path, error, error_size}};
	int r;

	*error = '\0';
	r = config ? config_defaults(config, path) : -ENOMEM;
	if (r == 0)
		r = config_text_read(&p.text, &p.errors);
	if (r < 0)
		goto fail;
	parse_current = &p;
	r = parse_file(&p);
	if (r == 0 && whole)
		r = config_check(&p);
	if (p.cfg)
		cfg_free(p.cfg);
	parse_current = NULL;
	free(p.text.text);
	if (r < 0)
		goto fail;
	*out = config;
	config = NULL;
	return 0;
fail:
	/* What had no words of its own, such as a lack of memory. */
	config_fail(&p.errors, 0, "%s", strerror(-r));
	return r;
}

int config_load(struct config **out, const char *path, char *error, size_t error_size)
{
	return config_read(out, path, true, error, error_size);
}

int config_run_directory(char **out, const char *path, char *error, size_t error_size)
{
	_cleanup_(config_freep) struct config *config = NULL;
	int r = config_read(&config, path, false, error, error_size);

	if (r < 0)
		return r;
	*out = config->run_directory;
	config->run_directory = NULL;
	return 0;
}

/* Strings that are ours although the struct that holds them says const. */
static void free_const(const char *s)
{
	free((void *)(uintptr_t)s);
}

void config_free(struct config *config)
{
	if (!config)
		return;
	explicit_bzero(config->group_key, sizeof(config->group_key));
	for (size_t i = 0; i < config->n_peers; i++) {
		free_const(config->peers[i].name);
		free_const(config->peers[i].address);
	}
	for (size_t i = 0; i < config->service.n_addresses; i++)
		free_const(config->service.addresses[i]);
	free_const(config->service.interface);
	free(config->path);
	free(config->node);
	free(config->group);
	free(config->user);
	free(config->run_directory);
	free(config->worker_uids);
	free(config->worker_gids);
	free(config->listen);
	free(config->key_file);
	free(config->certificate_file);
	free(config->private_key_file);
	free(config->ca_file);
	free(config->http);
	free(config);
}
