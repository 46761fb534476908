/*
 * Locks, and all that may take long: whoever waits does so in a thread of its own, on a descriptor of its own.
 *
 * A lock of fcntl belongs to an owner, of whom the guest says a number.  Here each owner has an open file for each file
 * of which they have locks, whose locks they are (F_OFD_SETLK); it is closed when the owner closes the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sharefs.h"

enum { WAITERS_MAX = 1024, STACK_BYTES = 64 << 10, AGAIN_NS = 10 * 1000 * 1000, EARLY_MAX = 64 };

#define ARGUMENTS(type) const struct type *in = (const void *)request->arguments

struct owner {
	uint64_t number;
	int fd;
	struct owner *next;
};

static struct waiter {
	struct asker asker;
	int fd;
	enum { FSYNC, FDATASYNC, SYNCFS, FLOCK, FCNTL } what;
	int operation; /* of flock */
	struct flock range;
	int thread; /* its number; 0 before it has begun */
	int timer; /* -1: none */
	bool interrupted;
	struct waiter *next;
} *waiters;
static int waiting;
/* Interrupts of requests that nobody waits for: they are done, or the ring they are in is yet to be looked at. */
static uint64_t early[EARLY_MAX];
static unsigned early_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void woken(int number)
{
	(void)number;
}

void waiting_begin(void)
{
	struct sigaction how = { .sa_handler = woken }; /* not SA_RESTART: the call ends */
	sigaction(SIGUSR1, &how, NULL);
}

/* ------------------------------------------------------------------------------------------------ threads */

static int waited(const struct waiter *waiter)
{
	switch (waiter->what) {
	case FSYNC: return fsync(waiter->fd);
	case FDATASYNC: return fdatasync(waiter->fd);
	case SYNCFS: return syncfs(waiter->fd);
	case FLOCK: return flock(waiter->fd, waiter->operation);
	case FCNTL: return fcntl(waiter->fd, F_OFD_SETLKW, &waiter->range);
	}
	return 0;
}

static void *wait_for_it(void *argument)
{
	struct waiter *waiter = argument;
	int error = EINTR;
	pthread_mutex_lock(&lock);
	waiter->thread = (int)syscall(SYS_gettid);
	while (error == EINTR && !waiter->interrupted) {
		pthread_mutex_unlock(&lock);
		error = waited(waiter) == 0 ? 0 : errno;
		pthread_mutex_lock(&lock);
	}
	struct waiter **place = &waiters;
	while (*place != waiter)
		place = &(*place)->next;
	*place = waiter->next;
	waiting--;
	if (waiter->timer >= 0)
		syscall(SYS_timer_delete, waiter->timer);
	pthread_mutex_unlock(&lock);
	close(waiter->fd);
	answer(&waiter->asker, error);
	free(waiter);
	return NULL;
}

/* On a copy of the descriptor, which the guest may close meanwhile. */
static int begin_waiting(struct request *request, int fd, const struct waiter *what)
{
	for (unsigned i = 0; i < EARLY_MAX; i++)
		if (early[i] == request->asker.unique && (what->what == FLOCK || what->what == FCNTL))
			return -EINTR;
	struct waiter *waiter = waiting < WAITERS_MAX ? malloc(sizeof *waiter) : NULL;
	if (waiter == NULL)
		return -ENOLCK;
	*waiter = *what;
	waiter->asker = request->asker;
	waiter->timer = -1;
	waiter->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	pthread_attr_t how;
	pthread_attr_init(&how);
	pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&how, STACK_BYTES);
	pthread_t thread;
	pthread_mutex_lock(&lock); /* it is in the list before it looks */
	bool begun = waiter->fd >= 0 && pthread_create(&thread, &how, wait_for_it, waiter) == 0;
	if (begun) {
		waiter->next = waiters;
		waiters = waiter;
		waiting++;
	}
	pthread_mutex_unlock(&lock);
	pthread_attr_destroy(&how);
	if (begun)
		return NO_ANSWER;
	if (waiter->fd >= 0)
		close(waiter->fd);
	free(waiter);
	return -ENOLCK;
}

/* A timer may send signals to the threads of its own process alone, where the calls that do reach others.  It sends them
 * until the thread has heard one: the first may come before it waits. */
static int reminder(int thread)
{
	struct {
		uint64_t value;
		int signal, notify, thread, rest[11];
	} event = { .signal = SIGUSR1, .notify = 4 /* SIGEV_THREAD_ID */, .thread = thread };
	struct itimerspec times = { .it_interval = { 0, AGAIN_NS }, .it_value = { 0, 1 } };
	int timer = -1;
	if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) != 0)
		return -1;
	syscall(SYS_timer_settime, timer, 0, &times, NULL);
	return timer;
}

int do_interrupt(struct request *request)
{
	ARGUMENTS(fuse_interrupt_in);
	pthread_mutex_lock(&lock);
	struct waiter *waiter = waiters;
	while (waiter != NULL && waiter->asker.unique != in->unique)
		waiter = waiter->next;
	if (waiter == NULL) {
		early[early_count++ % EARLY_MAX] = in->unique;
	} else if (!waiter->interrupted && (waiter->what == FLOCK || waiter->what == FCNTL)) {
		waiter->interrupted = true;
		if (waiter->thread != 0)
			waiter->timer = reminder(waiter->thread);
	}
	pthread_mutex_unlock(&lock);
	return NO_ANSWER;
}

/* ----------------------------------------------------------------------------------------- written to disk */

static int synced(struct request *request, bool directory)
{
	ARGUMENTS(fuse_fsync_in);
	const struct handle *handle = handle_of(in->fh, directory);
	if (handle == NULL)
		return -EBADF;
	struct waiter what = { .what = in->fsync_flags & FUSE_FSYNC_FDATASYNC ? FDATASYNC : FSYNC };
	return begin_waiting(request, handle->fd, &what);
}

int do_fsync(struct request *request)
{
	return synced(request, false);
}

int do_fsyncdir(struct request *request)
{
	return synced(request, true);
}

int do_syncfs(struct request *request)
{
	struct inode *root = inode_of(FUSE_ROOT_ID);
	int fd = inode_open(root, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return -errno;
	struct waiter what = { .what = SYNCFS };
	int result = begin_waiting(request, fd, &what);
	close(fd);
	return result;
}

/* -------------------------------------------------------------------------------------------------- locks */

void owners_close(struct inode *inode)
{
	while (inode->owners != NULL) {
		struct owner *owner = inode->owners;
		inode->owners = owner->next;
		close(owner->fd);
		free(owner);
	}
}

int do_flush(struct request *request)
{
	ARGUMENTS(fuse_flush_in);
	struct inode *inode = inode_of(request->header.nodeid);
	if (inode == NULL)
		return -EINVAL;
	for (struct owner **place = &inode->owners; *place != NULL; place = &(*place)->next) {
		struct owner *owner = *place;
		if (owner->number != in->lock_owner)
			continue;
		*place = owner->next;
		close(owner->fd);
		free(owner);
		break;
	}
	return 0;
}

static int opened_for(struct inode *inode, uint64_t number)
{
	for (struct owner *each = inode->owners; each != NULL; each = each->next)
		if (each->number == number)
			return each->fd;
	struct owner *owner = malloc(sizeof *owner);
	if (owner == NULL)
		return -ENOMEM;
	int fd = inode_open(inode, O_RDWR);
	if (fd < 0) /* what cannot be written has locks for reading */
		fd = inode_open(inode, O_RDONLY);
	if (fd < 0) {
		free(owner);
		return -errno;
	}
	*owner = (struct owner){ number, fd, inode->owners };
	inode->owners = owner;
	return fd;
}

static bool range_of(const struct fuse_file_lock *said, struct flock *range)
{
	if (said->start > INT64_MAX || said->end < said->start)
		return false;
	*range = (struct flock){ .l_type = (short)said->type, .l_whence = SEEK_SET, .l_start = (off_t)said->start };
	range->l_len = said->end >= INT64_MAX ? 0 : (off_t)(said->end - said->start + 1);
	return said->type == F_RDLCK || said->type == F_WRLCK || said->type == F_UNLCK;
}

int do_getlk(struct request *request)
{
	ARGUMENTS(fuse_lk_in);
	struct inode *inode = inode_of(request->header.nodeid);
	struct flock range;
	if (inode == NULL || !range_of(&in->lk, &range))
		return -EINVAL;
	int fd = opened_for(inode, in->owner);
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_GETLK, &range) != 0)
		return -errno;
	struct fuse_lk_out out = { .lk = { (uint64_t)range.l_start, INT64_MAX, (uint32_t)range.l_type, 0 } };
	if (range.l_len > 0)
		out.lk.end = (uint64_t)(range.l_start + range.l_len - 1);
	memcpy(request->answer, &out, sizeof out);
	request->answer_bytes = sizeof out;
	return 0;
}

static int lock_whole(struct request *request, const struct fuse_lk_in *in, bool waits)
{
	const struct handle *handle = handle_of(in->fh, false);
	if (handle == NULL)
		return -EBADF;
	int operation = in->lk.type == F_RDLCK ? LOCK_SH : in->lk.type == F_WRLCK ? LOCK_EX : LOCK_UN;
	if (flock(handle->fd, operation | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK || !waits)
		return -errno;
	struct waiter what = { .what = FLOCK, .operation = operation };
	return begin_waiting(request, handle->fd, &what);
}

static int lock_range(struct request *request, bool waits)
{
	ARGUMENTS(fuse_lk_in);
	struct inode *inode = inode_of(request->header.nodeid);
	struct waiter what = { .what = FCNTL };
	if (in->lk_flags & FUSE_LK_FLOCK)
		return lock_whole(request, in, waits);
	if (inode == NULL || !range_of(&in->lk, &what.range))
		return -EINVAL;
	int fd = opened_for(inode, in->owner);
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_SETLK, &what.range) == 0)
		return 0;
	if ((errno != EAGAIN && errno != EACCES) || !waits)
		return -errno;
	return begin_waiting(request, fd, &what);
}

int do_setlk(struct request *request)
{
	return lock_range(request, false);
}

int do_setlkw(struct request *request)
{
	return lock_range(request, true);
}
