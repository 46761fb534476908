/* Requests of FUSE that are about open files and directories. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sharefs.h"

/* Later than some headers. */
#define OPEN_PARALLEL_WRITES (1u << 6)
#define RWF_SYNCED 0x4
#define RWF_DATA_SYNCED 0x2
#define RWF_AT_END 0x10

enum { COPY_MAX = 16 << 20, READDIR_MAX = 64 << 10 };

#define ARGUMENTS(type) const struct type *in = (const void *)request->arguments

struct entry { /* of getdents64 */
	uint64_t number;
	int64_t next;
	uint16_t bytes;
	uint8_t kind;
	char name[];
};

/* What is said of opening: the access, and that it is cut off.  A file is appended to by each write that is to. */
static int flags_of(uint32_t said)
{
	return (int)(said & (O_ACCMODE | O_TRUNC));
}

static int answer_open(struct request *request, int fd)
{
	if (fd < 0)
		return -errno;
	uint64_t number = handle_new(fd, false);
	if (number == 0)
		return -errno;
	struct fuse_open_out out = { .fh = number, .open_flags = FOPEN_DIRECT_IO | OPEN_PARALLEL_WRITES };
	memcpy(request->answer + request->answer_bytes, &out, sizeof out);
	request->answer_bytes += sizeof out;
	return 0;
}

int do_open(struct request *request)
{
	ARGUMENTS(fuse_open_in);
	const struct inode *inode = inode_of(request->header.nodeid);
	if (inode == NULL)
		return -EINVAL;
	if (inode->kind == S_IFDIR)
		return -EISDIR;
	return answer_open(request, inode_open(inode, flags_of(in->flags)));
}

/* The file's entry and the open file, or neither. */
static int answer_made(struct request *request, int entry, int fd)
{
	int result = fd < 0 ? -errno : answer_entry(request, entry);
	if (fd < 0 && entry >= 0)
		close(entry);
	if (result != 0 && fd >= 0)
		close(fd);
	return result != 0 ? result : answer_open(request, fd);
}

/* Somebody else was quicker.  Whether who asks may open that file, the guest's kernel has not looked: it is told to
 * look again, but for root, who may. */
static int open_others(struct request *request, int directory, const char *name, uint32_t flags)
{
	if (flags & O_EXCL)
		return -EEXIST;
	if (request->header.uid != 0)
		return -ESTALE;
	struct stat is;
	int entry = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (entry < 0 || fstat(entry, &is) != 0 || !S_ISREG(is.st_mode)) {
		if (entry >= 0)
			close(entry);
		return -ESTALE;
	}
	return answer_made(request, entry, open(path_of(entry), flags_of(flags) | O_CLOEXEC));
}

int do_create(struct request *request)
{
	ARGUMENTS(fuse_create_in);
	const struct inode *directory = inode_of(request->header.nodeid);
	const char *name = name_at(request, sizeof *in);
	if (directory == NULL || directory->kind != S_IFDIR || name == NULL)
		return -EINVAL;
	as_asker(request);
	int fd = openat(directory->fd, name, flags_of(in->flags) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, in->mode & 07777);
	as_self();
	if (fd < 0 && errno == EEXIST)
		return open_others(request, directory->fd, name, in->flags);
	if (fd < 0)
		return -errno;
	return answer_made(request, open(path_of(fd), O_PATH | O_CLOEXEC), fd);
}

int do_tmpfile(struct request *request)
{
	ARGUMENTS(fuse_create_in);
	const struct inode *directory = inode_of(request->header.nodeid);
	if (directory == NULL || directory->kind != S_IFDIR)
		return -EINVAL;
	int flags = flags_of(in->flags) & ~O_TRUNC;
	as_asker(request);
	int fd = open(path_of(directory->fd), flags | O_TMPFILE | O_CLOEXEC, in->mode & 07777);
	as_self();
	return fd < 0 ? -errno : answer_made(request, open(path_of(fd), O_PATH | O_CLOEXEC), fd);
}

static size_t length_of(const struct iovec *pieces, int count)
{
	size_t sum = 0;
	for (int i = 0; i < count; i++)
		sum += pieces[i].iov_len;
	return sum;
}

int do_read(struct request *request)
{
	ARGUMENTS(fuse_read_in);
	const struct handle *handle = handle_of(in->fh, false);
	size_t head = sizeof(struct fuse_out_header);
	if (handle == NULL)
		return -EBADF;
	if (request->out_bytes < head + in->size)
		return -EINVAL;
	struct iovec pieces[PIECES_MAX];
	memcpy(pieces, request->out, sizeof *pieces * (size_t)request->outs);
	int count = slice(pieces, request->outs, head, in->size);
	ssize_t sum = 0;
	for (int i = 0; i < count; i += UIO_MAXIOV) {
		int part = count - i < UIO_MAXIOV ? count - i : UIO_MAXIOV;
		ssize_t got = preadv(handle->fd, pieces + i, part, (off_t)in->offset + sum);
		if (got < 0 && sum == 0)
			return -errno;
		sum += got > 0 ? got : 0;
		if (got < (ssize_t)length_of(pieces + i, part))
			break;
	}
	answer_all(request, (size_t)sum);
	return NO_ANSWER;
}

int do_write(struct request *request)
{
	ARGUMENTS(fuse_write_in);
	const struct handle *handle = handle_of(in->fh, false);
	size_t head = sizeof request->header + sizeof *in;
	if (handle == NULL)
		return -EBADF;
	if (request->in_bytes < head + in->size)
		return -EINVAL;
	int flags = in->flags & O_DSYNC ? ((in->flags & O_SYNC) == O_SYNC ? RWF_SYNCED : RWF_DATA_SYNCED) : 0;
	if (in->flags & O_APPEND && !(in->write_flags & FUSE_WRITE_CACHE)) /* a page of a mapping has its place */
		flags |= RWF_AT_END;
	int count = slice(request->in, request->ins, head, in->size);
	ssize_t sum = 0;
	for (int i = 0; i < count; i += UIO_MAXIOV) {
		int part = count - i < UIO_MAXIOV ? count - i : UIO_MAXIOV;
		ssize_t put = syscall(SYS_pwritev2, handle->fd, request->in + i, part, (off_t)in->offset + sum, 0, flags);
		if (put < 0 && sum == 0)
			return -errno;
		sum += put > 0 ? put : 0;
		if (put < (ssize_t)length_of(request->in + i, part))
			break;
	}
	struct fuse_write_out out = { .size = (uint32_t)sum };
	memcpy(request->answer, &out, sizeof out);
	request->answer_bytes = sizeof out;
	return 0;
}

int do_release(struct request *request)
{
	ARGUMENTS(fuse_release_in);
	handle_close(in->fh, false); /* with locks of flock that are still its own */
	return 0;
}

int do_fallocate(struct request *request)
{
	ARGUMENTS(fuse_fallocate_in);
	const struct handle *handle = handle_of(in->fh, false);
	if (handle == NULL)
		return -EBADF;
	return fallocate(handle->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) != 0 ? -errno : 0;
}

int do_lseek(struct request *request)
{
	ARGUMENTS(fuse_lseek_in);
	const struct handle *handle = handle_of(in->fh, false);
	if (handle == NULL)
		return -EBADF;
	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE)
		return -EINVAL;
	off_t at = lseek(handle->fd, (off_t)in->offset, (int)in->whence);
	if (at < 0)
		return -errno;
	struct fuse_lseek_out out = { .offset = (uint64_t)at };
	memcpy(request->answer, &out, sizeof out);
	request->answer_bytes = sizeof out;
	return 0;
}

/* A part of what is asked for, which is allowed: nobody else waits for the whole. */
int do_copy(struct request *request)
{
	ARGUMENTS(fuse_copy_file_range_in);
	const struct handle *from = handle_of(in->fh_in, false), *to = handle_of(in->fh_out, false);
	if (from == NULL || to == NULL)
		return -EBADF;
	off_t source = (off_t)in->off_in, target = (off_t)in->off_out;
	size_t bytes = in->len < COPY_MAX ? (size_t)in->len : COPY_MAX;
	ssize_t done = copy_file_range(from->fd, &source, to->fd, &target, bytes, 0);
	if (done < 0)
		return -errno;
	struct fuse_write_out out = { .size = (uint32_t)done };
	memcpy(request->answer, &out, sizeof out);
	request->answer_bytes = sizeof out;
	return 0;
}

int do_opendir(struct request *request)
{
	const struct inode *inode = inode_of(request->header.nodeid);
	if (inode == NULL || inode->kind != S_IFDIR)
		return -ENOTDIR;
	int fd = inode_open(inode, O_RDONLY | O_DIRECTORY);
	uint64_t number = fd < 0 ? 0 : handle_new(fd, true);
	if (number == 0)
		return -errno;
	struct fuse_open_out out = { .fh = number };
	memcpy(request->answer, &out, sizeof out);
	request->answer_bytes = sizeof out;
	return 0;
}

int do_readdir(struct request *request)
{
	ARGUMENTS(fuse_read_in);
	static char entries[READDIR_MAX] __attribute__((aligned(8)));
	const struct handle *handle = handle_of(in->fh, true);
	if (handle == NULL)
		return -EBADF;
	size_t room = request->out_bytes - sizeof(struct fuse_out_header);
	room = in->size < room ? in->size : room;
	room = room < READDIR_MAX ? room : READDIR_MAX;
	if (lseek(handle->fd, (off_t)in->offset, SEEK_SET) < 0)
		return -errno;
	long got = syscall(SYS_getdents64, handle->fd, entries, room);
	if (got < 0)
		return -errno;
	for (long at = 0; at < got;) {
		const struct entry *entry = (const void *)(entries + at);
		struct fuse_dirent *to = (void *)(request->answer + request->answer_bytes);
		uint32_t length = (uint32_t)strlen(entry->name);
		size_t bytes = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
		if (request->answer_bytes + bytes > room)
			break;
		memset(to, 0, bytes);
		to->ino = entry->number;
		to->off = (uint64_t)entry->next;
		to->namelen = length;
		to->type = entry->kind;
		memcpy(to->name, entry->name, length);
		request->answer_bytes += bytes;
		at += entry->bytes;
	}
	return 0;
}

int do_releasedir(struct request *request)
{
	ARGUMENTS(fuse_release_in);
	handle_close(in->fh, true);
	return 0;
}
