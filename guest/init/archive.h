/* Trees of a container, for the host, as archives: packed and unpacked by processes of the VM that see what it sees. */
#ifndef ARCHIVE_H
#define ARCHIVE_H

#include <stdbool.h>

#define ARCHIVE_STAT "hyper-stat"
#define ARCHIVE_PACK "hyper-pack"
#define ARCHIVE_UNPACK "hyper-unpack"

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

/* Says it and ends. */
__attribute__((noreturn)) void archive_give_up(const char *path, int error);

#endif
