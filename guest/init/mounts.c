#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "disk.h"
#include "place.h"
#include "root.h"
#include "system.h"

#define SHARED "/run/pod" /* directories that the pod's containers share, for bind mounts with a relative source */
#define PROPAGATION (MS_SHARED | MS_SLAVE | MS_PRIVATE | MS_UNBINDABLE)

struct plan {
	char *type, *source, *target, *data;
	unsigned long flags;
	bool read_only, bind;
	struct span serial;
};

static int text_of(struct span fields, uint16_t tag, char **text)
{
	struct span value;
	*text = NULL;
	if (!field_find(fields, tag, &value))
		return 0;
	*text = span_text(value);
	return *text ? 0 : -1;
}

static int plan_read(struct span fields, struct plan *plan, struct failure *failure)
{
	*plan = (struct plan){.flags = (unsigned long)find_u64(fields, HYPER_FLAGS, 0)};
	if (text_of(fields, HYPER_TYPE, &plan->type) != 0 || text_of(fields, HYPER_SOURCE, &plan->source) != 0 ||
	    text_of(fields, HYPER_TARGET, &plan->target) != 0 || text_of(fields, HYPER_MOUNT_DATA, &plan->data) != 0)
		return fail(failure, ENOMEM, "no memory");
	(void)field_find(fields, HYPER_SERIAL, &plan->serial);
	plan->read_only = find_flag(fields, HYPER_READ_ONLY) || (plan->flags & MS_RDONLY);
	plan->bind = strcmp(plan->type, "bind") == 0 || (plan->flags & MS_BIND);
	if (plan->bind && !plan->source)
		return fail(failure, EINVAL, "mount on %s: a bind mount needs a source", plan->target);
	return 0;
}

static unsigned long kept_flags(int fd)
{
	struct statvfs info;
	if (fstatvfs(fd, &info) != 0)
		return 0;
	return (info.f_flag & ST_NOSUID ? MS_NOSUID : 0) | (info.f_flag & ST_NODEV ? MS_NODEV : 0) |
	       (info.f_flag & ST_NOEXEC ? MS_NOEXEC : 0) | (info.f_flag & ST_NOATIME ? MS_NOATIME : 0) |
	       (info.f_flag & ST_NODIRATIME ? MS_NODIRATIME : 0) | (info.f_flag & ST_RDONLY ? MS_RDONLY : 0);
}

/* The mount that now lies on `target`, reached anew: the old descriptor still names what is below it. */
static int remount(int root, const char *target, unsigned long flags)
{
	char path[FD_PATH_BYTES];
	int top = place_find(root, target, 0);
	if (top < 0)
		return -1;
	fd_path(top, path);
	int done = mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | flags | kept_flags(top), NULL);
	int error = errno;
	(void)close(top);
	errno = error;
	return done;
}

/* A relative source is a directory of the pod, made when it is first used; an absolute one is in this root. */
static int bind_source(int root, const struct plan *plan, struct failure *failure)
{
	if (plan->source[0] == '/') {
		int fd = place_find(root, plan->source, 0);
		return fd >= 0 ? fd : fail(failure, errno, "bind mount: %s: %s", plan->source, reason(errno));
	}
	if (mkdir(SHARED, 0755) != 0 && errno != EEXIST)
		return fail(failure, errno, "%s: %s", SHARED, reason(errno));
	int shared = open(SHARED, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (shared < 0)
		return fail(failure, errno, "%s: %s", SHARED, reason(errno));
	int fd = place_make_directory(shared, plan->source, failure);
	(void)close(shared);
	return fd;
}

static int target_for(int root, const struct plan *plan, int source, struct failure *failure)
{
	struct stat info;
	bool file = source >= 0 && fstat(source, &info) == 0 && !S_ISDIR(info.st_mode);
	return file ? place_make_file(root, plan->target, failure) : place_make_directory(root, plan->target, failure);
}

static int mount_bind(int root, const struct plan *plan, struct failure *failure)
{
	char from[FD_PATH_BYTES], to[FD_PATH_BYTES];
	unsigned long later = plan->flags & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME);
	int source = bind_source(root, plan, failure);
	int target = source < 0 ? -1 : target_for(root, plan, source, failure);
	if (target < 0)
		return -1;
	fd_path(source, from);
	fd_path(target, to);
	int done = mount(from, to, NULL, MS_BIND | (plan->flags & MS_REC), NULL);
	if (done == 0 && (plan->read_only || later))
		done = remount(root, plan->target, later | (plan->read_only ? MS_RDONLY : 0));
	if (done != 0)
		(void)fail(failure, errno, "bind mount of %s on %s: %s", plan->source, plan->target, reason(errno));
	(void)close(source);
	(void)close(target);
	return done;
}

static int mount_new(int root, const struct plan *plan, struct failure *failure)
{
	char to[FD_PATH_BYTES], device[DISK_PATH_BYTES];
	const char *source = plan->source ? plan->source : plan->type;
	unsigned long flags = plan->flags & ~(unsigned long)(PROPAGATION | MS_REC | MS_RDONLY);
	if (plan->serial.length > 0) {
		if (disk_find(plan->serial, device, failure) != 0)
			return -1;
		source = device;
	}
	int target = target_for(root, plan, -1, failure);
	if (target < 0)
		return -1;
	fd_path(target, to);
	int done = mount(source, to, plan->type, flags | (plan->read_only ? MS_RDONLY : 0), plan->data);
	/* Another container has the disk writable: then only this mount of it is read-only. */
	if (done != 0 && errno == EBUSY && plan->read_only) {
		done = mount(source, to, plan->type, flags, plan->data);
		if (done == 0)
			done = remount(root, plan->target, MS_RDONLY | flags);
	}
	if (done != 0)
		(void)fail(failure, errno, "mount of %s on %s: %s", plan->type, plan->target, reason(errno));
	(void)close(target);
	return done;
}

int root_mounts(int root, struct span fields, struct failure *failure)
{
	struct span each;
	while (field_each(&fields, HYPER_MOUNT, &each)) {
		struct plan plan;
		if (plan_read(each, &plan, failure) != 0)
			return -1;
		if ((plan.bind ? mount_bind(root, &plan, failure) : mount_new(root, &plan, failure)) != 0)
			return -1;
		unsigned long propagation = plan.flags & PROPAGATION;
		int top = propagation ? place_find(root, plan.target, 0) : -1;
		char path[FD_PATH_BYTES];
		fd_path(top, path);
		if (propagation && mount(NULL, path, NULL, propagation | (plan.flags & MS_REC), NULL) != 0)
			return fail(failure, errno, "propagation of %s: %s", plan.target, reason(errno));
		close_fd(&top);
	}
	return 0;
}

/* ---- what the container must not see, or not change ---- */

static int mask(int root, const char *path, struct failure *failure)
{
	struct stat info;
	char to[FD_PATH_BYTES];
	int target = place_find(root, path, 0);
	if (target < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : fail(failure, errno, "mask %s: %s", path, reason(errno));
	fd_path(target, to);
	int done = fstat(target, &info);
	if (done == 0 && S_ISDIR(info.st_mode))
		done = mount("tmpfs", to, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "nr_inodes=1");
	else if (done == 0)
		done = mount("/dev/null", to, NULL, MS_BIND, NULL);
	if (done != 0)
		(void)fail(failure, errno, "mask %s: %s", path, reason(errno));
	(void)close(target);
	return done;
}

static int freeze_path(int root, const char *path, struct failure *failure)
{
	char to[FD_PATH_BYTES];
	int target = place_find(root, path, 0);
	if (target < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : fail(failure, errno, "read-only %s: %s", path, reason(errno));
	fd_path(target, to);
	int done = mount(to, to, NULL, MS_BIND | MS_REC, NULL);
	if (done == 0)
		done = remount(root, path, MS_RDONLY);
	if (done != 0)
		(void)fail(failure, errno, "read-only %s: %s", path, reason(errno));
	(void)close(target);
	return done;
}

static int each_path(int root, struct span fields, uint16_t tag, int (*action)(int, const char *, struct failure *),
                     struct failure *failure)
{
	struct span each;
	while (field_each(&fields, tag, &each)) {
		char *path = span_text(each);
		if (!path)
			return fail(failure, ENOMEM, "no memory");
		int done = action(root, path, failure);
		free(path);
		if (done != 0)
			return -1;
	}
	return 0;
}

int root_protect(int root, struct span fields, struct failure *failure)
{
	if (each_path(root, fields, HYPER_READONLY_PATH, freeze_path, failure) != 0)
		return -1;
	return each_path(root, fields, HYPER_MASKED_PATH, mask, failure);
}
