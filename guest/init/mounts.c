#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "copy.h"
#include "disk.h"
#include "place.h"
#include "root.h"
#include "system.h"
#include "uevent.h"
#include "volume.h"

#define WAIT_MS 5000 /* for a share that is being plugged in */
#define PROPAGATION (MS_SHARED | MS_SLAVE | MS_PRIVATE | MS_UNBINDABLE)

struct plan {
	char *type, *source, *target, *data;
	unsigned long flags;
	bool read_only, bind, copy_up;
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
	plan->copy_up = find_flag(fields, HYPER_COPY_UP);
	if (plan->copy_up && (!plan->bind || !plan->source || plan->source[0] == '/'))
		return fail(failure, EINVAL, "mount on %s: only a volume is filled from the image", plan->target);
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

/* Reached anew: a descriptor from before the mount still names what is below it. */
int root_remount(int root, const char *target, unsigned long flags)
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

/* A relative source is in a volume of the pod; an absolute one is in this root. */
static int bind_source(int root, const struct plan *plan, struct failure *failure)
{
	if (plan->source[0] != '/')
		return volume_place(plan->source, failure);
	int fd = place_find(root, plan->source, 0);
	return fd >= 0 ? fd : fail(failure, errno, "bind mount: %s: %s", plan->source, reason(errno));
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
	int there = source >= 0 && plan->copy_up ? place_find(root, plan->target, 0) : -1;
	int target = source < 0 ? -1 : target_for(root, plan, source, failure);
	bool in_image = there >= 0;
	close_fd(&there);
	if (target < 0)
		return -1;
	if (in_image && copy_up(target, source, plan->target, failure) != 0)
		return -1;
	fd_path(source, from);
	fd_path(target, to);
	int done = mount(from, to, NULL, MS_BIND | (plan->flags & MS_REC), NULL);
	if (done == 0 && (plan->read_only || later))
		done = root_remount(root, plan->target, later | (plan->read_only ? MS_RDONLY : 0));
	if (done != 0)
		(void)fail(failure, errno, "bind mount of %s on %s: %s", plan->source, plan->target, reason(errno));
	(void)close(source);
	(void)close(target);
	return done;
}

static int mount_once(const struct plan *plan, const char *source, int root, const char *point)
{
	unsigned long flags = plan->flags & ~(unsigned long)(PROPAGATION | MS_REC | MS_RDONLY);
	int done = mount(source, point, plan->type, flags | (plan->read_only ? MS_RDONLY : 0), plan->data);
	/* Another container has the disk writable: then only this mount of it is read-only. */
	if (done != 0 && errno == EBUSY && plan->read_only) {
		done = mount(source, point, plan->type, flags, plan->data);
		if (done == 0)
			done = root_remount(root, plan->target, MS_RDONLY | flags);
	}
	return done;
}

/* How the kernel says that no device has this tag, yet. */
static bool is_missing(const struct plan *plan)
{
	return (strcmp(plan->type, "virtiofs") == 0 && errno == EINVAL) || (strcmp(plan->type, "9p") == 0 && errno == ENOENT);
}

/* On `point`, which is the plan's target below `root`. */
static int mount_plan(const struct plan *plan, int root, const char *point, struct failure *failure)
{
	char device[DISK_PATH_BYTES];
	const char *source = plan->source ? plan->source : plan->type;
	if (plan->serial.length > 0) {
		if (disk_find(plan->serial, device, failure) != 0)
			return -1;
		source = device;
	}
	int done = mount_once(plan, source, root, point), error = errno;
	if (done != 0 && is_missing(plan)) {
		int64_t end = clock_ns(CLOCK_MONOTONIC) + WAIT_MS * INT64_C(1000000);
		int events = uevent_open();
		do {
			done = mount_once(plan, source, root, point);
			error = errno;
		} while (done != 0 && is_missing(plan) && events >= 0 && uevent_wait(events, end));
		close_fd(&events);
	}
	return done == 0 ? 0 : fail(failure, error, "mount of %s on %s: %s", plan->type, plan->target, reason(error));
}

static int mount_new(int root, const struct plan *plan, struct failure *failure)
{
	char to[FD_PATH_BYTES];
	int target = target_for(root, plan, -1, failure);
	if (target < 0)
		return -1;
	fd_path(target, to);
	int done = mount_plan(plan, root, to, failure);
	(void)close(target);
	return done;
}

int mount_file_system(struct span fields, const char *point, bool read_only, struct failure *failure)
{
	struct plan plan;
	struct span other;
	if (plan_read(fields, &plan, failure) != 0)
		return -1;
	if (plan.bind)
		return fail(failure, EINVAL, "it is no file system");
	/* A server tells its clients apart by their names: two VMs of one name would take each other's locks and files. */
	if (field_find(fields, HYPER_HOSTNAME, &other) &&
	    (unshare(CLONE_NEWUTS) != 0 || sethostname((const char *)other.data, other.length) != 0))
		return fail(failure, errno, "cannot take its name: %s", reason(errno));
	plan.target = span_text((struct span){(const uint8_t *)point, strlen(point)});
	plan.read_only |= read_only;
	int root = plan.target ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (root < 0)
		return fail(failure, ENOMEM, "no memory");
	int done = mount_plan(&plan, root, point, failure);
	while (done != 0 && (failure->error == EPROTONOSUPPORT || failure->error == EINVAL) &&
	       field_each(&fields, HYPER_OTHER_DATA, &other)) {
		plan.data = span_text(other);
		done = mount_plan(&plan, root, point, failure);
	}
	(void)close(root);
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
		done = root_remount(root, path, MS_RDONLY);
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
