#include "root.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "disk.h"
#include "place.h"
#include "system.h"

/* Short, for overlayfs's options; the directories are in the VM's root, the mounts in the child's namespace only. */
#define LOWER_POINT "/l"
#define UPPER_POINT "/u"
#define ROOT_POINT "/r"
#define OVERLAY "lowerdir=" LOWER_POINT ",upperdir=" UPPER_POINT "/upper,workdir=" UPPER_POINT "/work" \
	",index=off,metacopy=off,redirect_dir=off,xino=auto"

static int mount_disk(struct span disk, const char *point, unsigned long flags, const char *options, struct failure *failure)
{
	struct span serial, type;
	char device[DISK_PATH_BYTES];
	if (!field_find(disk, HYPER_SERIAL, &serial) || !field_find(disk, HYPER_FILESYSTEM, &type))
		return fail(failure, EINVAL, "a disk without serial or file system");
	if (disk_find(serial, device, failure) != 0)
		return -1;
	char *filesystem = span_text(type);
	if (!filesystem)
		return fail(failure, ENOMEM, "no memory");
	bool ext4 = strcmp(filesystem, "ext4") == 0;
	if (mount(device, point, filesystem, flags, ext4 ? options : NULL) == 0)
		return 0;
	/* Before Linux 5.10 there was no reading ahead to switch off. */
	if (ext4 && errno == EINVAL && mount(device, point, filesystem, flags, NULL) == 0)
		return 0;
	return fail(failure, errno, "disk \"%.*s\": cannot mount it as %s: %s", (int)serial.length, (const char *)serial.data,
	            filesystem, reason(errno));
}

/* The merged root has the upper directory's owner and mode, so it gets those of the image's root. */
static int upper_directories(struct failure *failure)
{
	struct stat lower;
	if (mkdir(UPPER_POINT "/work", 0755) != 0 && errno != EEXIST)
		return fail(failure, errno, "writable disk: cannot make its work directory: %s", reason(errno));
	if (mkdir(UPPER_POINT "/upper", 0755) != 0)
		return errno == EEXIST ? 0 : fail(failure, errno, "writable disk: cannot make its upper directory: %s", reason(errno));
	bool told = stat(LOWER_POINT, &lower) == 0;
	/* As mkdir makes it, for most images. */
	if (told && lower.st_uid == 0 && lower.st_gid == 0 && (lower.st_mode & 07777) == 0755)
		return 0;
	if (!told || chown(UPPER_POINT "/upper", lower.st_uid, lower.st_gid) != 0 ||
	    chmod(UPPER_POINT "/upper", lower.st_mode & 07777) != 0)
		return fail(failure, errno, "writable disk: cannot set its root's mode: %s", reason(errno));
	return 0;
}

int root_assemble(struct span fields, struct failure *failure)
{
	struct span lower, upper;
	const char *options = OVERLAY;
	if (!field_find(fields, HYPER_LOWER, &lower))
		return fail(failure, EINVAL, "no image disk");
	if (mount_disk(lower, LOWER_POINT, MS_RDONLY, "noload", failure) != 0)
		return -1;
	if (field_find(fields, HYPER_UPPER, &upper)) {
		/* noinit_itable: what nobody writes stays a hole in the host's file.  And no thread to read bitmaps ahead. */
		if (mount_disk(upper, UPPER_POINT, MS_NOATIME, "noinit_itable,no_prefetch_block_bitmaps", failure) != 0)
			return -1;
	} else {
		/* Without SCRATCH the root is read-only, but the mount points that the image lacks are made somewhere. */
		options = OVERLAY ",volatile";
		if (mount("scratch", UPPER_POINT, "tmpfs", MS_NOATIME, "mode=0755") != 0)
			return fail(failure, errno, "root in memory: %s", reason(errno));
	}
	if (upper_directories(failure) != 0)
		return -1;
	if (mount("overlay", ROOT_POINT, "overlay", 0, options) != 0)
		return fail(failure, errno, "overlay root: %s", reason(errno));
	int root = open(ROOT_POINT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root >= 0 ? root : fail(failure, errno, "overlay root: cannot open it: %s", reason(errno));
}

int root_enter(int root, struct span fields, struct failure *failure)
{
	struct span upper;
	bool writable = field_find(fields, HYPER_UPPER, &upper) || find_flag(fields, HYPER_SCRATCH);
	bool read_only = !writable || find_flag(fields, HYPER_READ_ONLY);
	if (fchdir(root) != 0 || sys_pivot_root(".", ".") != 0)
		return fail(failure, errno, "cannot make the container's root the root: %s", reason(errno));
	/* The old root lies on top of the new one now. */
	if (umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
		return fail(failure, errno, "cannot leave the VM's root: %s", reason(errno));
	if (read_only && mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0)
		return fail(failure, errno, "cannot make the root read-only: %s", reason(errno));
	return 0;
}

void root_abandon(void)
{
	(void)chdir("/");
	(void)umount2(ROOT_POINT, MNT_DETACH);
	(void)umount2(UPPER_POINT, MNT_DETACH);
	(void)umount2(LOWER_POINT, MNT_DETACH);
}
