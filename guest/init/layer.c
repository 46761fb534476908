/*
 * What a container has changed, read from the directory that overlayfs keeps above its image: its entries are what is new or
 * different, devices 0:0 are what is gone, and a directory with an attribute hides all that the image has there.
 */
#include "archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "emit.h"
#include "util.h"

#define OPAQUE "trusted.overlay.opaque"
#define GONE ".wh."
#define ALL_GONE ".wh..wh..opq"
#define PENDING_MAX 4
#define PENDING_BYTES 16

enum change { ADDED = 'A', CHANGED = 'C', DELETED = 'D' };

/* Made for every container, to mount things on: no change, as long as that is all. */
static const char *const furniture[] = {"dev",          "dev/console", "dev/mqueue", "dev/pts",         "dev/shm", "etc",
                                        "etc/hostname", "etc/hosts",   "etc/mtab",   "etc/resolv.conf", "proc",    "sys"};

static bool listing; /* changes in words, and no archive */

/* Directories that are told of only if there is something in them. */
static struct pending {
	char path[PENDING_BYTES];
	enum change change;
	bool nameless;
	int fd;
	struct stat info;
} pending[PENDING_MAX];
static unsigned pending_count;

static bool is_furniture(void)
{
	for (size_t i = 0; i < sizeof furniture / sizeof *furniture; i++) {
		if (strcmp(emit_path, furniture[i]) == 0)
			return true;
	}
	return false;
}

static void list(enum change change)
{
	(void)printf("%c/%s", change, emit_path);
	if (putchar('\0') == EOF)
		_exit(EPIPE);
}

static void tell_directory(enum change change, int fd, const struct stat *info)
{
	if (listing)
		list(change);
	else
		emit_directory(fd, info);
}

static void tell_pending(void)
{
	char *now = pending_count ? strdup(emit_path) : NULL;
	if (pending_count && !now)
		archive_give_up(emit_path, ENOMEM);
	for (unsigned i = 0; i < pending_count; i++) {
		(void)snprintf(emit_path, TAR_NAME_BYTES, "%s", pending[i].path);
		if (!pending[i].nameless)
			tell_directory(pending[i].change, pending[i].fd, &pending[i].info);
	}
	pending_count = 0;
	if (now)
		(void)snprintf(emit_path, TAR_NAME_BYTES, "%s", now);
	free(now);
}

static bool same_kind(const struct stat *one, const struct stat *other)
{
	return one->st_mode == other->st_mode && one->st_uid == other->st_uid && one->st_gid == other->st_gid;
}

static bool hides_all(int directory)
{
	char value;
	return fgetxattr(directory, OPAQUE, &value, 1) == 1 && value == 'y';
}

static char *last_name(void)
{
	char *slash = strrchr(emit_path, '/');
	return slash ? slash + 1 : emit_path;
}

static void tell_gone(void)
{
	char *name = last_name();
	tell_pending();
	if (listing) {
		list(DELETED);
		return;
	}
	size_t length = strlen(name);
	if ((size_t)(name - emit_path) + length + sizeof GONE > TAR_NAME_BYTES)
		archive_give_up(emit_path, ENAMETOOLONG);
	memmove(name + sizeof GONE - 1, name, length + 1);
	memcpy(name, GONE, sizeof GONE - 1);
	emit_mark();
}

static void walk(int upper, int lower, bool hidden, int depth);

/* `hidden`: what the image has in the directory that this one is in is not seen. */
static void visit_directory(int parent, int lower, const char *name, struct stat *info, const struct stat *before, bool hidden,
                            int depth)
{
	unsigned had = pending_count;
	int fd = emit_open(parent, name, info);
	if (fd < 0)
		return;
	bool directory = before && S_ISDIR(before->st_mode), hides = hides_all(fd);
	int below = directory ? openat(lower, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	enum change change = before ? CHANGED : ADDED;
	bool quiet = is_furniture() && !hides && (!before || (directory && same_kind(info, before)));
	if (quiet && pending_count < PENDING_MAX) {
		struct pending *next = &pending[pending_count++];
		*next = (struct pending){.change = change, .fd = fd, .info = *info};
		(void)snprintf(next->path, sizeof next->path, "%s", emit_path);
	} else {
		tell_pending();
		tell_directory(change, fd, info);
	}
	if (hides && before && !hidden && !listing) {
		size_t length = emit_descend(ALL_GONE);
		emit_mark();
		emit_path[length] = '\0';
	}
	walk(fd, below, hidden || hides, depth + 1);
	pending_count = pending_count > had ? had : pending_count;
	close_fd(&below);
	close_fd(&fd);
}

/* It was copied up, to be linked or written to, and nothing of it has changed since. */
static bool same_file(const struct stat *one, const struct stat *other)
{
	return same_kind(one, other) && one->st_size == other->st_size && one->st_rdev == other->st_rdev &&
	       one->st_mtim.tv_sec == other->st_mtim.tv_sec && one->st_mtim.tv_nsec == other->st_mtim.tv_nsec;
}

static void visit_other(int parent, const char *name, struct stat *info, const struct stat *before)
{
	if (listing && before && same_file(info, before))
		return;
	if (!before && is_furniture() && (S_ISLNK(info->st_mode) || info->st_size == 0))
		return;
	tell_pending();
	if (listing) {
		list(before ? CHANGED : ADDED);
		return;
	}
	if (!S_ISREG(info->st_mode)) {
		emit_other(parent, name, info);
		return;
	}
	int fd = emit_open(parent, name, info);
	if (fd >= 0)
		emit_file(fd, info);
	close_fd(&fd);
}

static void visit(int upper, int lower, const char *name, bool hidden, int depth)
{
	struct stat info, before;
	if (fstatat(upper, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
		return;
	bool was = lower >= 0 && fstatat(lower, name, &before, AT_SYMLINK_NOFOLLOW) == 0;
	if (S_ISCHR(info.st_mode) && info.st_rdev == makedev(0, 0)) {
		if (was && (listing || !hidden))
			tell_gone();
		return;
	}
	if (!listing && strncmp(name, GONE, sizeof GONE - 1) == 0) {
		(void)dprintf(2, "/%s: in a layer of an image such a name would say that something is gone\n", emit_path);
		_exit(EINVAL);
	}
	if (S_ISDIR(info.st_mode))
		visit_directory(upper, lower, name, &info, was ? &before : NULL, hidden, depth);
	else
		visit_other(upper, name, &info, was ? &before : NULL);
}

/* What the image has in a directory that hides it, and that is not there again. */
static void list_hidden(int upper, int lower)
{
	size_t count;
	struct stat info;
	char **names = emit_names(lower, &count);
	for (size_t i = 0; i < count; i++) {
		size_t length = emit_descend(names[i]);
		if (fstatat(upper, names[i], &info, AT_SYMLINK_NOFOLLOW) != 0)
			tell_gone();
		emit_path[length] = '\0';
		free(names[i]);
	}
	free(names);
}

static void walk(int upper, int lower, bool hidden, int depth)
{
	size_t count;
	if (depth > EMIT_DEPTH_MAX)
		archive_give_up(emit_path, ELOOP);
	char **names = emit_names(upper, &count);
	for (size_t i = 0; i < count; i++) {
		size_t length = emit_descend(names[i]);
		visit(upper, lower, names[i], hidden, depth);
		emit_path[length] = '\0';
		free(names[i]);
	}
	free(names);
	if (listing && hidden && lower >= 0)
		list_hidden(upper, lower);
}

void archive_changes(bool words, int upper, int lower)
{
	struct stat info, before;
	listing = words;
	archive_many_files();
	emit_all_attributes();
	(void)dprintf(2, "packing\n");
	if (fstat(upper, &info) != 0 || fstat(lower, &before) != 0)
		archive_give_up("/", errno);
	pending[pending_count++] = (struct pending){
		.path = ".", .fd = upper, .info = info, .nameless = listing || same_kind(&info, &before)};
	if (!pending[0].nameless)
		tell_pending();
	walk(upper, lower, false, 0);
	if (!listing)
		emit_end();
	_exit(fflush(stdout) == 0 ? 0 : EPIPE);
}
