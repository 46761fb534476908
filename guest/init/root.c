#include "root.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "disk.h"
#include "place.h"
#include "system.h"

#define OVERLAY "lowerdir=" LOWER_POINT ",upperdir=" UPPER_DIRECTORY ",workdir=work,index=off,metacopy=off,redirect_dir=off,xino=auto"

/* The merged root has the upper directory's owner and mode, so it gets those of the image's root. */
static int upper_directories(int above, struct failure *failure)
{
	struct stat lower;
	if (mkdirat(above, "work", 0755) != 0 && errno != EEXIST)
		return fail(failure, errno, "writable disk: cannot make its work directory: %s", reason(errno));
	if (mkdirat(above, UPPER_DIRECTORY, 0755) != 0)
		return errno == EEXIST ? 0 : fail(failure, errno, "writable disk: cannot make its upper directory: %s", reason(errno));
	bool told = stat(LOWER_POINT, &lower) == 0;
	/* As mkdir makes it, for most images. */
	if (told && lower.st_uid == 0 && lower.st_gid == 0 && (lower.st_mode & 07777) == 0755)
		return 0;
	if (!told || fchownat(above, UPPER_DIRECTORY, lower.st_uid, lower.st_gid, 0) != 0 ||
	    fchmodat(above, UPPER_DIRECTORY, lower.st_mode & 07777, 0) != 0)
		return fail(failure, errno, "writable disk: cannot set its root's mode: %s", reason(errno));
	return 0;
}

/* Programs such as df and mount ask it what is mounted.  An image's own stays. */
static void make_mtab(int root)
{
	int etc = place_find(root, "/etc", O_DIRECTORY);
	if (etc >= 0)
		(void)symlinkat("/proc/mounts", etc, "mtab");
	close_fd(&etc);
}

int root_assemble(struct span fields, struct failure *failure)
{
	struct span lower, upper = {NULL, 0};
	const char *options = OVERLAY;
	if (!field_find(fields, HYPER_LOWER, &lower))
		return fail(failure, EINVAL, "no image disk");
	if (disk_mount(lower, LOWER_POINT, MS_RDONLY, "noload", failure) != 0)
		return -1;
	if (field_find(fields, HYPER_UPPER, &upper)) {
		if (disk_mount(upper, UPPER_POINT, MS_NOATIME, DISK_WRITABLE, failure) != 0)
			return -1;
	} else {
		/* Without SCRATCH the root is read-only, but the mount points that the image lacks are made somewhere. */
		options = OVERLAY ",volatile";
		if (mount("scratch", UPPER_POINT, "tmpfs", MS_NOATIME, "mode=0755") != 0)
			return fail(failure, errno, "root in memory: %s", reason(errno));
	}
	bool made;
	int above = disk_directory(upper, UPPER_POINT, &made, failure);
	if (above < 0 || upper_directories(above, failure) != 0)
		return -1;
	/* Where the options' directories are. */
	if (fchdir(above) != 0 || mount("overlay", ROOT_POINT, "overlay", 0, options) != 0)
		return fail(failure, errno, "overlay root: %s", reason(errno));
	(void)close(above);
	int root = open(ROOT_POINT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fail(failure, errno, "overlay root: cannot open it: %s", reason(errno));
	make_mtab(root);
	return root;
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
