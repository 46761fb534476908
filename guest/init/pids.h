/* PID namespaces: the one that a pod's containers may share, and how PID 1 forks into any. */
#ifndef PIDS_H
#define PIDS_H

#include "util.h"

/* The shared one, made when it is first asked for; -1, and `failure` says why. */
int pids_shared(struct failure *failure);

/* fork(2) with the child in that PID namespace and cgroup. */
pid_t pids_fork(int pids, int cgroup);

#endif
