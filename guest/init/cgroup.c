#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOUNT_POINT "/sys/fs/cgroup"
#define DEPTH_MAX 16

void cgroup_mount(void)
{
	static const char *const controllers[] = {"+cpu", "+memory", "+pids", "+io", "+cpuset"};
	unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	if (mount("cgroup2", MOUNT_POINT, "cgroup2", flags, "nsdelegate,memory_recursiveprot") != 0 &&
	    mount("cgroup2", MOUNT_POINT, "cgroup2", flags, NULL) != 0)
		return;
	if (write_text_at(AT_FDCWD, MOUNT_POINT "/cgroup.subtree_control", "+cpu +memory +pids +io +cpuset") == 0)
		return;
	for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++)
		(void)write_text_at(AT_FDCWD, MOUNT_POINT "/cgroup.subtree_control", controllers[i]);
}

/* -1, with errno, where the kernel has none. */
static int cgroup_root(void)
{
	static int root = -1;
	if (root < 0 && access(MOUNT_POINT "/cgroup.procs", F_OK) == 0)
		root = open(MOUNT_POINT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return root;
}

static int limit(int group, const char *file, const char *value, struct failure *failure)
{
	if (write_text_at(group, file, value) == 0)
		return 0;
	return fail(failure, errno, "%s: cannot set \"%s\": %s", file, value, reason(errno));
}

static int limit_number(int group, const char *file, uint64_t value, struct failure *failure)
{
	char text[24];
	(void)snprintf(text, sizeof text, "%" PRIu64, value);
	return limit(group, file, value == UINT64_MAX ? "max" : text, failure);
}

int cgroup_limit(int group, struct span fields, struct failure *failure)
{
	struct span value;
	if (field_find(fields, HYPER_MEMORY_MAX, &value) &&
	    limit_number(group, "memory.max", get_u64(value.data), failure) != 0)
		return -1;
	if (field_find(fields, HYPER_PIDS_MAX, &value) && limit_number(group, "pids.max", get_u64(value.data), failure) != 0)
		return -1;
	if (field_find(fields, HYPER_CPU_WEIGHT, &value) &&
	    limit_number(group, "cpu.weight", get_u32(value.data), failure) != 0)
		return -1;
	if (!field_find(fields, HYPER_CPU_MAX, &value))
		return 0;
	char *text = span_text(value);
	int done = text ? limit(group, "cpu.max", text, failure) : fail(failure, ENOMEM, "no memory");
	free(text);
	return done;
}

static void group_name(char path[80], const char *name)
{
	(void)snprintf(path, 80, "c-%s", name);
}

int cgroup_create(const char *name, struct span fields, struct failure *failure)
{
	char path[80];
	int root = cgroup_root();
	if (root < 0)
		return fail(failure, errno, "cgroup2: it is not mounted: %s", reason(errno));
	group_name(path, name);
	if (mkdirat(root, path, 0755) != 0)
		return fail(failure, errno, "cgroup %s: cannot make it: %s", path, reason(errno));
	int group = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (group >= 0 && cgroup_limit(group, fields, failure) == 0)
		return group;
	if (group < 0)
		(void)fail(failure, errno, "cgroup %s: cannot open it: %s", path, reason(errno));
	else
		(void)close(group);
	(void)unlinkat(root, path, AT_REMOVEDIR);
	return -1;
}

int cgroup_of(pid_t pid)
{
	char name[32], text[4096], *rest = text;
	(void)snprintf(name, sizeof name, "/proc/%d/cgroup", pid);
	if (read_text_at(AT_FDCWD, name, text, sizeof text) < 0)
		return -1;
	for (char *line; (line = strsep(&rest, "\n"));) {
		/* 0::/ begins the line of version 2; a path relative to the mount's directory. */
		if (strncmp(line, "0::/", 4) == 0)
			return openat(cgroup_root(), line[4] ? line + 4 : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	errno = ENOENT;
	return -1;
}

static void remove_below(int parent, const char *name, int depth)
{
	int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *list = dir < 0 ? NULL : fdopendir(dir);
	if (!list) {
		close_fd(&dir);
		return;
	}
	for (struct dirent *entry; (entry = readdir(list));) {
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.' && depth < DEPTH_MAX)
			remove_below(dir, entry->d_name, depth + 1);
	}
	(void)closedir(list);
	(void)unlinkat(parent, name, AT_REMOVEDIR);
}

void cgroup_remove(const char *name)
{
	char path[80];
	int root = cgroup_root();
	group_name(path, name);
	if (root >= 0)
		remove_below(root, path, 0);
}

static int each_in(int group, int depth, int (*each)(pid_t pid, void *context), void *context)
{
	int fd = openat(group, "cgroup.procs", O_RDONLY | O_CLOEXEC), stop = 0, pid;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	while (file && !stop && fscanf(file, "%d", &pid) == 1)
		stop = each(pid, context);
	if (file)
		(void)fclose(file);
	int dir = stop || depth >= DEPTH_MAX ? -1 : openat(group, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = dir < 0 ? NULL : fdopendir(dir);
	for (struct dirent *entry; list && !stop && (entry = readdir(list));) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		int below = openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (below >= 0)
			stop = each_in(below, depth + 1, each, context);
		close_fd(&below);
	}
	if (list)
		(void)closedir(list);
	return stop;
}

int cgroup_each(int group, int (*each)(pid_t pid, void *context), void *context)
{
	return each_in(group, 0, each, context);
}

static int kill_one(pid_t pid, void *context)
{
	(void)context;
	if (pid > 1)
		(void)kill(pid, SIGKILL);
	return 0;
}

void cgroup_kill(int group)
{
	if (group < 0 || write_text_at(group, "cgroup.kill", "1") == 0)
		return;
	/* Before Linux 5.14: frozen, nothing in it can fork away from the signal. */
	(void)write_text_at(group, "cgroup.freeze", "1");
	(void)cgroup_each(group, kill_one, NULL);
	(void)write_text_at(group, "cgroup.freeze", "0");
}

uint64_t cgroup_number(int group, const char *file, const char *key, uint64_t missing)
{
	char text[8192], *rest = text;
	uint64_t value;
	if (group < 0 || read_text_at(group, file, text, sizeof text) < 0)
		return missing;
	for (char *line; (line = strsep(&rest, "\n"));) {
		char *word = line;
		if (*key && strcmp(strsep(&word, " "), key) != 0)
			continue;
		return word && parse_u64(word, &value) ? value : missing;
	}
	return missing;
}

uint64_t cgroup_sum(int group, const char *file, const char *key)
{
	char text[8192], *rest = text;
	size_t length = strlen(key);
	uint64_t sum = 0, value;
	if (group < 0 || read_text_at(group, file, text, sizeof text) < 0)
		return 0;
	for (char *word; (word = strsep(&rest, " \n"));) {
		if (strncmp(word, key, length) == 0 && word[length] == '=' && parse_u64(word + length + 1, &value))
			sum += value;
	}
	return sum;
}
