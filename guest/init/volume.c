#include "volume.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "child.h"
#include "container.h"
#include "disk.h"
#include "grow.h"
#include "place.h"
#include "root.h"
#include "schema.h"

#define DISK_POINT "/u" /* for a moment, while a directory of it is bound */
#define ADD_MS 30000
#define REMOTE_MS 20000 /* for a server that may not be there; who has asked waits for some 30 s */
#define REMOVE_MS 60000
#define PATH_BYTES (sizeof VOLUMES_POINT + 70)

struct volume {
	char name[HYPER_NAME_MAX + 1]; /* "": this place in the table is free */
	bool remote;                   /* a server has it, which may answer no more */
};

static struct volume volumes[VOLUMES_MAX];
static unsigned count;
static bool begun;

static struct volume *find(struct span name)
{
	for (struct volume *each = volumes; each < volumes + VOLUMES_MAX; each++) {
		if (each->name[0] && span_is(name, each->name))
			return each;
	}
	return NULL;
}

static void path_of(const struct volume *volume, char path[PATH_BYTES])
{
	(void)snprintf(path, PATH_BYTES, VOLUMES_POINT "/%s", volume->name);
}

static void forget(struct volume *volume)
{
	volume->name[0] = '\0';
	count--;
}

int volumes_begin(struct failure *failure)
{
	if (begun)
		return 0;
	if ((mkdir(VOLUMES_POINT, 0755) != 0 && errno != EEXIST) || mount(VOLUMES_POINT, VOLUMES_POINT, NULL, MS_BIND, NULL) != 0 ||
	    mount(NULL, VOLUMES_POINT, NULL, MS_SHARED, NULL) != 0)
		return fail(failure, errno, "%s: %s", VOLUMES_POINT, reason(errno));
	if (mkdir(VOLUMES_POINT "/" VOLUME_MEMORY, 0755) != 0 ||
	    mount("shm", VOLUMES_POINT "/" VOLUME_MEMORY, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k") != 0)
		return fail(failure, errno, "shared memory: %s", reason(errno));
	(void)strcpy(volumes[0].name, VOLUME_MEMORY);
	count = 1;
	begun = true;
	return 0;
}

int volume_open(struct span name, struct failure *failure)
{
	char path[PATH_BYTES];
	const struct volume *volume = find(name);
	if (!volume)
		return fail(failure, ENOENT, "volume %.*s: there is none", (int)name.length, (const char *)name.data);
	path_of(volume, path);
	int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return root >= 0 ? root : fail(failure, errno, "volume %s: %s", volume->name, reason(errno));
}

void volumes_follow(void)
{
	if (begun && mount(NULL, VOLUMES_POINT, NULL, MS_SLAVE | MS_REC, NULL) != 0)
		log_line("volumes: %s", reason(errno));
}

void volumes_part(void)
{
	if (begun && mount(NULL, VOLUMES_POINT, NULL, MS_PRIVATE | MS_REC, NULL) != 0)
		log_line("volumes: %s", reason(errno));
}

/* ---- what containers see of them ---- */

static struct span first_name(struct span source)
{
	const uint8_t *slash = source.length ? memchr(source.data, '/', source.length) : NULL;
	return (struct span){source.data, slash ? (size_t)(slash - source.data) : source.length};
}

int volumes_named(struct span fields, struct volume_set *set, struct failure *failure)
{
	struct span each, type, source;
	*set = (struct volume_set){{0}};
	while (field_each(&fields, HYPER_MOUNT, &each)) {
		(void)field_find(each, HYPER_TYPE, &type);
		bool bind = span_is(type, "bind") || (find_u64(each, HYPER_FLAGS, 0) & MS_BIND);
		if (!bind || !field_find(each, HYPER_SOURCE, &source) || (source.length > 0 && source.data[0] == '/'))
			continue;
		struct span name = first_name(source);
		if (volumes_begin(failure) != 0)
			return -1;
		const struct volume *volume = find(name);
		if (!volume)
			return fail(failure, ENOENT, "volume %.*s: there is none", (int)name.length, (const char *)name.data);
		set->bits[(volume - volumes) / 64] |= UINT64_C(1) << (volume - volumes) % 64;
	}
	return 0;
}

/* The last directory of a path that was missing has what mode the volume's root has: who may write there may here. */
static int make_below(int root, const char *below, struct failure *failure)
{
	struct stat info;
	char path[FD_PATH_BYTES];
	int place = place_make_directory(root, below, failure);
	if (place < 0)
		return -1;
	fd_path(place, path);
	if (fstat(root, &info) != 0 || chmod(path, info.st_mode & 07777) != 0) {
		(void)close(place);
		return fail(failure, errno, "%s: cannot set its mode: %s", below, reason(errno));
	}
	return place;
}

int volume_place(const char *source, struct failure *failure)
{
	char path[PATH_BYTES];
	struct span name = first_name((struct span){(const uint8_t *)source, strlen(source)});
	if (!file_name_ok(name))
		return fail(failure, EINVAL, "volume %.*s: is no name for one", (int)name.length, (const char *)name.data);
	/* Not by the table: a holder made ahead has that of its beginning. */
	(void)snprintf(path, sizeof path, VOLUMES_POINT "/%.*s", (int)name.length, (const char *)name.data);
	int root = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	const char *below = source + name.length;
	below += strspn(below, "/");
	if (root < 0 || !*below)
		return root >= 0 ? root : fail(failure, errno, "volume %.*s: %s", (int)name.length, source, reason(errno));
	int place = place_find(root, below, 0), error = errno;
	struct statvfs info;
	bool read_only = fstatvfs(root, &info) == 0 && (info.f_flag & ST_RDONLY);
	if (place < 0 && (error != ENOENT || read_only))
		(void)fail(failure, error, "volume %.*s: %s: %s", (int)name.length, source, below, reason(error));
	else if (place < 0)
		place = make_below(root, below, failure);
	(void)close(root);
	return place;
}

/* ---- VOLUME_ADD ---- */

static int mount_directory(struct span disk, const char *path, bool *made, struct failure *failure)
{
	char from[FD_PATH_BYTES];
	if (disk_mount(disk, DISK_POINT, MS_NOATIME, DISK_WRITABLE, failure) != 0)
		return -1;
	int directory = disk_directory(disk, DISK_POINT, made, failure), done = -1;
	if (directory >= 0) {
		fd_path(directory, from);
		done = mount(from, path, NULL, MS_BIND, NULL);
		if (done != 0)
			(void)fail(failure, errno, "%s: %s", path, reason(errno));
	}
	close_fd(&directory);
	(void)umount2(DISK_POINT, MNT_DETACH);
	return done;
}

/* The mode is that of a new directory's beginning: what somebody has made of it since stands. */
static int set_root(int root, struct span fields, bool made, struct failure *failure)
{
	struct span value;
	struct stat info;
	bool mode = made && field_find(fields, HYPER_MODE, &value), group = field_find(fields, HYPER_GID, &value);
	if (!mode && !group)
		return 0;
	if (fstat(root, &info) != 0)
		return fail(failure, errno, "its root: %s", reason(errno));
	mode_t wanted = (mode ? find_u32(fields, HYPER_MODE, 0) : info.st_mode) & 07777;
	if (group)
		wanted |= S_ISGID | S_IRWXG;
	if ((group && fchown(root, (uid_t)-1, find_u32(fields, HYPER_GID, 0)) != 0) || fchmod(root, wanted) != 0)
		return fail(failure, errno, "its root: cannot set its group and mode: %s", reason(errno));
	return 0;
}

static int fill(const char *path, struct span fields, bool made, struct failure *failure)
{
	struct span each, other;
	int root = open(path, O_RDONLY | O_CLOEXEC);
	if (root < 0)
		return fail(failure, errno, "its root: %s", reason(errno));
	int done = set_root(root, fields, made, failure);
	for (struct span rest = fields; done == 0 && field_each(&rest, HYPER_FILE, &each);) {
		if (find_flag(each, HYPER_BIND) || field_find(each, HYPER_OWNER, &other))
			done = fail(failure, EINVAL, "a file of a volume is not bound, and has a number for its owner");
	}
	if (done == 0)
		done = root_files(root, fields, failure);
	(void)close(root);
	return done;
}

/* Data bases and installers ask whether a directory is empty.  What fsck has put there stays. */
static void tidy(const char *path)
{
	char left[PATH_BYTES + sizeof "/lost+found"];
	(void)snprintf(left, sizeof left, "%s/lost+found", path);
	(void)rmdir(left);
}

/* A disk that has got larger while nobody had it.  Where that fails, it is as large as it was. */
static void grow(const char *path)
{
	struct failure failure = {0};
	int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root >= 0 && grow_to_disk(root, &failure) != 0)
		log_line("%s: %s", path, failure.text);
	close_fd(&root);
}

static int add(struct span fields, const char *path, struct failure *failure)
{
	struct span source, value;
	if (field_find(fields, HYPER_LOWER, &source))
		return disk_mount(source, path, MS_RDONLY | MS_NOSUID | MS_NODEV, NULL, failure);
	bool disk = field_find(fields, HYPER_UPPER, &source);
	bool files = field_find(fields, HYPER_FILE, &value) || field_find(fields, HYPER_MODE, &value) ||
	             field_find(fields, HYPER_GID, &value);
	bool read_only = find_flag(fields, HYPER_READ_ONLY), made = !disk;
	if (disk ? mount_directory(source, path, &made, failure) != 0
	         : field_find(fields, HYPER_MOUNT, &source) && mount_file_system(source, path, read_only && !files, failure) != 0)
		return -1;
	if (files && fill(path, fields, made, failure) != 0)
		return -1;
	if (find_flag(fields, HYPER_GROW))
		grow(path);
	if (find_flag(fields, HYPER_TIDY))
		tidy(path);
	/* The file system itself: a mount of it that a namespace has had since before would stay as it is. */
	if (read_only && !disk && mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) != 0)
		return fail(failure, errno, "cannot make it read-only: %s", reason(errno));
	int root = read_only && disk ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1, done = 0;
	if (read_only && disk && root_remount(root, path, MS_RDONLY) != 0)
		done = fail(failure, errno, "cannot make it read-only: %s", reason(errno));
	close_fd(&root);
	return done;
}

static void undo(const char *path)
{
	(void)umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
	(void)rmdir(path);
}

static int work_add(const struct request *request, void *context, struct buffer *fields, struct failure *failure)
{
	const struct volume *volume = context;
	struct failure inner = {0};
	char path[PATH_BYTES];
	(void)fields;
	path_of(volume, path);
	if (mkdir(path, 0755) != 0)
		return fail(failure, errno, "volume %s: %s", volume->name, reason(errno));
	if (add(request->fields, path, &inner) == 0)
		return 0;
	undo(path);
	return fail(failure, inner.error, "volume %s: %s", volume->name, inner.text);
}

static void added(void *context, int error)
{
	struct volume *volume = context;
	char path[PATH_BYTES];
	if (error == 0)
		return;
	/* The worker has cleaned up, unless it was killed. */
	path_of(volume, path);
	undo(path);
	forget(volume);
}

static struct volume *claim(struct span fields, struct failure *failure)
{
	struct span name, value;
	struct volume *volume = volumes;
	(void)field_find(fields, HYPER_NAME, &name);
	if (!file_name_ok(name))
		(void)fail(failure, EINVAL, "not a volume's name");
	else if (field_find(fields, HYPER_MOUNT, &value) + field_find(fields, HYPER_UPPER, &value) +
	             field_find(fields, HYPER_LOWER, &value) !=
	         1)
		(void)fail(failure, EINVAL, "a volume is one of a file system, a disk's directory and an image");
	else if (find(name))
		(void)fail(failure, EEXIST, "volume %.*s: there is one already", (int)name.length, (const char *)name.data);
	else if (count >= VOLUMES_MAX)
		(void)fail(failure, ENOSPC, "more than %d volumes in one VM", VOLUMES_MAX);
	if (failure->error || volumes_begin(failure) != 0)
		return NULL;
	while (volume->name[0])
		volume++;
	memcpy(volume->name, name.data, name.length);
	volume->name[name.length] = '\0';
	volume->remote = field_find(fields, HYPER_MOUNT, &value) && field_find(value, HYPER_HOSTNAME, &value);
	count++;
	return volume;
}

void op_volume_add(struct request *request)
{
	struct failure failure = {0};
	struct volume *volume = claim(request->fields, &failure);
	int limit_ms = volume && volume->remote ? REMOTE_MS : ADD_MS;
	struct work work = {.work = work_add, .finished = added, .context = volume, .limit_ms = limit_ms};
	if (volume && worker_start(request, &work, &failure) == 0)
		return;
	if (volume)
		forget(volume);
	request_done(request, &failure, NULL);
}

/* ---- VOLUME_REMOVE ---- */

static int remove_one(const struct volume *volume, int flags, struct failure *failure)
{
	char path[PATH_BYTES];
	path_of(volume, path);
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0)
		(void)ioctl(fd, (int)FITHAW, 0); /* at the VM's end it may stand still */
	int synced = fd < 0 ? 0 : syncfs(fd), error = errno;
	close_fd(&fd);
	if (umount2(path, UMOUNT_NOFOLLOW | flags) != 0)
		return fail(failure, errno, "volume %s: cannot unmount it: %s", volume->name, reason(errno));
	(void)rmdir(path);
	return synced == 0 ? 0 : fail(failure, error, "volume %s: cannot write it back: %s", volume->name, reason(error));
}

static int work_remove(const struct request *request, void *context, struct buffer *fields, struct failure *failure)
{
	(void)request;
	(void)fields;
	return remove_one(context, 0, failure);
}

static void removed(void *context, int error)
{
	struct volume *volume = context;
	char path[PATH_BYTES];
	path_of(volume, path);
	/* What could not be written back is unmounted all the same.  A look at what is mounted may take for ever. */
	if (error == 0 || rmdir(path) == 0 || errno == ENOENT)
		forget(volume);
}

void op_volume_remove(struct request *request)
{
	struct failure failure = {0};
	struct span name;
	(void)field_find(request->fields, HYPER_NAME, &name);
	struct volume *volume = find(name);
	struct work work = {.work = work_remove, .finished = removed, .context = volume, .limit_ms = REMOVE_MS};
	if (!volume)
		(void)fail(&failure, ENOENT, "volume %.*s: there is none", (int)name.length, (const char *)name.data);
	else if (containers_use((unsigned)(volume - volumes)))
		(void)fail(&failure, EBUSY, "volume %s: a container has it", volume->name);
	else if (worker_start(request, &work, &failure) == 0)
		return;
	request_done(request, &failure, NULL);
}

bool volumes_any(void)
{
	return count > 1;
}

static void unmount_those(bool remote)
{
	struct failure failure;
	for (struct volume *each = volumes; each < volumes + VOLUMES_MAX; each++) {
		if (each->name[0] && each->remote == remote && remove_one(each, MNT_DETACH, &failure) != 0)
			log_line("%s", failure.text);
	}
}

/* What waits for a server that is gone keeps nobody's disk. */
void volumes_unmount(void)
{
	unmount_those(false);
	unmount_those(true);
}
