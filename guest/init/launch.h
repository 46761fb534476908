/*
 * From a child of PID 1 to the container's program: terminal, ids, capabilities, limits, exec.
 * Runs in the container's namespaces (an init's are there; others are joined first).
 */
#ifndef LAUNCH_H
#define LAUNCH_H

#include "util.h"

struct launch {
	struct span fields; /* of PROCESS_START */
	bool init;
	bool in_vm; /* outside any container */
	int report;   /* notes to PID 1; closed by exec */
	int stdio[3]; /* -1 each: a terminal, or (stdin) nothing */
	int namespaces[2]; /* of the container, to be joined: mount, cgroup; not for init.  In the VM: the first is that
	                    * of the container with the tools, or -1 */
};

__attribute__((noreturn)) void launch_main(struct launch *launch);
__attribute__((noreturn)) void launch_failed(const struct launch *launch, const struct failure *failure);

#endif
