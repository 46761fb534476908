/*
 * A container's root file system, made in the calling child's own mount namespace (holder.h): the image's disk below,
 * the writable disk (or memory) above, everything that the host planned mounted in it, and nothing else left.
 */
#ifndef ROOT_H
#define ROOT_H

#include "util.h"

/* Short, for overlayfs's options; the directories are in the VM's root, the mounts in one process's namespace only. */
#define LOWER_POINT "/l"
#define UPPER_POINT "/u"
#define ROOT_POINT "/r"

/* On the writable disk, or in the container's directory of it: what overlayfs keeps. */
#define UPPER_DIRECTORY "upper"

/* Mounts the root on ROOT_POINT; its directory, or -1. */
int root_assemble(struct span fields, struct failure *failure);

/* MOUNT, FILE, DEVICE, MASKED_PATH, READONLY_PATH, in that order. */
int root_mounts(int root, struct span fields, struct failure *failure);

/* A volume's MOUNT (a file system; its TARGET is left out), on `point` of the VM. */
int mount_file_system(struct span fields, const char *point, bool read_only, struct failure *failure);

/* Changes the flags of the mount that lies on `target` below `root`. */
int root_remount(int root, const char *target, unsigned long flags);

int root_files(int root, struct span fields, struct failure *failure);
int root_devices(int root, struct span fields, struct failure *failure);
int root_protect(int root, struct span fields, struct failure *failure);

/* Makes ROOT_POINT the root, read-only if the fields say so, and detaches everything else. */
int root_enter(int root, struct span fields, struct failure *failure);

/* Gives up: unmounts, so that the disks are free. */
void root_abandon(void);

#endif
