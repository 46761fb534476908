#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "name.h"
#include "part.h"
#include "schema.h"
#include "uevent.h"
#include "verity.h"
#include "vm.h"

#define WAIT_MS 5000
#define CHECKED_TRIES 8
#define DRIVER "/sys/bus/virtio/drivers/virtio_blk/"
#define RELEASED_MAX 64

static char released[RELEASED_MAX][16]; /* "virtio3"; inherited by the children that look for disks */
static unsigned released_count;

static bool scan(const char *serial, char path[DISK_PATH_BYTES])
{
	char places[2048];
	DIR *list = opendir("/sys/block");
	bool here = false;
	if (!list)
		return false;
	const char *told = vm_argument("hyper.disks", places, sizeof places) ? places : NULL;
	for (struct dirent *entry; !here && (entry = readdir(list));) {
		if (entry->d_name[0] != '.' && disk_named(dirfd(list), entry->d_name, serial, told))
			here = snprintf(path, DISK_PATH_BYTES, "/dev/%s", entry->d_name) < DISK_PATH_BYTES;
	}
	(void)closedir(list);
	return here;
}

int disks_release(struct failure *failure)
{
	DIR *list = opendir(DRIVER);
	for (struct dirent *entry; list && (entry = readdir(list));) {
		if (strncmp(entry->d_name, "virtio", 6) != 0 || strlen(entry->d_name) >= sizeof *released ||
		    released_count == RELEASED_MAX)
			continue;
		if (write_text_at(AT_FDCWD, DRIVER "unbind", entry->d_name) != 0) {
			(void)fail(failure, errno, "cannot give up %s: %s", entry->d_name, reason(errno));
			break;
		}
		memcpy(released[released_count++], entry->d_name, strlen(entry->d_name) + 1);
	}
	if (list)
		(void)closedir(list);
	return failure->error ? -1 : 0;
}

/* Whichever of two containers that are made at once comes first; the other finds them bound (EBUSY, ENODEV). */
static void bind_released(void)
{
	for (unsigned i = 0; i < released_count; i++)
		(void)write_text_at(AT_FDCWD, DRIVER "bind", released[i]);
}

int disk_find(struct span serial, char path[DISK_PATH_BYTES], struct failure *failure)
{
	char wanted[DISK_NAME_BYTES];
	if (serial.length == 0 || serial.length >= sizeof wanted)
		return fail(failure, EINVAL, "a disk's serial has 1 to 64 bytes");
	memcpy(wanted, serial.data, serial.length);
	wanted[serial.length] = '\0';
	if (scan(wanted, path))
		return 0;
	bind_released();
	if (released_count > 0 && scan(wanted, path))
		return 0;
	int64_t end = clock_ns(CLOCK_MONOTONIC) + WAIT_MS * INT64_C(1000000);
	int events = uevent_open();
	bool found = scan(wanted, path);
	while (!found && events >= 0 && uevent_wait(events, end))
		found = scan(wanted, path);
	close_fd(&events);
	return found ? 0 : fail(failure, ENODEV, "disk \"%s\": there is none with this serial", wanted);
}

static int mount_as(struct span serial, const char *device, const char *point, const char *type, unsigned long flags,
                    const char *options, struct failure *failure)
{
	if (mount(device, point, type, flags, options) == 0)
		return 0;
	/* Before Linux 5.10 there was no reading ahead to switch off. */
	if (options && errno == EINVAL && mount(device, point, type, flags, NULL) == 0)
		return 0;
	return fail(failure, errno, "disk \"%.*s\": cannot mount it as %s: %s", (int)serial.length, (const char *)serial.data,
	            type, reason(errno));
}

/* The last mount of the same disk may be going at this moment, and what checked it with it. */
static int mount_checked(const struct disk *disk, const char *device, const char *point, const char *type,
                         unsigned long flags, struct failure *failure)
{
	char path[DISK_PATH_BYTES];
	int done = -1;
	for (int i = 0; done != 0 && i < CHECKED_TRIES; i++) {
		memcpy(path, device, sizeof path);
		int control = verity_open(path, disk, failure);
		if (control < 0)
			return -1;
		done = mount_as(disk->serial, path, point, type, flags, NULL, failure);
		verity_release(control, disk);
		if (done != 0 && failure->error != ENXIO && failure->error != ENODEV)
			return -1;
	}
	return done;
}

int disk_mount_this(const struct disk *disk, const char *point, unsigned long flags, const char *options,
                    struct failure *failure)
{
	char device[DISK_PATH_BYTES];
	if (disk_find(disk->serial, device, failure) != 0)
		return -1;
	if (disk->length && part_find(device, disk->offset, disk->length, failure) != 0)
		return -1;
	char *filesystem = span_text(disk->filesystem);
	if (!filesystem)
		return fail(failure, ENOMEM, "no memory");
	bool ext4 = strcmp(filesystem, "ext4") == 0;
	int done = disk->root_hash.length
	               ? mount_checked(disk, device, point, filesystem, flags, failure)
	               : mount_as(disk->serial, device, point, filesystem, flags, ext4 ? options : NULL, failure);
	free(filesystem);
	return done;
}

int disk_mount(struct span disk, const char *point, unsigned long flags, const char *options, struct failure *failure)
{
	struct disk found = {.length = 0};
	struct span offset, length;
	if (!field_find(disk, HYPER_SERIAL, &found.serial) || !field_find(disk, HYPER_FILESYSTEM, &found.filesystem))
		return fail(failure, EINVAL, "a disk without serial or file system");
	bool from = field_find(disk, HYPER_OFFSET, &offset), long_is = field_find(disk, HYPER_LENGTH, &length);
	if (from != long_is || (long_is && get_u64(length.data) == 0))
		return fail(failure, EINVAL, "a part of a disk has an offset and a length");
	if (from) {
		found.offset = get_u64(offset.data);
		found.length = get_u64(length.data);
	}
	if (field_find(disk, HYPER_ROOT_HASH, &found.root_hash) && field_find(disk, HYPER_SIZE, &length))
		found.data = get_u64(length.data);
	return disk_mount_this(&found, point, flags, options, failure);
}

int disk_directory(struct span disk, const char *point, bool *made, struct failure *failure)
{
	char path[192];
	struct span name;
	if (!field_find(disk, HYPER_DIRECTORY, &name) || name.length == 0)
		(void)snprintf(path, sizeof path, "%s", point);
	else if (!file_name_ok(name))
		return fail(failure, EINVAL, "not a name for a directory of a disk");
	else
		(void)snprintf(path, sizeof path, "%s/%.*s", point, (int)name.length, (const char *)name.data);
	*made = mkdir(path, 0755) == 0;
	if (!*made && errno != EEXIST)
		return fail(failure, errno, "%s: cannot make it: %s", path, reason(errno));
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd >= 0 ? fd : fail(failure, errno, "%s: %s", path, reason(errno));
}

unsigned disk_count(void)
{
	DIR *list = opendir("/sys/block");
	unsigned count = 0;
	for (struct dirent *entry; list && (entry = readdir(list));)
		count += entry->d_name[0] != '.' && strncmp(entry->d_name, "loop", 4) != 0 && strncmp(entry->d_name, "ram", 3) != 0 &&
		         strncmp(entry->d_name, "dm-", 3) != 0;
	if (list)
		(void)closedir(list);
	return count;
}
