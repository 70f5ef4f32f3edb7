/* See cpu-group.h. */
#include "cpu-group.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "cpu-tree.h"

const char *const cpu_method_names[N_CPU_METHODS] = {"cgroup2", "cgroup1", "proc"};

/* Where the method's hierarchy is mounted; NULL: nowhere. */
static char *find_mount(enum cpu_method method)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;
	char *found = NULL;

	while (mounts && !found && (mount = getmntent(mounts))) {
		if (method == CPU_CGROUP2
		        ? strcmp(mount->mnt_type, "cgroup2") == 0
		        : strcmp(mount->mnt_type, "cgroup") == 0 && hasmntopt(mount, "cpuacct"))
			found = strdup(mount->mnt_dir);
	}
	if (mounts)
		endmntent(mounts);
	return found;
}

/* The cgroup.procs of the cgroup that a process is in now, so that it can go back there. */
static char *find_origin(enum cpu_method method, const char *mount, pid_t pid)
{
	char *line = NULL, *origin = NULL, path[64];
	size_t size = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	file = fopen(path, "re");
	while (file && !origin && getline(&line, &size, file) > 0) {
		/* "ID:CONTROLLERS:PATH"; the unified hierarchy is "0::PATH" */
		char *controllers = strchr(line, ':');
		char *where = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!where)
			continue;
		*where++ = '\0';
		where[strcspn(where, "\n")] = '\0';
		if (method == CPU_CGROUP2 ? strcmp(line, "0:") == 0
		                          : strstr(controllers, "cpuacct") != NULL) {
			if (asprintf(&origin, "%s%s/cgroup.procs", mount, where) < 0)
				origin = NULL;
		}
	}
	free(line);
	if (file)
		fclose(file);
	return origin;
}

static int move_process(const char *procs, pid_t pid)
{
	_cleanup_(closep) int fd = open(procs, O_WRONLY | O_CLOEXEC);
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", (int)pid);

	if (fd < 0)
		return -errno;
	return write(fd, text, (size_t)n) == n ? 0 : -errno;
}

/* In rounds, until none is found that is new: what a process forks before it is moved stays behind. */
static int move_tree(const struct cpu_group *group, const char *procs)
{
	size_t n_moved = 0, n_before;

	do {
		struct cpu_tree tree;
		int r = cpu_tree_init(&tree, group->roots, group->n_roots);

		n_before = n_moved;
		for (size_t i = 0; r == 0 && i < tree.n; i++) {
			r = move_process(procs, tree.pids[i]);
			r = r == -ESRCH ? 0 : r;
		}
		if (r < 0)
			return r;
		n_moved = tree.n;
		cpu_tree_deinit(&tree);
	} while (n_moved != n_before);
	return 0;
}

static int enter_cgroup(struct cpu_group *group)
{
	_cleanup_(freep) char *mount = find_mount(group->method), *procs = NULL;

	if (!mount)
		return -ENOTSUP;
	group->origin = find_origin(group->method, mount, group->roots[0]);
	if (!group->origin)
		return -ENOTSUP;
	if (asprintf(&group->directory, "%s/cpu-record-%d-%s", mount, (int)getpid(), group->name) <
	    0) {
		group->directory = NULL;
		return -ENOMEM;
	}
	if (mkdir(group->directory, 0755) < 0)
		return -ENOTSUP;
	if (asprintf(&procs, "%s/cgroup.procs", group->directory) < 0) {
		procs = NULL;
		return -ENOMEM;
	}
	return move_tree(group, procs) < 0 ? -ENOTSUP : 0;
}

int cpu_group_init(struct cpu_group *group, enum cpu_method method, const char *name,
                   const pid_t *roots, size_t n_roots)
{
	struct cpu_group made = {.method = method, .n_roots = n_roots};
	int r = 0;

	for (size_t i = 0; i < n_roots; i++) {
		if (cpu_tree_process(roots[i], NULL, NULL) < 0)
			return -ESRCH;
	}
	made.name = strdup(name);
	made.roots = calloc(n_roots, sizeof(*roots));
	if (!made.name || !made.roots)
		r = -ENOMEM;
	if (r == 0) {
		memcpy(made.roots, roots, n_roots * sizeof(*roots));
		r = method == CPU_PROC ? 0 : enter_cgroup(&made);
	}
	if (r < 0)
		cpu_group_deinit(&made);
	else
		*group = made;
	return r;
}

/* Reads a cgroup's small file, and what sscanf's `format` finds from where `key` stands. */
static int read_figure(const struct cpu_group *group, const char *file, const char *key,
                       uint64_t *figure)
{
	_cleanup_(freep) char *path = NULL;
	_cleanup_(closep) int fd = -1;
	char text[1024], *at;
	ssize_t n;

	if (asprintf(&path, "%s/%s", group->directory, file) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	at = strstr(text, key);
	if (!at || sscanf(at + strlen(key), "%" SCNu64, figure) != 1)
		return -EIO;
	return 0;
}

/* How many processes the cgroup has; with `procs` each of them is moved there. */
static int walk_members(const struct cpu_group *group, const char *procs, unsigned *n_processes)
{
	_cleanup_(freep) char *path = NULL;
	unsigned n = 0;
	FILE *file;
	int pid;

	if (asprintf(&path, "%s/cgroup.procs", group->directory) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (fscanf(file, "%d", &pid) == 1) {
		n++;
		if (procs)
			(void)!move_process(procs, pid);
	}
	fclose(file);
	*n_processes = n;
	return 0;
}

static int read_proc(struct cpu_group *group, uint64_t *usage_us, unsigned *n_processes)
{
	struct cpu_tree tree;
	uint64_t sum_us = 0, us;
	unsigned n = 0;
	int r = cpu_tree_init(&tree, group->roots, group->n_roots);

	if (r < 0)
		return r;
	/*
	 * A parent before its children: one that is waited for in between is missing from this sum, which
	 * the next one mends, and never in it twice.
	 */
	for (size_t i = 0; i < tree.n; i++) {
		if (cpu_tree_process(tree.pids[i], &us, NULL) == 0) {
			sum_us += us;
			n++;
		}
	}
	cpu_tree_deinit(&tree);
	group->usage_us = MAX(group->usage_us, sum_us);
	*usage_us = group->usage_us;
	*n_processes = n;
	return 0;
}

int cpu_group_read(struct cpu_group *group, uint64_t *usage_us, unsigned *n_processes)
{
	uint64_t us;
	int r;

	if (group->method == CPU_PROC)
		return read_proc(group, usage_us, n_processes);
	if (group->method == CPU_CGROUP2) {
		r = read_figure(group, "cpu.stat", "usage_usec ", &us);
	} else {
		r = read_figure(group, "cpuacct.usage", "", &us);
		us = r < 0 ? 0 : us / 1000;
	}
	if (r == 0)
		r = walk_members(group, NULL, n_processes);
	if (r == 0)
		*usage_us = us;
	return r;
}

/* In rounds: what forks meanwhile is found in the next one, and one that is ending takes a moment. */
static void leave_cgroup(struct cpu_group *group)
{
	const struct timespec moment = {.tv_nsec = 10000000};
	unsigned n;

	for (int round = 0; round < 100; round++) {
		if (rmdir(group->directory) == 0 || errno != EBUSY)
			return;
		if (walk_members(group, group->origin, &n) < 0)
			return;
		if (n == 0)
			nanosleep(&moment, NULL);
	}
}

void cpu_group_deinit(struct cpu_group *group)
{
	if (group->directory && group->origin)
		leave_cgroup(group);
	free(group->directory);
	free(group->origin);
	free(group->roots);
	free(group->name);
}
