#include "emit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "archive.h"
#include "system.h"
#include "util.h"

#define OUTPUT_BYTES 262144u
#define ATTRIBUTES_BYTES 131072u
#define LINKS_MAX 1048576u /* hard links that are known again; what is beyond them is packed as files */
#define HOLE_BYTES 4096

static char output[OUTPUT_BYTES];
static size_t output_used;
static char headers[TAR_RECORDS_BYTES + 4 * TAR_BLOCK];
static struct tar_entry entry;
static bool all_attributes;
char *const emit_path = entry.name;
static char attribute_names[ATTRIBUTES_BYTES], attribute_values[ATTRIBUTES_BYTES];

/* ---- what goes out ---- */

static void flush(void)
{
	if (write_all(1, output, output_used) != 0)
		_exit(EPIPE); /* nobody reads any more */
	output_used = 0;
}

static void put(const void *bytes, size_t length)
{
	for (const char *at = bytes; length > 0;) {
		size_t part = OUTPUT_BYTES - output_used < length ? OUTPUT_BYTES - output_used : length;
		memcpy(output + output_used, at, part);
		output_used += part;
		at += part;
		length -= part;
		if (output_used == OUTPUT_BYTES)
			flush();
	}
}

static void put_zeros(int64_t length)
{
	static const char zeros[4096];
	for (; length > 0; length -= (int64_t)sizeof zeros)
		put(zeros, length < (int64_t)sizeof zeros ? (size_t)length : sizeof zeros);
}

/* So much of a file as it was when its header went out: what it has lost since is zeros. */
static void put_part(int fd, int64_t offset, int64_t length)
{
	while (length > 0) {
		size_t room = OUTPUT_BYTES - output_used;
		ssize_t got = pread(fd, output + output_used, (int64_t)room < length ? room : (size_t)length, offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			archive_give_up(entry.name, errno);
		if (got == 0) {
			put_zeros(length);
			return;
		}
		output_used += (size_t)got;
		offset += got;
		length -= got;
		if (output_used == OUTPUT_BYTES)
			flush();
	}
}

static void fill_block(int64_t length)
{
	put_zeros((int64_t)((TAR_BLOCK - (uint64_t)length % TAR_BLOCK) % TAR_BLOCK));
}

/* ---- hard links: the first name of each file that has more than one ---- */

struct known {
	dev_t device;
	ino_t inode;
	char *name;
};
static struct known *known;
static size_t known_count, known_room;

static struct known *slot(struct known *table, size_t room, dev_t device, ino_t inode)
{
	size_t at = (size_t)(inode * 0x9e3779b97f4a7c15u ^ device) % room;
	while (table[at].name && (table[at].device != device || table[at].inode != inode))
		at = at + 1 == room ? 0 : at + 1;
	return &table[at];
}

static void make_room(void)
{
	size_t room = known_room ? 2 * known_room : 1024;
	struct known *larger = calloc(room, sizeof *larger);
	if (!larger)
		archive_give_up(entry.name, ENOMEM);
	for (size_t i = 0; i < known_room; i++) {
		if (known[i].name)
			*slot(larger, room, known[i].device, known[i].inode) = known[i];
	}
	free(known);
	known = larger;
	known_room = room;
}

/* The name under which it went out already; NULL the first time. */
static const char *earlier_name(const struct stat *info)
{
	if (known_room == 0 || (2 * known_count >= known_room && known_count < LINKS_MAX))
		make_room();
	struct known *found = slot(known, known_room, info->st_dev, info->st_ino);
	if (!found->name && known_count < LINKS_MAX) {
		*found = (struct known){info->st_dev, info->st_ino, strdup(entry.name)};
		if (!found->name)
			archive_give_up(entry.name, ENOMEM);
		known_count++;
		return NULL;
	}
	return found->name;
}

/* ---- one entry ---- */

void emit_all_attributes(void)
{
	all_attributes = true;
}

static bool wanted(const char *name)
{
	if (all_attributes)
		return strncmp(name, "trusted.overlay.", 16) != 0 && strcmp(name, "security.selinux") != 0;
	return strncmp(name, "user.", 5) == 0 || strcmp(name, "security.capability") == 0;
}

static void note_attributes(int fd)
{
	size_t used = 0;
	ssize_t length = flistxattr(fd, attribute_names, sizeof attribute_names);
	for (char *name = attribute_names; length > 0 && name < attribute_names + length; name += strlen(name) + 1) {
		if (!wanted(name))
			continue;
		ssize_t size = fgetxattr(fd, name, attribute_values + used, sizeof attribute_values - used);
		if (size < 0 || entry.attribute_count == TAR_ATTRIBUTES)
			continue;
		entry.attributes[entry.attribute_count++] = (struct tar_attribute){name, attribute_values + used, (size_t)size};
		used += (size_t)size;
	}
}

/* The parts of a file that has holes; false where it is as well packed whole. */
static bool note_extents(int fd, const struct stat *info)
{
	int64_t end = 0, data = 0;
	if (info->st_size < HOLE_BYTES || info->st_blocks * 512 >= info->st_size)
		return false;
	while (end < info->st_size) {
		int64_t start = lseek(fd, end, SEEK_DATA);
		if (start < 0 && errno != ENXIO)
			return false;
		if (start < 0 || start >= info->st_size)
			break;
		end = lseek(fd, start, SEEK_HOLE);
		if (end < 0 || entry.extent_count == TAR_EXTENTS - 1)
			return false;
		end = end < info->st_size ? end : info->st_size;
		entry.extents[entry.extent_count++] = (struct tar_extent){start, end - start};
		data += end - start;
	}
	/* The last part says where the file ends, as GNU's does. */
	if (end < info->st_size || entry.extent_count == 0)
		entry.extents[entry.extent_count++] = (struct tar_extent){info->st_size, 0};
	return data + HOLE_BYTES <= info->st_size;
}

static void describe(const struct stat *info, char type)
{
	entry.type = type;
	entry.mode = info->st_mode;
	entry.uid = info->st_uid;
	entry.gid = info->st_gid;
	entry.mtime_s = info->st_mtim.tv_sec;
	entry.size = 0;
	entry.real_size = 0;
	entry.major = entry.minor = 0;
	entry.sparse = false;
	entry.extent_count = entry.attribute_count = 0;
	entry.link[0] = '\0';
}

static void put_header(void)
{
	size_t length = tar_format(&entry, headers, sizeof headers);
	if (length == 0)
		archive_give_up(entry.name, ENAMETOOLONG);
	put(headers, length);
}

void emit_file(int fd, const struct stat *info)
{
	const char *first = info->st_nlink > 1 ? earlier_name(info) : NULL;
	describe(info, first ? TAR_LINK : TAR_FILE);
	if (first) {
		(void)snprintf(entry.link, sizeof entry.link, "%s", first);
		put_header();
		return;
	}
	note_attributes(fd);
	entry.size = entry.real_size = info->st_size;
	entry.sparse = note_extents(fd, info);
	if (!entry.sparse) {
		put_header();
		put_part(fd, 0, entry.size);
		fill_block(entry.size);
		return;
	}
	size_t map = tar_format_map(&entry, headers, sizeof headers);
	entry.size = (int64_t)map;
	for (unsigned i = 0; i < entry.extent_count; i++)
		entry.size += entry.extents[i].length;
	put_header();
	(void)tar_format_map(&entry, headers, sizeof headers);
	put(headers, map);
	for (unsigned i = 0; i < entry.extent_count; i++)
		put_part(fd, entry.extents[i].offset, entry.extents[i].length);
	fill_block(entry.size);
}

void emit_other(int parent, const char *name, const struct stat *info)
{
	static const struct {
		mode_t format;
		char type;
	} types[] = {{S_IFLNK, TAR_SYMLINK}, {S_IFCHR, TAR_CHARACTER}, {S_IFBLK, TAR_BLOCK_DEVICE}, {S_IFIFO, TAR_FIFO}};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if ((info->st_mode & S_IFMT) != types[i].format)
			continue;
		describe(info, types[i].type);
		if (S_ISLNK(info->st_mode)) {
			ssize_t length = readlinkat(parent, name, entry.link, sizeof entry.link - 1);
			if (length < 0)
				return;
			entry.link[length] = '\0';
		}
		entry.major = major(info->st_rdev);
		entry.minor = minor(info->st_rdev);
		put_header();
	}
}

/* With a slash at its end, as every directory's name in an archive. */
void emit_directory(int fd, const struct stat *info)
{
	size_t length = strlen(entry.name);
	describe(info, TAR_DIRECTORY);
	note_attributes(fd);
	if (length + 2 > sizeof entry.name)
		archive_give_up(entry.name, ENAMETOOLONG);
	(void)snprintf(entry.name + length, 2, "/");
	put_header();
	entry.name[length] = '\0';
}

void emit_mark(void)
{
	static const struct stat nothing = {.st_mode = 0600};
	describe(&nothing, TAR_FILE);
	put_header();
}

void emit_end(void)
{
	put_zeros(2 * TAR_BLOCK);
	flush();
	_exit(0);
}

/* ---- what there is ---- */

int emit_open(int parent, const char *name, struct stat *info)
{
	struct stat opened;
	int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT && errno != ELOOP)
		archive_give_up(entry.name, errno);
	if (fd >= 0 && (fstat(fd, &opened) != 0 || (opened.st_mode & S_IFMT) != (info->st_mode & S_IFMT)))
		close_fd(&fd);
	else if (fd >= 0)
		*info = opened;
	return fd;
}

size_t emit_descend(const char *name)
{
	size_t length = strlen(entry.name);
	bool apart = length > 0 && entry.name[length - 1] != '/';
	int added = snprintf(entry.name + length, sizeof entry.name - length, "%s%s", apart ? "/" : "", name);
	if (added < 0 || (size_t)added >= sizeof entry.name - length)
		archive_give_up(entry.name, ENAMETOOLONG);
	return length;
}

static int by_name(const void *one, const void *other)
{
	return strcmp(*(char *const *)one, *(char *const *)other);
}

char **emit_names(int directory, size_t *count)
{
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	char **names = NULL;
	size_t room = 0;
	*count = 0;
	if (!list)
		archive_give_up(entry.name, errno);
	for (struct dirent *each; (each = readdir(list));) {
		if (strcmp(each->d_name, ".") == 0 || strcmp(each->d_name, "..") == 0)
			continue;
		if (*count == room) {
			room = room ? 2 * room : 64;
			names = realloc(names, room * sizeof *names);
		}
		if (!names || !(names[(*count)++] = strdup(each->d_name)))
			archive_give_up(entry.name, ENOMEM);
	}
	(void)closedir(list);
	if (*count > 1)
		qsort(names, *count, sizeof *names, by_name);
	return names;
}
