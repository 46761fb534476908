/*
 * Processes of the VM itself, outside any container: for the operator (`exec --vm`), for probes and forwarded ports.
 */
#ifndef INVM_H
#define INVM_H

#include "launch.h"

/*
 * Prepares where one runs.  With a container's mount namespace for its tools it gets a root of its own: that container's,
 * with what is written kept in memory and thrown away, the VM's /proc, /sys and /dev in it, and the VM's root on /run/vm.
 */
int invm_enter(const struct launch *launch, struct failure *failure);

/* Whether the agent is this program itself. */
bool invm_builtin(char *const *arguments);

/* Runs it: "hyper-connect HOST PORT" passes its input on to a TCP port, and what comes from there to its output. */
__attribute__((noreturn)) void invm_run(char *const *arguments);

#endif
