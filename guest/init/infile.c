#include "infile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive.h"
#include "credentials.h"
#include "dial.h"
#include "lend.h"
#include "system.h"
#include "util.h"

#define MAX_LINKS 40
#define TEMPORARY ".hyper-write-%016llx"

/* What is being written, and where: gone if the program is ended before it is whole. */
static char temporary[64];
static int temporary_in = -1;

static const char *const builtins[] = {INFILE_READ,  INFILE_WRITE,   INFILE_USER, ARCHIVE_STAT,
                                      ARCHIVE_PACK, ARCHIVE_UNPACK, INFILE_LEND, INFILE_DIAL};

bool infile_is(struct span program)
{
	for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++) {
		if (span_is(program, builtins[i]))
			return true;
	}
	return false;
}

bool infile_builtin(const char *name)
{
	return infile_is((struct span){(const unsigned char *)name, strlen(name)});
}

static int no_regular_file(const struct stat *info)
{
	return S_ISDIR(info->st_mode) ? EISDIR : EINVAL;
}

/* Looked at before it is opened: opening a FIFO or a device does something. */
__attribute__((noreturn)) static void read_file(int root, const char *path)
{
	static const int how[] = {O_PATH, O_RDONLY | O_NONBLOCK | O_NOCTTY};
	struct stat info;
	int fd = -1;
	for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
		close_fd(&fd);
		fd = open_in_root(root, path, how[i]);
		if (fd < 0 || fstat(fd, &info) != 0)
			archive_give_up(path, errno);
		if (!S_ISREG(info.st_mode))
			archive_give_up(path, no_regular_file(&info));
	}
	(void)dprintf(2, "%o %u %u %lld\n", (unsigned)(info.st_mode & 07777), info.st_uid, info.st_gid, (long long)info.st_size);
	if (!copy_all(fd, 1))
		archive_give_up(path, errno);
	_exit(0);
}

/*
 * The directory where the file of that path is or will be, and its name there: a link at the end is followed, as by every
 * program that writes, also where it leads to nothing yet.  -1 with errno.
 */
static int open_parent(int root, const char *path, char *name, size_t size)
{
	char whole[PATH_MAX], target[PATH_MAX], joined[PATH_MAX];
	(void)snprintf(whole, sizeof whole, "%s", path);
	for (int links = 0; links < MAX_LINKS; links++) {
		char *slash = strrchr(whole, '/');
		*slash = '\0';
		int directory = open_in_root(root, *whole ? whole : "/", O_RDONLY | O_DIRECTORY);
		if (directory < 0)
			return -1;
		(void)snprintf(name, size, "%s", slash + 1);
		bool none = !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
		ssize_t length = none ? -1 : readlinkat(directory, name, target, sizeof target - 1);
		if (length < 0 && !none && (errno == EINVAL || errno == ENOENT))
			return directory;
		int error = none ? EISDIR : errno;
		close_fd(&directory);
		errno = error;
		if (length < 0)
			return -1;
		target[length] = '\0';
		int needed = snprintf(joined, sizeof joined, "%s/%s", *target == '/' ? "" : whole, target);
		errno = ENAMETOOLONG;
		if (needed < 0 || (size_t)needed >= sizeof joined)
			return -1;
		memcpy(whole, joined, sizeof whole);
	}
	errno = ELOOP;
	return -1;
}

static void ended(int signal)
{
	(void)signal;
	(void)unlinkat(temporary_in, temporary, 0);
	_exit(EINTR);
}

static bool number(const char *text, int base, unsigned *value)
{
	char *end;
	errno = 0;
	unsigned long parsed = strtoul(text, &end, base);
	*value = (unsigned)parsed;
	return *text >= '0' && *text <= '9' && !*end && errno == 0 && parsed <= UINT32_MAX;
}

/* Beside the file, and then in its place. */
__attribute__((noreturn)) static void write_file(int root, const char *path, unsigned mode, unsigned uid, unsigned gid)
{
	char name[PATH_MAX];
	struct stat info;
	unsigned long long unique;
	temporary_in = open_parent(root, path, name, sizeof name);
	if (temporary_in < 0)
		archive_give_up(path, errno);
	if (fstatat(temporary_in, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(info.st_mode))
		archive_give_up(path, no_regular_file(&info));
	if (getrandom(&unique, sizeof unique, 0) != sizeof unique)
		archive_give_up(path, errno);
	(void)snprintf(temporary, sizeof temporary, TEMPORARY, unique);
	(void)signal(SIGTERM, ended);
	int fd = openat(temporary_in, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		archive_give_up(path, errno);
	if (!copy_all(0, fd) || fchown(fd, uid, gid) != 0 || fchmod(fd, mode & 07777) != 0 || fsync(fd) != 0 ||
	    renameat(temporary_in, temporary, temporary_in, name) != 0) {
		int error = errno;
		(void)unlinkat(temporary_in, temporary, 0);
		archive_give_up(path, error);
	}
	_exit(0);
}

__attribute__((noreturn)) static void check_user(int root, const char *user)
{
	static struct identity identity;
	struct failure failure;
	if (owner_find(root, user, &identity, &failure) == 0)
		_exit(0);
	(void)dprintf(2, "%s\n", failure.text);
	_exit(EINVAL);
}

void infile_run(char *const *arguments)
{
	unsigned mode, uid, gid, count = 0;
	while (arguments[count])
		count++;
	const char *program = arguments[0], *path = arguments[1];
	(void)prctl(PR_SET_NAME, program);
	/* Of a volume, which it was started in, no path leads out. */
	int root = chroot(".") == 0 ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (root < 0)
		archive_give_up("/", errno);
	if (strcmp(program, INFILE_USER) == 0 && count == 2)
		check_user(root, path);
	if (count > 1 && (path[0] != '/' || strlen(path) >= PATH_MAX))
		archive_give_up(path, EINVAL);
	if (strcmp(program, INFILE_READ) == 0 && count == 2)
		read_file(root, path);
	if (strcmp(program, INFILE_WRITE) == 0 && count == 5 && number(arguments[2], 8, &mode) &&
	    number(arguments[3], 10, &uid) && number(arguments[4], 10, &gid))
		write_file(root, path, mode, uid, gid);
	if (strcmp(program, ARCHIVE_STAT) == 0 && count == 2)
		archive_stat(root, path);
	if (strcmp(program, ARCHIVE_PACK) == 0 && count == 4)
		archive_pack(root, path, arguments[2], *arguments[3] == '1');
	if (strcmp(program, ARCHIVE_UNPACK) == 0 && count == 4)
		archive_unpack(root, path, *arguments[2] == '1', arguments[3]);
	if (strcmp(program, INFILE_LEND) == 0 && count == 2)
		lend(root, path);
	if (strcmp(program, INFILE_DIAL) == 0 && count == 2)
		dial(path);
	(void)dprintf(2, "usage: " INFILE_READ " PATH, " INFILE_WRITE " PATH MODE UID GID, " INFILE_USER " USER, " ARCHIVE_STAT
	                 " PATH, " ARCHIVE_PACK " PATH NAME FOLLOW, " ARCHIVE_UNPACK " PATH REPLACE OWNER, " INFILE_LEND
	                 " PATH, " INFILE_DIAL " PATH\n");
	_exit(EINVAL);
}
