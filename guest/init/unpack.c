#include "archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "credentials.h"
#include "emit.h"
#include "system.h"
#include "tar.h"
#include "util.h"

#define INPUT_BYTES 262144u
#define DIRECTORIES_MAX 1048576u

static char input[INPUT_BYTES];
static size_t input_start, input_end;
static struct tar_entry entry;
static char *records; /* of the present entry */
static int target = -1;
static bool owns_target; /* what the archive says of its root is said of the target */
static bool may_replace;
static uint32_t owner_uid = UINT32_MAX, owner_gid = UINT32_MAX;

/* Of what is in the archive; the words are for people. */
__attribute__((noreturn)) static void refuse(const char *why)
{
	(void)dprintf(2, "%s%s%s\n", entry.name, *entry.name ? ": " : "", why);
	_exit(EBADMSG);
}

/* ---- what comes in ---- */

/* Something of the input, at most `wanted`; 0 at its end. */
static size_t take(const char **bytes, size_t wanted)
{
	while (input_start == input_end) {
		ssize_t got = read(0, input, sizeof input);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			archive_give_up("the archive", errno);
		if (got == 0)
			return 0;
		input_start = 0;
		input_end = (size_t)got;
	}
	size_t part = input_end - input_start < wanted ? input_end - input_start : wanted;
	*bytes = input + input_start;
	input_start += part;
	return part;
}

/* False at the input's end, where nothing has come. */
static bool take_all(void *to, size_t length)
{
	const char *bytes;
	for (size_t have = 0, part; have < length; have += part) {
		part = take(&bytes, length - have);
		if (part == 0 && have == 0)
			return false;
		if (part == 0)
			refuse("the archive ends in the middle");
		memcpy((char *)to + have, bytes, part);
	}
	return true;
}

static void skip(int64_t length)
{
	const char *bytes;
	while (length > 0) {
		size_t part = take(&bytes, length < (int64_t)INPUT_BYTES ? (size_t)length : INPUT_BYTES);
		if (part == 0)
			refuse("the archive ends in the middle");
		length -= (int64_t)part;
	}
}

static int64_t padding(int64_t length)
{
	return (int64_t)((TAR_BLOCK - (uint64_t)length % TAR_BLOCK) % TAR_BLOCK);
}

/* ---- places ---- */

static char parent_path[TAR_NAME_BYTES]; /* whose directory is open */
static int parent_fd = -1;

static void forget_parent(void)
{
	close_fd(&parent_fd);
}

/* Without "." and empty parts; false where one is "..". */
static bool clean(char *path)
{
	char *to = path;
	for (char *from = path; *from;) {
		char *end = strchrnul(from, '/');
		size_t length = (size_t)(end - from);
		if (length == 2 && from[0] == '.' && from[1] == '.')
			return false;
		if (length && !(length == 1 && *from == '.')) {
			if (to != path)
				*to++ = '/';
			memmove(to, from, length);
			to += length;
		}
		from = *end ? end + 1 : end;
	}
	*to = '\0';
	return true;
}

/* By links of the container's own too: its root is this process's. */
static int open_below(int at, const char *path)
{
	return *path ? open_resolved(at, path, O_PATH | O_DIRECTORY, HS_RESOLVE_NO_MAGICLINKS) : fcntl(at, F_DUPFD_CLOEXEC, 3);
}

/* A directory below the target; what is missing is made. */
static int open_parent(char *path)
{
	int found = open_below(target, path);
	int at = found < 0 && errno == ENOENT ? open_below(target, "") : found;
	for (char *name = path; found < 0 && at >= 0 && *name;) {
		char *end = strchrnul(name, '/'), last = *end;
		*end = '\0';
		int next = open_below(at, name);
		if (next < 0 && errno == ENOENT && mkdirat(at, name, 0755) == 0)
			next = open_below(at, name);
		if (next < 0 && errno == EEXIST)
			errno = ENOENT; /* a link that leads nowhere */
		*end = last;
		close_fd(&at);
		at = next;
		name = last ? end + 1 : end;
	}
	return at;
}

/* The directory of a path that is clean; *name is its last part. */
static int parent_of(char *path, const char **name)
{
	char *slash = strrchr(path, '/');
	*name = slash ? slash + 1 : path;
	size_t length = slash ? (size_t)(slash - path) : 0;
	if (parent_fd >= 0 && strncmp(parent_path, path, length) == 0 && parent_path[length] == '\0')
		return parent_fd;
	forget_parent();
	memcpy(parent_path, path, length);
	parent_path[length] = '\0';
	parent_fd = open_parent(parent_path);
	if (parent_fd < 0 && errno == ENOTDIR)
		refuse("its directory is none");
	if (parent_fd < 0)
		archive_give_up(entry.name, errno);
	return parent_fd;
}

static void remove_tree(int at, const char *name, int depth)
{
	if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
		return;
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *list = fd < 0 || depth > EMIT_DEPTH_MAX ? NULL : fdopendir(fd);
	if (!list)
		archive_give_up(entry.name, depth > EMIT_DEPTH_MAX ? ELOOP : errno);
	for (struct dirent *each; (each = readdir(list));) {
		if (strcmp(each->d_name, ".") != 0 && strcmp(each->d_name, "..") != 0)
			remove_tree(dirfd(list), each->d_name, depth + 1);
	}
	(void)closedir(list);
	if (unlinkat(at, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
		archive_give_up(entry.name, errno);
}

/* Whether a directory is there already, which stays; anything else makes way, if it may.  *at: the entry's parent. */
static bool make_way(int *at, const char *name)
{
	struct stat there;
	if (fstatat(*at, name, &there, AT_SYMLINK_NOFOLLOW) != 0)
		return false;
	bool directory = entry.type == TAR_DIRECTORY;
	if (S_ISDIR(there.st_mode) && directory)
		return true;
	if (!may_replace && S_ISDIR(there.st_mode))
		refuse("cannot overwrite a directory with a non-directory");
	if (!may_replace && directory)
		refuse("cannot overwrite a non-directory with a directory");
	if (!S_ISDIR(there.st_mode) && unlinkat(*at, name, 0) != 0)
		archive_give_up(entry.name, errno);
	if (S_ISDIR(there.st_mode)) {
		forget_parent(); /* which may be in it */
		*at = parent_of(entry.name, &name);
		remove_tree(*at, name, 0);
	}
	return false;
}

/* ---- one entry ---- */

static uint32_t uid_of(void)
{
	return owner_uid == UINT32_MAX ? entry.uid : owner_uid;
}

static uint32_t gid_of(void)
{
	return owner_gid == UINT32_MAX ? entry.gid : owner_gid;
}

/* In this order: a change of the owner clears set-id bits and capabilities, and all of them the times. */
static void finish(int fd)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {entry.mtime_s, entry.mtime_ns}};
	if (fchown(fd, uid_of(), gid_of()) != 0 || fchmod(fd, entry.mode & 07777) != 0)
		archive_give_up(entry.name, errno);
	for (unsigned i = 0; i < entry.attribute_count; i++) {
		const struct tar_attribute *each = &entry.attributes[i];
		bool known = strncmp(each->name, "user.", 5) == 0 || strcmp(each->name, "security.capability") == 0;
		/* Not every file system has them. */
		if (known && fsetxattr(fd, each->name, each->value, each->size, 0) != 0 && errno != EOPNOTSUPP)
			archive_give_up(entry.name, errno);
	}
	if (futimens(fd, times) != 0)
		archive_give_up(entry.name, errno);
}

static void write_part(int fd, int64_t offset, int64_t length)
{
	const char *bytes;
	while (length > 0) {
		size_t part = take(&bytes, length < (int64_t)INPUT_BYTES ? (size_t)length : INPUT_BYTES);
		if (part == 0)
			refuse("the archive ends in the middle");
		for (size_t done = 0; done < part;) {
			ssize_t put = pwrite(fd, bytes + done, part - done, offset);
			if (put < 0 && errno == EINTR)
				continue;
			if (put < 0)
				archive_give_up(entry.name, errno);
			done += (size_t)put;
			offset += put;
		}
		length -= (int64_t)part;
	}
}

static void write_sparse(int fd)
{
	int64_t left = entry.size;
	const char *why = NULL;
	if (entry.map_in_data) {
		static char map[TAR_RECORDS_BYTES];
		size_t have = 0, used = 0;
		while (!used && !why && have + TAR_BLOCK <= sizeof map && left >= (int64_t)TAR_BLOCK) {
			if (!take_all(map + have, TAR_BLOCK))
				refuse("the archive ends in the middle");
			have += TAR_BLOCK;
			left -= TAR_BLOCK;
			why = tar_parse_map(&entry, map, have, &used);
		}
		if (!used && !why)
			why = "a sparse map that is none";
		entry.size = left;
	}
	why = why ? why : tar_check_map(&entry);
	if (why)
		refuse(why);
	for (unsigned i = 0; i < entry.extent_count; i++) {
		write_part(fd, entry.extents[i].offset, entry.extents[i].length);
		left -= entry.extents[i].length;
	}
	skip(left);
	if (ftruncate(fd, entry.real_size) != 0)
		archive_give_up(entry.name, errno);
}

static void unpack_file(int at, const char *name)
{
	int64_t fill = padding(entry.size);
	int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		archive_give_up(entry.name, errno);
	if (entry.sparse)
		write_sparse(fd);
	else
		write_part(fd, 0, entry.size);
	skip(fill);
	finish(fd);
	close_fd(&fd);
}

/* Directories get their times last: what is laid into them changes these. */
struct later {
	char *path;
	struct timespec mtime;
};
static struct later *later;
static size_t later_count, later_room;

static void note_time(void)
{
	if (later_count == later_room) {
		later_room = later_room ? 2 * later_room : 256;
		later = later_room > DIRECTORIES_MAX ? NULL : realloc(later, later_room * sizeof *later);
	}
	char *path = strdup(entry.name);
	if (!later || !path)
		archive_give_up(entry.name, ENOMEM);
	later[later_count++] = (struct later){path, {entry.mtime_s, entry.mtime_ns}};
}

static void set_times(void)
{
	while (later_count-- > 0) {
		struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, later[later_count].mtime};
		int fd = open_resolved(target, later[later_count].path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, HS_RESOLVE_NO_MAGICLINKS);
		if (fd >= 0)
			(void)futimens(fd, times);
		close_fd(&fd);
	}
}

static void unpack_directory(int at, const char *name, bool there)
{
	if (!there && mkdirat(at, name, 0700) != 0)
		archive_give_up(entry.name, errno);
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		archive_give_up(entry.name, errno);
	finish(fd);
	close_fd(&fd);
	note_time();
}

static void unpack_link(int at, const char *name)
{
	static char path[TAR_NAME_BYTES];
	const char *last;
	int to = fcntl(at, F_DUPFD_CLOEXEC, 3);
	(void)snprintf(path, sizeof path, "%s", entry.link);
	if (to < 0 || !clean(path) || !*path)
		refuse("a hard link to outside of the archive");
	int from = parent_of(path, &last);
	if (linkat(from, last, to, name, 0) != 0)
		archive_give_up(entry.name, errno);
	close_fd(&to);
}

static void unpack_other(int at, const char *name)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {entry.mtime_s, entry.mtime_ns}};
	mode_t format = entry.type == TAR_FIFO ? S_IFIFO : entry.type == TAR_CHARACTER ? S_IFCHR : S_IFBLK;
	bool link = entry.type == TAR_SYMLINK;
	int done = link ? symlinkat(entry.link, at, name) : mknodat(at, name, format | 0600, makedev(entry.major, entry.minor));
	if (done != 0 || fchownat(at, name, uid_of(), gid_of(), AT_SYMLINK_NOFOLLOW) != 0 ||
	    (!link && fchmodat(at, name, entry.mode & 07777, 0) != 0) || utimensat(at, name, times, AT_SYMLINK_NOFOLLOW) != 0)
		archive_give_up(entry.name, errno);
}

static void unpack_entry(void)
{
	const char *name;
	bool file = entry.type == TAR_FILE || entry.type == TAR_CONTIGUOUS || entry.type == TAR_GNU_SPARSE;
	if (entry.type == TAR_GNU_DIRECTORY)
		entry.type = TAR_DIRECTORY;
	if (!clean(entry.name))
		refuse("a path with \"..\" in it");
	if (!*entry.name && entry.type == TAR_DIRECTORY) {
		if (owns_target)
			finish(target); /* else it is somebody else's */
		return;
	}
	if (!*entry.name)
		refuse("an entry without a name");
	int at = parent_of(entry.name, &name);
	bool there = make_way(&at, name);
	if (file) {
		unpack_file(at, name);
		return;
	}
	if (entry.type == TAR_DIRECTORY)
		unpack_directory(at, name, there);
	else if (entry.type == TAR_LINK)
		unpack_link(at, name);
	else if (strchr("2346", entry.type))
		unpack_other(at, name);
	else
		refuse("an entry of a type that is not known");
}

/* ---- the archive ---- */

static char *take_text(int64_t length)
{
	free(records);
	if (length > (int64_t)TAR_RECORDS_BYTES)
		refuse("records that are too long");
	records = malloc((size_t)length + 1);
	if (!records || (length && !take_all(records, (size_t)length)))
		refuse("the archive ends in the middle");
	records[length] = '\0';
	skip(padding(length));
	return records;
}

/* An entry that says something of the next one; whether it was one. */
static bool took_words(unsigned char *block)
{
	static struct tar_entry about;
	char type = (char)block[TAR_TYPE_AT];
	if (!type || !strchr("xgLKV", type))
		return false;
	tar_reset(&about);
	const char *why = tar_parse_header(&about, block);
	if (why)
		refuse(why);
	if (type == TAR_PAX_GLOBAL || type == TAR_GNU_LABEL) {
		skip(about.size + padding(about.size));
		return true;
	}
	char *text = take_text(about.size);
	char *to = type == TAR_GNU_LONG_NAME ? entry.name : entry.link;
	if (type == TAR_PAX)
		why = tar_parse_records(&entry, text, (size_t)about.size);
	else if (snprintf(to, TAR_NAME_BYTES, "%s", text) >= (int)TAR_NAME_BYTES)
		why = "a name that is too long";
	if (why)
		refuse(why);
	return true;
}

static void unpack_all(void)
{
	unsigned char block[TAR_BLOCK];
	tar_reset(&entry);
	while (take_all(block, sizeof block) && !tar_is_zero(block)) {
		if (took_words(block))
			continue;
		const char *why = tar_parse_header(&entry, block);
		bool more = !why && entry.type == TAR_GNU_SPARSE && block[TAR_MORE_MAP_AT] != 0;
		while (more && !why) {
			if (!take_all(block, sizeof block))
				refuse("the archive ends in the middle");
			why = tar_parse_old_map(&entry, block, &more);
		}
		if (why)
			refuse(why);
		unpack_entry();
		tar_reset(&entry);
	}
	for (const char *bytes; take(&bytes, INPUT_BYTES) > 0;)
		; /* whoever sends it is not told that nobody reads */
}

static void set_owner(int root, const char *text)
{
	static struct identity identity;
	struct failure failure;
	owns_target = strcmp(text, "=") == 0;
	if (owns_target || strcmp(text, "-") == 0)
		return;
	if (owner_find(root, text, &identity, &failure) != 0) {
		(void)dprintf(2, "%s\n", failure.text);
		_exit(failure.error < 125 ? failure.error : EIO);
	}
	owner_uid = identity.uid;
	owner_gid = identity.gid;
}

void archive_unpack(int root, const char *path, bool replace, const char *owner)
{
	archive_many_files();
	(void)umask(0);
	may_replace = replace;
	target = open_in_root(root, path, O_RDONLY | O_DIRECTORY);
	if (target < 0)
		archive_give_up(path, errno);
	set_owner(root, owner);
	unpack_all();
	set_times();
	_exit(0);
}
