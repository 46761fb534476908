#include "copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "place.h"

#define DEPTH_MAX 128
#define NAMES_BYTES 65536

/* Of a directory into which an image's has been copied. */
#define FILLED "trusted.hyper.filled"

static bool is_itself(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int is_empty(int directory)
{
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	if (!list) {
		close_fd(&fd);
		return -1;
	}
	struct dirent *entry;
	do
		entry = readdir(list);
	while (entry && is_itself(entry->d_name));
	(void)closedir(list);
	return entry == NULL;
}

/* What a file system does not take is left out: not every one has attributes. */
static void copy_attributes(int from, int to)
{
	char *names = malloc(2 * NAMES_BYTES), *value = names ? names + NAMES_BYTES : NULL;
	ssize_t length = names ? flistxattr(from, names, NAMES_BYTES) : -1;
	for (char *name = names; length > 0 && name < names + length; name += strlen(name) + 1) {
		ssize_t size = fgetxattr(from, name, value, NAMES_BYTES);
		if (size >= 0)
			(void)fsetxattr(to, name, value, (size_t)size, 0);
	}
	free(names);
}

/* In this order: a change of the owner clears set-id bits and capabilities, and all of them the times. */
static int copy_properties(int from, int to, const struct stat *info)
{
	struct timespec times[2] = {info->st_atim, info->st_mtim};
	if (fchown(to, info->st_uid, info->st_gid) != 0 || fchmod(to, info->st_mode & 07777) != 0)
		return -1;
	copy_attributes(from, to);
	return futimens(to, times);
}

static int copy_bytes(int from, int to)
{
	ssize_t done;
	do
		done = sendfile(to, from, NULL, 1 << 24);
	while (done > 0 || (done < 0 && errno == EINTR));
	return (int)done;
}

static int copy_file(int from, int to, const char *name, const struct stat *info)
{
	int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int target = source < 0 ? -1 : openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int done = target < 0 || copy_bytes(source, target) != 0 ? -1 : copy_properties(source, target, info);
	int error = errno;
	close_fd(&source);
	close_fd(&target);
	errno = error;
	return done;
}

static int copy_other(int from, int to, const char *name, const struct stat *info)
{
	char target[PATH_MAX];
	struct timespec times[2] = {info->st_atim, info->st_mtim};
	if (S_ISLNK(info->st_mode)) {
		ssize_t length = readlinkat(from, name, target, sizeof target - 1);
		if (length < 0)
			return -1;
		target[length] = '\0';
		if (symlinkat(target, to, name) != 0)
			return -1;
	} else if (mknodat(to, name, info->st_mode, info->st_rdev) != 0) {
		return -1;
	}
	if (fchownat(to, name, info->st_uid, info->st_gid, AT_SYMLINK_NOFOLLOW) != 0)
		return -1;
	if (!S_ISLNK(info->st_mode) && fchmodat(to, name, info->st_mode & 07777, 0) != 0)
		return -1;
	return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
}

static int copy_below(int from, int to, dev_t device, int depth);

static int copy_entry(int from, int to, const char *name, dev_t device, int depth)
{
	struct stat info;
	if (fstatat(from, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
		return -1;
	if (S_ISREG(info.st_mode))
		return copy_file(from, to, name, &info);
	if (!S_ISDIR(info.st_mode))
		return copy_other(from, to, name, &info);
	int source = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int target = source < 0 || mkdirat(to, name, 0700) != 0 ? -1 : openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int done = target < 0 ? -1 : info.st_dev == device ? copy_below(source, target, device, depth + 1) : 0;
	if (done == 0)
		done = copy_properties(source, target, &info);
	int error = errno;
	close_fd(&source);
	close_fd(&target);
	errno = error;
	return done;
}

static int copy_below(int from, int to, dev_t device, int depth)
{
	int fd = depth > DEPTH_MAX ? -1 : openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), done = 0;
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	if (!list) {
		close_fd(&fd);
		errno = depth > DEPTH_MAX ? ELOOP : errno;
		return -1;
	}
	for (struct dirent *entry; done == 0 && (entry = readdir(list));) {
		if (!is_itself(entry->d_name))
			done = copy_entry(from, to, entry->d_name, device, depth);
	}
	int error = errno;
	(void)closedir(list);
	errno = error;
	return done;
}

int copy_up(int from, int to, const char *name, struct failure *failure)
{
	struct stat source, target;
	if (fstat(from, &source) != 0 || fstat(to, &target) != 0)
		return fail(failure, errno, "%s: %s", name, reason(errno));
	if (!S_ISDIR(source.st_mode) || !S_ISDIR(target.st_mode) || is_empty(to) != 1)
		return 0;
	int readable = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int writable = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool again = writable >= 0 && fgetxattr(writable, FILLED, NULL, 0) >= 0;
	int done = readable < 0 || writable < 0 ? -1 : 0;
	/* Where there is nothing to copy, the owner and mode that somebody has given it since stand. */
	if (done == 0 && !(again && is_empty(from) == 1)) {
		done = copy_below(readable, writable, source.st_dev, 0);
		if (done == 0)
			done = copy_properties(readable, writable, &source);
		if (done == 0)
			(void)fsetxattr(writable, FILLED, "", 0, 0);
	}
	if (done != 0)
		(void)fail(failure, errno, "%s: cannot copy it into the volume: %s", name, reason(errno));
	close_fd(&readable);
	close_fd(&writable);
	return done;
}
