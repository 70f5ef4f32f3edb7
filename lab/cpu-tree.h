/* Processes and their descendants, as /proc has them. */
#ifndef TLSBATON_LAB_CPU_TREE_H
#define TLSBATON_LAB_CPU_TREE_H

#include <stdint.h>
#include <sys/types.h>

#include "util/macro.h"

struct cpu_tree {
	pid_t *pids; /* every parent before its children */
	size_t n;
};

/* Out: the roots that exist and their descendants. Returns 0 or < 0; release with cpu_tree_deinit. */
MUST_CHECK int cpu_tree_init(struct cpu_tree *tree, const pid_t *roots, size_t n_roots);
void cpu_tree_deinit(struct cpu_tree *tree);

/*
 * Out: what the process and those of its children that it waited for have used, and its parent. Optional:
 * either may be NULL. Returns 0, or -ESRCH when it is gone; a zombie is still there.
 */
MUST_CHECK int cpu_tree_process(pid_t pid, uint64_t *usage_us, pid_t *parent);

#endif
