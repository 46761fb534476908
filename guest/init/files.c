#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "credentials.h"
#include "place.h"
#include "root.h"
#include "system.h"

#define JOINED_MAX (4 << 20) /* bytes of a file of the image that is joined with another */
#define BOUND_POINT "/f" /* where files that are bound lie: a file system of the container's own, outside its root */

/* OWNER by name, or UID and GID. */
static int owner_of(int root, struct span file, uid_t *uid, gid_t *gid, struct failure *failure)
{
	static struct identity identity;
	struct span name;
	*uid = find_u32(file, HYPER_UID, 0);
	*gid = find_u32(file, HYPER_GID, 0);
	if (!field_find(file, HYPER_OWNER, &name) || name.length == 0)
		return 0;
	char *owner = span_text(name);
	int done = owner ? owner_find(root, owner, &identity, failure) : fail(failure, ENOMEM, "no memory");
	free(owner);
	*uid = identity.uid;
	*gid = identity.gid;
	return done;
}

/* A new file with this content; `fd` is closed. */
static int fill(int root, int fd, const char *path, struct span file, struct failure *failure)
{
	struct span content = {0};
	uid_t uid;
	gid_t gid;
	(void)field_find(file, HYPER_CONTENT, &content);
	if (owner_of(root, file, &uid, &gid, failure) != 0) {
		(void)close(fd);
		return -1;
	}
	int done = write_all(fd, content.data, content.length);
	if (done == 0)
		done = fchown(fd, uid, gid);
	if (done == 0)
		done = fchmod(fd, find_u32(file, HYPER_MODE, 0644) & 07777);
	if (done != 0)
		(void)fail(failure, errno, "file %s: cannot write it: %s", path, reason(errno));
	(void)close(fd);
	return done;
}

static int file_in_root(int root, const char *path, struct span file, struct failure *failure)
{
	/* Opened where its links lead, as a process of the container would; a device or a fifo is not written to. */
	struct stat info;
	char by_fd[FD_PATH_BYTES];
	int place = place_make_file(root, path, failure);
	if (place < 0)
		return -1;
	if (fstat(place, &info) != 0 || !S_ISREG(info.st_mode)) {
		(void)close(place);
		return fail(failure, EINVAL, "file %s: something else is there", path);
	}
	fd_path(place, by_fd);
	int fd = open(by_fd, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int error = errno;
	(void)close(place);
	if (fd < 0)
		return fail(failure, error, "file %s: cannot open it: %s", path, reason(error));
	return fill(root, fd, path, file, failure);
}

/* A regular file of the root, and not a large one, opened for reading; -1 where it is none. */
static int open_joined(int root, const char *path)
{
	struct stat info;
	char by_fd[FD_PATH_BYTES];
	int place = place_find(root, path, 0), fd = -1;
	if (place < 0)
		return -1;
	fd_path(place, by_fd);
	if (fstat(place, &info) == 0 && S_ISREG(info.st_mode) && info.st_size <= JOINED_MAX)
		fd = open(by_fd, O_RDONLY | O_CLOEXEC);
	(void)close(place);
	return fd;
}

/* All of it, as a whole line at least: what follows begins a new one. */
static int copy_joined(int from, int to)
{
	ssize_t done;
	size_t left = JOINED_MAX;
	while (left > 0 && (done = sendfile(to, from, NULL, left)) != 0) {
		if (done < 0)
			return -1;
		left -= (size_t)done;
	}
	return write_all(to, "\n", 1);
}

/* The first file of those that it is joined with goes before it; `wanted` false: nothing is to be bound. */
static int join(int root, int to, const char *path, struct span file, bool *wanted, struct failure *failure)
{
	struct span each;
	*wanted = true;
	while (field_each(&file, HYPER_JOINED, &each)) {
		char *name = span_text(each);
		if (!name)
			return fail(failure, ENOMEM, "no memory");
		int from = open_joined(root, name);
		bool own = strcmp(name, path) == 0;
		free(name);
		if (from >= 0) {
			int done = copy_joined(from, to);
			*wanted = true;
			if (done != 0)
				(void)fail(failure, errno, "file %s: cannot join it: %s", path, reason(errno));
			(void)close(from);
			return done;
		}
		if (own)
			*wanted = false;
	}
	return 0;
}

static int file_bound(int root, const char *path, struct span file, int number, struct failure *failure)
{
	char from[32], to[FD_PATH_BYTES];
	if (number == 0 && mount("files", BOUND_POINT, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=16m,mode=0755") != 0)
		return fail(failure, errno, "file %s: no place for it: %s", path, reason(errno));
	(void)snprintf(from, sizeof from, BOUND_POINT "/%d", number);
	int fd = open(from, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(failure, errno, "file %s: no place for it: %s", path, reason(errno));
	bool wanted;
	int joined = join(root, fd, path, file, &wanted, failure);
	if (joined != 0 || !wanted) {
		(void)close(fd);
		return joined;
	}
	if (fill(root, fd, path, file, failure) != 0)
		return -1;
	int target = place_make_file(root, path, failure);
	if (target < 0) /* the user has mounted something read-only above it, and goes first */
		return failure->error == EROFS ? 0 : -1;
	fd_path(target, to);
	int done = mount(from, to, NULL, MS_BIND, NULL);
	if (done != 0)
		(void)fail(failure, errno, "file %s: cannot bind it: %s", path, reason(errno));
	(void)close(target);
	return done;
}

int root_files(int root, struct span fields, struct failure *failure)
{
	struct span each, name;
	int bound = 0;
	while (field_each(&fields, HYPER_FILE, &each)) {
		(void)field_find(each, HYPER_PATH, &name);
		char *path = span_text(name);
		if (!path)
			return fail(failure, ENOMEM, "no memory");
		bool bind = find_flag(each, HYPER_BIND);
		int done = bind ? file_bound(root, path, each, bound, failure) : file_in_root(root, path, each, failure);
		free(path);
		if (done != 0)
			return -1;
		bound += bind;
	}
	/* The mounts of its files stay; the directory itself is not for the container. */
	if (bound > 0 && umount2(BOUND_POINT, MNT_DETACH) != 0)
		return fail(failure, errno, "cannot let go of the bound files: %s", reason(errno));
	return 0;
}

/* ---- devices ---- */

static int make_device(int dir, const char *name, mode_t mode, dev_t device, uid_t uid, gid_t gid)
{
	if (mknodat(dir, name, mode, device) != 0) {
		if (errno != EEXIST || unlinkat(dir, name, 0) != 0 || mknodat(dir, name, mode, device) != 0)
			return -1;
	}
	return fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW);
}

static int device(int root, struct span fields, struct failure *failure)
{
	struct span value;
	const char *name;
	mode_t mode = find_u32(fields, HYPER_MODE, 0);
	dev_t number = makedev(find_u32(fields, HYPER_MAJOR, 0), find_u32(fields, HYPER_MINOR, 0));
	(void)field_find(fields, HYPER_PATH, &value);
	char *path = span_text(value);
	if (!path)
		return fail(failure, ENOMEM, "no memory");
	if (!S_ISCHR(mode) && !S_ISBLK(mode) && !S_ISFIFO(mode))
		return fail(failure, EINVAL, "device %s: mode %o is no device's", path, mode);
	int dir = place_make_parent(root, path, &name, failure);
	if (dir < 0)
		return -1;
	int done = make_device(dir, name, mode, number, find_u32(fields, HYPER_UID, 0), find_u32(fields, HYPER_GID, 0));
	if (done != 0)
		(void)fail(failure, errno, "device %s: %s", path, reason(errno));
	(void)close(dir);
	free(path);
	return done;
}

static bool mounts_dev(struct span fields)
{
	struct span each, target;
	while (field_each(&fields, HYPER_MOUNT, &each)) {
		if (field_find(each, HYPER_TARGET, &target) && span_is(target, "/dev"))
			return true;
	}
	return false;
}

static int device_links(int root, struct failure *failure)
{
	static const char *const links[][2] = {
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}, {"/proc/kcore", "core"},
	};
	int dev = place_find(root, "/dev", O_DIRECTORY);
	if (dev < 0)
		return fail(failure, errno, "/dev: %s", reason(errno));
	int done = 0;
	for (size_t i = 0; i < sizeof links / sizeof *links && done == 0; i++) {
		if (symlinkat(links[i][0], dev, links[i][1]) != 0 && errno != EEXIST)
			done = fail(failure, errno, "/dev/%s: %s", links[i][1], reason(errno));
	}
	(void)close(dev);
	return done;
}

/* All of the VM's devices that the container does not have yet. */
static int all_devices(int root, const char *directory, int depth, struct failure *failure)
{
	char below[512];
	struct stat info;
	DIR *list = opendir(directory);
	int to = list ? place_make_directory(root, directory, failure) : -1;
	int done = list && to < 0 ? -1 : 0;
	for (struct dirent *entry; to >= 0 && done == 0 && (entry = readdir(list));) {
		if (entry->d_name[0] == '.' || fstatat(dirfd(list), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		if (S_ISDIR(info.st_mode) && depth < 4 && strcmp(entry->d_name, "pts") != 0 && strcmp(entry->d_name, "shm") != 0 &&
		    snprintf(below, sizeof below, "%s/%s", directory, entry->d_name) < (int)sizeof below)
			done = all_devices(root, below, depth + 1, failure);
		else if ((S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) && strcmp(entry->d_name, "ptmx") != 0 &&
		         strcmp(entry->d_name, "console") != 0)
			(void)mknodat(to, entry->d_name, info.st_mode, info.st_rdev);
	}
	if (list)
		(void)closedir(list);
	close_fd(&to);
	return done;
}

int root_devices(int root, struct span fields, struct failure *failure)
{
	struct span rest = fields, each;
	while (field_each(&rest, HYPER_DEVICE, &each)) {
		if (device(root, each, failure) != 0)
			return -1;
	}
	if (!mounts_dev(fields))
		return 0;
	if (device_links(root, failure) != 0)
		return -1;
	return find_flag(fields, HYPER_PRIVILEGED) ? all_devices(root, "/dev", 0, failure) : 0;
}
