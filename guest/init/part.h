/*
 * A part of a disk as a block device of its own: a partition that only the kernel knows, made when it is first asked
 * for.  Whoever asks for the same part gets the same one, so that its file system is in memory once.
 */
#ifndef PART_H
#define PART_H

#include "disk.h"

/* `path`: the disk's, "/dev/vda", which becomes the part's, "/dev/vda3".  Offset and length are in bytes. */
int part_find(char path[DISK_PATH_BYTES], uint64_t offset, uint64_t length, struct failure *failure);

#endif
