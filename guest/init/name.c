#include "name.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util.h"

#define VPD_HEADER 4
#define PATH_BYTES 320

/*
 * Serials that have been asked for: to ask a virtio disk is a request to the host.  Shared with the children that look
 * for disks, so each learns from those before it.  A disk that is plugged in has a number of its own in sysfs.
 */
#define KNOWN_MAX 32
struct known {
	uint64_t number;
	char serial[DISK_NAME_BYTES];
};

static struct {
	atomic_flag busy;
	unsigned count;
	struct known disks[KNOWN_MAX];
} *known;

void disks_forget(void)
{
	if (!known)
		known = mmap(NULL, sizeof *known, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (known == MAP_FAILED)
		known = NULL;
	if (known)
		memset(known, 0, sizeof *known);
}

/* Both give up where another is at it: then the disk is asked. */
static bool recall(uint64_t number, char serial[DISK_NAME_BYTES])
{
	bool found = false;
	if (!known || atomic_flag_test_and_set(&known->busy))
		return false;
	for (unsigned i = 0; i < known->count && i < KNOWN_MAX && !found; i++) {
		found = known->disks[i].number == number;
		if (found)
			memcpy(serial, known->disks[i].serial, sizeof known->disks[i].serial);
	}
	atomic_flag_clear(&known->busy);
	return found;
}

static void remember(uint64_t number, const char serial[DISK_NAME_BYTES])
{
	if (!known || atomic_flag_test_and_set(&known->busy))
		return;
	struct known *next = &known->disks[known->count++ % KNOWN_MAX];
	next->number = number;
	memcpy(next->serial, serial, sizeof next->serial);
	if (known->count == 2 * KNOWN_MAX)
		known->count = KNOWN_MAX;
	atomic_flag_clear(&known->busy);
}

/* Of `length` bytes, without the blanks that fill a field up, or the end of a line. */
static void take_text(const char *from, size_t length, char text[DISK_NAME_BYTES])
{
	while (length > 0 && *from == ' ') {
		from++;
		length--;
	}
	length = strnlen(from, length);
	while (length > 0 && (from[length - 1] == ' ' || from[length - 1] == '\n'))
		length--;
	if (length >= DISK_NAME_BYTES)
		length = 0; /* no name of ours */
	memcpy(text, from, length);
	text[length] = '\0';
}

/* virtio; the driver asks the host each time. */
static bool own_serial(int list, const char *disk, char serial[DISK_NAME_BYTES])
{
	char path[PATH_BYTES], text[DISK_NAME_BYTES + 1];
	struct stat info;
	(void)snprintf(path, sizeof path, "%s/serial", disk);
	if (fstatat(list, path, &info, 0) != 0)
		return false;
	if (recall(info.st_ino, serial))
		return true;
	ssize_t length = read_text_at(list, path, text, sizeof text);
	if (length < 0)
		return false;
	take_text(text, (size_t)length, serial);
	remember(info.st_ino, serial);
	return true;
}

/* A file of the device below the disk: NVMe's serial, SCSI's identifier. */
static bool device_text(int list, const char *disk, const char *file, char text[DISK_NAME_BYTES])
{
	char path[PATH_BYTES], whole[256];
	(void)snprintf(path, sizeof path, "%s/device/%s", disk, file);
	ssize_t length = read_text_at(list, path, whole, sizeof whole);
	if (length >= 0)
		take_text(whole, (size_t)length, text);
	return length >= 0;
}

/* SCSI's page 0x80, which SATA's disks have by the kernel: kind, page, length (16 bits, the highest first), serial. */
static bool page_serial(int list, const char *disk, char serial[DISK_NAME_BYTES])
{
	char path[PATH_BYTES], page[256];
	(void)snprintf(path, sizeof path, "%s/device/vpd_pg80", disk);
	ssize_t length = read_text_at(list, path, page, sizeof page);
	if (length < VPD_HEADER)
		return false;
	size_t said = (size_t)(uint8_t)page[2] << 8 | (uint8_t)page[3], have = (size_t)length - VPD_HEADER;
	take_text(page + VPD_HEADER, said < have ? said : have, serial);
	return true;
}

/* The directory of the device below the disk, which of SCSI is its address. */
static bool address(int list, const char *disk, char text[DISK_NAME_BYTES])
{
	char path[PATH_BYTES], target[PATH_BYTES];
	(void)snprintf(path, sizeof path, "%s/device", disk);
	ssize_t length = readlinkat(list, path, target, sizeof target - 1);
	if (length < 0)
		return false;
	target[length] = '\0';
	const char *last = strrchr(target, '/');
	last = last ? last + 1 : target;
	take_text(last, strlen(last), text);
	return true;
}

static bool says(int list, const char *disk, const char *wanted)
{
	char text[DISK_NAME_BYTES];
	return (own_serial(list, disk, text) && strcmp(text, wanted) == 0) ||
	       (page_serial(list, disk, text) && strcmp(text, wanted) == 0) ||
	       (device_text(list, disk, "serial", text) && strcmp(text, wanted) == 0);
}

static bool stands_at(int list, const char *disk, const char *place)
{
	char text[DISK_NAME_BYTES];
	return strcmp(disk, place) == 0 || (address(list, disk, text) && strcmp(text, place) == 0) ||
	       (device_text(list, disk, "wwid", text) && strcmp(text, place) == 0) || says(list, disk, place);
}

/* Where the disk stands that the host calls so, copied to `place`; false where it says so itself. */
static bool place_of(const char *places, const char *serial, char place[DISK_NAME_BYTES])
{
	size_t wanted = strlen(serial);
	for (const char *at = places; at && *at; at += strcspn(at, ","), at += *at == ',') {
		size_t length = strcspn(at, ",");
		if (length <= wanted + 1 || length - wanted - 1 >= DISK_NAME_BYTES || at[length - wanted - 1] != ':' ||
		    memcmp(at + length - wanted, serial, wanted) != 0)
			continue;
		take_text(at, length - wanted - 1, place);
		return true;
	}
	return false;
}

bool disk_named(int list, const char *disk, const char *serial, const char *places)
{
	char place[DISK_NAME_BYTES];
	return place_of(places, serial, place) ? stands_at(list, disk, place) : says(list, disk, serial);
}
