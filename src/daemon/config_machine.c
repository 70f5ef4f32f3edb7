/*
 * A configuration against the machine that it is for: what would keep the daemon from starting. The
 * questions are put to the functions that ask them at the start, so that the answers are the same.
 *
 * Whether the daemon's user can read a file is asked of the kernel, by a child that has become that user:
 * modes alone do not say, since directories on the way, ACLs and security modules count as well.
 */
#include "daemon/config_machine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Whether user `uid` with the group `gid` alone can read `path`: 0, -EACCES, or another negated errno if that
 * cannot be found out. */
static int machine_can_read(const char *path, uid_t uid, gid_t gid)
{
	int status;
	pid_t pid;

	if (geteuid() == uid)
		return faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0 ? 0 : -errno;
	if (geteuid() != 0)
		return -EPERM;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
		    setresuid(uid, uid, uid) < 0)
			_exit(EPERM);
		_exit(access(path, R_OK) == 0 ? 0 : errno);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

bool config_unreadable(const struct config *config, char *text, size_t size)
{
	const char *path = config->key_file ? config->key_file : config->private_key_file;
	char recipe[CONFIG_RECIPE_MAX];
	int r = machine_can_read(path, config->uid, config->gid);

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
static int machine_certificates(const struct config *config, char *error, size_t error_size)
{
	const char *const files[] = {config->certificate_file, config->private_key_file,
	                             config->ca_file};
	char recipe[CONFIG_RECIPE_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (!files[i] || machine_can_read(files[i], config->uid, config->gid) != -EACCES)
			continue;
		snprintf(error, error_size, "%s: user %s cannot read %s; %s", config->path,
		         config->user, files[i], config_key_recipe(files[i], config->gid, recipe));
		return -EACCES;
	}
	return 0;
}

int config_service_looks(const struct config *config, char *text, size_t text_size)
{
	_cleanup_(vip_freep) struct vip *vip = NULL;
	int r = vip_new(&vip, &config->service, text, text_size);

	return r < 0 ? r : vip_warning(vip, text, text_size);
}

int config_refused(const struct config *config, char *error, size_t error_size)
{
	char why[512];
	int r;

	r = machine_certificates(config, error, error_size);
	if (r < 0)
		return r;
	r = config->has_service ? config_service_looks(config, why, sizeof(why)) : 0;
	if (r != -EINVAL)
		return 0;
	snprintf(error, error_size, "%s: %s", config->path, why);
	return r;
}
