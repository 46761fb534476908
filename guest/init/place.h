/*
 * Places inside a container's root: paths from the host and links from the image, neither of which can lead out.
 * Every function resolves below the root (openat2 RESOLVE_IN_ROOT) and returns O_PATH descriptors.
 */
#ifndef PLACE_H
#define PLACE_H

#include <sys/types.h>

#include "util.h"

#define FD_PATH_BYTES 32

/* An existing place, or -1 with errno. */
int place_find(int root, const char *path, int flags);

/* Makes what is missing of a directory (0755), or of a file's directory and the file (empty, 0644). */
int place_make_directory(int root, const char *path, struct failure *failure);
int place_make_file(int root, const char *path, struct failure *failure);

/* The directory of `path` (made if missing) and its last name, which points into `path`. */
int place_make_parent(int root, const char *path, const char **name, struct failure *failure);

/* "/proc/self/fd/N": how mount(2) takes a descriptor. */
void fd_path(int fd, char path[FD_PATH_BYTES]);

#endif
