#include "verity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "schema.h"
#include "session.h"
#include "uevent.h"

#define BLOCK 4096
#define SECTOR 512
#define CORRUPTED "DM_VERITY_ERR_BLOCK_NR="

struct call {
	struct dm_ioctl head;
	struct dm_target_spec target;
	char words[256];
};

/* The device's name is its root hash. */
static int ask(int control, unsigned long operation, uint32_t flags, const struct disk *disk, struct call *call)
{
	memset(&call->head, 0, sizeof call->head);
	call->head.version[0] = DM_VERSION_MAJOR;
	call->head.data_size = sizeof *call;
	call->head.data_start = offsetof(struct call, target);
	call->head.target_count = 1;
	call->head.flags = flags;
	(void)snprintf(call->head.name, sizeof call->head.name, "%.*s", (int)disk->root_hash.length,
	               (const char *)disk->root_hash.data);
	return ioctl(control, (int)operation, call);
}

static int load(int control, const char *path, const struct disk *disk, struct call *call)
{
	unsigned long long blocks = disk->data / BLOCK;
	call->target = (struct dm_target_spec){.length = disk->data / SECTOR, .target_type = "verity"};
	(void)snprintf(call->words, sizeof call->words, "1 %s %s %d %d %llu %llu sha256 %.*s -", path, path, BLOCK, BLOCK,
	               blocks, blocks, (int)disk->root_hash.length, (const char *)disk->root_hash.data);
	return ask(control, DM_TABLE_LOAD, DM_READONLY_FLAG, disk, call);
}

int verity_open(char path[DISK_PATH_BYTES], const struct disk *disk, struct failure *failure)
{
	struct call call = {0};
	int control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	/* Locked until its release, whoever else mounts the same. */
	int done = control < 0 || flock(control, LOCK_EX) != 0 ? -1 : ask(control, DM_DEV_CREATE, 0, disk, &call);
	if (done != 0 && errno == EBUSY)
		done = ask(control, DM_DEV_STATUS, 0, disk, &call);
	unsigned minor = (unsigned)(call.head.dev & 0xff) | (unsigned)(call.head.dev >> 12 & 0xfff00);
	if (done == 0 && !(call.head.flags & DM_ACTIVE_PRESENT_FLAG)) {
		done = load(control, path, disk, &call);
		if (done == 0)
			done = ask(control, DM_DEV_SUSPEND, 0, disk, &call); /* resumes it */
	}
	if (done == 0) {
		(void)snprintf(path, DISK_PATH_BYTES, "/dev/dm-%u", minor);
		return control;
	}
	int error = errno;
	verity_release(control, disk);
	return fail(failure, error, "disk %s: dm-verity: %s", path, reason(error));
}

void verity_release(int control, const struct disk *disk)
{
	struct call call = {0};
	(void)ask(control, DM_DEV_REMOVE, DM_DEFERRED_REMOVE, disk, &call);
	(void)close(control);
}

/* An announcement is strings, "NAME=value" but for the first. */
static bool tells_of_corruption(const char *text, size_t length)
{
	for (size_t at = 0; at < length; at += strlen(text + at) + 1) {
		if (strncmp(text + at, CORRUPTED, sizeof CORRUPTED - 1) == 0)
			return true;
	}
	return false;
}

static void announced(struct watch *watch, uint32_t events)
{
	char text[4096];
	ssize_t got;
	(void)events;
	while ((got = recv(watch->fd, text, sizeof text - 1, MSG_DONTWAIT)) >= 0 || errno == ENOBUFS) {
		struct buffer event = {0};
		text[got < 0 ? 0 : got] = '\0';
		if (got < 0 || !tells_of_corruption(text, (size_t)got) || session_congested())
			continue;
		buffer_u16(&event, HYPER_EVENT_CORRUPTED);
		buffer_u16(&event, 0);
		buffer_u32(&event, 0);
		session_message(HYPER_EVENT, 0, &event);
		buffer_free(&event);
	}
}

void verity_watch(struct span fields)
{
	static struct watch watch = {.fd = -1, .ready = announced};
	struct span lower, hash;
	if (watch.fd >= 0 || !field_find(fields, HYPER_LOWER, &lower) || !field_find(lower, HYPER_ROOT_HASH, &hash))
		return;
	watch.fd = uevent_open();
	(void)loop_set(&watch, EPOLLIN);
}
