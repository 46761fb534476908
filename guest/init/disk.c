#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "uevent.h"

#define WAIT_MS 5000
#define DRIVER "/sys/bus/virtio/drivers/virtio_blk/"
#define RELEASED_MAX 64

static char released[RELEASED_MAX][16]; /* "virtio3"; inherited by the children that look for disks */
static unsigned released_count;

static bool scan(const char *serial, char path[DISK_PATH_BYTES])
{
	char name[300], found[80];
	DIR *list = opendir("/sys/block");
	bool here = false;
	if (!list)
		return false;
	for (struct dirent *entry; !here && (entry = readdir(list));) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(name, sizeof name, "%s/serial", entry->d_name);
		if (read_text_at(dirfd(list), name, found, sizeof found) < 0)
			continue;
		found[strcspn(found, "\n")] = '\0';
		if (strcmp(found, serial) != 0)
			continue;
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
	char wanted[65];
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

unsigned disk_count(void)
{
	DIR *list = opendir("/sys/block");
	unsigned count = 0;
	for (struct dirent *entry; list && (entry = readdir(list));)
		count += entry->d_name[0] != '.' && strncmp(entry->d_name, "loop", 4) != 0 && strncmp(entry->d_name, "ram", 3) != 0;
	if (list)
		(void)closedir(list);
	return count;
}
