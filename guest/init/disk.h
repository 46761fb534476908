/* Block devices, found by the serial that the host gave them; mounted in the caller's mount namespace. */
#ifndef DISK_H
#define DISK_H

#include "util.h"

#define DISK_PATH_BYTES 64

/* "/dev/vda", waiting some seconds for a disk that is being plugged in. */
int disk_find(struct span serial, char path[DISK_PATH_BYTES], struct failure *failure);

/*
 * Unbinds the driver of every virtio disk, until disk_find needs one: a clone has other disks than its template, and
 * the driver reads a disk's size when it is bound.
 */
int disks_release(struct failure *failure);

/* How many there are in the VM. */
unsigned disk_count(void);

#endif
