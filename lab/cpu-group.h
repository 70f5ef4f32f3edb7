/* The CPU time of a group of processes, with all their descendants, those that came and went included. */
#ifndef TLSBATON_LAB_CPU_GROUP_H
#define TLSBATON_LAB_CPU_GROUP_H

#include <stdint.h>
#include <sys/types.h>

#include "util/macro.h"

enum cpu_method {
	CPU_CGROUP2, /* a cgroup of the unified hierarchy: its cpu.stat, which needs no controller */
	CPU_CGROUP1, /* a cgroup of the cpuacct hierarchy */
	CPU_PROC, /* /proc/PID/stat, in ticks; a descendant whose parent died before it is lost */
	N_CPU_METHODS
};

extern const char *const cpu_method_names[N_CPU_METHODS];

struct cpu_group {
	enum cpu_method method;
	char *name;
	char *directory; /* the cgroup made for it; CPU_PROC: NULL */
	char *origin;    /* the cgroup.procs that the processes go back to */
	pid_t *roots;
	size_t n_roots;
	uint64_t usage_us; /* CPU_PROC: the most seen */
};

/*
 * Makes a group of the processes `roots` (`n_roots`, copied) and their descendants, present and future. A
 * cgroup counts from now on, /proc from the birth of the processes: only differences mean something. `name` is
 * copied and must be a file name. Returns 0; -ENOTSUP: this method cannot be had here (no such hierarchy,
 * no rights); -ESRCH: a root does not exist. On failure *group needs no deinit.
 */
MUST_CHECK int cpu_group_init(struct cpu_group *group, enum cpu_method method, const char *name,
                              const pid_t *roots, size_t n_roots);

/* Puts the processes back where they were and removes the cgroup. */
void cpu_group_deinit(struct cpu_group *group);

/* Out: the CPU time so far, which never goes down, and how many processes live. Returns 0 or < 0. */
MUST_CHECK int cpu_group_read(struct cpu_group *group, uint64_t *usage_us, unsigned *n_processes);

#endif
