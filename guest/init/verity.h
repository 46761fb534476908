/*
 * Disks whose every block is checked as it is read: the kernel's dm-verity over a disk that has a tree of hashes behind
 * its data.  One that is mounted again is the same one, so that its file system is in memory once.
 */
#ifndef VERITY_H
#define VERITY_H

#include "disk.h"

/* `path`: the disk's (or part's), which becomes that of what checks it, until that is mounted.  To be given to
 * verity_release whether or not it was; -1 where it cannot be had. */
int verity_open(char path[DISK_PATH_BYTES], const struct disk *disk, struct failure *failure);

/* From now on it goes with its last mount. */
void verity_release(int control, const struct disk *disk);

/* If one of these disks is asked for (LOWER): hears of blocks that are not what they should be, and tells the host. */
void verity_watch(struct span fields);

#endif
