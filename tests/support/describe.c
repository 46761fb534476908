/*
 * Prints what is below each argument, a line for each file, for tests of what a container sees of its image:
 *
 *     path mode uid gid size mtime_s mtime_ns links inode major minor content name=value,...
 *
 * Path, content, attributes' names and values are in hex, "-" where there are none; content is a file's first
 * kilobyte or a link's target.  Static and without any file of its own, so that it runs in an image of nothing.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static void hex(const char *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		printf("%02x", (unsigned char)data[i]);
	if (length == 0)
		putchar('-');
}

static void die(const char *what, const char *path)
{
	fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
	exit(1);
}

static void content(int dir, const char *name, const struct stat *info)
{
	char data[PATH_MAX];
	ssize_t length = 0;
	if (S_ISLNK(info->st_mode)) {
		length = readlinkat(dir, name, data, sizeof data);
	} else if (S_ISREG(info->st_mode)) {
		int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		length = fd < 0 ? -1 : read(fd, data, 1024);
		close(fd);
	}
	if (length < 0)
		die("content of", name);
	hex(data, (size_t)length);
}

/* By way of the directory, since a path can be longer than PATH_MAX allows. */
static void attributes(int dir, const char *name)
{
	static char names[65536], value[65536];
	if (fchdir(dir) != 0)
		die("enter directory of", name);
	ssize_t length = llistxattr(name, names, sizeof names);
	if (length < 0 && errno != ENOTSUP)
		die("attributes of", name);
	for (const char *each = names; each < names + length; each += strlen(each) + 1) {
		ssize_t size = lgetxattr(name, each, value, sizeof value);
		if (size < 0)
			die("attribute", each);
		if (each > names)
			putchar(',');
		hex(each, strlen(each));
		putchar('=');
		hex(value, (size_t)size);
	}
	if (length <= 0)
		putchar('-');
}

static void describe(int dir, const char *name, const char *path)
{
	struct stat info;
	if (fstatat(dir, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
		die("stat", path);
	hex(path, strlen(path));
	printf(" %o %u %u %lld %lld %ld %lu %lu %u %u ", info.st_mode, info.st_uid, info.st_gid, (long long)info.st_size,
	       (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec, (unsigned long)info.st_nlink,
	       (unsigned long)info.st_ino, major(info.st_rdev), minor(info.st_rdev));
	content(dir, name, &info);
	putchar(' ');
	attributes(dir, name);
	putchar('\n');
	if (!S_ISDIR(info.st_mode))
		return;
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	if (!list)
		die("list", path);
	for (struct dirent *entry; (entry = readdir(list));) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		char *below = malloc(strlen(path) + strlen(entry->d_name) + 2);
		if (!below)
			die("memory for", path);
		sprintf(below, "%s/%s", path, entry->d_name);
		describe(fd, entry->d_name, below);
		free(below);
	}
	closedir(list);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		describe(dir, argv[i], argv[i]);
		close(dir);
	}
	return 0;
}
