/* Trees of a container, for the host, as archives: packed and unpacked by processes of the VM that see what it sees. */
#ifndef ARCHIVE_H
#define ARCHIVE_H

#include <stdbool.h>

#define ARCHIVE_STAT "hyper-stat"
#define ARCHIVE_PACK "hyper-pack"
#define ARCHIVE_UNPACK "hyper-unpack"
#define ARCHIVE_EXPORT "hyper-export"
#define ARCHIVE_LAYER "hyper-layer"
#define ARCHIVE_CHANGES "hyper-changes"

/*
 * All end with the errno of what failed, and say why on their error output, of what by its path.
 *
 * "hyper-stat PATH": "MODE SIZE MTIME" (MODE octal, with the type) in a line of its output, of what is there and not of where
 * a link at the end leads to; of a link behind that the path to which it leads, absolute and without links, whether or not
 * there is something.
 */
__attribute__((noreturn)) void archive_stat(int root, const char *path);

/*
 * "hyper-pack PATH NAME FOLLOW": "packing" in a line of its error output, and then an archive of what is there, whose
 * entries are NAME and what is below it.  FOLLOW 1: where the path ends in a link, of what that leads to.  Links are
 * packed as links, sockets not at all, and of proc, sysfs and the like, and of /dev, no more than the directory.
 */
__attribute__((noreturn)) void archive_pack(int root, const char *path, const char *name, bool follow);

/*
 * "hyper-unpack PATH REPLACE OWNER": its input, an archive, is laid into the directory PATH.  REPLACE 1: a directory may take
 * the place of something else, and something else that of a directory.  All of it belongs to OWNER, which is said as
 * a container's user is; "-": as the archive says.
 */
__attribute__((noreturn)) void archive_unpack(int root, const char *path, bool replace, const char *owner);

/*
 * "hyper-export": "packing", and an archive of the container's root without what is mounted in it, with all extended
 * attributes.  `root` has nothing mounted in it.
 */
__attribute__((noreturn)) void archive_export(int root);

/*
 * What overlayfs's directory `upper` says to have changed of `lower`.  "hyper-layer ...": "packing", and a layer as images
 * have it: an archive with files ".wh.NAME" for what is gone and ".wh..wh..opq" in directories of which nothing is left.
 * "hyper-changes ...": "packing", and "A/PATH", "C/PATH" or "D/PATH" of each, with a NUL at its end.  What is made for
 * every container, to mount things on, is no change.  Which disks they take: indisk.h.
 */
__attribute__((noreturn)) void archive_changes(bool words, int upper, int lower);

/* For walks: a directory of each level is open. */
void archive_many_files(void);

/* Says it and ends. */
__attribute__((noreturn)) void archive_give_up(const char *path, int error);

#endif
