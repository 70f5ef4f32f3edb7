#include "daemon/privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

int privileges_run_directory(const char *path, uid_t uid, gid_t gid, char *error, size_t error_size)
{
	struct stat st;
	int r;

	if (mkdir(path, 0755) == 0) {
		/* The mode again, for the umask may have taken the workers' right to come in (the unit's does). */
		if (chmod(path, 0755) == 0 && (geteuid() != 0 || chown(path, uid, gid) == 0))
			return 0;
		r = -errno;
		snprintf(error, error_size, "%s: cannot be given to user %u: %s", path, uid,
		         strerror(-r));
		return r;
	}
	if (errno != EEXIST || lstat(path, &st) < 0) {
		snprintf(error, error_size, "%s: %s: make it, or set another run-directory", path,
		         strerror(errno));
		return -errno;
	}
	if (!S_ISDIR(st.st_mode) || (st.st_uid != uid && st.st_uid != 0) ||
	    (st.st_mode & (S_IWGRP | S_IWOTH))) {
		snprintf(error, error_size,
		         "%s: must be a directory of user %u that nobody else may write to", path,
		         uid);
		return -EPERM;
	}
	/* Made by root, and empty or what we left there. */
	if (st.st_uid == 0 && uid != 0 && (geteuid() != 0 || chown(path, uid, gid) < 0)) {
		snprintf(error, error_size, "%s: belongs to root: chown it to user %u", path, uid);
		return -EPERM;
	}
	return 0;
}

int privileges_harden(char *error, size_t error_size)
{
	static const struct rlimit none = {0, 0}, unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	struct rlimit files;

	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		snprintf(error, error_size, "cannot rule out core dumps: %s", strerror(errno));
		return -errno;
	}
	/* Each worker costs two descriptors. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	/* Not fatal: it is said of the table and the rings when they cannot be locked. */
	(void)setrlimit(RLIMIT_MEMLOCK, &unlimited);
	return 0;
}

int privileges_drop(uid_t uid, gid_t gid, char *error, size_t error_size)
{
	int r;

	if (geteuid() != 0 && geteuid() != uid) {
		snprintf(
		    error, error_size,
		    "must be started as root or as the configured user (uid %u), not as uid %u",
		    uid, geteuid());
		return -EPERM;
	}
	capng_get_caps_process();
	r = capng_have_capability(CAPNG_PERMITTED, CAP_IPC_LOCK);
	capng_clear(CAPNG_SELECT_ALL);
	if (r)
		r = capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_IPC_LOCK);
	if (r == 0 && geteuid() == 0)
		r = capng_change_id((int)uid, (int)gid,
		                    CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING |
		                        CAPNG_CLEAR_AMBIENT);
	else if (r == 0) /* by its own user, perhaps with ambient capabilities for the helper */
		r = capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT);
	if (r != 0) {
		snprintf(error, error_size, "cannot become uid %u without capabilities: %s", uid,
		         strerror(errno));
		return -EPERM;
	}
	/* A change of user sets the flag back (prctl(2), PR_SET_DUMPABLE). */
	return prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : 0;
}

int privileges_drop_lock(char *error, size_t error_size)
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_CAPS) == 0)
		return 0;
	snprintf(error, error_size, "cannot give up CAP_IPC_LOCK: %s", strerror(errno));
	return -EPERM;
}
