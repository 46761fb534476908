#include "archive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "emit.h"
#include "system.h"
#include "util.h"

static bool made_by_kernel(int directory)
{
	static const long magics[] = {0x9fa0, 0x62656572, 0x63677270, HS_DEVPTS_MAGIC, 0x19800202, 0x64626720, 0x74726163, 0xcafe4a11};
	struct statfs info;
	if (fstatfs(directory, &info) != 0)
		return true;
	for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
		if ((long)info.f_type == magics[i])
			return true;
	}
	return false;
}

static void pack_entry(int parent, const char *name, dev_t device, int depth);

static void pack_below(int directory, dev_t device, int depth)
{
	size_t count;
	if (depth > EMIT_DEPTH_MAX)
		archive_give_up(emit_path, ELOOP);
	char **names = emit_names(directory, &count);
	for (size_t i = 0; i < count; i++) {
		size_t length = emit_descend(names[i]);
		pack_entry(directory, names[i], device, depth + 1);
		emit_path[length] = '\0';
		free(names[i]);
	}
	free(names);
}

static void pack_directory(int fd, const struct stat *info, int depth, bool inside)
{
	emit_directory(fd, info);
	if (inside && !made_by_kernel(fd))
		pack_below(fd, info->st_dev, depth);
}

/* Who is gone by now is left out. */
static void pack_entry(int parent, const char *name, dev_t device, int depth)
{
	struct stat info;
	if (fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
		emit_other(parent, name, &info);
		return;
	}
	/* What a container is given as /dev is no part of its files. */
	bool own_devices = depth == 1 && info.st_dev != device && strcmp(name, "dev") == 0;
	int fd = emit_open(parent, name, &info);
	if (fd >= 0 && S_ISDIR(info.st_mode))
		pack_directory(fd, &info, depth, !own_devices);
	else if (fd >= 0)
		emit_file(fd, &info);
	close_fd(&fd);
}

static int open_to_read(int root, const char *path, int flags, struct stat *info)
{
	int fd = open_in_root(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | flags);
	if (fd < 0 || fstat(fd, info) != 0)
		archive_give_up(path, errno);
	return fd;
}

void archive_pack(int root, const char *path, const char *name, bool follow)
{
	static char copy[PATH_MAX];
	struct stat info;
	int link = follow ? 0 : O_NOFOLLOW;
	int fd = open_in_root(root, path, O_PATH | link);
	if (fd < 0 || fstat(fd, &info) != 0)
		archive_give_up(path, errno);
	archive_many_files();
	(void)snprintf(emit_path, TAR_NAME_BYTES, "%s", name);
	(void)dprintf(2, "packing\n");
	if (S_ISDIR(info.st_mode)) {
		int list = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (list < 0)
			archive_give_up(path, errno);
		pack_directory(list, &info, 0, true);
	} else if (S_ISREG(info.st_mode)) {
		int file = open_to_read(root, path, link, &info);
		if (!S_ISREG(info.st_mode))
			archive_give_up(path, EAGAIN);
		emit_file(file, &info);
	} else {
		char *slash;
		(void)snprintf(copy, sizeof copy, "%s", path);
		slash = strrchr(copy, '/');
		*slash = '\0';
		int parent = open_in_root(root, *copy ? copy : "/", O_PATH | O_DIRECTORY);
		if (parent < 0)
			archive_give_up(path, errno);
		emit_other(parent, slash + 1, &info);
	}
	emit_end();
}

void archive_export(int root)
{
	struct stat info;
	int list = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (list < 0 || fstat(list, &info) != 0)
		archive_give_up("/", errno);
	archive_many_files();
	emit_all_attributes();
	(void)dprintf(2, "packing\n");
	pack_below(list, info.st_dev, 0);
	emit_end();
}
