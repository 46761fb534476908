/* What musl has no wrapper or no constant for. */
#ifndef SYSTEM_H
#define SYSTEM_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#define HS_CLONE_INTO_CGROUP 0x200000000ULL

#define HS_RESOLVE_NO_MAGICLINKS 0x02
#define HS_RESOLVE_IN_ROOT 0x10
#define HS_OPEN_TREE_CLONE 1
#define HS_OPEN_TREE_CLOEXEC O_CLOEXEC
#define HS_MOVE_MOUNT_F_EMPTY_PATH 0x04
#define HS_MOVE_MOUNT_T_EMPTY_PATH 0x40

#define HS_DEVPTS_MAGIC 0x1cd1

/* openat2(2) below `root`, which no link in the path can leave. */
#define OPEN_ATTEMPTS 64 /* a directory that is renamed meanwhile makes the kernel give up (EAGAIN) where ".." stands */

static inline int open_resolved(int directory, const char *path, int flags, uint64_t resolve)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = {(uint64_t)flags | O_CLOEXEC, 0, resolve};
	int fd = -1;
	for (int i = 0; i < OPEN_ATTEMPTS && fd < 0 && (i == 0 || errno == EAGAIN); i++)
		fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
	return fd;
}

static inline int open_in_root(int root, const char *path, int flags)
{
	return open_resolved(root, path, flags, HS_RESOLVE_IN_ROOT | HS_RESOLVE_NO_MAGICLINKS);
}

static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
	return (int)syscall(SYS_pivot_root, new_root, put_old);
}

static inline int sys_open_tree(int dir, const char *path, unsigned flags)
{
	return (int)syscall(SYS_open_tree, dir, path, flags);
}

static inline int sys_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags)
{
	return (int)syscall(SYS_move_mount, from, from_path, to, to_path, flags);
}

static inline int sys_close_range(unsigned first, unsigned last)
{
	return (int)syscall(SYS_close_range, first, last, 0u);
}

#endif
