/* Places below a root that is full of traps. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../place.h"
#include "check.h"

static int root, outside;
static struct failure failure;

static bool below(int fd, const char *path)
{
	struct stat a, b;
	bool same = fd >= 0 && fstat(fd, &a) == 0 && fstatat(root, path, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino;
	close_fd(&fd);
	return same;
}

static void links_stay_inside(void)
{
	CHECK(symlinkat("/etc", root, "absolute") == 0);
	CHECK(symlinkat("../../../../../..", root, "up") == 0);
	CHECK(symlinkat("loop", root, "loop") == 0);
	CHECK(mkdirat(root, "etc", 0755) == 0);
	CHECK(below(place_find(root, "/absolute", 0), "etc"));
	CHECK(below(place_find(root, "/../../etc", 0), "etc"));
	CHECK(below(place_find(root, "up/etc", 0), "etc"));
	CHECK(place_find(root, "/loop", 0) < 0 && errno == ELOOP);
	CHECK(place_find(root, "/nothing", 0) < 0 && errno == ENOENT);
}

static void what_is_missing_is_made(void)
{
	CHECK(below(place_make_directory(root, "/a/b/c", &failure), "a/b/c"));
	CHECK(below(place_make_directory(root, "a//b/./c/", &failure), "a/b/c"));
	CHECK(below(place_make_file(root, "/a/b/file", &failure), "a/b/file"));
	CHECK(below(place_make_file(root, "/a/b/file", &failure), "a/b/file"));
	CHECK(below(place_make_directory(root, "/", &failure), "."));
	CHECK(place_make_directory(root, "/a/b/file", &failure) < 0 && failure.error == ENOTDIR);
	CHECK(place_make_directory(root, "/a/b/file/x", &failure) < 0);
}

/* A link to what is not there: its target is made, inside. */
static void dangling_links_are_filled(void)
{
	CHECK(symlinkat("/run", root, "var-run") == 0);
	CHECK(below(place_make_directory(root, "/var-run/x", &failure), "run/x"));
	CHECK(symlinkat("../../../../outside-target", root, "trap") == 0);
	CHECK(below(place_make_directory(root, "/trap", &failure), "outside-target"));
	CHECK(symlinkat("../../escaped", root, "a/escape") == 0);
	CHECK(below(place_make_file(root, "/a/escape", &failure), "escaped"));
	CHECK(symlinkat("/new/file", root, "to-file") == 0);
	CHECK(below(place_make_file(root, "/to-file", &failure), "new/file"));
	CHECK(symlinkat("two", root, "one") == 0 && symlinkat("one", root, "two") == 0);
	CHECK(place_make_directory(root, "/one", &failure) < 0 && failure.error == ELOOP);
	CHECK(faccessat(outside, "outside-target", F_OK, AT_SYMLINK_NOFOLLOW) != 0);
	CHECK(faccessat(outside, "escaped", F_OK, AT_SYMLINK_NOFOLLOW) != 0);
}

static void parents_and_names(void)
{
	const char *name;
	CHECK(below(place_make_parent(root, "/dev/x/null", &name, &failure), "dev/x") && strcmp(name, "null") == 0);
	CHECK(below(place_make_parent(root, "top", &name, &failure), ".") && strcmp(name, "top") == 0);
	CHECK(place_make_parent(root, "/", &name, &failure) < 0);
	CHECK(place_make_parent(root, "/a/..", &name, &failure) < 0);
	CHECK(place_make_parent(root, "", &name, &failure) < 0);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2); /* an empty directory */
	outside = open(argv[1], O_PATH | O_DIRECTORY);
	CHECK(outside >= 0 && mkdirat(outside, "root", 0755) == 0);
	root = openat(outside, "root", O_PATH | O_DIRECTORY);
	CHECK(root >= 0);
	RUN(links_stay_inside);
	RUN(what_is_missing_is_made);
	RUN(dangling_links_are_filled);
	RUN(parents_and_names);
	return 0;
}
