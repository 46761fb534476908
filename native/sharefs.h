/* See sharefs.c. */
#ifndef SHAREFS_H
#define SHAREFS_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

enum {
	QUEUES = 2, /* what is urgent, and requests */
	PIECES_MAX = 2048, /* of a request's memory */
	ARGUMENTS_MAX = 192 << 10, /* of all but the data of a write */
	NO_ANSWER = 1, /* of a handler: there is none, or it comes later */
};

struct ring;

/* Whom an answer goes to; it may outlive the request. */
struct asker {
	struct ring *ring;
	uint16_t head;
	uint64_t unique;
	struct iovec first; /* of what may be written: it has room for a header */
};

struct request {
	struct asker asker;
	struct iovec in[PIECES_MAX], out[PIECES_MAX];
	int ins, outs;
	size_t in_bytes, out_bytes;
	struct fuse_in_header header;
	char *arguments; /* a copy, with a NUL behind it: the guest may change its own at any time */
	size_t arguments_bytes;
	char *answer; /* of out_bytes at most, without its header */
	size_t answer_bytes; /* set by the handler */
};

/* What the guest knows of a file.  `fd` is of O_PATH. */
struct inode {
	int fd;
	mode_t kind;
	dev_t device;
	ino_t number;
	uint64_t node, lookups;
	struct inode *next; /* of those with this hash */
	struct owner *owners; /* of locks */
};

struct handle {
	int fd;
	bool directory;
};

extern bool squash; /* all files are one user's */
extern int share_fd;

_Noreturn void fail(const char *format, ...);

/* sharefs_ring.c */
void memory_add(uint64_t guest, uint64_t size, uint64_t user, int fd, uint64_t offset);
void memory_clear(void);
void memory_done(void);
void ring_set_size(unsigned index, unsigned size);
void ring_set_base(unsigned index, unsigned base);
void ring_set_addresses(unsigned index, uint64_t descriptors, uint64_t available, uint64_t used);
void ring_set_kick(unsigned index, int fd);
void ring_set_call(unsigned index, int fd);
void ring_enable(unsigned index, bool on);
unsigned ring_stop(unsigned index);
int ring_kick(unsigned index); /* -1: nothing to wait for */
void ring_serve(unsigned index, void (*serve)(struct request *));
size_t request_copy(struct request *request, size_t at, void *to, size_t bytes);
int slice(struct iovec *pieces, int count, size_t skip, size_t bytes);
void answer(struct asker *asker, int error);
void answer_all(struct request *request, size_t data_bytes);

/* sharefs_inodes.c */
void inodes_begin(void);
void inodes_forget_all(void);
struct inode *inode_of(uint64_t node);
struct inode *inode_found(int fd, const struct stat *is); /* takes the descriptor; a lookup more.  NULL: errno */
void inode_forget(uint64_t node, uint64_t lookups);
int inode_open(const struct inode *inode, int flags);
const char *path_of(int fd); /* until the next call */
uint64_t handle_new(int fd, bool directory); /* takes the descriptor; 0: errno */
struct handle *handle_of(uint64_t number, bool directory);
void handle_close(uint64_t number, bool directory);

/* sharefs_fuse.c */
void serve(struct request *request);
int answer_entry(struct request *request, int fd); /* takes the descriptor */
void put_attributes(struct fuse_attr *to, const struct stat *from);
bool name_is_good(const char *name);
const char *name_at(const struct request *request, size_t at); /* NULL where there is none */
void as_asker(const struct request *request);
void as_self(void);

/* sharefs_files.c */
int do_open(struct request *request);
int do_create(struct request *request);
int do_tmpfile(struct request *request);
int do_read(struct request *request);
int do_write(struct request *request);
int do_release(struct request *request);
int do_fallocate(struct request *request);
int do_lseek(struct request *request);
int do_copy(struct request *request);
int do_opendir(struct request *request);
int do_readdir(struct request *request);
int do_releasedir(struct request *request);

/* sharefs_waiting.c */
void waiting_begin(void);
int do_fsync(struct request *request);
int do_fsyncdir(struct request *request);
int do_syncfs(struct request *request);
int do_flush(struct request *request);
int do_getlk(struct request *request);
int do_setlk(struct request *request);
int do_setlkw(struct request *request);
int do_interrupt(struct request *request);
void owners_close(struct inode *inode);

#endif
