/* tlsbatond: start, signals, stop. */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "daemon/config.h"
#include "daemon/event_log.h"
#include "daemon/node.h"
#include "daemon/privileges.h"
#include "util/clock.h"
#include "util/log.h"
#include "vip/vip_helper.h"

#define FLUSH_MS 2000 /* how long a clean stop may push what is pending */

struct daemon {
	struct event_base *base;
	struct node *node;
	const char *config_path;
	bool verbose;
};

static const char usage[] =
    "Usage: tlsbatond [-c FILE] [-v]\n"
    "       tlsbatond --check [-c FILE]\n"
    "Shares the TLS sessions of this node's servers with its peers. Stays in the foreground.\n"
    "\n"
    "  -c, --config FILE  configuration (default " CONFIG_PATH_DEFAULT ")\n"
    "      --check        check the configuration, and this machine for it, and exit\n"
    "  -f, --foreground   accepted for those used to it: it always stays there\n"
    "  -v, --verbose      log debug lines as well\n"
    "      --help         show this text and exit\n"
    "      --version      show the version and exit\n"
    "\n"
    "Exit status: 0 done or correct, 1 failed, 2 wrong usage.\n"
    "Signals: TERM and INT stop cleanly, HUP reads the configuration again.\n"
    "See also tlsbatond(8), tlsbaton.conf(5), tlsbaton(1).\n";

static void on_stop(evutil_socket_t signal, short what, void *arg)
{
	struct daemon *daemon = arg;

	(void)what;
	log_notice("stopping on signal %d", (int)signal);
	sd_notify(0, "STOPPING=1");
	event_base_loopexit(daemon->base, NULL);
}

static int load(const char *path, bool verbose, struct config **out)
{
	char error[1024];
	int r = config_load(out, path, error, sizeof(error));

	if (r < 0)
		log_error("%s", error);
	else if (verbose)
		(*out)->log_level = LOG_LEVEL_DEBUG;
	return r;
}

static void on_reload(evutil_socket_t signal, short what, void *arg)
{
	struct daemon *daemon = arg;
	struct config *config;
	char error[1024];

	(void)signal;
	(void)what;
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_monotonic_us());
	if (load(daemon->config_path, daemon->verbose, &config) == 0) {
		if (config_refused(config, error, sizeof(error)) < 0)
			log_warning("%s (until then the daemon would not start again)", error);
		node_reload(daemon->node, config);
	} else {
		log_error("reload: the old configuration stays in force");
	}
	sd_notify(0, "READY=1");
}

/* Blocked meanwhile: event_del() gives the signal back its default, which is death. */
static void ignore_reloads(struct event *hup)
{
	sigset_t only_hup, before;

	sigemptyset(&only_hup);
	sigaddset(&only_hup, SIGHUP);
	sigprocmask(SIG_BLOCK, &only_hup, &before);
	event_del(hup);
	signal(SIGHUP, SIG_IGN); /* one that is pending goes, too */
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* With edges, by which workers wake us, whatever the environment says of libevent's methods. */
static struct event_base *new_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config && event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV) == 0 &&
	    event_config_require_features(config, EV_FEATURE_ET) == 0)
		base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	return base;
}

/* The loop's part, once privileges are gone. Takes `config` over. */
static int run(struct daemon *daemon, struct config *config, struct vip_helper *helper)
{
	struct event *term = NULL, *interrupt = NULL, *hup = NULL;
	char error[512];
	int r = -ENOMEM;

	event_log_open();
	daemon->base = new_base();
	if (daemon->base) {
		term = evsignal_new(daemon->base, SIGTERM, on_stop, daemon);
		interrupt = evsignal_new(daemon->base, SIGINT, on_stop, daemon);
		hup = evsignal_new(daemon->base, SIGHUP, on_reload, daemon);
	}
	if (!term || !interrupt || !hup) {
		config_free(config);
		goto out;
	}
	event_add(term, NULL);
	event_add(interrupt, NULL);
	event_add(hup, NULL);
	r = node_new(&daemon->node, daemon->base, config, helper, error, sizeof(error));
	if (r < 0) {
		log_error("%s", error);
		config_free(config);
		goto out;
	}
	r = privileges_drop_lock(error, sizeof(error));
	if (r < 0) {
		log_error("%s", error);
		goto out;
	}
	log_notice("node %s of group %s is ready", config->node, config->group);
	sd_notify(0, "READY=1");
	r = event_base_dispatch(daemon->base) < 0 || event_base_got_break(daemon->base) ? -EIO : 0;
	/* node_stop() runs the loop once more: no reload in it, and no death by its signal either. */
	ignore_reloads(hup);
	node_stop(daemon->node, FLUSH_MS);
out:
	node_free(daemon->node);
	vip_helper_free(helper);
	if (term)
		event_free(term);
	if (interrupt)
		event_free(interrupt);
	if (hup)
		event_free(hup);
	if (daemon->base)
		event_base_free(daemon->base);
	libevent_global_shutdown();
	return r;
}

/* The helper must not have the group key, not even in pages that it shares with us: so the key is wiped before the
 * fork, and read again after it. */
static int start_helper(struct config *config, struct vip_helper **out, char *error,
                        size_t error_size)
{
	int r;

	explicit_bzero(config->group_key, sizeof(config->group_key));
	r = vip_helper_new(out, &config->service, config->announce_s, config->uid, config->gid,
	                   error, error_size);
	if (r == 0 && config->key_file)
		r = config_read_key(config->key_file, config->uid, config->gid, config->group_key,
		                    error, error_size);
	return r;
}

static int start(struct daemon *daemon)
{
	struct vip_helper *helper = NULL;
	struct config *config;
	char error[1024];
	int r = load(daemon->config_path, daemon->verbose, &config);

	if (r < 0)
		return r;
	log_open("tlsbatond", config->log_target, config->log_level);
	signal(SIGPIPE, SIG_IGN);
	r = config_refused(config, error, sizeof(error));
	if (r == 0)
		r = privileges_run_directory(config->run_directory, config->uid, config->gid, error,
		                             sizeof(error));
	if (r == 0)
		r = privileges_harden(error, sizeof(error));
	if (r == 0 && config->has_service)
		r = start_helper(config, &helper, error, sizeof(error));
	if (r == 0)
		r = privileges_drop(config->uid, config->gid, error, sizeof(error));
	if (r < 0) {
		log_error("%s", error);
		vip_helper_free(helper);
		config_free(config);
		return r;
	}
	if (config_unreadable(config, error, sizeof(error)))
		log_warning("%s", error);
	if (config_unreachable(config, error, sizeof(error)))
		log_warning("%s", error);
	return run(daemon, config, helper);
}

static void on_warning(void *arg, const char *text)
{
	(void)arg;
	log_warning("warning: %s", text);
}

static int check(const char *path)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char error[1024];

	if (load(path, false, &config) < 0)
		return EXIT_FAILURE;
	config_warnings(config, on_warning, NULL);
	if (config_refused(config, error, sizeof(error)) < 0) {
		log_error("%s", error);
		return EXIT_FAILURE;
	}
	printf("%s: correct\n", path);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"check", no_argument, NULL, 'C'},
	    {"foreground", no_argument, NULL, 'f'},
	    {"verbose", no_argument, NULL, 'v'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0},
	};
	static char name[] = "tlsbatond"; /* in getopt_long(3)'s messages: not the path */
	struct daemon daemon = {.config_path = CONFIG_PATH_DEFAULT};
	bool only_check = false;
	int option;

	if (argc > 0)
		argv[0] = name;
	log_open("tlsbatond", LOG_TARGET_STDERR, LOG_LEVEL_NOTICE);
	while ((option = getopt_long(argc, argv, "c:fv", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			daemon.config_path = optarg;
			break;
		case 'C':
			only_check = true;
			break;
		case 'f': /* there is no other way; accepted for people used to it */
			break;
		case 'v':
			daemon.verbose = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		case 'V':
			puts("tlsbatond " TLSBATON_VERSION);
			return EXIT_SUCCESS;
		default:
			fputs("Try tlsbatond --help.\n", stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "tlsbatond: unexpected argument \"%s\"\nTry tlsbatond --help.\n",
		        argv[optind]);
		return 2;
	}
	if (only_check)
		return check(daemon.config_path);
	return start(&daemon) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
