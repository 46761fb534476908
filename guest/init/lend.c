#include "lend.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "archive.h"
#include "system.h"
#include "util.h"

#define HEAD 8
#define DEVICES "/dev" /* a file system in memory, in which the program may write whatever its root is */
#define TEMPORARY ".hyper-lend-%016llx"

enum kind { DATA, CREDIT, GONE };

struct channel {
	int fd;               /* -1: no connection has it */
	bool owed;            /* it is gone, and the other side has not yet said that it knows */
	bool said_end;        /* nothing more comes from the connection */
	bool heard_end, shut; /* nor for it; and it was told so, when it had taken all that is kept */
	size_t credit;        /* what may be sent on */
	size_t taken;         /* of what came for it, what the other side has no credit for yet */
	size_t start, end;    /* of what is kept for it */
	unsigned char *kept;  /* LEND_WINDOW bytes */
};

static struct channel channels[LEND_CHANNELS];
static unsigned char bytes[HEAD + LEND_WINDOW];

/* ---- the socket ---- */

static int listening_in(int directory, const char *name, mode_t denied)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (fchdir(directory) != 0)
		return -1;
	if (strlen(name) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	mode_t before = umask(denied);
	if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, LEND_CHANNELS) != 0))
		close_fd(&fd);
	(void)umask(before);
	return fd;
}

/* Made elsewhere, and mounted there: the root may be read-only. */
static int listening_over(int root, int target)
{
	char name[64];
	unsigned long long unique;
	int directory = open_in_root(root, DEVICES, O_RDONLY | O_DIRECTORY);
	if (directory < 0 || getrandom(&unique, sizeof unique, 0) != sizeof unique)
		return -1;
	(void)snprintf(name, sizeof name, TEMPORARY, unique);
	int fd = listening_in(directory, name, 0117);
	int tree = fd < 0 ? -1 : sys_open_tree(directory, name, HS_OPEN_TREE_CLONE | HS_OPEN_TREE_CLOEXEC);
	bool mounted =
		tree >= 0 && sys_move_mount(tree, "", target, "", HS_MOVE_MOUNT_F_EMPTY_PATH | HS_MOVE_MOUNT_T_EMPTY_PATH) == 0;
	int error = errno;
	if (fd >= 0)
		(void)unlinkat(directory, name, 0);
	if (!mounted)
		close_fd(&fd);
	close_fd(&tree);
	close_fd(&directory);
	errno = error;
	return fd;
}

/* What is there; -1 for nothing.  The socket of one that has ended goes: nothing can be mounted over it. */
static int find_target(int root, const char *path)
{
	struct stat info;
	int target = open_in_root(root, path, O_PATH);
	if (target < 0 || fstat(target, &info) != 0 || !S_ISSOCK(info.st_mode))
		return target;
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
		close_fd(&target);
		target = open_in_root(root, path, O_PATH);
	}
	return target;
}

static int listening_at(int root, const char *path)
{
	char above[PATH_MAX];
	int target = find_target(root, path);
	if (target >= 0) {
		int covering = listening_over(root, target), error = errno;
		close_fd(&target);
		errno = error;
		return covering;
	}
	(void)snprintf(above, sizeof above, "%s", path);
	char *slash = strrchr(above, '/');
	*slash = '\0';
	int directory = open_in_root(root, *above ? above : "/", O_RDONLY | O_DIRECTORY);
	int fd = directory < 0 ? -1 : listening_in(directory, slash + 1, 0177);
	close_fd(&directory);
	return fd;
}

/* ---- what is said ---- */

/* With the first bytes behind the head, where they are data. */
static bool say(const struct channel *channel, enum kind kind, size_t number)
{
	const unsigned char head[HEAD] = {(unsigned char)(channel - channels), (unsigned char)kind, 0, 0, (unsigned char)(number >> 24),
	                                  (unsigned char)(number >> 16), (unsigned char)(number >> 8), (unsigned char)number};
	memcpy(bytes, head, HEAD);
	return write_all(1, bytes, HEAD + (kind == DATA ? number : 0)) == 0;
}

static bool part_from(struct channel *channel, bool owed)
{
	close_fd(&channel->fd);
	free(channel->kept);
	*channel = (struct channel){.fd = -1, .owed = owed};
	return say(channel, GONE, 0);
}

static bool over_if_ended(struct channel *channel)
{
	return channel->said_end && channel->shut ? part_from(channel, true) : true;
}

/* What the connection says, or that it ended. */
static bool pass_out(struct channel *channel, bool readable)
{
	if (!readable || channel->said_end || channel->credit == 0) /* it has hung up */
		return part_from(channel, true);
	ssize_t got = recv(channel->fd, bytes + HEAD, channel->credit < LEND_WINDOW ? channel->credit : LEND_WINDOW, MSG_DONTWAIT);
	if (got < 0)
		return errno == EINTR || errno == EAGAIN || part_from(channel, true);
	channel->credit -= (size_t)got;
	channel->said_end = got == 0;
	return say(channel, DATA, (size_t)got) && over_if_ended(channel);
}

/* ---- what is heard ---- */

/* What the connection takes of it. */
static bool pass_kept(struct channel *channel)
{
	while (channel->start < channel->end) {
		ssize_t sent =
			send(channel->fd, channel->kept + channel->start, channel->end - channel->start, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN || part_from(channel, true);
		channel->start += (size_t)sent;
		channel->taken += (size_t)sent;
		if (channel->taken < LEND_WINDOW / 2 || channel->heard_end)
			continue;
		if (!say(channel, CREDIT, channel->taken))
			return false;
		channel->taken = 0;
	}
	if (!channel->heard_end || channel->shut)
		return true;
	(void)shutdown(channel->fd, SHUT_WR);
	channel->shut = true;
	return over_if_ended(channel);
}

static bool read_whole(unsigned char *to, size_t length)
{
	while (length > 0) {
		ssize_t got = read(0, to, length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		to += got;
		length -= (size_t)got;
	}
	return true;
}

static bool keep(struct channel *channel, size_t length)
{
	size_t waiting = channel->end - channel->start;
	if (waiting + length > LEND_WINDOW)
		return false;
	memmove(channel->kept, channel->kept + channel->start, waiting);
	memcpy(channel->kept + waiting, bytes, length);
	channel->start = 0;
	channel->end = waiting + length;
	channel->heard_end |= length == 0;
	return pass_kept(channel);
}

/* A frame of the input, for whom it is; false at the end of it, or where it is none. */
static bool pass_in(void)
{
	unsigned char head[HEAD];
	if (!read_whole(head, HEAD))
		return false;
	size_t number = (size_t)head[4] << 24 | (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
	if (head[0] >= LEND_CHANNELS || (head[1] == DATA && (number > LEND_WINDOW || !read_whole(bytes, number))))
		return false;
	struct channel *channel = &channels[head[0]];
	bool there = channel->fd >= 0; /* else it left when this was on its way */
	if (head[1] == GONE && there)
		return part_from(channel, false);
	if (head[1] == GONE)
		channel->owed = false;
	else if (head[1] == CREDIT)
		channel->credit += there ? number : 0;
	else
		return head[1] == DATA && (!there || keep(channel, number));
	return true;
}

/* ---- all of them ---- */

static struct channel *unused(void)
{
	for (struct channel *each = channels; each < channels + LEND_CHANNELS; each++) {
		if (each->fd < 0 && !each->owed)
			return each;
	}
	return NULL;
}

static void take(int listener, struct channel *channel)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	unsigned char *kept = fd < 0 ? NULL : malloc(LEND_WINDOW);
	if (kept)
		*channel = (struct channel){.fd = fd, .credit = LEND_WINDOW, .kept = kept};
	else
		close_fd(&fd);
}

static struct pollfd awaited(const struct channel *channel)
{
	bool more = !channel->said_end && channel->credit > 0;
	return (struct pollfd){.fd = channel->fd,
	                       .events = (short)((more ? POLLIN : 0) | (channel->start < channel->end ? POLLOUT : 0))};
}

static bool serve(struct channel *channel, short events)
{
	if ((events & POLLOUT) && !pass_kept(channel))
		return false;
	return channel->fd < 0 || !(events & ~POLLOUT) || pass_out(channel, events & POLLIN);
}

void lend(int root, const char *path)
{
	enum { INPUT, LISTENER, FIRST };
	struct pollfd polled[FIRST + LEND_CHANNELS];
	int listener = listening_at(root, path);
	if (listener < 0)
		archive_give_up(path, errno);
	(void)dprintf(2, "listening\n");
	for (unsigned i = 0; i < LEND_CHANNELS; i++)
		channels[i].fd = -1;
	for (bool going = true; going;) {
		for (unsigned i = 0; i < LEND_CHANNELS; i++)
			polled[FIRST + i] = awaited(&channels[i]);
		polled[INPUT] = (struct pollfd){.fd = 0, .events = POLLIN};
		polled[LISTENER] = (struct pollfd){.fd = unused() ? listener : -1, .events = POLLIN};
		if (poll(polled, FIRST + LEND_CHANNELS, -1) < 0)
			continue;
		for (unsigned i = 0; going && i < LEND_CHANNELS; i++) {
			if (polled[FIRST + i].revents)
				going = serve(&channels[i], polled[FIRST + i].revents);
		}
		if (going && polled[INPUT].revents)
			going = pass_in();
		if (going && polled[LISTENER].revents)
			take(listener, unused());
	}
	_exit(0);
}
