/*
 * The part of a container's root that every container has alike (proc, sysfs, /dev, what is masked in them), mounted
 * in a template ahead of any container, and moved into the root of the first.
 */
#ifndef SKELETON_H
#define SKELETON_H

#include "util.h"

/* Mounts it from PREPARE's fields, in the calling child's mount namespace; the child fails as a whole. */
int skeleton_make(struct span planned, struct failure *failure);

/* Whether a CONTAINER_CREATE begins with what was planned: more mounts and devices may follow. */
bool skeleton_fits(struct span planned, struct span fields);

/* Moves it below `root`, and makes the mounts and devices that CONTAINER_CREATE has besides. */
int skeleton_join(int root, struct span planned, struct span fields, struct failure *failure);

#endif
