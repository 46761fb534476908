#include "part.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SECTOR 512
#define NUMBER_MAX 255
#define TRIES 16 /* others make parts of the same disk at the same time */

struct part {
	int number;
	uint64_t start, length; /* sectors */
};

static uint64_t number_in(int dir, const char *name, const char *file)
{
	char path[300], text[32];
	uint64_t value;
	(void)snprintf(path, sizeof path, "%s/%s", name, file);
	if (read_text_at(dir, path, text, sizeof text) < 0)
		return UINT64_MAX;
	text[strcspn(text, "\n")] = '\0';
	return parse_u64(text, &value) ? value : UINT64_MAX;
}

static int change(int disk, int operation, struct part part)
{
	struct blkpg_partition what = {
		.start = (long long)(part.start * SECTOR), .length = (long long)(part.length * SECTOR), .pno = part.number};
	struct blkpg_ioctl_arg argument = {.op = operation, .datalen = sizeof what, .data = &what};
	return ioctl(disk, BLKPG, &argument);
}

/*
 * Looks at what parts the disk (sysfs's directory) has: true where the wanted one is there, and its node is `name`.
 * Those that lie across it and that nobody uses are of a disk that was here before (a clone's template's): they go.
 * Its number becomes one that is not taken.
 */
static bool look(int disk, DIR *list, const char *prefix, struct part *wanted, char name[DISK_PATH_BYTES])
{
	bool taken[NUMBER_MAX + 1] = {false}, found = false;
	rewinddir(list);
	for (struct dirent *entry; !found && (entry = readdir(list));) {
		bool is_part = strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
		uint64_t number = is_part ? number_in(dirfd(list), entry->d_name, "partition") : 0;
		if (number == 0 || number > NUMBER_MAX)
			continue;
		struct part part = {(int)number, number_in(dirfd(list), entry->d_name, "start"), number_in(dirfd(list), entry->d_name, "size")};
		found = part.start == wanted->start && part.length == wanted->length &&
		        snprintf(name, DISK_PATH_BYTES, "/dev/%s", entry->d_name) < DISK_PATH_BYTES;
		bool apart = part.start >= wanted->start + wanted->length || wanted->start >= part.start + part.length;
		taken[number] = apart || found || change(disk, BLKPG_DEL_PARTITION, part) != 0;
	}
	for (wanted->number = 1; wanted->number < NUMBER_MAX && taken[wanted->number];)
		wanted->number++;
	return found;
}

static int find(int disk, DIR *list, struct part wanted, char path[DISK_PATH_BYTES], struct failure *failure)
{
	char name[DISK_PATH_BYTES];
	int error = EBUSY;
	for (int i = 0; i < TRIES && error == EBUSY; i++) {
		if (look(disk, list, path + strlen("/dev/"), &wanted, name)) {
			memcpy(path, name, sizeof name);
			return 0;
		}
		/* Made, it is found in the next round, by the name that the kernel gave it. */
		if (change(disk, BLKPG_ADD_PARTITION, wanted) != 0 && errno != EBUSY)
			error = errno;
	}
	return fail(failure, error, "disk %s: cannot make a part of it, from sector %llu, %llu long: %s", path,
	            (unsigned long long)wanted.start, (unsigned long long)wanted.length, reason(error));
}

int part_find(char path[DISK_PATH_BYTES], uint64_t offset, uint64_t length, struct failure *failure)
{
	char directory[DISK_PATH_BYTES + 16];
	struct part wanted = {0, offset / SECTOR, length / SECTOR};
	if (offset % SECTOR || length % SECTOR || length == 0 || offset > INT64_MAX - length)
		return fail(failure, EINVAL, "disk %s: a part has whole sectors, and at least one", path);
	(void)snprintf(directory, sizeof directory, "/sys/block/%s", path + strlen("/dev/"));
	int disk = open(path, O_RDONLY | O_CLOEXEC);
	DIR *list = disk < 0 ? NULL : opendir(directory);
	int done = list ? find(disk, list, wanted, path, failure) : fail(failure, errno, "disk %s: %s", path, reason(errno));
	if (list)
		(void)closedir(list);
	close_fd(&disk);
	return done;
}
