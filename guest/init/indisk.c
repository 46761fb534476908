#include "indisk.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "archive.h"
#include "disk.h"
#include "root.h"
#include "schema.h"
#include "util.h"

#define ARGUMENTS 7
#define CHECKED_ARGUMENTS 9

bool indisk_builtin(const char *name)
{
	return strcmp(name, ARCHIVE_LAYER) == 0 || strcmp(name, ARCHIVE_CHANGES) == 0;
}

static struct span span_of(const char *text)
{
	return (struct span){(const unsigned char *)text, strlen(text)};
}

static int open_directory(int at, const char *path)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		archive_give_up(path, errno);
	return fd;
}

/* The file system is the container's own, once more. */
static int mounted(const struct disk *disk, const char *point, unsigned long flags, const char *options)
{
	struct failure failure = {0};
	if (disk_mount_this(disk, point, flags, options, &failure) != 0) {
		(void)dprintf(2, "%s\n", failure.text);
		_exit(failure.error > 0 && failure.error < 125 ? failure.error : EIO);
	}
	return open_directory(AT_FDCWD, point);
}

void indisk_run(char *const *arguments)
{
	unsigned count = 0;
	while (arguments[count])
		count++;
	struct disk lower = {.length = 0}, upper;
	bool checked = count == CHECKED_ARGUMENTS;
	if ((count != ARGUMENTS && !checked) || !parse_u64(arguments[5], &lower.offset) || !parse_u64(arguments[6], &lower.length) ||
	    (checked && !parse_u64(arguments[7], &lower.data)) || (*arguments[2] && !file_name_ok(span_of(arguments[2])))) {
		(void)dprintf(2, "usage: %s UPPER DIRECTORY LOWER FILESYSTEM OFFSET LENGTH [DATA ROOT-HASH]\n", arguments[0]);
		_exit(EINVAL);
	}
	lower.serial = span_of(arguments[3]);
	lower.filesystem = span_of(arguments[4]);
	if (checked)
		lower.root_hash = span_of(arguments[8]);
	upper = (struct disk){.serial = span_of(arguments[1]), .filesystem = span_of("ext4")};
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) != 0)
		archive_give_up("a mount namespace", errno);
	int image = mounted(&lower, LOWER_POINT, MS_RDONLY, "noload");
	int disk = mounted(&upper, UPPER_POINT, MS_NOATIME, DISK_WRITABLE);
	int own = *arguments[2] ? open_directory(disk, arguments[2]) : disk;
	archive_changes(strcmp(arguments[0], ARCHIVE_CHANGES) == 0, open_directory(own, UPPER_DIRECTORY), image);
}
