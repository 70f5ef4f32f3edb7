/*
 * A configuration against the machine that it is for: what would keep the daemon from starting. The
 * questions are put to the functions that ask them at the start, so that the answers are the same.
 *
 * Whether the daemon's user can read a file is asked of the kernel, by a child that has become that user:
 * modes alone do not say, since directories on the way, ACLs and security modules count as well. Such a child also
 * loads the certificates and their key, as the daemon would: so no trace of that key is in the memory of the process
 * that asks, which may be about to fork the privileged helper.
 */
#include "daemon/config_machine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "repl/tls.h"

/* What a child has found out. */
struct machine_answer {
	int r;
	char text[768];
};

/* Puts the question to a child that has become the daemon's user with its group alone; where we are not root, it stays who
 * we are. Out: `*out`, its answer. A negated errno: there is none. */
static int machine_ask(const struct config *config,
                       void (*question)(const struct config *, const void *arg,
                                        struct machine_answer *out),
                       const void *arg, struct machine_answer *out)
{
	struct machine_answer answer = {0};
	int ends[2], status, r = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		if (geteuid() == 0 && (setgroups(0, NULL) < 0 ||
		                       setresgid(config->gid, config->gid, config->gid) < 0 ||
		                       setresuid(config->uid, config->uid, config->uid) < 0))
			_exit(EXIT_FAILURE);
		question(config, arg, &answer);
		/* A pipe takes so little at once, or not at all. */
		n = write(ends[1], &answer, sizeof(answer));
		_exit(n == (ssize_t)sizeof(answer) ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	if (pid < 0)
		r = -errno;
	close(ends[1]);
	if (r == 0) {
		do
			n = read(ends[0], &answer, sizeof(answer));
		while (n < 0 && errno == EINTR);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		r = n == (ssize_t)sizeof(answer) ? 0 : -EPERM;
	}
	close(ends[0]);
	if (r == 0)
		*out = answer;
	return r;
}

static void ask_access(const struct config *config, const void *path, struct machine_answer *out)
{
	(void)config;
	out->r = access(path, R_OK) == 0 ? 0 : -errno;
}

/* Whether the daemon's user with its group alone can read `path`: 0, -EACCES, or another negated errno if that
 * cannot be found out. */
static int machine_can_read(const struct config *config, const char *path)
{
	struct machine_answer answer = {0};
	int r;

	if (geteuid() == config->uid)
		return faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0 ? 0 : -errno;
	if (geteuid() != 0)
		return -EPERM;
	r = machine_ask(config, ask_access, path, &answer);
	return r < 0 ? r : answer.r;
}

bool config_unreadable(const struct config *config, char *text, size_t size)
{
	const char *path = config->key_file ? config->key_file : config->private_key_file;
	char recipe[CONFIG_RECIPE_MAX];
	int r = machine_can_read(config, path);

	if (r == 0 || (r == -EACCES && !config->key_file)) /* that is config_refused()'s */
		return false;
	if (r == -EACCES)
		snprintf(text, size,
		         "%s: user %s cannot read it, so it could not start as that user, nor "
		         "reload; %s",
		         path, config->user, config_key_recipe(path, config->gid, recipe));
	else
		snprintf(text, size,
		         "%s: whether user %s can read it could not be found out (%s); check again "
		         "as root",
		         path, config->user, strerror(-r));
	return true;
}

/* Whether workers of another user than root and the daemon's are admitted. */
static bool machine_admits_others(const struct config *config)
{
	for (size_t i = 0; i < config->n_worker_uids; i++)
		if (config->worker_uids[i] != 0 && config->worker_uids[i] != config->uid)
			return true;
	return config->n_worker_gids > 0;
}

bool config_unreachable(const struct config *config, char *text, size_t size)
{
	const char *path = config->run_directory;
	struct stat st;

	if (!machine_admits_others(config) || stat(path, &st) < 0 || !S_ISDIR(st.st_mode) ||
	    st.st_mode & S_IXOTH || (st.st_mode & S_IXGRP && st.st_gid != config->gid))
		return false;
	snprintf(text, size,
	         "%s: has mode %04o, so servers cannot reach the socket in it; chmod 0755 %s", path,
	         st.st_mode & 07777, path);
	return true;
}

/* With X.509, OpenSSL reads these once the daemon is its user. */
static int machine_files(const struct config *config, char *error, size_t error_size)
{
	const char *const files[] = {config->certificate_file, config->private_key_file,
	                             config->ca_file};
	char recipe[CONFIG_RECIPE_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (!files[i] || machine_can_read(config, files[i]) != -EACCES)
			continue;
		snprintf(error, error_size, "%s: user %s cannot read %s; %s", config->path,
		         config->user, files[i], config_key_recipe(files[i], config->gid, recipe));
		return -EACCES;
	}
	return 0;
}

static void ask_certificates(const struct config *config, const void *arg,
                             struct machine_answer *out)
{
	const struct repl_config keys = {
	    .node = config->node,
	    .group = config->group,
	    .certificate_file = config->certificate_file,
	    .private_key_file = config->private_key_file,
	    .ca_file = config->ca_file,
	};
	struct tls *tls;
	char why[512] = "";

	(void)arg;
	out->r = tls_new(&tls, &keys, out->text, sizeof(out->text));
	if (out->r < 0)
		return;
	out->r = tls_check(tls, config->node, why, sizeof(why));
	snprintf(out->text, sizeof(out->text), "certificate: %s: %s", config->certificate_file,
	         why);
	tls_free(tls);
}

int config_certificates_look(const struct config *config, char *text, size_t text_size)
{
	struct machine_answer answer = {0};
	int r;

	if (config->key_file)
		return 0;
	r = machine_ask(config, ask_certificates, NULL, &answer);
	if (r < 0)
		snprintf(answer.text, sizeof(answer.text), "%s", strerror(-r));
	else
		r = answer.r;
	if (r != 0)
		snprintf(text, text_size, "%s", answer.text);
	return r;
}

int config_service_looks(const struct config *config, char *text, size_t text_size)
{
	_cleanup_(vip_freep) struct vip *vip = NULL;
	int r = vip_new(&vip, &config->service, text, text_size);

	return r < 0 ? r : vip_warning(vip, text, text_size);
}

int config_refused(const struct config *config, char *error, size_t error_size)
{
	char why[768];
	int r;

	r = machine_files(config, error, error_size);
	if (r < 0)
		return r;
	r = config_certificates_look(config, why, sizeof(why));
	if (r != -EINVAL && config->has_service)
		r = config_service_looks(config, why, sizeof(why));
	if (r != -EINVAL)
		return 0;
	snprintf(error, error_size, "%s: %s", config->path, why);
	return r;
}
