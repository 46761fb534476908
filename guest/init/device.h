/*
 * Which devices a container's processes may open: a program in the kernel, attached to its cgroup.  A container with
 * CAP_MKNOD may make any node, and reaches other containers' disks with none.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include "util.h"

/* It lets through what Docker does (null zero full random urandom tty console ptmx pts tun) and the DEVICE fields. */
struct device_program *device_program(struct span fields);

/* Has the kernel look at it ahead of time: it is then at hand for every container that has the same. */
int device_load(const struct device_program *program, struct failure *failure);

/* Attaches it to a cgroup. */
int device_confine(int group, const struct device_program *program, struct failure *failure);

#endif
