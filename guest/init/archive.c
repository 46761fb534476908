#include "archive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "emit.h"
#include "system.h"
#include "util.h"

#define LINKS_MAX 255

void archive_give_up(const char *path, int error)
{
	(void)dprintf(2, "%s: %s\n", path, reason(error));
	_exit(error > 0 && error < 125 ? error : EIO);
}

void archive_many_files(void)
{
	struct rlimit files = {2 * EMIT_DEPTH_MAX + 64, 2 * EMIT_DEPTH_MAX + 64};
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

/* Takes the last part off. */
static void climb(char *path)
{
	char *slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
}

/* Where an absolute path leads to, whether or not something is there; false where it is too long, or goes in circles. */
static bool resolve(const char *path, char found[PATH_MAX])
{
	static char left[2 * PATH_MAX], target[PATH_MAX], joined[2 * PATH_MAX];
	unsigned links = 0;
	found[0] = '\0';
	(void)snprintf(left, sizeof left, "%s", path);
	for (char *at = left; *at;) {
		char *end = strchrnul(at, '/');
		size_t length = (size_t)(end - at), have = strlen(found);
		char *next = *end ? end + 1 : end;
		if (length == 2 && memcmp(at, "..", 2) == 0) {
			climb(found);
		} else if (length && !(length == 1 && *at == '.')) {
			if (have + 1 + length >= PATH_MAX)
				return false;
			(void)snprintf(found + have, PATH_MAX - have, "/%.*s", (int)length, at);
			ssize_t size = readlink(found, target, sizeof target - 1);
			if (size >= 0) {
				target[size] = '\0';
				found[*target == '/' ? 0 : have] = '\0';
				int needed = snprintf(joined, sizeof joined, "%s/%s", target, next);
				if (++links > LINKS_MAX || needed < 0 || (size_t)needed >= sizeof joined)
					return false;
				memcpy(left, joined, (size_t)needed + 1);
				next = left;
			}
		}
		at = next;
	}
	if (!*found)
		(void)snprintf(found, PATH_MAX, "/");
	return true;
}

void archive_stat(int root, const char *path)
{
	static char found[PATH_MAX];
	struct stat info;
	int fd = open_in_root(root, path, O_PATH | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &info) != 0)
		archive_give_up(path, errno);
	(void)dprintf(1, "%o %lld %lld\n", (unsigned)info.st_mode, (long long)info.st_size, (long long)info.st_mtim.tv_sec);
	if (S_ISLNK(info.st_mode) && resolve(path, found) && write_all(1, found, strlen(found)) != 0)
		_exit(EPIPE);
	_exit(0);
}
