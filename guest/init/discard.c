#include "discard.h"

#include <dirent.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "disk.h"
#include "system.h"
#include "volume.h"

#define POINT "/u"
#define TRASH "+" /* no name of a DIRECTORY begins so */

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* A container with the right to may have made it immutable. */
static void soften(int fd)
{
	int flags = 0;
	(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static int unlink_file(int dir, const char *name)
{
	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EPERM)
		return -1;
	int fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		soften(fd);
	close_fd(&fd);
	return unlinkat(dir, name, 0);
}

/* Empties the directory `name` of `top`; what directories it has go up, as `top`'s own: nothing is ever deep. */
static int flatten(int top, const char *name, unsigned *number)
{
	int dir = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), done = 0;
	DIR *list = dir < 0 ? NULL : fdopendir(dir);
	if (!list) {
		close_fd(&dir);
		return -1;
	}
	soften(dir);
	for (struct dirent *entry; done == 0 && (entry = readdir(list));) {
		char up[16];
		if (is_dots(entry->d_name))
			continue;
		if (entry->d_type != DT_DIR) {
			done = unlink_file(dir, entry->d_name);
			continue;
		}
		int below = openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		soften(below);
		close_fd(&below);
		/* A number that is not taken: what an earlier attempt left has some. */
		do
			(void)snprintf(up, sizeof up, "%u", ++*number);
		while ((done = (int)syscall(SYS_renameat2, dir, entry->d_name, top, up, RENAME_NOREPLACE)) != 0 && errno == EEXIST);
	}
	int error = errno;
	(void)closedir(list);
	errno = error;
	return done != 0 ? -1 : unlinkat(top, name, AT_REMOVEDIR);
}

/* All that is below the trash directory. */
static int empty(int top)
{
	unsigned number = 0;
	int done = 0, fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	for (bool again = list != NULL; again && done == 0;) {
		again = false;
		rewinddir(list);
		for (struct dirent *entry; done == 0 && (entry = readdir(list));) {
			if (is_dots(entry->d_name))
				continue;
			done = entry->d_type == DT_DIR ? flatten(top, entry->d_name, &number) : unlink_file(top, entry->d_name);
			again = true;
		}
	}
	if (!list) {
		close_fd(&fd);
		return -1;
	}
	int error = errno;
	(void)closedir(list);
	errno = error;
	return done;
}

static int to_trash(int disk, const char *name)
{
	char up[32];
	int top = -1, done = -1;
	if (mkdirat(disk, TRASH, 0700) == 0 || errno == EEXIST)
		top = openat(disk, TRASH, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	for (unsigned i = 0; top >= 0 && i < 1000; i++) {
		(void)snprintf(up, sizeof up, "d%u", i);
		done = (int)syscall(SYS_renameat2, disk, name, top, up, RENAME_NOREPLACE);
		if (done == 0 || errno != EEXIST)
			break;
	}
	if (done != 0 && errno == ENOENT && top >= 0)
		done = 0; /* it was never made */
	if (done == 0)
		done = empty(top);
	int error = errno;
	close_fd(&top);
	errno = error;
	return done;
}

int disk_discard(struct span disk, void (*unused)(void *context), void *context, struct failure *failure)
{
	struct span name;
	if (unshare(CLONE_NEWNS) != 0)
		return fail(failure, errno, "cannot make a mount namespace: %s", reason(errno));
	volumes_follow();
	int done = disk_mount(disk, POINT, MS_NOATIME, DISK_WRITABLE, failure);
	unused(context);
	int root = done == 0 ? open(POINT, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	char *text = field_find(disk, HYPER_DIRECTORY, &name) ? span_text(name) : NULL;
	if (done == 0 && (root < 0 || !text || to_trash(root, text) != 0))
		done = fail(failure, errno, "cannot remove the directory %s of its disk: %s", text ? text : "", reason(errno));
	free(text);
	close_fd(&root);
	return done;
}
