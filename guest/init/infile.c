#include "infile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system.h"
#include "util.h"

#define CHUNK 65536
#define TEMPORARY ".hyper-write-%d"

bool infile_builtin(const char *name)
{
	return strcmp(name, INFILE_READ) == 0 || strcmp(name, INFILE_WRITE) == 0;
}

__attribute__((noreturn)) static void give_up(const char *path, int error)
{
	(void)dprintf(2, "%s: %s\n", path, reason(error));
	_exit(error > 0 && error < 125 ? error : EIO);
}

/* All of `from`; false with errno where that fails. */
static bool copy(int from, int to)
{
	static char bytes[CHUNK];
	for (;;) {
		ssize_t got = read(from, bytes, sizeof bytes);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got == 0;
		if (write_all(to, bytes, (size_t)got) != 0)
			return false;
	}
}

__attribute__((noreturn)) static void read_file(const char *path)
{
	struct stat info;
	/* Nothing is waited for: a FIFO would be. */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &info) != 0)
		give_up(path, errno);
	if (!S_ISREG(info.st_mode))
		give_up(path, S_ISDIR(info.st_mode) ? EISDIR : EINVAL);
	(void)dprintf(2, "%o %u %u %lld\n", (unsigned)(info.st_mode & 07777), info.st_uid, info.st_gid, (long long)info.st_size);
	if (!copy(fd, 1))
		give_up(path, errno);
	_exit(0);
}

static bool number(const char *text, int base, unsigned *value)
{
	char *end;
	errno = 0;
	unsigned long parsed = strtoul(text, &end, base);
	*value = (unsigned)parsed;
	return *text >= '0' && *text <= '9' && !*end && errno == 0 && parsed <= UINT32_MAX;
}

/* Beside the file, and then in its place; a link at that place is followed, as by every program that writes. */
__attribute__((noreturn)) static void write_file(const char *path, unsigned mode, unsigned uid, unsigned gid)
{
	char real[PATH_MAX], above[PATH_MAX], temporary[64];
	struct stat info;
	if (!realpath(path, real)) {
		if (errno != ENOENT || strlen(path) >= sizeof real)
			give_up(path, errno);
		(void)strcpy(real, path);
	}
	(void)strcpy(above, real);
	int directory = open(dirname(above), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		give_up(path, errno);
	if (stat(real, &info) == 0 && !S_ISREG(info.st_mode))
		give_up(path, S_ISDIR(info.st_mode) ? EISDIR : EINVAL);
	(void)snprintf(temporary, sizeof temporary, TEMPORARY, getpid());
	int fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		give_up(path, errno);
	const char *slash = strrchr(real, '/');
	if (!copy(0, fd) || fchown(fd, uid, gid) != 0 || fchmod(fd, mode & 07777) != 0 || fsync(fd) != 0 ||
	    renameat(directory, temporary, directory, slash ? slash + 1 : real) != 0) {
		int error = errno;
		(void)unlinkat(directory, temporary, 0);
		give_up(path, error);
	}
	_exit(0);
}

void infile_run(char *const *arguments)
{
	unsigned mode, uid, gid, count = 0;
	while (arguments[count])
		count++;
	if (strcmp(arguments[0], INFILE_READ) == 0 && count == 2)
		read_file(arguments[1]);
	if (strcmp(arguments[0], INFILE_WRITE) == 0 && count == 5 && number(arguments[2], 8, &mode) &&
	    number(arguments[3], 10, &uid) && number(arguments[4], 10, &gid))
		write_file(arguments[1], mode, uid, gid);
	(void)dprintf(2, "usage: " INFILE_READ " PATH, " INFILE_WRITE " PATH MODE UID GID\n");
	_exit(EINVAL);
}
