#include "place.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "system.h"

#define LINKS_MAX 200 /* links and missing directories in one path */

int place_find(int root, const char *path, int flags)
{
	return open_in_root(root, path, O_PATH | flags);
}

void fd_path(int fd, char path[FD_PATH_BYTES])
{
	(void)snprintf(path, FD_PATH_BYTES, "/proc/self/fd/%d", fd);
}

/* Cuts `path` (changed) into its directory and last name; false where there is no name. */
static bool cut_name(char *path, char **directory, char **name)
{
	size_t length = strlen(path);
	while (length > 0 && path[length - 1] == '/')
		path[--length] = '\0';
	char *slash = strrchr(path, '/');
	*name = slash ? slash + 1 : path;
	if (slash)
		*slash = '\0';
	*directory = slash ? path : path + length;
	return **name && strcmp(*name, ".") != 0 && strcmp(*name, "..") != 0;
}

/*
 * Opens `path`, and makes what is missing of it.  A link that leads to nothing is followed here, by hand: its target
 * is then made in its place, still below the root.
 */
static int make(int root, const char *path, bool directory, int links)
{
	char copy[PATH_MAX], target[PATH_MAX], *above, *name;
	int found = place_find(root, *path ? path : "/", 0);
	if (found >= 0 || errno != ENOENT)
		return found;
	if (links > LINKS_MAX || strlen(path) >= sizeof copy) {
		errno = links > LINKS_MAX ? ELOOP : ENAMETOOLONG;
		return -1;
	}
	(void)strcpy(copy, path);
	if (!cut_name(copy, &above, &name)) {
		errno = ENOENT;
		return -1;
	}
	int parent = make(root, above, true, links + 1);
	if (parent < 0)
		return -1;
	int made = directory ? mkdirat(parent, name, 0755) : mknodat(parent, name, S_IFREG | 0644, 0);
	ssize_t length = made == 0 || errno != EEXIST ? -1 : readlinkat(parent, name, target, sizeof target - 1);
	int error = made == 0 ? 0 : errno;
	if (length >= 0) {
		char next[2 * PATH_MAX];
		target[length] = '\0';
		(void)snprintf(next, sizeof next, "%s/%s", target[0] == '/' ? "" : above, target);
		(void)close(parent);
		return make(root, next, directory, links + 1);
	}
	if (made == 0)
		found = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	else
		errno = error;
	error = errno;
	(void)close(parent);
	errno = error;
	return found;
}

int place_make_directory(int root, const char *path, struct failure *failure)
{
	struct stat info;
	int fd = make(root, path, true, 0);
	if (fd < 0)
		return fail(failure, errno, "%s: cannot make the directory: %s", path, reason(errno));
	if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode))
		return fd;
	(void)close(fd);
	return fail(failure, ENOTDIR, "%s: is not a directory", path);
}

int place_make_file(int root, const char *path, struct failure *failure)
{
	int fd = make(root, path, false, 0);
	if (fd < 0)
		return fail(failure, errno, "%s: cannot make the file: %s", path, reason(errno));
	return fd;
}

int place_make_parent(int root, const char *path, const char **name, struct failure *failure)
{
	char copy[PATH_MAX], *above, *last;
	if (strlen(path) >= sizeof copy)
		return fail(failure, ENAMETOOLONG, "%s: the path is too long", path);
	(void)strcpy(copy, path);
	if (!cut_name(copy, &above, &last))
		return fail(failure, EINVAL, "%s: is no name for a file", path);
	*name = path + (last - copy);
	return place_make_directory(root, above, failure);
}
