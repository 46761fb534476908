/* Requests of FUSE: which there are, and those that are about names and attributes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "sharefs.h"

enum { WRITE_MAX = 1 << 20, PAGES_MAX = 256, XATTR_MAX = 64 << 10 };

/* Of protocol 7.36 and later, which older headers have not. */
#define INIT_EXT (1u << 30)
#define DIRECT_IO_ALLOW_MMAP (1ULL << 36)

#define ARGUMENTS(type) const struct type *in = (const void *)request->arguments
#define ANSWER(type, name) struct type *name = put_answer(request, sizeof(struct type))

static void *put_answer(struct request *request, size_t bytes)
{
	request->answer_bytes = bytes;
	return memset(request->answer, 0, bytes);
}

/* ------------------------------------------------------------------------------------------------- who asks */

static void set_capabilities(const struct __user_cap_data_struct *sets)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	if (syscall(SYS_capset, &header, sets) != 0)
		fail("capset: %s", strerror(errno));
}

/* What is made is theirs, group by its directory, as the kernel has it; that they may, the guest's kernel has found. */
void as_asker(const struct request *request)
{
	if (squash || (request->header.uid == 0 && request->header.gid == 0))
		return;
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct sets[2];
	setfsgid(request->header.gid);
	setfsuid(request->header.uid);
	if (syscall(SYS_capget, &header, sets) != 0)
		fail("capget: %s", strerror(errno));
	sets[0].effective |= sets[0].permitted & (1u << CAP_DAC_OVERRIDE);
	set_capabilities(sets);
}

void as_self(void)
{
	int error = errno;
	setfsuid(0); /* with which the capabilities are back */
	setfsgid(0);
	errno = error;
}

/* --------------------------------------------------------------------------------------------------- names */

bool name_is_good(const char *name)
{
	return name[0] != 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strchr(name, '/') == NULL;
}

/* The string at this place of the arguments; a NUL is behind them in any case. */
const char *name_at(const struct request *request, size_t at)
{
	return at < request->arguments_bytes && name_is_good(request->arguments + at) ? request->arguments + at : NULL;
}

static const struct inode *parent(const struct request *request)
{
	const struct inode *inode = inode_of(request->header.nodeid);
	return inode != NULL && inode->kind == S_IFDIR ? inode : NULL;
}

void put_attributes(struct fuse_attr *to, const struct stat *from)
{
	*to = (struct fuse_attr){
		.ino = from->st_ino,
		.size = (uint64_t)from->st_size,
		.blocks = (uint64_t)from->st_blocks,
		.atime = (uint64_t)from->st_atim.tv_sec,
		.mtime = (uint64_t)from->st_mtim.tv_sec,
		.ctime = (uint64_t)from->st_ctim.tv_sec,
		.atimensec = (uint32_t)from->st_atim.tv_nsec,
		.mtimensec = (uint32_t)from->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)from->st_ctim.tv_nsec,
		.mode = from->st_mode,
		.nlink = (uint32_t)from->st_nlink,
		.uid = from->st_uid,
		.gid = from->st_gid,
		.rdev = (uint32_t)from->st_rdev,
		.blksize = (uint32_t)from->st_blksize,
	};
}

/* A descriptor of O_PATH of what the name is, never through a link. */
static int found_at(int directory, const char *name)
{
	return openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

int answer_entry(struct request *request, int fd)
{
	struct stat is;
	if (fd < 0)
		return -errno;
	if (fstat(fd, &is) != 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	struct inode *inode = inode_found(fd, &is);
	if (inode == NULL)
		return -errno;
	ANSWER(fuse_entry_out, out);
	out->nodeid = inode->node;
	put_attributes(&out->attr, &is);
	return 0;
}

static int do_lookup(struct request *request)
{
	const struct inode *in = parent(request);
	const char *name = name_at(request, 0);
	return in == NULL || name == NULL ? -EINVAL : answer_entry(request, found_at(in->fd, name));
}

static int do_forget(struct request *request)
{
	ARGUMENTS(fuse_forget_in);
	inode_forget(request->header.nodeid, in->nlookup);
	return NO_ANSWER;
}

static int do_batch_forget(struct request *request)
{
	ARGUMENTS(fuse_batch_forget_in);
	const struct fuse_forget_one *one = (const void *)(in + 1);
	size_t room = (request->arguments_bytes - sizeof *in) / sizeof *one;
	for (size_t i = 0; i < in->count && i < room; i++)
		inode_forget(one[i].nodeid, one[i].nlookup);
	return NO_ANSWER;
}

static int made(struct request *request, const struct inode *in, const char *name, int result)
{
	as_self();
	return result != 0 ? -errno : answer_entry(request, found_at(in->fd, name));
}

static int do_mknod(struct request *request)
{
	ARGUMENTS(fuse_mknod_in);
	const struct inode *directory = parent(request);
	const char *name = name_at(request, sizeof *in);
	if (directory == NULL || name == NULL)
		return -EINVAL;
	if (!S_ISREG(in->mode) && !S_ISFIFO(in->mode) && !S_ISSOCK(in->mode))
		return -EPERM;
	as_asker(request);
	return made(request, directory, name, mknodat(directory->fd, name, in->mode, 0));
}

static int do_mkdir(struct request *request)
{
	ARGUMENTS(fuse_mkdir_in);
	const struct inode *directory = parent(request);
	const char *name = name_at(request, sizeof *in);
	if (directory == NULL || name == NULL)
		return -EINVAL;
	as_asker(request);
	return made(request, directory, name, mkdirat(directory->fd, name, in->mode & 07777));
}

static int do_symlink(struct request *request)
{
	const struct inode *directory = parent(request);
	const char *name = name_at(request, 0);
	if (directory == NULL || name == NULL || strlen(name) + 1 >= request->arguments_bytes)
		return -EINVAL;
	as_asker(request);
	return made(request, directory, name, symlinkat(name + strlen(name) + 1, directory->fd, name));
}

static int do_link(struct request *request)
{
	ARGUMENTS(fuse_link_in);
	const struct inode *directory = parent(request), *old = inode_of(in->oldnodeid);
	const char *name = name_at(request, sizeof *in);
	if (directory == NULL || old == NULL || name == NULL)
		return -EINVAL;
	/* By the descriptor's name, for which no capability is needed. */
	return made(request, directory, name,
		linkat(AT_FDCWD, path_of(old->fd), directory->fd, name, AT_SYMLINK_FOLLOW));
}

static int do_unlink(struct request *request)
{
	const struct inode *directory = parent(request);
	const char *name = name_at(request, 0);
	if (directory == NULL || name == NULL)
		return -EINVAL;
	return unlinkat(directory->fd, name, request->header.opcode == FUSE_RMDIR ? AT_REMOVEDIR : 0) ? -errno : 0;
}

static int renamed(struct request *request, uint64_t to, unsigned flags, size_t at)
{
	const struct inode *from = parent(request), *into = inode_of(to);
	const char *old = name_at(request, at), *new = old ? name_at(request, at + strlen(old) + 1) : NULL;
	if (from == NULL || into == NULL || into->kind != S_IFDIR || new == NULL || (flags & ~3u) != 0)
		return -EINVAL; /* RENAME_WHITEOUT makes a device */
	return syscall(SYS_renameat2, from->fd, old, into->fd, new, flags) != 0 ? -errno : 0;
}

static int do_rename(struct request *request)
{
	ARGUMENTS(fuse_rename_in);
	return renamed(request, in->newdir, 0, sizeof *in);
}

static int do_rename2(struct request *request)
{
	ARGUMENTS(fuse_rename2_in);
	return renamed(request, in->newdir, in->flags, sizeof *in);
}

static int do_readlink(struct request *request)
{
	const struct inode *inode = inode_of(request->header.nodeid);
	if (inode == NULL || inode->kind != S_IFLNK)
		return -EINVAL;
	size_t room = request->out_bytes - sizeof(struct fuse_out_header);
	ssize_t got = readlinkat(inode->fd, "", request->answer, room < ARGUMENTS_MAX ? room : ARGUMENTS_MAX);
	if (got < 0)
		return -errno;
	request->answer_bytes = (size_t)got;
	return 0;
}

/* ---------------------------------------------------------------------------------------------- attributes */

static int answer_attributes(struct request *request, const struct inode *inode)
{
	struct stat is;
	if (fstatat(inode->fd, "", &is, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	ANSWER(fuse_attr_out, out);
	put_attributes(&out->attr, &is);
	return 0;
}

static int do_getattr(struct request *request)
{
	const struct inode *inode = inode_of(request->header.nodeid);
	return inode == NULL ? -EINVAL : answer_attributes(request, inode);
}

static int set_owner(const struct inode *inode, const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;
	if (fchownat(inode->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return squash && errno == EINVAL ? -EPERM : -errno; /* such an id is nobody there */
}

static int set_size(const struct inode *inode, const struct fuse_setattr_in *in)
{
	const struct handle *handle = in->valid & FATTR_FH ? handle_of(in->fh, false) : NULL;
	if (inode->kind != S_IFREG)
		return -EINVAL;
	if (handle != NULL)
		return ftruncate(handle->fd, (off_t)in->size) != 0 ? -errno : 0;
	return truncate(path_of(inode->fd), (off_t)in->size) != 0 ? -errno : 0;
}

static struct timespec time_of(unsigned valid, unsigned said, unsigned now, uint64_t seconds, uint32_t ns)
{
	if (valid & now)
		return (struct timespec){ 0, UTIME_NOW };
	return valid & said ? (struct timespec){ (time_t)seconds, ns } : (struct timespec){ 0, UTIME_OMIT };
}

static int do_setattr(struct request *request)
{
	ARGUMENTS(fuse_setattr_in);
	const struct inode *inode = inode_of(request->header.nodeid);
	int result = inode == NULL ? -EINVAL : 0;
	if (result == 0 && in->valid & (FATTR_UID | FATTR_GID))
		result = set_owner(inode, in);
	if (result == 0 && in->valid & FATTR_MODE) /* after its owner, with whom bits of it go */
		result = chmod(path_of(inode->fd), in->mode & 07777) != 0 ? -errno : 0;
	if (result == 0 && in->valid & FATTR_SIZE)
		result = set_size(inode, in);
	if (result == 0 && in->valid & (FATTR_ATIME | FATTR_MTIME)) {
		struct timespec times[2] = {
			time_of(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
			time_of(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
		};
		result = utimensat(inode->fd, "", times, AT_EMPTY_PATH) != 0 ? -errno : 0;
	}
	return result != 0 ? result : answer_attributes(request, inode);
}

static int do_statfs(struct request *request)
{
	const struct inode *inode = inode_of(request->header.nodeid);
	struct statvfs is;
	if (inode == NULL || fstatvfs(inode->fd, &is) != 0)
		return inode == NULL ? -EINVAL : -errno;
	ANSWER(fuse_statfs_out, out);
	out->st = (struct fuse_kstatfs){
		.blocks = is.f_blocks, .bfree = is.f_bfree, .bavail = is.f_bavail, .files = is.f_files, .ffree = is.f_ffree,
		.bsize = (uint32_t)is.f_bsize, .namelen = (uint32_t)is.f_namemax, .frsize = (uint32_t)is.f_frsize,
	};
	return 0;
}

/* Attributes of the guest's users alone: all others mean something to the host. */
static const struct inode *attributed(const struct request *request, const char *name, int *error)
{
	const struct inode *inode = inode_of(request->header.nodeid);
	*error = inode == NULL || name == NULL ? -EINVAL
		: strncmp(name, "user.", 5) != 0 ? -EOPNOTSUPP
		: inode->kind != S_IFREG && inode->kind != S_IFDIR ? -EPERM : 0;
	return inode;
}

static int do_setxattr(struct request *request)
{
	/* Its longer form is for who asks for it. */
	const struct fuse_setxattr_in *in = (const void *)request->arguments;
	size_t head = FUSE_COMPAT_SETXATTR_IN_SIZE, left = request->arguments_bytes - head;
	const char *name = request->arguments + head;
	size_t length = strnlen(name, left);
	int error;
	const struct inode *inode = attributed(request, name, &error);
	if (error != 0 || length == left || in->size > left - length - 1)
		return error != 0 ? error : -EINVAL;
	return setxattr(path_of(inode->fd), name, name + length + 1, in->size, (int)in->flags) != 0 ? -errno : 0;
}

/* The answer is the value, or the size of it where there is no room. */
static int answer_value(struct request *request, uint32_t asked, ssize_t got)
{
	if (got < 0)
		return -errno;
	if (asked > 0) {
		request->answer_bytes = (size_t)got;
		return 0;
	}
	ANSWER(fuse_getxattr_out, out);
	out->size = (uint32_t)got;
	return 0;
}

static int do_getxattr(struct request *request)
{
	ARGUMENTS(fuse_getxattr_in);
	const char *name = request->arguments + sizeof *in;
	uint32_t size = in->size;
	int error;
	const struct inode *inode = attributed(request, name, &error);
	if (error != 0)
		return error == -EPERM ? -ENODATA : error;
	return answer_value(request, size,
		getxattr(path_of(inode->fd), name, request->answer, size < XATTR_MAX ? size : XATTR_MAX));
}

static int do_listxattr(struct request *request)
{
	ARGUMENTS(fuse_getxattr_in);
	const struct inode *inode = inode_of(request->header.nodeid);
	static char names[XATTR_MAX];
	if (inode == NULL)
		return -EINVAL;
	uint32_t size = in->size;
	ssize_t got = inode->kind == S_IFREG || inode->kind == S_IFDIR
		? listxattr(path_of(inode->fd), names, sizeof names) : 0;
	ssize_t kept = 0;
	for (ssize_t at = 0; at < got; at += (ssize_t)strlen(names + at) + 1) {
		size_t length = strlen(names + at) + 1;
		if (strncmp(names + at, "user.", 5) != 0)
			continue;
		memmove(request->answer + kept, names + at, length);
		kept += (ssize_t)length;
	}
	errno = got >= 0 && size > 0 && (size_t)kept > size ? ERANGE : errno;
	return answer_value(request, size, got < 0 || (size > 0 && (size_t)kept > size) ? -1 : kept);
}

static int do_removexattr(struct request *request)
{
	int error;
	const struct inode *inode = attributed(request, request->arguments, &error);
	return error != 0 ? error : removexattr(path_of(inode->fd), request->arguments) != 0 ? -errno : 0;
}

/* -------------------------------------------------------------------------------------------------- begin */

static int do_init(struct request *request)
{
	ARGUMENTS(fuse_init_in);
	const uint64_t wanted = FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES |
		FUSE_FLOCK_LOCKS | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | INIT_EXT | DIRECT_IO_ALLOW_MMAP;
	if (in->major != FUSE_KERNEL_VERSION || in->minor < 31)
		return -EPROTO; /* virtio-fs is of 7.31 */
	uint64_t offered = in->flags;
	if (in->flags & INIT_EXT && request->arguments_bytes >= 20)
		offered |= (uint64_t)*(const uint32_t *)(const void *)(request->arguments + 16) << 32;
	uint32_t minor = in->minor < 38 ? in->minor : 38, readahead = in->max_readahead;
	inodes_forget_all();
	ANSWER(fuse_init_out, out);
	out->major = FUSE_KERNEL_VERSION;
	out->minor = minor;
	out->max_readahead = readahead;
	out->flags = (uint32_t)(offered & wanted);
	memcpy((char *)out + offsetof(struct fuse_init_out, max_pages) + 4, &(uint32_t){ (uint32_t)((offered & wanted) >> 32) }, 4);
	out->max_background = 64;
	out->congestion_threshold = 48;
	out->max_write = WRITE_MAX;
	out->max_pages = PAGES_MAX;
	out->time_gran = 1;
	return 0;
}

static int do_destroy(struct request *request)
{
	(void)request;
	inodes_forget_all();
	return 0;
}

/* How many bytes of arguments a request has at least, and who does it. */
static const struct {
	size_t bytes;
	int (*run)(struct request *);
} requests[] = {
	[FUSE_LOOKUP] = { 1, do_lookup },
	[FUSE_FORGET] = { sizeof(struct fuse_forget_in), do_forget },
	[FUSE_GETATTR] = { 0, do_getattr },
	[FUSE_SETATTR] = { sizeof(struct fuse_setattr_in), do_setattr },
	[FUSE_READLINK] = { 0, do_readlink },
	[FUSE_SYMLINK] = { 2, do_symlink },
	[FUSE_MKNOD] = { sizeof(struct fuse_mknod_in), do_mknod },
	[FUSE_MKDIR] = { sizeof(struct fuse_mkdir_in), do_mkdir },
	[FUSE_UNLINK] = { 1, do_unlink },
	[FUSE_RMDIR] = { 1, do_unlink },
	[FUSE_RENAME] = { sizeof(struct fuse_rename_in), do_rename },
	[FUSE_LINK] = { sizeof(struct fuse_link_in), do_link },
	[FUSE_OPEN] = { sizeof(struct fuse_open_in), do_open },
	[FUSE_READ] = { sizeof(struct fuse_read_in), do_read },
	[FUSE_WRITE] = { sizeof(struct fuse_write_in), do_write },
	[FUSE_STATFS] = { 0, do_statfs },
	[FUSE_RELEASE] = { sizeof(struct fuse_release_in), do_release },
	[FUSE_FSYNC] = { sizeof(struct fuse_fsync_in), do_fsync },
	[FUSE_SETXATTR] = { FUSE_COMPAT_SETXATTR_IN_SIZE, do_setxattr },
	[FUSE_GETXATTR] = { sizeof(struct fuse_getxattr_in), do_getxattr },
	[FUSE_LISTXATTR] = { sizeof(struct fuse_getxattr_in), do_listxattr },
	[FUSE_REMOVEXATTR] = { 1, do_removexattr },
	[FUSE_FLUSH] = { sizeof(struct fuse_flush_in), do_flush },
	[FUSE_INIT] = { 16, do_init },
	[FUSE_OPENDIR] = { sizeof(struct fuse_open_in), do_opendir },
	[FUSE_READDIR] = { sizeof(struct fuse_read_in), do_readdir },
	[FUSE_RELEASEDIR] = { sizeof(struct fuse_release_in), do_releasedir },
	[FUSE_FSYNCDIR] = { sizeof(struct fuse_fsync_in), do_fsyncdir },
	[FUSE_GETLK] = { sizeof(struct fuse_lk_in), do_getlk },
	[FUSE_SETLK] = { sizeof(struct fuse_lk_in), do_setlk },
	[FUSE_SETLKW] = { sizeof(struct fuse_lk_in), do_setlkw },
	[FUSE_CREATE] = { sizeof(struct fuse_create_in), do_create },
	[FUSE_INTERRUPT] = { sizeof(struct fuse_interrupt_in), do_interrupt },
	[FUSE_DESTROY] = { 0, do_destroy },
	[FUSE_BATCH_FORGET] = { sizeof(struct fuse_batch_forget_in), do_batch_forget },
	[FUSE_FALLOCATE] = { sizeof(struct fuse_fallocate_in), do_fallocate },
	[FUSE_RENAME2] = { sizeof(struct fuse_rename2_in), do_rename2 },
	[FUSE_LSEEK] = { sizeof(struct fuse_lseek_in), do_lseek },
	[FUSE_COPY_FILE_RANGE] = { sizeof(struct fuse_copy_file_range_in), do_copy },
	[FUSE_SYNCFS] = { sizeof(struct fuse_syncfs_in), do_syncfs },
	[FUSE_TMPFILE] = { sizeof(struct fuse_create_in), do_tmpfile },
};

void serve(struct request *request)
{
	static char arguments[ARGUMENTS_MAX + 1] __attribute__((aligned(16)));
	static char answers[ARGUMENTS_MAX] __attribute__((aligned(16)));
	struct fuse_in_header *header = &request->header;
	request->asker.first = request->outs > 0 ? request->out[0] : (struct iovec){ NULL, 0 };
	if (request_copy(request, 0, header, sizeof *header) != sizeof *header)
		fail("a request without a header");
	request->asker.unique = header->unique;
	size_t bytes = header->opcode == FUSE_WRITE ? sizeof(struct fuse_write_in) : ARGUMENTS_MAX;
	request->arguments = arguments;
	request->arguments_bytes = request_copy(request, sizeof *header, arguments, bytes);
	arguments[request->arguments_bytes] = 0;
	request->answer = answers;
	bool told = header->opcode == FUSE_FORGET || header->opcode == FUSE_BATCH_FORGET || header->opcode == FUSE_INTERRUPT;
	int result = -ENOSYS;
	if (!told && request->out_bytes < sizeof(struct fuse_out_header))
		result = -EIO;
	else if (header->opcode < sizeof requests / sizeof *requests && requests[header->opcode].run != NULL)
		result = request->arguments_bytes < requests[header->opcode].bytes ? -EINVAL
			: requests[header->opcode].run(request);
	if (result == 0 && request->out_bytes < sizeof(struct fuse_out_header) + request->answer_bytes)
		result = -EIO;
	if (told || result < 0)
		answer(&request->asker, told ? 0 : -result); /* a place in the ring is given back in any case */
	else if (result == 0)
		answer_all(request, 0);
}
