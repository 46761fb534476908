/* Control groups, version 2: one per container, directly below the root.  A kernel without them limits nothing. */
#ifndef CGROUP_H
#define CGROUP_H

#include "util.h"

/* Mounts them and hands all controllers down. */
void cgroup_mount(void);

/* A new group with the limits in `fields` (MEMORY_MAX ...): its directory, or -1. */
int cgroup_create(const char *name, struct span fields, struct failure *failure);
int cgroup_limit(int group, struct span fields, struct failure *failure);

/* The group that a process is in: its directory, or -1 with errno. */
int cgroup_of(pid_t pid);

/* Kills every process in it and below. */
void cgroup_kill(int group);

/* Removes it and what was made below it; it must be empty. */
void cgroup_remove(const char *name);

/* The value of `key` in a file of "key value" lines, or `missing`. */
uint64_t cgroup_number(int group, const char *file, const char *key, uint64_t missing);

/* Calls `each` for every process in it and below, until that returns non-zero. */
int cgroup_each(int group, int (*each)(pid_t pid, void *context), void *context);

/* Adds up `key` over a file like io.stat, where every line has several "key=value". */
uint64_t cgroup_sum(int group, const char *file, const char *key);

#endif
