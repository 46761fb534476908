#include "grow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "child.h"
#include "schema.h"
#include "uevent.h"
#include "volume.h"

#define EXT4_MAGIC 0xEF53
#define EXT4_RESIZE ((int)_IOW('f', 16, uint64_t)) /* EXT4_IOC_RESIZE_FS: to so many blocks */
#define SECTOR 512
#define HEARD_MS 5000
#define GROW_MS 25000

/* What the disk has, in bytes; 0 where it does not say. */
static uint64_t disk_bytes(int root)
{
	char path[64], text[32];
	uint64_t sectors;
	struct stat info;
	if (fstat(root, &info) != 0)
		return 0;
	(void)snprintf(path, sizeof path, "/sys/dev/block/%u:%u/size", major(info.st_dev), minor(info.st_dev));
	ssize_t length = read_text_at(AT_FDCWD, path, text, sizeof text);
	if (length > 0 && text[length - 1] == '\n')
		text[length - 1] = '\0';
	return length > 0 && parse_u64(text, &sectors) ? sectors * SECTOR : 0;
}

int grow_to_disk(int root, struct failure *failure)
{
	struct statfs info;
	if (fstatfs(root, &info) != 0)
		return fail(failure, errno, "its file system: %s", reason(errno));
	if (info.f_type != EXT4_MAGIC)
		return 0;
	uint64_t blocks = disk_bytes(root) / (uint64_t)info.f_bsize;
	if (ioctl(root, EXT4_RESIZE, &blocks) != 0)
		return fail(failure, errno, "cannot grow to %llu blocks: %s", (unsigned long long)blocks, reason(errno));
	return 0;
}

/* The kernel hears of a disk's new size in its own time. */
static int wait_for(int root, uint64_t bytes, struct failure *failure)
{
	int64_t end = clock_ns(CLOCK_MONOTONIC) + HEARD_MS * INT64_C(1000000);
	int events = uevent_open();
	bool there = disk_bytes(root) >= bytes;
	while (!there && events >= 0 && uevent_wait(events, end))
		there = disk_bytes(root) >= bytes;
	close_fd(&events);
	return there ? 0 : fail(failure, ETIMEDOUT, "its disk has not got %llu bytes", (unsigned long long)bytes);
}

static int work_grow(const struct request *request, void *context, struct buffer *fields, struct failure *failure)
{
	struct failure inner = {0};
	struct span name, size;
	(void)context;
	(void)fields;
	(void)field_find(request->fields, HYPER_NAME, &name);
	(void)field_find(request->fields, HYPER_SIZE, &size);
	int root = volume_open(name, failure);
	if (root < 0)
		return -1;
	int done = wait_for(root, get_u64(size.data), &inner);
	if (done == 0)
		done = grow_to_disk(root, &inner);
	close_fd(&root);
	return done == 0 ? 0 : fail(failure, inner.error, "volume %.*s: %s", (int)name.length, (const char *)name.data, inner.text);
}

void op_volume_grow(struct request *request)
{
	struct failure failure = {0};
	struct work work = {.work = work_grow, .limit_ms = GROW_MS};
	if (worker_start(request, &work, &failure) != 0)
		request_done(request, &failure, NULL);
}
