/*
 * tlsbaton run: a program that knows nothing of tlsbaton, with the preload library in it. It becomes that program
 * (exec), so its process ID, its exit status and its place under systemd are what they would have been. What stands in the
 * way is said, and the program runs all the same.
 */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>

#include "cli/program.h"
#include "daemon/config.h"
#include "preload/preload.h"

#define VARIABLE "LD_PRELOAD"

/* As env(1) and the shells have them. */
enum { RUN_CANNOT = 126, RUN_NOT_FOUND = 127 };

static void warn_fault(int fault, const char *path, const char *tls)
{
	static const char so[] = "it runs, and its sessions are not shared";

	switch (fault) {
	case PROGRAM_STATIC:
		cli_error("%s is linked statically, so that no library can be preloaded: %s", path,
		          so);
		break;
	case PROGRAM_FOREIGN:
		cli_error("%s is for another architecture than this tlsbaton: %s", path, so);
		break;
	case PROGRAM_PRIVILEGED:
		cli_error(
		    "%s changes its rights when it starts (set-user-ID, or capabilities of the "
		    "file), so that no library is preloaded: %s",
		    path, so);
		break;
	case PROGRAM_OTHER_TLS:
		cli_error("%s has its TLS from %s, not from OpenSSL 3: %s", path, tls, so);
		break;
	default:
		cli_error(
		    "%s cannot be looked into (%s): whether its sessions are shared is not known",
		    path, strerror(-fault));
	}
}

/* Where the daemon listens for workers. A configuration that does not say is no reason not to run. */
static int find_socket(const struct cli *cli, char **out)
{
	_cleanup_(freep) char *directory = NULL;
	const char *path = cli->config_path ? cli->config_path : CONFIG_PATH_DEFAULT;
	char error[512];

	if (config_run_directory(&directory, path, error, sizeof(error)) < 0) {
		if (cli->config_path) {
			cli_error("%s", error);
			return CLI_FAILED;
		}
		directory = strdup(CONFIG_RUN_DIRECTORY_DEFAULT);
	}
	if (!directory || asprintf(out, "%s/worker.sock", directory) < 0) {
		cli_error("%s", strerror(ENOMEM));
		return CLI_FAILED;
	}
	return CLI_DONE;
}

/* What the program is to have. */
struct preload {
	const char *library, *socket;
	bool fallback_cache;
};

/* Before what is preloaded already. */
static int set_environment(const struct preload *preload)
{
	const char *others = getenv(VARIABLE);
	_cleanup_(freep) char *value = NULL;

	if (asprintf(&value, "%s%s%s", preload->library, others && *others ? ":" : "",
	             others ? others : "") < 0 ||
	    setenv(VARIABLE, value, 1) < 0 ||
	    setenv(PRELOAD_SOCKET_VARIABLE, preload->socket, 1) < 0 ||
	    (preload->fallback_cache ? setenv(PRELOAD_FALLBACK_VARIABLE, "1", 1)
	                             : unsetenv(PRELOAD_FALLBACK_VARIABLE)) < 0) {
		cli_error("%s", strerror(ENOMEM));
		return CLI_FAILED;
	}
	return CLI_DONE;
}

/* Puts the library in the way of `path`, where that makes sense. */
static int prepare(const char *path, const struct preload *preload)
{
	char tls[64];
	int r;

	r = program_check(path, tls, sizeof(tls));
	if (r != 0 && r != -ENOEXEC && r != -ELOOP) { /* no program: exec says so */
		warn_fault(r, path, tls);
		/* Not known: it harms no program. */
		if (r > 0)
			return CLI_DONE;
	}
	/* The loader goes on without a library that it does not find, and takes blanks and colons for ends of names. */
	if (strpbrk(preload->library, " :\t\n") || access(preload->library, R_OK) < 0) {
		cli_error(
		    "%s cannot be preloaded: the program runs, and its sessions are not shared",
		    preload->library);
		return CLI_DONE;
	}
	return set_environment(preload);
}

static int run_run(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = {
	    {"fallback-cache", no_argument, NULL, 'f'},
	    {"library", required_argument, NULL, 'l'},
	    {"socket", required_argument, NULL, 's'},
	    {NULL, 0, NULL, 0},
	};
	struct preload preload = {.library = PRELOAD};
	_cleanup_(freep) char *socket = NULL;
	char path[PATH_MAX];
	int option, done, r;

	while ((option = cli_option(cli, &cli_run, argc, argv, own, &done)) != -1) {
		if (option == 'l') {
			preload.library = optarg;
		} else if (option == 'f') {
			preload.fallback_cache = true;
		} else {
			free(socket);
			socket = strdup(optarg);
		}
	}
	if (done >= 0)
		return done;
	if (optind == argc) {
		cli_error("no command to run");
		fputs("Try tlsbaton run --help.\n", stderr);
		return CLI_USAGE;
	}
	r = program_find(argv[optind], path, sizeof(path));
	if (r < 0) {
		cli_error("%s: %s", argv[optind], strerror(-r));
		return r == -ENOENT ? RUN_NOT_FOUND : RUN_CANNOT;
	}
	r = socket ? CLI_DONE : find_socket(cli, &socket);
	preload.socket = socket;
	if (r == CLI_DONE)
		r = prepare(path, &preload);
	if (r != CLI_DONE)
		return r;
	(void)signal(SIGPIPE, cli->sigpipe);
	execv(path, argv + optind);
	cli_error("%s: %s", argv[optind], strerror(errno));
	return RUN_CANNOT;
}

const struct cli_command cli_run = {
    .name = "run",
    .arguments = "[--] COMMAND [ARGUMENT...]",
    .summary = "Run any server on OpenSSL 3 with its sessions shared",
    .options =
        "      --fallback-cache\n"
        "                      fill the program's own session cache with nothing but what cannot "
        "be shared\n"
        "      --library PATH  the preload library (default " PRELOAD ")\n"
        "      --socket PATH   where the daemon listens for servers (default: worker.sock in its "
        "run-directory)\n",
    .stops = true,
    .run = run_run,
};
