/* What a container has changed, for the host: read from its disks by processes of the VM, outside any container. */
#ifndef INDISK_H
#define INDISK_H

#include <stdbool.h>

bool indisk_builtin(const char *name);

/*
 * "hyper-layer UPPER DIRECTORY LOWER FILESYSTEM OFFSET LENGTH" and "hyper-changes" likewise (archive.h): UPPER and LOWER are
 * serials of disks, DIRECTORY is that of the container on UPPER, "" where it has the disk to itself; the image is the part
 * of LOWER at OFFSET, of LENGTH bytes, 0 for all of it.
 */
__attribute__((noreturn)) void indisk_run(char *const *arguments);

#endif
