/* Block devices, found by what the host calls them (name.h), and parts of them; mounted in the caller's namespace. */
#ifndef DISK_H
#define DISK_H

#include "util.h"

#define DISK_PATH_BYTES 64

/* "/dev/vda", waiting some seconds for a disk that is being plugged in. */
int disk_find(struct span serial, char path[DISK_PATH_BYTES], struct failure *failure);

/* What a disk (LOWER, UPPER) with these options is mounted with: what nobody writes stays a hole in the host's file,
 * and no thread reads bitmaps ahead. */
#define DISK_WRITABLE "noinit_itable,no_prefetch_block_bitmaps"

/* What is on a disk, or on the part of it that begins at `offset`, where `length` is none of 0 (bytes).  With a
 * `root_hash`, `data` bytes of it are checked by the tree of hashes that follows them. */
struct disk {
	struct span serial, filesystem, root_hash;
	uint64_t offset, length, data;
};

/* Mounts it.  `options` are ext4's. */
int disk_mount_this(const struct disk *disk, const char *point, unsigned long flags, const char *options,
                    struct failure *failure);

/* The same of a disk's fields. */
int disk_mount(struct span disk, const char *point, unsigned long flags, const char *options, struct failure *failure);

/* The DIRECTORY of a disk that is mounted on `point`, `made` if it is missing: its descriptor, or -1. */
int disk_directory(struct span disk, const char *point, bool *made, struct failure *failure);

/*
 * Unbinds the driver of every virtio disk, until disk_find needs one: a clone has other disks than its template, and
 * the driver reads a disk's size when it is bound.
 */
int disks_release(struct failure *failure);

/* How many there are in the VM. */
unsigned disk_count(void);

#endif
