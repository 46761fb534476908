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

int disk_find(struct span serial, char path[DISK_PATH_BYTES], struct failure *failure)
{
	char wanted[65];
	if (serial.length == 0 || serial.length >= sizeof wanted)
		return fail(failure, EINVAL, "a disk's serial has 1 to 64 bytes");
	memcpy(wanted, serial.data, serial.length);
	wanted[serial.length] = '\0';
	if (scan(wanted, path))
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
