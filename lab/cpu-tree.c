/* See cpu-tree.h. */
#include "cpu-tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>

struct process {
	pid_t pid, parent;
};

struct processes {
	struct process *all;
	size_t n, n_room;
};

int cpu_tree_process(pid_t pid, uint64_t *usage_us, pid_t *parent)
{
	unsigned long user, system;
	long children_user, children_system;
	char path[64], text[1024], *rest;
	_cleanup_(closep) int fd = -1;
	ssize_t n;
	int ppid;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -ESRCH;
	text[n] = '\0';
	/* The command's name may hold blanks and brackets: the last bracket ends it. */
	rest = strrchr(text, ')');
	if (!rest || sscanf(rest + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld",
	                    &ppid, &user, &system, &children_user, &children_system) != 5)
		return -ESRCH;
	if (usage_us)
		*usage_us = (user + system + (unsigned long)children_user +
		             (unsigned long)children_system) *
		            (1000000 / (uint64_t)sysconf(_SC_CLK_TCK));
	if (parent)
		*parent = ppid;
	return 0;
}

static int add_process(struct processes *processes, pid_t pid, pid_t parent)
{
	if (processes->n == processes->n_room) {
		size_t n_room = MAX(processes->n_room * 2, 256);
		struct process *all = reallocarray(processes->all, n_room, sizeof(*processes->all));

		if (!all)
			return -ENOMEM;
		processes->all = all;
		processes->n_room = n_room;
	}
	processes->all[processes->n++] = (struct process){pid, parent};
	return 0;
}

static int list_processes(struct processes *processes)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int r = 0;

	if (!proc)
		return -errno;
	while (r == 0 && (entry = readdir(proc))) {
		pid_t pid = (pid_t)atoi(entry->d_name), parent;

		if (pid > 0 && cpu_tree_process(pid, NULL, &parent) == 0)
			r = add_process(processes, pid, parent);
	}
	closedir(proc);
	return r;
}

static bool contains(const struct cpu_tree *tree, pid_t pid)
{
	for (size_t i = 0; i < tree->n; i++) {
		if (tree->pids[i] == pid)
			return true;
	}
	return false;
}

int cpu_tree_init(struct cpu_tree *tree, const pid_t *roots, size_t n_roots)
{
	struct processes processes = {0};
	struct cpu_tree found = {0};
	int r = list_processes(&processes);

	if (r == 0) {
		found.pids = calloc(processes.n + n_roots, sizeof(*found.pids));
		r = found.pids ? 0 : -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < n_roots; i++) {
		if (cpu_tree_process(roots[i], NULL, NULL) == 0 && !contains(&found, roots[i]))
			found.pids[found.n++] = roots[i];
	}
	/* found grows while it is read: the children of children. */
	for (size_t i = 0; r == 0 && i < found.n; i++) {
		for (size_t j = 0; j < processes.n; j++) {
			if (processes.all[j].parent == found.pids[i] &&
			    !contains(&found, processes.all[j].pid))
				found.pids[found.n++] = processes.all[j].pid;
		}
	}
	free(processes.all);
	if (r < 0)
		free(found.pids);
	else
		*tree = found;
	return r;
}

void cpu_tree_deinit(struct cpu_tree *tree)
{
	free(tree->pids);
}
